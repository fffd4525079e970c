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

enum { TEACHER_COLS = 10 };

// Random device matrix [rows, cols] in the compute dtype.
static cop_matrix random_matrix(cop_network *network, int64_t rows, int64_t cols, uint64_t seed)
{
    cop_backend *backend = cop_network_backend(network);
    const cop_dtype dtype = cop_network_compute_dtype(network);
    const size_t count = (size_t)(rows * cols);
    cop_error err = {0};
    cop_rng *rng = NULL;
    void *memory = NULL;
    double *values = calloc(count, sizeof *values);
    void *narrow = calloc(count, cop_dtype_bytes(dtype));
    assert_non_null(values);
    assert_non_null(narrow);
    assert_int_equal(cop_rng_create(&rng, seed, COP_RNG_TEST, 3000000, &err), COP_OK);
    for (size_t i = 0; i < count; i++) {
        values[i] = cop_rng_normal(rng);
    }
    cop_rng_destroy(rng);
    cop_dtype_convert(narrow, dtype, values, COP_F64, count);
    const uint64_t bytes = count * cop_dtype_bytes(dtype);
    assert_int_equal(cop_backend_alloc(backend, &memory, bytes, "test", &err), COP_OK);
    assert_int_equal(cop_backend_to_device(backend, NULL, memory, narrow, bytes, &err), COP_OK);
    assert_int_equal(cop_backend_synchronize(backend, NULL, &err), COP_OK);
    free(values);
    free(narrow);
    return cop_matrix_dense(memory, dtype, rows, cols);
}

static cop_matrix zero_matrix(cop_backend *backend, cop_dtype dtype, int64_t rows, int64_t cols)
{
    void *memory = NULL;
    cop_error err = {0};
    const uint64_t bytes = (uint64_t)(rows * cols) * cop_dtype_bytes(dtype);
    assert_int_equal(cop_backend_alloc(backend, &memory, bytes, "test", &err), COP_OK);
    return cop_matrix_dense(memory, dtype, rows, cols);
}

double tiny_backward(cop_network *network, int64_t batch, int64_t sequence, uint64_t seed,
                     float kl_weight)
{
    cop_backend *backend = cop_network_backend(network);
    const cop_arch *arch = cop_network_arch(network);
    const int64_t tokens = batch * sequence;
    const cop_dtype wide = cop_network_compute_dtype(network) == COP_F64 ? COP_F64 : COP_F32;
    int32_t *ids = calloc((size_t)(2 * tokens), sizeof *ids);
    cop_error err = {0};
    cop_matrix hidden = {0};
    double sum = 0.0;
    assert_non_null(ids);
    tiny_ids(ids, tokens, arch->vocab, seed);
    tiny_ids(ids + tokens, tokens, arch->vocab, seed + 1000);
    const cop_forward_options pass = {
        .ids = ids, .batch = batch, .sequence = sequence, .keep = true};
    if (cop_network_forward(network, &pass, &hidden, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    const cop_matrix targets = zero_matrix(backend, COP_I32, 1, tokens);
    assert_int_equal(cop_backend_to_device(backend, NULL, targets.data, ids + tokens,
                                           (uint64_t)tokens * sizeof *ids, &err),
                     COP_OK);
    cop_head_loss_args loss = {
        .hidden = hidden,
        .head = cop_network_head(network).working,
        .targets = targets.data,
        .teacher_hidden = random_matrix(network, tokens, TEACHER_COLS, seed),
        .teacher_head = random_matrix(network, arch->vocab, TEACHER_COLS, seed + 1),
        .ce_weight = 1.0F,
        .kl_weight = kl_weight,
        .temperature = 1.0F,
        .grad_scale = 1.0F / (float)tokens,
        .cross_entropy = zero_matrix(backend, wide, 1, tokens),
        .kl = zero_matrix(backend, wide, 1, tokens),
        .d_hidden = zero_matrix(backend, cop_network_compute_dtype(network), tokens, arch->hidden),
        .d_head = cop_network_head(network).gradient};
    const cop_matrix scratch =
        zero_matrix(backend, COP_U8, 1,
                    1 + (int64_t)backend->ops->scratch_bytes(backend, COP_OP_HEAD_LOSS, &loss));
    loss.scratch = scratch.data;
    if (backend->ops->head_loss(backend, NULL, &loss, &err) != COP_OK ||
        cop_network_backward(network, loss.d_hidden, NULL, NULL, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    double *cross_entropy = tiny_values(backend, &loss.cross_entropy);
    double *kl = tiny_values(backend, &loss.kl);
    for (int64_t i = 0; i < tokens; i++) {
        sum += cross_entropy[i] + (double)kl_weight * kl[i];
    }
    void *const owned[] = {targets.data,
                           loss.teacher_hidden.data,
                           loss.teacher_head.data,
                           loss.cross_entropy.data,
                           loss.kl.data,
                           loss.d_hidden.data,
                           scratch.data};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        cop_backend_free(backend, owned[i]);
    }
    free(cross_entropy);
    free(kl);
    free(ids);
    return sum;
}

double tiny_distance(const double *a, const double *b, int64_t count)
{
    double difference = 0.0;
    double size = 0.0;
    for (int64_t i = 0; i < count; i++) {
        difference = fmax(difference, fabs(a[i] - b[i]));
        size = fmax(size, fabs(b[i]));
        if (isnan(a[i]) || isnan(b[i])) {
            return (double)INFINITY;
        }
    }
    return size > 0.0 ? difference / size : difference;
}
