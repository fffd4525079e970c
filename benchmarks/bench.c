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
#include "benchmarks/random.h"

enum {
    FLUSH_BYTES = 96 << 20, // more than a last-level cache of a few cores
    COPY_BYTES = 16 << 20,
    COPY_PIECE = 1 << 20,
    DEVICE_COPY_BYTES = 1 << 30,
    INNER_MAX = 1000
};

// A run on a device takes at least this long, by repetition.
static const double inner_seconds = 5e-3;

static _Noreturn void die(const bench *self, const char *message)
{
    (void)fprintf(stderr, "%s: %s\n", self->program, message);
    exit(1); // NOLINT(concurrency-mt-unsafe): one thread
}

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

static void open_device(bench *self, const char *name)
{
    cop_error err = {0};
    cop_device_info info;
    if (cop_backend_create(&self->backend, name, &err) != COP_OK ||
        cop_backend_info(self->backend, &info, &err) != COP_OK) {
        die(self, err.message);
    }
    self->is_device = !info.is_host_memory;
    (void)snprintf(self->device, sizeof self->device, "%s", info.name);
}

void bench_init(bench *self, const char *program, int argc, char **argv)
{
    const char *device = "cpu";
    *self = (bench){.program = program, .repeats = BENCH_REPEATS};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            self->is_quick = true;
            self->repeats = BENCH_REPEATS_QUICK;
        } else if (strcmp(argv[i], "--clock") == 0 && i + 1 < argc &&
                   strcmp(argv[i + 1], "cpu") == 0) {
            self->is_cpu_clock = true;
            i++;
        } else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            device = argv[++i];
        } else {
            (void)fprintf(stderr, "usage: %s [--quick] [--clock cpu] [--device NAME]\n", program);
            exit(2); // NOLINT(concurrency-mt-unsafe): one thread
        }
    }
    (void)snprintf(self->command, sizeof self->command, "%s%s%s%s%s", program,
                   self->is_quick ? " --quick" : "", self->is_cpu_clock ? " --clock cpu" : "",
                   strcmp(device, "cpu") != 0 ? " --device " : "",
                   strcmp(device, "cpu") != 0 ? device : "");
    read_commit(self->commit, sizeof self->commit);
    cop_system_cpu_name(self->cpu, (int)sizeof self->cpu);
    open_device(self, device);
    if (!self->is_device) {
        self->flush = cop_alloc(FLUSH_BYTES, 1);
        if (self->flush == NULL) {
            die(self, "no memory to empty caches with");
        }
    }
}

void bench_release(bench *self)
{
    bench_free_memory(self);
    cop_backend_destroy(self->backend);
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

static void run_times(const bench *self, bench_case *each, int times)
{
    cop_error err = {0};
    cop_status status = COP_OK;
    for (int i = 0; i < times && status == COP_OK; i++) {
        status = each->run(each->context, &err);
    }
    if (status != COP_OK || cop_backend_synchronize(self->backend, NULL, &err) != COP_OK) {
        (void)fprintf(stderr, "%s: ", each->name);
        die(self, err.message);
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

// How often a case runs between two waits.
static int inner_times(const bench *self, bench_case *each)
{
    if (!self->is_device) {
        return 1;
    }
    const double start = cop_clock_seconds();
    run_times(self, each, 1);
    const double once = cop_clock_seconds() - start;
    const double times = inner_seconds / (once > 0.0 ? once : inner_seconds);
    return times < 1.0 ? 1 : times > INNER_MAX ? INNER_MAX : (int)times;
}

void bench_run(const bench *self, bench_case *cases, size_t count)
{
    double *seconds = cop_alloc(count * (size_t)self->repeats, sizeof *seconds);
    int *times = cop_alloc(count, sizeof *times);
    if (seconds == NULL || times == NULL) {
        die(self, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        run_times(self, &cases[i], 1);
        times[i] = inner_times(self, &cases[i]);
    }
    for (int turn = 0; turn < self->repeats; turn++) {
        for (size_t i = 0; i < count; i++) {
            if (!self->is_device) {
                empty_cache(self);
            }
            const double start = seconds_of(self);
            run_times(self, &cases[i], times[i]);
            seconds[i * (size_t)self->repeats + (size_t)turn] =
                (seconds_of(self) - start) / times[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        double *own = seconds + i * (size_t)self->repeats;
        qsort(own, (size_t)self->repeats, sizeof *own, compare_seconds);
        cases[i].best = own[0];
        cases[i].median = own[self->repeats / 2];
    }
    cop_free(seconds);
    cop_free(times);
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
    (void)printf("%s,\"runs\":%d,\"device\":\"%s\",\"threads\":%d,\"cpu\":\"%s\",\"commit\":\"%s\","
                 "\"command\":\"%s\"}\n",
                 extra, self->repeats, self->device, cop_system_threads(), self->cpu, self->commit,
                 self->command);
    (void)fflush(stdout);
}

static cop_status copy_on_host(void *context, cop_error *err)
{
    const bench *self = context;
    char *to = self->copied;
    const char *from = to + COPY_BYTES;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < COPY_BYTES; i += COPY_PIECE) {
        memcpy(to + i, from + i, COPY_PIECE);
    }
    return COP_OK;
}

static cop_status copy_on_device(void *context, cop_error *err)
{
    const bench *self = context;
    char *to = self->copied;
    return cop_backend_on_device(self->backend, NULL, to, to + DEVICE_COPY_BYTES, DEVICE_COPY_BYTES,
                                 err);
}

bench_case bench_copy_case(bench *self)
{
    const size_t bytes = self->is_device ? (size_t)DEVICE_COPY_BYTES : (size_t)COPY_BYTES;
    self->copied = bench_memory(self, 2 * bytes);
    return (bench_case){.name = "copy",
                        .run = self->is_device ? copy_on_device : copy_on_host,
                        .context = self,
                        .bytes = 2.0 * (double)bytes};
}

const char *bench_copy_name(const bench *self)
{
    return self->is_device ? "copy of 1 GiB" : "copy of 16 MiB";
}

void *bench_memory(bench *self, size_t bytes)
{
    cop_error err = {0};
    void *memory = NULL;
    void **grown = cop_realloc(self->memory, self->memory_count + 1, sizeof *grown);
    if (grown == NULL) {
        die(self, "out of memory");
    }
    self->memory = grown;
    if (cop_backend_alloc(self->backend, &memory, bytes, "operands", &err) != COP_OK ||
        cop_backend_zero(self->backend, NULL, memory, bytes, &err) != COP_OK) {
        die(self, err.message);
    }
    self->memory[self->memory_count++] = memory;
    return memory;
}

void bench_free_memory(bench *self)
{
    for (size_t i = 0; i < self->memory_count; i++) {
        cop_backend_free(self->backend, self->memory[i]);
    }
    cop_free(self->memory);
    self->memory = NULL;
    self->memory_count = 0;
    self->copied = NULL;
}

cop_matrix bench_matrix(bench *self, cop_dtype dtype, int64_t rows, int64_t cols)
{
    const size_t bytes = (size_t)(rows * cols) * cop_dtype_bytes(dtype);
    const cop_matrix m = cop_matrix_dense(bench_memory(self, bytes), dtype, rows, cols);
    cop_error err = {0};
    if (bench_random_fill(self->backend, m, 1.0F, 2463534242U, &err) != COP_OK) {
        die(self, err.message);
    }
    return m;
}

int32_t *bench_ids(bench *self, int64_t count, int64_t limit)
{
    const size_t bytes = (size_t)count * sizeof(int32_t);
    int32_t *ids = bench_memory(self, bytes);
    int32_t *values = cop_alloc((size_t)count + 1, sizeof *values);
    uint32_t state = 1U;
    cop_error err = {0};
    if (values == NULL) {
        die(self, "out of memory");
    }
    for (int64_t i = 0; i < count; i++) {
        values[i] = (int32_t)((int64_t)bench_random(&state) % limit);
    }
    if (cop_backend_to_device(self->backend, NULL, ids, values, bytes, &err) != COP_OK ||
        cop_backend_synchronize(self->backend, NULL, &err) != COP_OK) {
        die(self, err.message);
    }
    cop_free(values);
    return ids;
}
