#include "tests/model/tiny.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tests/support.h"

cop_arch tiny_arch(int which)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = 23,
                     .hidden = 12,
                     .head_dim = 6,
                     .context = 64,
                     .layers = 3,
                     .norm = COP_NORM_RMS,
                     .norm_eps = 1e-5,
                     .activation = COP_ACTIVATION_SILU,
                     .is_gated = true,
                     .rope = {.theta = 100.0, .partial = 1.0},
                     .initializer_range = 0.02,
                     .bos = -1,
                     .eos = -1};
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 4, .kv_heads = 2, .ffn = 10};
    }
    if (which == TINY_NEMOTRON || which == TINY_NEMOTRON_BIASED) {
        arch.family = COP_FAMILY_NEMOTRON;
        arch.norm = COP_NORM_LAYER_1P;
        arch.activation = COP_ACTIVATION_RELU2;
        arch.is_gated = false;
        arch.head_dim = 8;
        arch.rope.partial = 0.5;
    }
    if (which == TINY_LLAMA_BIASED || which == TINY_NEMOTRON_BIASED) {
        arch.attention_bias = true;
        arch.mlp_bias = true;
        arch.is_tied = true;
    }
    if (which == TINY_LLAMA_BIASED) {
        arch.layer[1] = (cop_layer_arch){.heads = 6, .kv_heads = 2, .ffn = 7};
        arch.layer[2] = (cop_layer_arch){.heads = 1, .kv_heads = 1, .ffn = 13};
        arch.rope.scaling = COP_ROPE_LLAMA3;
        arch.rope.factor = 8.0;
        arch.rope.low_frequency_factor = 1.0;
        arch.rope.high_frequency_factor = 4.0;
        arch.rope.original_context = 16;
    }
    if (which == TINY_NEMOTRON_BIASED) {
        arch.activation = COP_ACTIVATION_GELU;
        arch.rope.scaling = COP_ROPE_LINEAR;
        arch.rope.factor = 2.0;
    }
    return arch;
}

cop_backend *tiny_backend(const char *name)
{
    cop_backend *backend = NULL;
    cop_error err = {0};
    if (cop_backend_create(&backend, name, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return backend;
}

cop_network *tiny_network(const cop_arch *arch, const cop_network_options *options,
                          cop_backend *backend)
{
    cop_network *network = NULL;
    cop_error err = {0};
    if (cop_network_create(&network, arch, options, backend, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return network;
}

void tiny_fill(cop_network *network, uint64_t seed)
{
    const cop_arch *arch = cop_network_arch(network);
    const cop_tensor_sink sink = cop_network_sink(network);
    const int64_t count = cop_arch_tensor_count(arch);
    cop_error err = {0};
    for (int64_t i = 0; i < count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const int64_t elements = spec.shape[0] * spec.shape[1];
        double *values = calloc((size_t)elements, sizeof *values);
        cop_rng *rng = NULL;
        assert_non_null(values);
        assert_int_equal(cop_rng_create(&rng, seed, COP_RNG_TEST, (uint64_t)i, &err), COP_OK);
        const double center = spec.rank == 1 && arch->norm == COP_NORM_RMS ? 1.0 : 0.0;
        for (int64_t k = 0; k < elements; k++) {
            values[k] = center + 0.4 * cop_rng_normal(rng);
        }
        assert_int_equal(sink.put(sink.context, i, COP_F64, values, &err), COP_OK);
        cop_rng_destroy(rng);
        free(values);
    }
}

void tiny_naive(naive_model *model, cop_network *network)
{
    const int64_t count = cop_arch_tensor_count(cop_network_arch(network));
    cop_error err = {0};
    naive_init(model, cop_network_arch(network));
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(cop_network_read(network, i, COP_F64, model->tensor[i], &err), COP_OK);
    }
}

void tiny_ids(int32_t *ids, int64_t count, int64_t vocab, uint64_t seed)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    assert_int_equal(cop_rng_create(&rng, seed, COP_RNG_TEST, 1000000, &err), COP_OK);
    for (int64_t i = 0; i < count; i++) {
        ids[i] = (int32_t)cop_rng_below(rng, (uint64_t)vocab);
    }
    cop_rng_destroy(rng);
}

double *tiny_values(cop_backend *backend, const cop_matrix *matrix)
{
    cop_error err = {0};
    const size_t element = cop_dtype_bytes(matrix->dtype);
    double *out = calloc((size_t)(matrix->rows * matrix->cols) + 1, sizeof *out);
    char *row = calloc((size_t)matrix->cols + 1, element);
    assert_non_null(out);
    assert_non_null(row);
    for (int64_t r = 0; r < matrix->rows; r++) {
        const char *from = (const char *)matrix->data + (size_t)(r * matrix->stride) * element;
        assert_int_equal(
            cop_backend_to_host(backend, NULL, row, from, (uint64_t)matrix->cols * element, &err),
            COP_OK);
        assert_int_equal(cop_backend_synchronize(backend, NULL, &err), COP_OK);
        cop_dtype_convert(out + r * matrix->cols, COP_F64, row, matrix->dtype,
                          (size_t)matrix->cols);
    }
    free(row);
    return out;
}

double tiny_distance(const double *a, const double *b, int64_t count)
{
    double difference = 0.0;
    double size = 0.0;
    for (int64_t i = 0; i < count; i++) {
        difference = fmax(difference, fabs(a[i] - b[i]));
        size = fmax(size, fabs(b[i]));
        if (isnan(a[i]) || isnan(b[i])) {
            return INFINITY;
        }
    }
    return size > 0.0 ? difference / size : difference;
}
