// Held-out text: which part of a text is kept away from training.
//
// The held-out share lies in blocks of equal length, one in the middle of each of as many equal
// stretches of the text: it is representative of the whole, and inside a block sentences stay
// whole. Where a byte goes depends on its position, the share and the block length alone, so a
// text can be split while it streams by.

#ifndef COP_MODEL_SPLIT_H
#define COP_MODEL_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cop_split {
    double share;  // 0: nothing is held out; at most 0.5
    int64_t block; // units of text in a held-out block, at least 1
} cop_split;

// A split of `total` units (bytes, tokens) into 32 blocks, or fewer, or shorter ones: a block has
// 256 … 65,536 units. total 0: unknown, blocks of 16,384.
cop_split cop_split_of(double share, int64_t total);

// How many units from `position` on go the same way, at least 1; `is_held_out` says which.
int64_t cop_split_run(const cop_split *split, int64_t position, bool *is_held_out);

#endif
