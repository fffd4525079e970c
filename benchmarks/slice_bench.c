// Slicing a checkpoint to disk against cp of a file of the result's size, both with fsync. Prints one
// JSON line per case: seconds of both, bytes written per second, the share of cp's bandwidth, and by
// how much the resident set grew.
//
//     slice_bench [--directory DIR] [--megabytes N] [--repeats N]
//
// The directory (default: the working directory) needs room for about three times the size.

#include "prune/slice.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/system.h"
#include "base/text.h"
#include "benchmarks/random.h"

typedef struct settings {
    const char *directory;
    int64_t megabytes;
    int64_t repeats;
} settings;

// Shares of the teacher's sizes that stay.
typedef struct bench_case {
    const char *name;
    double hidden;
    double heads;
    double ffn;
    double layers;
} bench_case;

static const bench_case cases[] = {
    {"nothing", 1.0, 1.0, 1.0, 1.0}, {"ffn", 1.0, 1.0, 0.625, 1.0},
    {"hidden", 0.75, 1.0, 1.0, 1.0}, {"all widths", 0.6875, 0.75, 0.6875, 1.0},
    {"layers", 1.0, 1.0, 1.0, 0.5},
};

enum { CASE_COUNT = sizeof cases / sizeof cases[0], LAYERS = 8, PATH_BYTES = 1024 };

// A Llama of about `megabytes` in bf16: the parameters of a layer grow with the square of the width.
static cop_arch arch_of(int64_t megabytes)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = 32000,
                     .hidden = 512,
                     .head_dim = 64,
                     .context = 4096,
                     .layers = LAYERS,
                     .norm = COP_NORM_RMS,
                     .norm_eps = 1e-5,
                     .activation = COP_ACTIVATION_SILU,
                     .is_gated = true,
                     .rope = {.theta = 10000.0, .partial = 1.0},
                     .initializer_range = 0.02,
                     .bos = -1,
                     .eos = -1};
    for (;;) {
        const int64_t hidden = arch.hidden;
        const int64_t ffn = 4 * hidden;
        const double bytes = 2.0 * (double)(2 * arch.vocab * hidden +
                                            LAYERS * (3 * hidden * hidden + 3 * hidden * ffn));
        for (int64_t i = 0; i < LAYERS; i++) {
            arch.layer[i] =
                (cop_layer_arch){.heads = hidden / 64, .kv_heads = hidden / 256, .ffn = ffn};
        }
        if (bytes >= (double)megabytes * 1e6) {
            return arch;
        }
        arch.hidden += 256;
    }
}

static cop_status make_teacher(const char *path, const cop_arch *arch, cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint_writer *writer = NULL;
    uint16_t *row = NULL;
    uint32_t state = 1;
    cop_tensor_sink sink = {0};
    const cop_checkpoint_options options = {.dtype = COP_BF16, .force = true};

    COP_TRY(status, cop_checkpoint_writer_create(&writer, path, arch, &options, err));
    sink = cop_checkpoint_writer_sink(writer);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        row = cop_alloc((size_t)spec.shape[1], sizeof *row);
        if (row == NULL) {
            COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "slice_bench: no memory"));
        }
        for (int64_t r = 0; r < spec.shape[0]; r++) {
            for (int64_t c = 0; c < spec.shape[1]; c++) {
                row[c] =
                    (uint16_t)(0x3c00U + (bench_random(&state) >> 15)); // small positive numbers
            }
            COP_TRY(status, sink.put_rows(sink.context, i, COP_BF16, r, 1, row, err));
        }
        cop_free(row);
        row = NULL;
    }
    COP_TRY(status, cop_checkpoint_writer_commit(writer, err));

done:
    cop_free(row);
    cop_checkpoint_writer_destroy(writer);
    return status;
}

static cop_arch target_of(const cop_arch *teacher, const bench_case *at)
{
    cop_arch target = *teacher;
    const cop_layer_arch *from = &teacher->layer[0];
    target.hidden = (int64_t)((double)teacher->hidden * at->hidden);
    target.layers = (int64_t)((double)teacher->layers * at->layers);
    for (int64_t i = 0; i < target.layers; i++) {
        target.layer[i].heads = (int64_t)((double)from->heads * at->heads);
        target.layer[i].ffn = (int64_t)((double)from->ffn * at->ffn);
    }
    return target;
}

static cop_status run_slice(double *seconds, const cop_checkpoint *teacher, const char *to,
                            const cop_arch *target, cop_error *err)
{
    cop_status status = COP_OK;
    cop_selection *selection = NULL;
    cop_checkpoint_writer *writer = NULL;
    const cop_select_options select = {.order = COP_ORDER_RANDOM, .seed = 1};
    const cop_checkpoint_options options = {.dtype = COP_BF16, .force = true};
    const double start = cop_clock_seconds();

    COP_TRY(status, cop_selection_create(&selection, cop_checkpoint_arch(teacher), target, NULL,
                                         &select, err));
    COP_TRY(status, cop_checkpoint_writer_create(&writer, to, target, &options, err));
    COP_TRY(status, cop_slice(selection, teacher, cop_checkpoint_writer_sink(writer), err));
    COP_TRY(status, cop_checkpoint_writer_commit(writer, err));
    *seconds = cop_clock_seconds() - start;

done:
    cop_checkpoint_writer_destroy(writer);
    cop_selection_destroy(selection);
    return status;
}

static cop_status run_cp(double *seconds, const char *from, const char *to, cop_error *err)
{
    char command[2 * PATH_BYTES + 256];
    cop_status status = cop_file_remove_tree(to, err);
    if (status != COP_OK) {
        return status;
    }
    (void)snprintf(command, sizeof command, "cp --reflink=never '%s' '%s'", from, to);
    const double start = cop_clock_seconds();
    if (system(command) != 0) { // NOLINT(concurrency-mt-unsafe): no other thread
        return COP_FAIL(err, COP_ERR_IO, "%s: cp failed", to);
    }
    status = cop_file_sync(to, err);
    *seconds = cop_clock_seconds() - start;
    return status;
}

static cop_status run_case(const bench_case *at, const settings *with, const char *teacher_path,
                           const cop_arch *arch, cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint *teacher = NULL;
    char student[PATH_BYTES + 32];
    char weights[PATH_BYTES + 64];
    char copy[PATH_BYTES + 32];
    struct stat info;
    double best_slice = 1e30;
    double best_cp = 1e30;
    const cop_arch target = target_of(arch, at);
    const uint64_t before = cop_system_resident_peak_bytes();

    (void)snprintf(student, sizeof student, "%s/slice_bench.student", with->directory);
    (void)snprintf(weights, sizeof weights, "%s/model.safetensors", student);
    (void)snprintf(copy, sizeof copy, "%s/slice_bench.copy", with->directory);
    COP_TRY(status, cop_checkpoint_open(&teacher, teacher_path, err));
    for (int64_t i = 0; i < with->repeats; i++) {
        double seconds = 0.0;
        COP_TRY(status, cop_file_remove_tree(student, err));
        COP_TRY(status, run_slice(&seconds, teacher, student, &target, err));
        best_slice = seconds < best_slice ? seconds : best_slice;
        COP_TRY(status, run_cp(&seconds, weights, copy, err));
        best_cp = seconds < best_cp ? seconds : best_cp;
    }
    if (stat(weights, &info) != 0) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_IO, "%s: cannot stat", weights));
    }
    printf("{\"bench\": \"slice\", \"case\": \"%s\", \"bytes\": %lld, \"slice_seconds\": %.3f, "
           "\"cp_seconds\": %.3f, \"slice_gigabytes_per_second\": %.3f, "
           "\"percent_of_cp\": %.1f, \"resident_growth_mib\": %.1f}\n",
           at->name, (long long)info.st_size, best_slice, best_cp,
           (double)info.st_size / best_slice / 1e9, 100.0 * best_cp / best_slice,
           (double)(cop_system_resident_peak_bytes() - before) / 1048576.0);
    (void)fflush(stdout);

done:
    cop_checkpoint_destroy(teacher);
    if (cop_file_remove_tree(student, NULL) != COP_OK ||
        cop_file_remove_tree(copy, NULL) != COP_OK) {
        (void)fprintf(stderr, "slice_bench: %s: files were left behind\n", with->directory);
    }
    return status;
}

static bool parse_option(settings *with, const char *key, const char *value)
{
    if (strcmp(key, "--directory") == 0) {
        with->directory = value;
        return strlen(value) < PATH_BYTES - 64;
    }
    int64_t *to = strcmp(key, "--megabytes") == 0 ? &with->megabytes
                  : strcmp(key, "--repeats") == 0 ? &with->repeats
                                                  : NULL;
    return to != NULL && cop_text_to_i64(value, to) && *to > 0;
}

int main(int argc, char **argv)
{
    cop_status status = COP_OK;
    cop_error err = {0};
    char teacher[PATH_BYTES + 32];
    settings with = {.directory = ".", .megabytes = 400, .repeats = 3};

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(&with, argv[i], argv[i + 1])) {
            (void)fprintf(
                stderr, "slice_bench: %s (allowed: --directory DIR, --megabytes N, --repeats N)\n",
                argv[i]);
            return 2;
        }
    }
    const cop_arch arch = arch_of(with.megabytes);
    (void)snprintf(teacher, sizeof teacher, "%s/slice_bench.teacher", with.directory);
    COP_TRY(status, make_teacher(teacher, &arch, &err));
    for (int i = 0; i < CASE_COUNT && status == COP_OK; i++) {
        status = run_case(&cases[i], &with, teacher, &arch, &err);
    }

done:
    if (cop_file_remove_tree(teacher, NULL) != COP_OK) {
        (void)fprintf(stderr, "slice_bench: %s: could not be removed\n", teacher);
    }
    if (status != COP_OK) {
        (void)fprintf(stderr, "slice_bench: %s\n", err.message);
    }
    return status == COP_OK ? 0 : 1;
}
