// The backward pass of the whole model, with the head's loss, against finite differences in f64 on
// the reference backend; and that recomputation changes no bit.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 2, SEQUENCE = 5, TOKENS = BATCH * SEQUENCE, TEACHER_COLS = 9, HIDDEN = 12 };

// A training network, a batch, and the loss
//     Σ_r (0.7 CE_r + 1.3 τ² KL_r) + Σ over injection points of <weight, residual stream>.
typedef struct problem {
    cop_backend *backend;
    cop_network *network;
    int32_t ids[TOKENS];
    int32_t targets[TOKENS];
    double teacher_hidden[TOKENS * TEACHER_COLS];
    double *teacher_head;             // [V, TEACHER_COLS]
    double injected[TOKENS * HIDDEN]; // weight of the residual stream, all points alike
    double injected_loss;
    bool is_injecting;
} problem;

static void random_values(double *values, int64_t count, uint64_t index)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    assert_int_equal(cop_rng_create(&rng, 11, COP_RNG_TEST, 2000 + index, &err), COP_OK);
    for (int64_t i = 0; i < count; i++) {
        values[i] = cop_rng_normal(rng);
    }
    cop_rng_destroy(rng);
}

static void start(problem *at, const cop_arch *arch, cop_recompute recompute)
{
    const cop_network_options options = {.precision = COP_PRECISION_F64,
                                         .batch = BATCH,
                                         .sequence = SEQUENCE,
                                         .is_training = true,
                                         .recompute = recompute};
    *at = (problem){0};
    at->backend = tiny_backend("reference");
    at->network = tiny_network(arch, &options, at->backend);
    tiny_fill(at->network, 9);
    tiny_ids(at->ids, TOKENS, arch->vocab, 9);
    tiny_ids(at->targets, TOKENS, arch->vocab, 10);
    at->targets[3] = -1;
    at->teacher_head = calloc((size_t)arch->vocab * TEACHER_COLS, sizeof(double));
    assert_non_null(at->teacher_head);
    random_values(at->teacher_head, arch->vocab * TEACHER_COLS, 0);
    random_values(at->teacher_hidden, TOKENS * TEACHER_COLS, 1);
    random_values(at->injected, TOKENS * HIDDEN, 2);
}

static void finish(problem *at)
{
    free(at->teacher_head);
    cop_network_destroy(at->network);
    cop_backend_destroy(at->backend);
}

static bool is_injection_point(cop_tap tap)
{
    return tap == COP_TAP_BLOCK_OUTPUT || tap == COP_TAP_EMBEDDING;
}

static cop_status add_up(void *context, cop_tap tap, int64_t layer, const cop_matrix *value,
                         cop_error *err)
{
    problem *at = context;
    (void)layer;
    (void)err;
    if (is_injection_point(tap)) {
        double *x = tiny_values(at->backend, value);
        for (int64_t i = 0; i < TOKENS * HIDDEN; i++) {
            at->injected_loss += at->injected[i] * x[i];
        }
        free(x);
    }
    return COP_OK;
}

static cop_status inject(void *context, cop_tap tap, int64_t layer, cop_matrix *gradient,
                         cop_error *err)
{
    problem *at = context;
    cop_add_args args = {.x = cop_matrix_dense(at->injected, COP_F64, TOKENS, HIDDEN),
                         .y = *gradient,
                         .alpha = 1.0F,
                         .beta = 1.0F};
    assert_true(is_injection_point(tap));
    assert_int_equal(layer >= 0, tap == COP_TAP_BLOCK_OUTPUT);
    return at->backend->ops->add(at->backend, NULL, &args, err);
}

// The loss; with `is_backward` its gradients are added to the network's.
static double evaluate(problem *at, bool is_backward)
{
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options pass = {.ids = at->ids,
                                      .batch = BATCH,
                                      .sequence = SEQUENCE,
                                      .keep = is_backward,
                                      .tap = at->is_injecting ? add_up : NULL,
                                      .tap_context = at};
    double cross_entropy[TOKENS];
    double kl[TOKENS];
    double d_hidden[TOKENS * HIDDEN];
    const cop_parameter_view head = cop_network_head(at->network);
    at->injected_loss = 0.0;
    assert_int_equal(cop_network_forward(at->network, &pass, &hidden, &err), COP_OK);
    cop_head_loss_args loss = {
        .hidden = hidden,
        .head = head.working,
        .targets = at->targets,
        .teacher_hidden = cop_matrix_dense(at->teacher_hidden, COP_F64, TOKENS, TEACHER_COLS),
        .teacher_head =
            cop_matrix_dense(at->teacher_head, COP_F64, head.working.rows, TEACHER_COLS),
        .ce_weight = 0.7F,
        .kl_weight = 1.3F,
        .temperature = 1.5F,
        .grad_scale = 1.0F,
        .cross_entropy = cop_matrix_dense(cross_entropy, COP_F64, 1, TOKENS),
        .kl = cop_matrix_dense(kl, COP_F64, 1, TOKENS)};
    if (is_backward) {
        loss.d_hidden = cop_matrix_dense(d_hidden, COP_F64, TOKENS, HIDDEN);
        loss.d_head = head.gradient;
    }
    void *scratch = NULL;
    const uint64_t bytes = at->backend->ops->scratch_bytes(at->backend, COP_OP_HEAD_LOSS, &loss);
    if (bytes > 0) {
        assert_int_equal(cop_backend_alloc(at->backend, &scratch, bytes, "test", &err), COP_OK);
    }
    loss.scratch = scratch;
    if (at->backend->ops->head_loss(at->backend, NULL, &loss, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    if (is_backward) {
        assert_int_equal(cop_network_backward(at->network, loss.d_hidden,
                                              at->is_injecting ? inject : NULL, at, &err),
                         COP_OK);
    }
    cop_backend_free(at->backend, scratch);
    double sum = at->injected_loss;
    for (int i = 0; i < TOKENS; i++) {
        sum += (at->targets[i] < 0 ? 0.0 : (double)0.7F * cross_entropy[i]) +
               (double)1.3F * (double)(1.5F * 1.5F) * kl[i];
    }
    return sum;
}

// Puts weight + step * direction.
static void shift(problem *at, int64_t index, const double *weight, const double *direction,
                  double step, int64_t count)
{
    const cop_tensor_sink sink = cop_network_sink(at->network);
    cop_error err = {0};
    double *moved = calloc((size_t)count, sizeof *moved);
    assert_non_null(moved);
    for (int64_t i = 0; i < count; i++) {
        moved[i] = weight[i] + step * direction[i];
    }
    assert_int_equal(sink.put(sink.context, index, COP_F64, moved, &err), COP_OK);
    free(moved);
}

// The derivative along a random direction touches every element of a tensor at once. Five points:
// off by step⁴ times the fifth derivative, and by rounding, 1e-13 / step = 3e-8 of the value here. A
// longer step would meet neurons that cross zero, where the second derivative of squared ReLU jumps.
static void check_tensor(problem *at, int64_t index, const char *label)
{
    const double step = 3e-6;
    const double tolerance = 1e-7;
    const cop_tensor_spec spec = cop_arch_tensor(cop_network_arch(at->network), index);
    const int64_t count = spec.shape[0] * spec.shape[1];
    double *weight = calloc((size_t)count, sizeof *weight);
    double *gradient = calloc((size_t)count, sizeof *gradient);
    double *direction = calloc((size_t)count, sizeof *direction);
    cop_error err = {0};
    double slope = 0.0;
    double size = 0.0;
    assert_int_equal(cop_network_read(at->network, index, COP_F64, weight, &err), COP_OK);
    assert_int_equal(cop_network_read_gradient(at->network, index, COP_F64, gradient, &err),
                     COP_OK);
    random_values(direction, count, (uint64_t)(100 + index));
    const double points[] = {-2.0, -1.0, 1.0, 2.0};
    double loss[4];
    for (int i = 0; i < 4; i++) {
        shift(at, index, weight, direction, points[i] * step, count);
        loss[i] = evaluate(at, false);
    }
    shift(at, index, weight, direction, 0.0, count);
    for (int64_t i = 0; i < count; i++) {
        slope += gradient[i] * direction[i];
        size += gradient[i] * gradient[i];
    }
    const double found = (8.0 * (loss[2] - loss[1]) - (loss[3] - loss[0])) / (12.0 * step);
    if (!(fabs(slope - found) <= tolerance * (sqrt(size) + fabs(found) + 1.0))) {
        fail_msg("%s, %s: derivative is %.12g, by differences %.12g", label, spec.name, slope,
                 found);
    }
    // No tensor is without a gradient here, so none can pass by doing nothing.
    assert_true(size > 1e-12);
    free(weight);
    free(gradient);
    free(direction);
}

static const char *const RECOMPUTE_NAME[] = {"none", "selective", "block"};

static void gradients_of_every_tensor_agree_with_finite_differences(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const cop_recompute recompute = (cop_recompute)(i % 3);
        char label[64];
        problem at;
        start(&at, &arch, recompute);
        at.is_injecting = i >= TINY_COUNT;
        (void)snprintf(label, sizeof label, "architecture %d, recompute %s%s", i % TINY_COUNT,
                       RECOMPUTE_NAME[recompute], at.is_injecting ? ", injecting" : "");
        (void)evaluate(&at, true);
        for (int64_t k = 0; k < cop_arch_tensor_count(&arch); k++) {
            check_tensor(&at, k, label);
        }
        finish(&at);
    }
}

// All gradients as the network holds them, padding included; owned by the caller.
static void *gradients(cop_network *network, size_t *bytes)
{
    cop_error err = {0};
    const cop_matrix all = cop_network_all_parameters(network).gradient;
    *bytes = (size_t)all.cols * cop_dtype_bytes(all.dtype);
    void *values = calloc(1, *bytes);
    assert_non_null(values);
    assert_int_equal(
        cop_backend_to_host(cop_network_backend(network), NULL, values, all.data, *bytes, &err),
        COP_OK);
    return values;
}

static void *run_once(const char *backend_name, cop_precision precision, const cop_arch *arch,
                      cop_recompute recompute, size_t *bytes)
{
    const cop_network_options options = {.precision = precision,
                                         .batch = BATCH,
                                         .sequence = SEQUENCE,
                                         .is_training = true,
                                         .recompute = recompute};
    cop_backend *backend = tiny_backend(backend_name);
    cop_network *network = tiny_network(arch, &options, backend);
    cop_error err = {0};
    int32_t ids[TOKENS];
    float d_hidden[TOKENS * HIDDEN];
    cop_matrix hidden = {0};
    const cop_forward_options pass = {
        .ids = ids, .batch = BATCH, .sequence = SEQUENCE, .keep = true};
    tiny_fill(network, 12);
    tiny_ids(ids, TOKENS, arch->vocab, 12);
    // Twice: gradients are added up, and what one pass leaves must not disturb the next.
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_OK);
        for (int k = 0; k < TOKENS * HIDDEN; k++) {
            d_hidden[k] = (float)sin((double)k);
        }
        assert_int_equal(cop_network_backward(network,
                                              cop_matrix_dense(d_hidden, COP_F32, TOKENS, HIDDEN),
                                              NULL, NULL, &err),
                         COP_OK);
    }
    void *values = gradients(network, bytes);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
    return values;
}

static void recomputation_changes_no_bit_of_the_gradients(void **state)
{
    (void)state;

    const struct {
        const char *backend;
        cop_precision precision;
    } settings[] = {{"reference", COP_PRECISION_F64},
                    {"reference", COP_PRECISION_BF16},
                    {"cpu", COP_PRECISION_F32},
                    {"cpu", COP_PRECISION_BF16}};

    for (int i = 0; i < 4 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const char *backend = settings[i / TINY_COUNT].backend;
        const cop_precision precision = settings[i / TINY_COUNT].precision;
        size_t bytes = 0;
        void *expected = run_once(backend, precision, &arch, COP_RECOMPUTE_NONE, &bytes);
        for (int mode = COP_RECOMPUTE_SELECTIVE; mode <= COP_RECOMPUTE_BLOCK; mode++) {
            void *found = run_once(backend, precision, &arch, (cop_recompute)mode, &bytes);
            if (memcmp(found, expected, bytes) != 0) {
                fail_msg("%s %s, architecture %d: recompute %s differs", backend,
                         cop_precision_name(precision), i % TINY_COUNT, RECOMPUTE_NAME[mode]);
            }
            free(found);
        }
        free(expected);
    }
}

static void two_backward_passes_add_up(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA_BIASED);
    problem at;
    size_t bytes = 0;
    cop_error err = {0};
    start(&at, &arch, COP_RECOMPUTE_NONE);
    (void)evaluate(&at, true);
    double *once = gradients(at.network, &bytes);
    (void)evaluate(&at, true);
    double *twice = gradients(at.network, &bytes);
    for (size_t i = 0; i < bytes / sizeof *once; i++) {
        once[i] *= 2.0;
    }
    assert_true(tiny_distance(twice, once, (int64_t)(bytes / sizeof *once)) < 1e-12);
    assert_int_equal(cop_network_zero_gradients(at.network, &err), COP_OK);
    double *none = gradients(at.network, &bytes);
    for (size_t i = 0; i < bytes / sizeof *none; i++) {
        assert_true(none[i] == 0.0);
    }
    free(once);
    free(twice);
    free(none);
    finish(&at);
}

static void a_backward_pass_needs_its_own_forward_pass(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    problem at;
    cop_error err = {0};
    double d_hidden[TOKENS * HIDDEN] = {0};
    const cop_matrix gradient = cop_matrix_dense(d_hidden, COP_F64, TOKENS, HIDDEN);
    start(&at, &arch, COP_RECOMPUTE_NONE);
    (void)evaluate(&at, true);
    assert_int_equal(cop_network_backward(at.network, gradient, NULL, NULL, &err),
                     COP_ERR_UNSUPPORTED);
    cop_matrix hidden = {0};
    const cop_forward_options pass = {
        .ids = at.ids, .batch = BATCH, .sequence = SEQUENCE, .keep = true};
    assert_int_equal(cop_network_forward(at.network, &pass, &hidden, &err), COP_OK);
    assert_int_equal(cop_network_backward(at.network,
                                          cop_matrix_dense(d_hidden, COP_F64, TOKENS, HIDDEN - 1),
                                          NULL, NULL, &err),
                     COP_ERR_SHAPE);
    assert_string_equal(err.message, "network: gradient of hidden is [10, 11] (allowed: [10, 12])");
    finish(&at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_every_tensor_agree_with_finite_differences),
        cmocka_unit_test(recomputation_changes_no_bit_of_the_gradients),
        cmocka_unit_test(two_backward_passes_add_up),
        cmocka_unit_test(a_backward_pass_needs_its_own_forward_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
