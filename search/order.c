#include "search/order.h"

enum { PIECE = 8 };

// The place of each item is the number of items that belong before it.
static inline void place_items(cop_order *to, const cop_order *from, const int count)
{
    int64_t place[PIECE] = {0};
    for (int i = 1; i < count; i++) {
        for (int j = 0; j < i; j++) {
            const int64_t is_after = from[i].key < from[j].key;
            place[j] += is_after;
            place[i] += 1 - is_after;
        }
    }
    for (int i = 0; i < count; i++) {
        to[place[i]] = from[i];
    }
}

// The number of items is a constant in each call, so that the loops are unrolled.
static void sort_piece(cop_order *to, const cop_order *from, int64_t count)
{
    switch (count) {
    case 0: return;
    case 1: to[0] = from[0]; return;
    case 2: place_items(to, from, 2); return;
    case 3: place_items(to, from, 3); return;
    case 4: place_items(to, from, 4); return;
    case 5: place_items(to, from, 5); return;
    case 6: place_items(to, from, 6); return;
    case 7: place_items(to, from, 7); return;
    default: place_items(to, from, 8); return;
    }
}

// One of two places without a branch, which a compiler makes of "?:" and the processor mispredicts half of
// the time.
static int64_t choose(int64_t is_second, int64_t first, int64_t second)
{
    return first ^ ((first ^ second) & -is_second);
}

// Merges from[0 … half) and from[half … count). Each step yields the smallest and the largest item left;
// in so many steps as the first half, which is not longer, has items no end is overrun. At most one item is
// left then.
static void merge(cop_order *to, const cop_order *from, int64_t half, int64_t count)
{
    int64_t low = 0;
    int64_t high = half;
    int64_t low_last = half - 1;
    int64_t high_last = count - 1;
    for (int64_t i = 0; i < half; i++) {
        const int64_t takes_high = from[high].key < from[low].key;
        to[i] = from[choose(takes_high, low, high)];
        high += takes_high;
        low += 1 - takes_high;
        const int64_t takes_low = from[high_last].key < from[low_last].key;
        to[count - 1 - i] = from[choose(takes_low, high_last, low_last)];
        low_last -= takes_low;
        high_last -= 1 - takes_low;
    }
    if (count > 2 * half) {
        to[half] = from[low <= low_last ? low : high];
    }
}

// Sorts what `items` holds, into `other` or in place; the other one of the two is overwritten.
static void sort_range(cop_order *items, cop_order *other, int64_t count, int into_other)
{
    if (count <= PIECE) {
        cop_order piece[PIECE];
        sort_piece(into_other ? other : piece, items, count);
        if (!into_other) {
            memcpy(items, piece, (size_t)count * sizeof *items);
        }
        return;
    }
    const int64_t half = count / 2;
    sort_range(items, other, half, !into_other);
    sort_range(items + half, other + half, count - half, !into_other);
    if (into_other) {
        merge(other, items, half, count);
    } else {
        merge(items, other, half, count);
    }
}

void cop_order_sort(cop_order *items, cop_order *scratch, int64_t count)
{
    sort_range(items, scratch, count, 0);
}
