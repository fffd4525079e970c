// Cutting a candidate out of a teacher that is resident on the device. Prints one JSON line: milliseconds
// of a cut, the bytes that it must move (what stays is read once, each copy of a parameter written
// once), and the share of the bandwidth that a plain copy reaches in the same run.
//
//     resident_bench [--device NAME] [--shape NAME] [--form NAME] [--repeats N]
//
// Shapes: "small" (a few MB), "150m", "1b" and "15b" (Nemotron 15B to Minitron 8B: 31 GB of teacher).
// Forms: "working" (bf16 weights, as they are evaluated), "training" (with f32 masters; also allocates
// the gradients: 83 GB at 15b). Teacher and units are random: bf16, by a random order on every axis.

#include "prune/resident.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"

typedef struct settings {
    const char *device;
    const char *shape;
    const char *form;
    int64_t repeats;
} settings;

typedef struct sizes {
    int64_t layers;
    int64_t hidden;
    int64_t heads;
    int64_t kv_heads;
    int64_t ffn;
} sizes;

typedef struct shape {
    const char *name;
    int64_t vocab;
    int64_t head_dim;
    sizes teacher;
    sizes student;
} shape;

static const shape shapes[] = {
    {"small", 1000, 32, {4, 256, 8, 2, 1024}, {3, 192, 6, 2, 640}},
    {"150m", 32000, 64, {12, 768, 12, 4, 3072}, {12, 512, 9, 3, 2048}},
    {"1b", 64000, 128, {16, 2048, 16, 8, 8192}, {16, 1536, 16, 8, 5632}},
    {"15b", 256000, 128, {32, 6144, 48, 8, 24576}, {32, 4096, 48, 8, 16384}},
};

enum { SHAPE_COUNT = sizeof shapes / sizeof shapes[0], COPY_BYTES = 1 << 28, REPEATS_MAX = 1000 };

static cop_arch arch_of(const shape *at, const sizes *size)
{
    cop_arch arch = {.family = COP_FAMILY_NEMOTRON,
                     .vocab = at->vocab,
                     .hidden = size->hidden,
                     .head_dim = at->head_dim,
                     .context = 4096,
                     .layers = size->layers,
                     .norm = COP_NORM_LAYER_1P,
                     .norm_eps = 1e-5,
                     .activation = COP_ACTIVATION_RELU2,
                     .rope = {.theta = 10000.0, .partial = 0.5},
                     .initializer_range = 0.02,
                     .bos = -1,
                     .eos = -1};
    for (int64_t i = 0; i < size->layers; i++) {
        arch.layer[i] =
            (cop_layer_arch){.heads = size->heads, .kv_heads = size->kv_heads, .ffn = size->ffn};
    }
    return arch;
}

static int compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

// Best seconds of copying COPY_BYTES, by the copy of the backend and by its elementwise operator.
static cop_status time_copy(double *best, cop_backend *backend, int64_t repeats, cop_error *err)
{
    cop_status status = COP_OK;
    void *from = NULL;
    void *to = NULL;
    cop_convert_args convert = {0};

    *best = 1e30;
    COP_TRY(status, cop_backend_alloc(backend, &from, COPY_BYTES, "copy: source", err));
    COP_TRY(status, cop_backend_alloc(backend, &to, COPY_BYTES, "copy: target", err));
    convert.x = cop_matrix_dense(from, COP_BF16, 1, COPY_BYTES / 2);
    convert.y = cop_matrix_dense(to, COP_BF16, 1, COPY_BYTES / 2);
    // The source is written first: memory that was never touched is read from one page on a host.
    COP_TRY(status, cop_backend_on_device(backend, NULL, from, to, COPY_BYTES, err));
    for (int64_t i = 0; i < 2 * repeats + 2; i++) {
        COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
        const double start = cop_clock_seconds();
        if (i % 2 == 0) {
            COP_TRY(status, cop_backend_on_device(backend, NULL, to, from, COPY_BYTES, err));
        } else {
            COP_TRY(status, backend->ops->convert(backend, NULL, &convert, err));
        }
        COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
        const double seconds = cop_clock_seconds() - start;
        *best = i >= 2 && seconds < *best ? seconds : *best;
    }

done:
    cop_backend_free(backend, from);
    cop_backend_free(backend, to);
    return status;
}

// What one cut moves at least.
static double cut_bytes(cop_network *network)
{
    const cop_arch *arch = cop_network_arch(network);
    double bytes = 0.0;
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const cop_parameter_view view = cop_network_parameter(network, i);
        const double elements = (double)(spec.shape[0] * spec.shape[1]);
        bytes += elements * (2.0 + (double)cop_dtype_bytes(view.working.dtype));
        if (view.master.rows > 0 && view.master.data != view.working.data) {
            bytes += elements * (double)cop_dtype_bytes(view.master.dtype);
        }
    }
    return bytes;
}

static cop_status time_cuts(double *seconds, cop_resident *resident, const cop_selection *selection,
                            cop_network *network, int64_t repeats, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = cop_network_backend(network);

    for (int64_t i = -1; i < repeats; i++) { // the first warms up
        const double start = cop_clock_seconds();
        COP_TRY(status, cop_resident_cut(resident, selection, network, err));
        COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
        if (i >= 0) {
            seconds[i] = cop_clock_seconds() - start;
        }
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, compare);

done:
    return status;
}

static void print_result(const settings *with, const shape *at, const cop_device_info *info,
                         cop_network *network, const double *seconds, double copy_seconds)
{
    const double bytes = cut_bytes(network);
    const double rate = bytes / seconds[0];
    const double copy_rate = 2.0 * (double)COPY_BYTES / copy_seconds;
    printf("{\"bench\": \"resident\", \"shape\": \"%s\", \"form\": \"%s\", \"device\": \"%s\", "
           "\"cut_gigabytes\": %.4f, \"best_milliseconds\": %.4f, \"median_milliseconds\": %.4f, "
           "\"gigabytes_per_second\": %.2f, \"copy_gigabytes_per_second\": %.2f, "
           "\"percent_of_copy\": %.1f, \"peak_device_gigabytes\": %.3f}\n",
           at->name, with->form, info->name, bytes / 1e9, 1e3 * seconds[0],
           1e3 * seconds[with->repeats / 2], rate / 1e9, copy_rate / 1e9, 100.0 * rate / copy_rate,
           (double)cop_network_backend(network)->memory_peak_bytes / 1e9);
}

static cop_status run(const settings *with, const shape *at, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = NULL;
    cop_resident *resident = NULL;
    cop_selection *selection = NULL;
    cop_network *network = NULL;
    cop_device_info info = {0};
    static double seconds[REPEATS_MAX];
    double copy_seconds = 0.0;
    const cop_arch teacher = arch_of(at, &at->teacher);
    const cop_arch student = arch_of(at, &at->student);
    const cop_select_options select = {.order = COP_ORDER_RANDOM, .seed = 1};
    const cop_network_options options = {.precision = COP_PRECISION_BF16,
                                         .batch = 1,
                                         .sequence = 1,
                                         .is_training = strcmp(with->form, "training") == 0};

    COP_TRY(status, cop_backend_create(&backend, with->device, err));
    COP_TRY(status, cop_backend_info(backend, &info, err));
    COP_TRY(status, time_copy(&copy_seconds, backend, with->repeats, err));
    COP_TRY(status, cop_resident_create_random(&resident, &teacher, COP_BF16, backend, err));
    COP_TRY(status, cop_selection_create(&selection, &teacher, &student, NULL, &select, err));
    COP_TRY(status, cop_network_create(&network, &student, &options, backend, err));
    COP_TRY(status, time_cuts(seconds, resident, selection, network, with->repeats, err));

    print_result(with, at, &info, network, seconds, copy_seconds);

done:
    cop_network_destroy(network);
    cop_selection_destroy(selection);
    cop_resident_destroy(resident);
    cop_backend_destroy(backend);
    return status;
}

static bool parse_option(settings *with, const char *key, const char *value)
{
    if (strcmp(key, "--device") == 0) {
        with->device = value;
        return true;
    }
    if (strcmp(key, "--shape") == 0) {
        with->shape = value;
        return true;
    }
    if (strcmp(key, "--form") == 0) {
        with->form = value;
        return strcmp(value, "working") == 0 || strcmp(value, "training") == 0;
    }
    return strcmp(key, "--repeats") == 0 && cop_text_to_i64(value, &with->repeats) &&
           with->repeats > 0 && with->repeats <= REPEATS_MAX;
}

int main(int argc, char **argv)
{
    cop_error err = {0};
    settings with = {.device = "cpu", .shape = "150m", .form = "working", .repeats = 20};
    const shape *at = NULL;

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(&with, argv[i], argv[i + 1])) {
            (void)fprintf(stderr,
                          "resident_bench: %s (allowed: --device NAME, --shape NAME, --form "
                          "working or training, --repeats 1..%d)\n",
                          argv[i], (int)REPEATS_MAX);
            return 2;
        }
    }
    for (int i = 0; i < SHAPE_COUNT; i++) {
        at = strcmp(shapes[i].name, with.shape) == 0 ? &shapes[i] : at;
    }
    if (at == NULL) {
        (void)fprintf(stderr, "resident_bench: --shape is %s (allowed: small, 150m, 1b, 15b)\n",
                      with.shape);
        return 2;
    }
    if (run(&with, at, &err) != COP_OK) {
        (void)fprintf(stderr, "resident_bench: %s\n", err.message);
        return 1;
    }
    return 0;
}
