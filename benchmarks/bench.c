#include "benchmarks/bench.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/dtype.h"
#include "base/system.h"

enum {
    FLUSH_BYTES = 96 << 20, // more than a last-level cache of a few cores
    COPY_BYTES = 16 << 20,
    COPY_PIECE = 1 << 20
};

static void read_commit(char *out, size_t bytes)
{
    FILE *pipe = popen("git -C '" COP_SOURCE_DIR "' describe --always --dirty 2>/dev/null", "r");
    (void)snprintf(out, bytes, "unknown");
    if (pipe != NULL) {
        char line[48] = "";
        if (fgets(line, sizeof line, pipe) != NULL && line[0] != '\n') {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(out, bytes, "%s", line);
        }
        (void)pclose(pipe);
    }
}

void bench_init(bench *self, const char *program, int argc, char **argv)
{
    *self = (bench){.program = program, .repeats = BENCH_REPEATS};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            self->is_quick = true;
            self->repeats = BENCH_REPEATS_QUICK;
        } else if (strcmp(argv[i], "--clock") == 0 && i + 1 < argc &&
                   strcmp(argv[i + 1], "cpu") == 0) {
            self->is_cpu_clock = true;
            i++;
        } else {
            (void)fprintf(stderr, "usage: %s [--quick] [--clock cpu]\n", program);
            exit(2); // NOLINT(concurrency-mt-unsafe): one thread
        }
    }
    (void)snprintf(self->command, sizeof self->command, "%s%s%s", program,
                   self->is_quick ? " --quick" : "", self->is_cpu_clock ? " --clock cpu" : "");
    read_commit(self->commit, sizeof self->commit);
    cop_system_cpu_name(self->cpu, (int)sizeof self->cpu);
    self->flush = bench_memory(FLUSH_BYTES);
}

void bench_release(bench *self)
{
    cop_free(self->flush);
    *self = (bench){0};
}

static void empty_cache(const bench *self)
{
    char *bytes = self->flush;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < FLUSH_BYTES; i += 64) {
        bytes[i] = (char)(bytes[i] + 1);
    }
}

static void run_once(bench_case *each)
{
    cop_error err = {0};
    if (each->run(each->context, &err) != COP_OK) {
        (void)fprintf(stderr, "%s: %s\n", each->name, err.message);
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
}

static double seconds_of(const bench *self)
{
    struct timespec time;
    if (!self->is_cpu_clock || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) {
        return cop_clock_seconds();
    }
    return ((double)time.tv_sec + 1e-9 * (double)time.tv_nsec) / cop_system_threads();
}

static int compare_seconds(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_run(const bench *self, bench_case *cases, size_t count)
{
    double *seconds = cop_alloc(count * (size_t)self->repeats, sizeof *seconds);
    if (seconds == NULL) {
        (void)fprintf(stderr, "%s: out of memory\n", self->program);
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
    for (size_t i = 0; i < count; i++) {
        run_once(&cases[i]);
    }
    for (int turn = 0; turn < self->repeats; turn++) {
        for (size_t i = 0; i < count; i++) {
            empty_cache(self);
            const double start = seconds_of(self);
            run_once(&cases[i]);
            seconds[i * (size_t)self->repeats + (size_t)turn] = seconds_of(self) - start;
        }
    }
    for (size_t i = 0; i < count; i++) {
        double *own = seconds + i * (size_t)self->repeats;
        qsort(own, (size_t)self->repeats, sizeof *own, compare_seconds);
        cases[i].best = own[0];
        cases[i].median = own[self->repeats / 2];
    }
    cop_free(seconds);
}

void bench_print(const bench *self, const bench_case *result, const char *limit,
                 double roof_seconds, const char *extra)
{
    (void)printf("{\"bench\":\"%s\",\"case\":\"%s\",\"best_ms\":%.4f,\"median_ms\":%.4f",
                 self->program, result->name, 1e3 * result->best, 1e3 * result->median);
    if (result->flops > 0.0) {
        (void)printf(",\"gflops\":%.1f", result->flops / result->best * 1e-9);
    }
    if (result->bytes > 0.0) {
        (void)printf(",\"gbytes_per_second\":%.2f", result->bytes / result->best * 1e-9);
    }
    if (roof_seconds > 0.0) {
        (void)printf(",\"limit\":\"%s\",\"percent_of_limit\":%.1f", limit,
                     100.0 * roof_seconds / result->best);
    }
    (void)printf(
        "%s,\"runs\":%d,\"threads\":%d,\"cpu\":\"%s\",\"commit\":\"%s\",\"command\":\"%s\"}\n",
        extra, self->repeats, cop_system_threads(), self->cpu, self->commit, self->command);
    (void)fflush(stdout);
}

cop_status bench_copy(void *context, cop_error *err)
{
    char *to = context;
    const char *from = to + COPY_BYTES;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < COPY_BYTES; i += COPY_PIECE) {
        memcpy(to + i, from + i, COPY_PIECE);
    }
    return COP_OK;
}

double bench_copy_bytes(void)
{
    return 2.0 * COPY_BYTES;
}

void *bench_memory(size_t bytes)
{
    void *memory = cop_alloc(bytes, 1);
    if (memory == NULL) {
        (void)fprintf(stderr, "benchmark: out of memory: %zu bytes\n", bytes);
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
    memset(memory, 0, bytes); // commits the pages
    return memory;
}

cop_matrix bench_matrix(cop_dtype dtype, int64_t rows, int64_t cols)
{
    const size_t bytes = cop_dtype_bytes(dtype);
    const cop_matrix m =
        cop_matrix_dense(bench_memory((size_t)(rows * cols) * bytes), dtype, rows, cols);
    uint32_t state = 2463534242U;
    for (int64_t i = 0; i < rows * cols; i++) {
        state = state * 1664525U + 1013904223U;
        const float value = (float)(state >> 8) / 8388608.0F - 1.0F;
        if (dtype == COP_BF16) {
            ((uint16_t *)m.data)[i] = cop_bf16_from_f32(value);
        } else {
            ((float *)m.data)[i] = value;
        }
    }
    return m;
}
