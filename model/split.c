#include "model/split.h"

#include <math.h>

enum { BLOCKS = 32, BLOCK_MIN = 256, BLOCK_MAX = 65536, BLOCK_UNKNOWN = 16384 };

cop_split cop_split_of(double share, int64_t total)
{
    cop_split split = {.share = share, .block = BLOCK_UNKNOWN};
    if (total > 0) {
        const double block = (double)total * share / BLOCKS;
        split.block = block < BLOCK_MIN   ? BLOCK_MIN
                      : block > BLOCK_MAX ? BLOCK_MAX
                                          : (int64_t)block;
    }
    return split;
}

int64_t cop_split_run(const cop_split *split, int64_t position, bool *is_held_out)
{
    if (split->share <= 0.0) {
        *is_held_out = false;
        return INT64_MAX - position;
    }
    // Stretch k begins at k * period; its block lies in its middle.
    const double period = (double)split->block / split->share;
    const double before = (period - (double)split->block) / 2;
    int64_t k = (int64_t)((double)position / period);
    for (k = k > 0 ? k - 1 : 0;; k++) {
        const int64_t begin = (int64_t)floor((double)k * period + before);
        const int64_t end = begin + split->block;
        if (position < begin) {
            *is_held_out = false;
            return begin - position;
        }
        if (position < end) {
            *is_held_out = true;
            return end - position;
        }
    }
}
