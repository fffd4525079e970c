#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/hypervolume_internal.h"

bool cop_stair_init(cop_stair *stair, int64_t places)
{
    int64_t bits = places + 2;
    *stair = (cop_stair){.places = places};
    do {
        bits = (bits + 63) / 64;
        stair->words[stair->levels] = bits;
        stair->bits[stair->levels] = cop_alloc((size_t)bits, sizeof(uint64_t));
        if (stair->bits[stair->levels++] == NULL) {
            cop_stair_release(stair);
            return false;
        }
    } while (bits > 1);
    stair->x = cop_alloc((size_t)places + 2, sizeof *stair->x);
    stair->y = cop_alloc((size_t)places + 2, sizeof *stair->y);
    if (stair->x == NULL || stair->y == NULL) {
        cop_stair_release(stair);
        return false;
    }
    return true;
}

void cop_stair_release(cop_stair *stair)
{
    for (int k = 0; k < stair->levels; k++) {
        cop_free(stair->bits[k]);
    }
    cop_free(stair->x);
    cop_free(stair->y);
    *stair = (cop_stair){0};
}

static void insert(cop_stair *stair, int64_t at)
{
    for (int k = 0; k < stair->levels; k++, at /= 64) {
        stair->bits[k][at / 64] |= UINT64_C(1) << (at % 64);
    }
}

static void erase(cop_stair *stair, int64_t at)
{
    for (int k = 0; k < stair->levels; k++, at /= 64) {
        stair->bits[k][at / 64] &= ~(UINT64_C(1) << (at % 64));
        if (stair->bits[k][at / 64] != 0) {
            return;
        }
    }
}

// The first element at or behind a place; the end is one.
static int64_t next(const cop_stair *stair, int64_t at)
{
    int k = 0;
    for (;; k++, at = at / 64 + 1) {
        const int64_t word = at / 64;
        const uint64_t bits =
            word < stair->words[k] ? stair->bits[k][word] & (UINT64_MAX << (at % 64)) : 0;
        if (bits != 0) {
            at = word * 64 + __builtin_ctzll(bits);
            break;
        }
    }
    for (; k > 0; k--) {
        at = at * 64 + __builtin_ctzll(stair->bits[k - 1][at]);
    }
    return at;
}

// The last element at or before a place; the start is one.
static int64_t previous(const cop_stair *stair, int64_t at)
{
    int k = 0;
    for (;; k++, at = at / 64 - 1) {
        const uint64_t bits = stair->bits[k][at / 64] & (UINT64_MAX >> (63 - at % 64));
        if (bits != 0) {
            at = at / 64 * 64 + 63 - __builtin_clzll(bits);
            break;
        }
    }
    for (; k > 0; k--) {
        at = at * 64 + 63 - __builtin_clzll(stair->bits[k - 1][at]);
    }
    return at;
}

void cop_stair_clear(cop_stair *stair, double x, double y)
{
    const int64_t end = stair->places + 1;
    for (int k = 0; k < stair->levels; k++) {
        memset(stair->bits[k], 0, (size_t)stair->words[k] * sizeof(uint64_t));
    }
    stair->y[0] = y;
    stair->x[end] = x;
    stair->y[end] = -(double)INFINITY;
    insert(stair, 0);
    insert(stair, end);
}

double cop_stair_add(cop_stair *stair, int64_t place, double x, double y)
{
    const int64_t at = place + 1;
    int64_t right = next(stair, at);
    double top = stair->y[previous(stair, at - 1)];
    if (top <= y || (right == at && stair->y[at] <= y)) {
        return 0;
    }
    double area = 0;
    double left = x;
    while (stair->y[right] >= y) { // dominated
        area += (stair->x[right] - left) * (top - y);
        left = stair->x[right];
        top = stair->y[right];
        erase(stair, right);
        right = next(stair, right + 1);
    }
    area += (stair->x[right] - left) * (top - y);
    stair->x[at] = x;
    stair->y[at] = y;
    insert(stair, at);
    return area;
}
