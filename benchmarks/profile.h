// Time by operator: a table of operators around a backend's own, which notes for each call how long
// it took, the arithmetic it did and the bytes it must at least move. On a device it waits before
// and after every call: the shares are then those of a step without overlap.

#ifndef COP_BENCHMARKS_PROFILE_H
#define COP_BENCHMARKS_PROFILE_H

#include "kernels/ops.h"

typedef double (*profile_clock)(void); // seconds

// Puts the table in the place of backend->ops. One backend per program.
void profile_install(cop_backend *backend, profile_clock clock);
// The operators without the table around them, for measurements of other things.
const cop_ops *profile_inner(const cop_backend *backend);
void profile_reset(void);
// A JSON line per operator that was called: its share of `seconds`, its rate, and the percentage of
// its own limit: the matmul peak (FLOP/s), or the bandwidth of a copy (bytes/s; 0: not known).
void profile_print(const char *name, double seconds, double peak, double bandwidth);

#endif
