// Budget checks per second, on one thread, and the memory they take: a grid of 22 million points around the
// published 15B teacher, and one of 450 million, with budgets that few of them meet. Points that are counted
// with their whole subtree count as checked. Prints one JSON line per budget.

#include "search/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/system.h"
#include "base/version.h"

enum { REPEATS = 5 };

#define GRID                                      \
    "teacher: none\n"                             \
    "space:\n"                                    \
    "  layers: {from: 1, to: 32, step: 1}\n"      \
    "  heads: {from: 8, to: 48, step: 8}\n"       \
    "  ffn_ratio: {from: 1, to: 4, step: 0.01}\n" \
    "  hidden: {divisor: 8, max_cut: 0.5}\n"

#define LARGE                                \
    "teacher: none\n"                        \
    "space:\n"                               \
    "  layers: {from: 1, to: 32, step: 1}\n" \
    "  heads: {from: 8, to: 48, step: 8}\n"  \
    "  ffn: {divisor: 8, max_cut: 1}\n"      \
    "  hidden: {divisor: 8, max_cut: 1}\n"

static cop_arch teacher_15b(void)
{
    cop_arch arch = {.family = COP_FAMILY_NEMOTRON,
                     .vocab = 256000,
                     .hidden = 6144,
                     .head_dim = 128,
                     .context = 4096,
                     .layers = 32,
                     .norm = COP_NORM_LAYER_1P,
                     .norm_eps = 1e-5,
                     .rope = {.theta = 1e4, .partial = 0.5}};
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 48, .kv_heads = 8, .ffn = 24576};
    }
    return arch;
}

static void stop(const cop_error *err)
{
    fprintf(stderr, "space_bench: %s\n", err->message);
    exit(1);
}

// Processor time: checks per second and core, whatever else the machine does.
static double cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run(const char *name, const char *yaml)
{
    static cop_arch teacher;
    cop_error err = {0};
    cop_study_file study;
    cop_space *space = NULL;
    cop_space_report report = {0};
    double best = 0.0;

    teacher = teacher_15b();
    if (cop_study_file_parse(&study, "bench.yaml", yaml, strlen(yaml), false, &err) != COP_OK ||
        cop_space_create(&space, &study, &teacher, &err) != COP_OK) {
        stop(&err);
    }
    const uint64_t before = cop_system_resident_bytes();
    for (int i = 0; i < REPEATS; i++) {
        cop_candidate *found = NULL;
        int64_t count = 0;
        const double start = cpu_seconds();
        if (cop_space_feasible(&found, &count, &report, space, &err) != COP_OK) {
            stop(&err);
        }
        const double seconds = cpu_seconds() - start;
        best = i == 0 || seconds < best ? seconds : best;
        cop_free(found);
    }
    const uint64_t after = cop_system_resident_bytes();
    printf("{\"bench\": \"space\", \"case\": \"%s\", \"points\": %lld, \"feasible\": %lld, "
           "\"bounds\": %d, \"cpu_seconds\": %.4f, \"checks_per_second\": %.4g, \"target\": 1e7, "
           "\"resident_growth_bytes\": %lld, \"program\": \"%s\"}\n",
           name, (long long)report.size, (long long)report.feasible, report.bounds, best,
           (double)report.size / best, after > before ? (long long)(after - before) : 0LL,
           cop_version());
    cop_space_destroy(space);
    cop_study_file_release(&study);
}

int main(void)
{
    cop_system_silence_libraries();
    run("one bound", GRID "budget: {params: {max: 1.61e9}}\n");
    run("parameters", GRID "budget: {params: {min: 8e9, max: 8.0001e9}}\n");
    run("everything", GRID "budget:\n"
                           "  params: {min: 8e9, max: 8.0005e9}\n"
                           "  params_non_embedding: {min: 1e9, max: 6e9}\n"
                           "  memory_bytes: {min: 1e9, max: 24e9, batch: 8, sequence: 8192}\n"
                           "  flops_per_token: {min: 1e9, max: 2e10}\n");
    run("large grid", LARGE "budget: {params: {min: 8e9, max: 8.000001e9}}\n");
    return 0;
}
