// What the benchmarks share: cases are warmed up, then run in turns with the cache emptied before
// each run, so that a disturbance of the machine hits all of them alike; best and median of the
// runs are kept. Every result is one JSON line with the commit and the command that made it.

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
    void *flush; // owned
} bench;

// Reads the command line: `--quick` runs everything twice only; `--clock cpu` takes the CPU time of
// the process, divided by its threads, for the wall clock: what a shared machine takes away is not
// counted then (meaningful with one thread). Exits with 2 on anything else.
void bench_init(bench *self, const char *program, int argc, char **argv);
void bench_release(bench *self);

// Runs all cases in turns. Exits with 1 and a message when one fails.
void bench_run(const bench *self, bench_case *cases, size_t count);

// Prints one line. `limit` names what `roof_seconds` is: the time that the work would take at the
// measured peak; `extra` is further JSON members, starting with a comma, or "".
void bench_print(const bench *self, const bench_case *result, const char *limit,
                 double roof_seconds, const char *extra);

// A copy by all threads: reads and writes 16 MiB. bench_copy_bytes() is what it moves.
cop_status bench_copy(void *context, cop_error *err); // context: bench_memory(32 MiB)
double bench_copy_bytes(void);

// Memory for operands, never freed: a benchmark ends soon. Random values of about 1.
void *bench_memory(size_t bytes);
cop_matrix bench_matrix(cop_dtype dtype, int64_t rows, int64_t cols);

#endif
