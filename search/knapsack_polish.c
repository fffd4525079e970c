// A better best-known solution makes all bounds cut deeper: options of two layers at a time are exchanged
// as long as that lowers the score.

#include <string.h>

#include "search/knapsack_internal.h"

enum { MOST = COP_KNAPSACK_RESOURCES_MAX };

// Pairs of options looked at in all: what one narrow pass costs.
static const int64_t effort_most = 20000000;

typedef struct polish {
    const cop_knapsack_table *table;
    int32_t *choice;
    double score;
    int64_t cost[MOST];
    int64_t effort;
} polish;

static double add_up(int64_t *cost, const cop_knapsack_table *t, const int32_t *choice)
{
    double score = 0;
    memset(cost, 0, MOST * sizeof *cost);
    for (int l = 0; l < t->layers; l++) {
        const int64_t j = t->first[l] + choice[l];
        score += t->score[j];
        for (int r = 0; r < t->resources; r++) {
            cost[r] += t->cost[j * t->resources + r];
        }
    }
    return score;
}

static bool fits(const polish *p, const int64_t *rest, int64_t i, int64_t k)
{
    const cop_knapsack_table *t = p->table;
    for (int r = 0; r < t->resources; r++) {
        const int64_t cost =
            rest[r] + t->cost[i * t->resources + r] + t->cost[k * t->resources + r];
        if (cost < t->low[r] || cost > t->high[r]) {
            return false;
        }
    }
    return true;
}

// Takes the best options of two layers, the others kept. The score must fall as it is added up.
static bool exchange(polish *p, int a, int b)
{
    const cop_knapsack_table *t = p->table;
    const int64_t was_a = t->first[a] + p->choice[a];
    const int64_t was_b = t->first[b] + p->choice[b];
    double least = t->score[was_a] + t->score[was_b];
    int64_t rest[MOST] = {0};
    int64_t best_a = was_a;
    int64_t best_b = was_b;
    for (int r = 0; r < t->resources; r++) {
        rest[r] =
            p->cost[r] - t->cost[was_a * t->resources + r] - t->cost[was_b * t->resources + r];
    }
    for (int64_t i = t->first[a]; i < t->first[a] + t->options[a]; i++) {
        for (int64_t k = t->first[b]; k < t->first[b] + t->options[b]; k++) {
            if (t->score[i] + t->score[k] < least && fits(p, rest, i, k)) {
                least = t->score[i] + t->score[k];
                best_a = i;
                best_b = k;
            }
        }
    }
    p->effort += (int64_t)t->options[a] * t->options[b];
    p->choice[a] = (int32_t)(best_a - t->first[a]);
    p->choice[b] = (int32_t)(best_b - t->first[b]);
    const double score = add_up(p->cost, t, p->choice);
    if (score < p->score) {
        p->score = score;
        return true;
    }
    p->choice[a] = (int32_t)(was_a - t->first[a]);
    p->choice[b] = (int32_t)(was_b - t->first[b]);
    (void)add_up(p->cost, t, p->choice);
    return false;
}

double cop_knapsack_polish(int32_t *choice, const cop_knapsack_table *table)
{
    polish p = {.table = table, .choice = choice};
    p.score = add_up(p.cost, table, choice);
    bool is_better = true;
    while (is_better && p.effort < effort_most) {
        is_better = false;
        for (int a = 0; a < table->layers; a++) {
            for (int b = a + 1; b < table->layers && p.effort < effort_most; b++) {
                is_better = exchange(&p, a, b) || is_better;
            }
        }
    }
    return p.score;
}
