#include "search/kendall.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int compare_xy(const void *a, const void *b)
{
    const cop_kendall_pair *p = a;
    const cop_kendall_pair *q = b;
    if (p->x != q->x) {
        return p->x < q->x ? -1 : 1;
    }
    return (p->y > q->y) - (p->y < q->y);
}

// Sorts by y and returns the number of inversions: pairs that x orders one way and y the other.
static int64_t merge_count(cop_kendall_pair *pairs, cop_kendall_pair *scratch, int64_t count)
{
    if (count < 2) {
        return 0;
    }
    const int64_t half = count / 2;
    int64_t inversions = merge_count(pairs, scratch, half);
    inversions += merge_count(pairs + half, scratch, count - half);
    int64_t left = 0;
    int64_t right = half;
    for (int64_t i = 0; i < count; i++) {
        if (right == count || (left < half && pairs[left].y <= pairs[right].y)) {
            scratch[i] = pairs[left++];
        } else {
            inversions += half - left;
            scratch[i] = pairs[right++];
        }
    }
    memcpy(pairs, scratch, (size_t)count * sizeof *pairs);
    return inversions;
}

static double pairs_of(int64_t count)
{
    return (double)count * (double)(count - 1) / 2;
}

typedef enum tie_kind { TIE_X, TIE_Y, TIE_BOTH } tie_kind;

// Pairs that are tied; equal values lie side by side.
static double count_ties(const cop_kendall_pair *pairs, int64_t count, tie_kind kind)
{
    double ties = 0;
    int64_t run = 1;
    for (int64_t i = 1; i <= count; i++) {
        const bool same_x = i < count && pairs[i].x == pairs[i - 1].x;
        const bool same_y = i < count && pairs[i].y == pairs[i - 1].y;
        const bool is_same = kind == TIE_X ? same_x : kind == TIE_Y ? same_y : same_x && same_y;
        if (is_same) {
            run++;
        } else {
            ties += pairs_of(run);
            run = 1;
        }
    }
    return ties;
}

double cop_kendall_tau_b(cop_kendall_pair *pairs, cop_kendall_pair *scratch, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (isnan(pairs[i].x) || isnan(pairs[i].y)) {
            return (double)NAN;
        }
    }
    if (count < 2) {
        return (double)NAN;
    }
    qsort(pairs, (size_t)count, sizeof *pairs, compare_xy);
    const double all = pairs_of(count);
    const double ties_x = count_ties(pairs, count, TIE_X);
    const double ties_both = count_ties(pairs, count, TIE_BOTH);
    const double discordant = (double)merge_count(pairs, scratch, count);
    const double ties_y = count_ties(pairs, count, TIE_Y);
    const double ordered = (all - ties_x) * (all - ties_y);
    if (ordered <= 0) {
        return (double)NAN;
    }
    const double concordant = all - ties_x - ties_y + ties_both - discordant;
    return (concordant - discordant) / sqrt(ordered);
}
