// Which of cuBLASLt's candidates a shape uses, kept from run to run.
//
// Candidates differ in the order of their sums, so a choice by timing could give other bits in the
// next run. A choice is therefore made once per machine: the first one made for a shape is written to
// $XDG_CACHE_HOME/coppice/cublaslt.txt ($HOME/.cache without it), under a lock, and every later run,
// and every other process, takes it from there. Without a place for the file nothing is timed and
// the library's first candidate is taken, as with COP_CUDA_TUNE=off. One line per choice:
//     <device>|<version of cuBLASLt>|<shape> <index of the candidate>
// A file that is removed is a new machine.

#ifndef COP_KERNELS_CUDA_MATMUL_TUNE_H
#define COP_KERNELS_CUDA_MATMUL_TUNE_H

#include <stdbool.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { COP_CUDA_TUNE_KEY_BYTES = 320 };

typedef struct cop_cuda_tune cop_cuda_tune;

// *out = NULL when tuning is off or has no file. COP_ERR_CONFIG: COP_CUDA_TUNE is not on or off.
COP_MUST_CHECK cop_status cop_cuda_tune_create(cop_cuda_tune **out, cop_error *err);
void cop_cuda_tune_destroy(cop_cuda_tune *tune);

// The choice noted under `key`, or -1. With -1 the file stays locked until cop_cuda_tune_put():
// nobody else decides meanwhile. -2: the file cannot be used; nothing is locked.
int cop_cuda_tune_get(cop_cuda_tune *tune, const char *key);
// Notes a choice and unlocks; a negative one only unlocks.
void cop_cuda_tune_put(cop_cuda_tune *tune, const char *key, int choice);

#ifdef __cplusplus
}
#endif

#endif
