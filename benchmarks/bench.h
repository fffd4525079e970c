// What the benchmarks of operators share: cases are warmed up, then run in turns, so that a
// disturbance of the machine hits all of them alike; best and median of the runs are kept. On the
// CPU the cache is emptied before each run. On a device a run is repeated between two waits until it
// takes some milliseconds, so that launching and waiting do not count; operands are chosen larger
// than its cache. Every result is one JSON line with the commit and the command that made it.

#ifndef COP_BENCHMARKS_BENCH_H
#define COP_BENCHMARKS_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/ops.h"

enum { BENCH_REPEATS = 20, BENCH_REPEATS_QUICK = 2 };

typedef struct bench_case {
    const char *name;
    cop_status (*run)(void *context, cop_error *err);
    void *context;
    double flops; // of one run; 0: bound by memory
    double bytes; // that one run must at least move
    // Results, in seconds.
    double best;
    double median;
} bench_case;

typedef struct bench {
    const char *program;
    char command[256];
    char commit[48];
    char cpu[64];
    int repeats;
    bool is_quick;
    bool is_cpu_clock;
    cop_backend *backend; // owned
    bool is_device;       // its memory is not the host's
    char device[96];
    char *flush;   // owned; CPU only
    void **memory; // owned, of the backend
    size_t memory_count;
    char *copied; // the copy's memory, among `memory`: its target, then its source
} bench;

// Reads the command line: `--device NAME` is the backend, "cpu" when not given; `--quick` runs
// everything twice only; `--clock cpu` takes the CPU time of the process, divided by its threads, for
// the wall clock: what a shared machine takes away is not counted then (meaningful with one thread).
// Exits with 2 on anything else, with 1 when there is no such device.
void bench_init(bench *self, const char *program, int argc, char **argv);
void bench_release(bench *self);

// Runs all cases in turns. Exits with 1 and a message when one fails.
void bench_run(const bench *self, bench_case *cases, size_t count);

// Prints one line. `limit` names what `roof_seconds` is: the time that the work would take at the
// measured peak; `extra` is further JSON members, starting with a comma, or "".
void bench_print(const bench *self, const bench_case *result, const char *limit,
                 double roof_seconds, const char *extra);

// The case that measures the bandwidth of a copy: 16 MiB by all threads, or 1 GiB on a device. Its
// bytes are what it reads and writes; bench_copy_name() says so for results.
bench_case bench_copy_case(bench *self);
const char *bench_copy_name(const bench *self);

// Memory of the backend for operands, zeroed; random values of [-1, 1), or ids of [0, limit). Exits
// when there is none. bench_free_memory() frees all of it.
void *bench_memory(bench *self, size_t bytes);
cop_matrix bench_matrix(bench *self, cop_dtype dtype, int64_t rows, int64_t cols);
int32_t *bench_ids(bench *self, int64_t count, int64_t limit);
void bench_free_memory(bench *self);

#endif
