// The network against the naive forward pass, its taps, its shortcuts and its refusals.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 2, SEQUENCE = 7, TOKENS = BATCH * SEQUENCE, TAPS_MAX = 64 };

typedef struct setting {
    const char *backend;
    cop_precision precision;
    double tolerance; // of the hidden state, relative to its largest element
} setting;

// f64 differs by rounding of sums in another order; f32 by 2^-24 per operation over a few hundred
// operations; bf16 rounds every activation to 8 bits, and errors of 3 blocks add up.
static const setting SETTINGS[] = {
    {"reference", COP_PRECISION_F64, 1e-12}, {"reference", COP_PRECISION_F32, 2e-5},
    {"reference", COP_PRECISION_BF16, 8e-2}, {"cpu", COP_PRECISION_F32, 2e-5},
    {"cpu", COP_PRECISION_BF16, 8e-2},
};

enum { SETTINGS_COUNT = sizeof SETTINGS / sizeof SETTINGS[0] };

static cop_network_options options_of(cop_precision precision, bool is_training)
{
    return (cop_network_options){
        .precision = precision, .batch = BATCH, .sequence = SEQUENCE, .is_training = is_training};
}

static double *forward(cop_network *network, const int32_t *ids)
{
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options options = {.ids = ids, .batch = BATCH, .sequence = SEQUENCE};
    if (cop_network_forward(network, &options, &hidden, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(hidden.dtype, cop_network_compute_dtype(network));
    return tiny_values(cop_network_backend(network), &hidden);
}

static void agrees_with_the_naive_forward_pass(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS_COUNT * TINY_COUNT * 2; i++) {
        const setting *at = &SETTINGS[i % SETTINGS_COUNT];
        const cop_arch arch = tiny_arch(i / SETTINGS_COUNT % TINY_COUNT);
        const cop_network_options options =
            options_of(at->precision, i >= SETTINGS_COUNT * TINY_COUNT);
        cop_backend *backend = tiny_backend(at->backend);
        cop_network *network = tiny_network(&arch, &options, backend);
        naive_model naive;
        int32_t ids[TOKENS];
        double expected[TOKENS * 12];
        tiny_fill(network, 1);
        tiny_naive(&naive, network);
        tiny_ids(ids, TOKENS, arch.vocab, 1);
        double *hidden = forward(network, ids);
        naive_forward(expected, NULL, &naive, NULL, ids, BATCH, SEQUENCE);
        const double distance = tiny_distance(hidden, expected, TOKENS * arch.hidden);
        if (!(distance <= at->tolerance)) {
            fail_msg("%s %s, architecture %d: %g", at->backend, cop_precision_name(at->precision),
                     i / SETTINGS_COUNT, distance);
        }
        free(hidden);
        naive_release(&naive);
        cop_network_destroy(network);
        cop_backend_destroy(backend);
    }
}

// --- Taps ---------------------------------------------------------------------------------------

typedef struct record {
    cop_backend *backend;
    int count;
    cop_tap tap[TAPS_MAX];
    int64_t layer[TAPS_MAX];
    int64_t cols[TAPS_MAX];
    double *values[TAPS_MAX];
} record;

static cop_status note(void *context, cop_tap tap, int64_t layer, const cop_matrix *value,
                       cop_error *err)
{
    record *seen = context;
    (void)err;
    assert_true(seen->count < TAPS_MAX);
    assert_int_equal(value->rows, TOKENS);
    seen->tap[seen->count] = tap;
    seen->layer[seen->count] = layer;
    seen->cols[seen->count] = value->cols;
    seen->values[seen->count] = tiny_values(seen->backend, value);
    seen->count++;
    return COP_OK;
}

static void release_record(record *seen)
{
    for (int i = 0; i < seen->count; i++) {
        free(seen->values[i]);
    }
}

static const double *seen_at(const record *seen, cop_tap tap, int64_t layer)
{
    for (int i = 0; i < seen->count; i++) {
        if (seen->tap[i] == tap && seen->layer[i] == layer) {
            return seen->values[i];
        }
    }
    fail_msg("tap %d of layer %d was not called", (int)tap, (int)layer);
    return NULL;
}

static void run_with_taps(cop_network *network, const int32_t *ids, record *seen)
{
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options options = {
        .ids = ids, .batch = BATCH, .sequence = SEQUENCE, .tap = note, .tap_context = seen};
    *seen = (record){.backend = cop_network_backend(network)};
    assert_int_equal(cop_network_forward(network, &options, &hidden, &err), COP_OK);
}

static void calls_every_tap_in_order_with_its_shape(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const cop_network_options options = options_of(COP_PRECISION_F64, i >= TINY_COUNT);
        cop_backend *backend = tiny_backend("reference");
        cop_network *network = tiny_network(&arch, &options, backend);
        int32_t ids[TOKENS];
        record seen;
        int at = 0;
        tiny_fill(network, 2);
        tiny_ids(ids, TOKENS, arch.vocab, 2);
        run_with_taps(network, ids, &seen);
        assert_int_equal(seen.tap[at], COP_TAP_EMBEDDING);
        assert_int_equal(seen.layer[at++], -1);
        for (int64_t layer = 0; layer < arch.layers; layer++) {
            const cop_tap order[] = {COP_TAP_BLOCK_INPUT, COP_TAP_INPUT_NORM, COP_TAP_HEADS,
                                     COP_TAP_POST_NORM,   COP_TAP_NEURONS,    COP_TAP_BLOCK_OUTPUT};
            for (int k = 0; k < 6; k++, at++) {
                const int64_t cols = order[k] == COP_TAP_HEADS
                                         ? arch.layer[layer].heads * arch.head_dim
                                     : order[k] == COP_TAP_NEURONS ? arch.layer[layer].ffn
                                                                   : arch.hidden;
                assert_int_equal(seen.tap[at], order[k]);
                assert_int_equal(seen.layer[at], layer);
                assert_int_equal(seen.cols[at], cols);
            }
        }
        assert_int_equal(seen.tap[at], COP_TAP_FINAL_NORM);
        assert_int_equal(seen.layer[at++], -1);
        assert_int_equal(seen.count, at);
        release_record(&seen);
        cop_network_destroy(network);
        cop_backend_destroy(backend);
    }
}

static void taps_of_neighbours_see_the_same_residual_stream(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    const cop_network_options options = options_of(COP_PRECISION_F64, false);
    cop_backend *backend = tiny_backend("reference");
    cop_network *network = tiny_network(&arch, &options, backend);
    int32_t ids[TOKENS];
    record seen;
    const size_t bytes = TOKENS * (size_t)arch.hidden * sizeof(double);
    tiny_fill(network, 3);
    tiny_ids(ids, TOKENS, arch.vocab, 3);
    run_with_taps(network, ids, &seen);
    assert_memory_equal(seen_at(&seen, COP_TAP_EMBEDDING, -1),
                        seen_at(&seen, COP_TAP_BLOCK_INPUT, 0), bytes);
    assert_memory_equal(seen_at(&seen, COP_TAP_BLOCK_OUTPUT, 0),
                        seen_at(&seen, COP_TAP_BLOCK_INPUT, 1), bytes);
    assert_true(tiny_distance(seen_at(&seen, COP_TAP_BLOCK_INPUT, 1),
                              seen_at(&seen, COP_TAP_BLOCK_INPUT, 0), TOKENS * arch.hidden) > 0.01);
    release_record(&seen);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

static cop_status refuse(void *context, cop_tap tap, int64_t layer, const cop_matrix *value,
                         cop_error *err)
{
    (void)value;
    (void)context;
    return tap == COP_TAP_NEURONS && layer == 1 ? COP_FAIL(err, COP_ERR_IO, "stopped by the tap")
                                                : COP_OK;
}

static void a_failing_tap_ends_the_pass(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_NEMOTRON);
    const cop_network_options options = options_of(COP_PRECISION_F32, false);
    cop_backend *backend = tiny_backend("reference");
    cop_network *network = tiny_network(&arch, &options, backend);
    int32_t ids[TOKENS] = {0};
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options pass = {
        .ids = ids, .batch = BATCH, .sequence = SEQUENCE, .tap = refuse};
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_ERR_IO);
    assert_string_equal(err.message, "stopped by the tap");
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

// --- forward_from and masks ---------------------------------------------------------------------

static void forward_from_equals_forward_without_the_layer(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const cop_network_options options = options_of(COP_PRECISION_F64, i >= TINY_COUNT);
        cop_backend *backend = tiny_backend("reference");
        cop_network *network = tiny_network(&arch, &options, backend);
        naive_model naive;
        int32_t ids[TOKENS];
        record seen;
        tiny_fill(network, 4);
        tiny_naive(&naive, network);
        tiny_ids(ids, TOKENS, arch.vocab, 4);
        run_with_taps(network, ids, &seen);
        for (int64_t skip = -1; skip < arch.layers; skip++) {
            const int64_t first = skip < 0 ? 1 : skip;
            bool keep[3] = {true, true, true};
            double expected[TOKENS * 12];
            cop_error err = {0};
            cop_matrix hidden = {0};
            double x[TOKENS * 12];
            memcpy(x, seen_at(&seen, COP_TAP_BLOCK_INPUT, first), sizeof x);
            const cop_matrix stream = cop_matrix_dense(x, COP_F64, TOKENS, arch.hidden);
            if (skip >= 0) {
                keep[skip] = false;
            }
            const naive_masks masks = {.layer = keep};
            naive_forward(expected, NULL, &naive, &masks, ids, BATCH, SEQUENCE);
            assert_int_equal(cop_network_forward_from(network, first, skip, &stream, BATCH,
                                                      SEQUENCE, &hidden, &err),
                             COP_OK);
            double *found = tiny_values(backend, &hidden);
            // Sums in another order.
            assert_true(tiny_distance(found, expected, TOKENS * arch.hidden) < 1e-12);
            assert_memory_equal(x, seen_at(&seen, COP_TAP_BLOCK_INPUT, first), sizeof x);
            free(found);
        }
        release_record(&seen);
        naive_release(&naive);
        cop_network_destroy(network);
        cop_backend_destroy(backend);
    }
}

static void a_masked_head_or_neuron_equals_zeros_behind_it(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    naive_model naive;
    naive_init(&naive, &arch);
    cop_backend *backend = tiny_backend("reference");
    const cop_network_options options = options_of(COP_PRECISION_F64, false);
    cop_network *network = tiny_network(&arch, &options, backend);
    const bool all_heads[] = {true, true, true, true};
    const bool no_head_2[] = {true, true, false, true};
    const bool all_neurons[] = {true, true, true, true, true, true, true, true, true, true};
    const bool no_neuron_5[] = {true, true, true, true, true, false, true, true, true, true};
    const bool *const heads[] = {all_heads, no_head_2, all_heads};
    const bool *const neurons[] = {all_neurons, all_neurons, no_neuron_5};
    const naive_masks masks = {.heads = heads, .neurons = neurons};
    int32_t ids[TOKENS];
    double masked[TOKENS * 12];
    double expected[TOKENS * 12];
    tiny_fill(network, 5);
    naive_release(&naive);
    tiny_naive(&naive, network);
    tiny_ids(ids, TOKENS, arch.vocab, 5);
    naive_forward(masked, NULL, &naive, &masks, ids, BATCH, SEQUENCE);
    double *o = naive.tensor[cop_arch_find(&arch, COP_ROLE_O, 1)];
    double *down = naive.tensor[cop_arch_find(&arch, COP_ROLE_DOWN, 2)];
    for (int64_t c = 0; c < arch.hidden; c++) {
        for (int64_t d = 0; d < arch.head_dim; d++) {
            o[c * 4 * arch.head_dim + 2 * arch.head_dim + d] = 0.0;
        }
        down[c * arch.layer[2].ffn + 5] = 0.0;
    }
    naive_forward(expected, NULL, &naive, NULL, ids, BATCH, SEQUENCE);
    assert_true(tiny_distance(masked, expected, TOKENS * arch.hidden) < 1e-14);
    naive_release(&naive);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

// --- Refusals -----------------------------------------------------------------------------------

static void refuses_ids_outside_the_vocabulary(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    const cop_network_options options = options_of(COP_PRECISION_F32, false);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &options, backend);
    int32_t ids[TOKENS] = {0};
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options pass = {.ids = ids, .batch = BATCH, .sequence = SEQUENCE};
    ids[5] = 23;
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "network: ids[5] is 23 (allowed: 0..22)");
    ids[5] = -1;
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "network: ids[5] is -1 (allowed: 0..22)");
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

static void refuses_passes_it_was_not_planned_for(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    const cop_network_options options = options_of(COP_PRECISION_F32, false);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &options, backend);
    const int32_t ids[4 * TOKENS] = {0};
    float gradient[TOKENS * 12] = {0};
    cop_error err = {0};
    cop_matrix hidden = {0};
    cop_forward_options pass = {.ids = ids, .batch = BATCH + 1, .sequence = SEQUENCE};
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "network: pass is [3, 7] (allowed: at most [2, 7], as planned)");
    pass = (cop_forward_options){.ids = ids, .batch = 1, .sequence = 2 * SEQUENCE};
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_ERR_SHAPE);
    pass = (cop_forward_options){.ids = ids, .batch = 1, .sequence = 2, .keep = true};
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "network: keep is set (allowed: training networks)");
    const cop_matrix d_hidden = cop_matrix_dense(gradient, COP_F32, TOKENS, arch.hidden);
    assert_int_equal(cop_network_backward(network, d_hidden, NULL, NULL, &err),
                     COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "network: backward pass without kept activations (allowed: "
                                     "once after a forward pass with keep)");
    assert_int_equal(cop_network_zero_gradients(network, &err), COP_ERR_UNSUPPORTED);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

static void refuses_settings_that_cannot_be(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = NULL;
    cop_error err = {0};
    cop_network_options options = options_of(COP_PRECISION_F32, false);
    options.batch = 1 << 20;
    options.sequence = 1 << 20;
    assert_int_equal(cop_network_create(&network, &arch, &options, backend, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "network: batch * sequence is 1048576 * 1048576 (allowed: "
                                     "both at least 1, at most 16777216 tokens)");
    assert_null(network);
    options = options_of(COP_PRECISION_F64, false);
    assert_int_equal(cop_network_create(&network, &arch, &options, backend, &err),
                     COP_ERR_UNSUPPORTED);
    assert_null(network);
    cop_arch broken = arch;
    broken.layer[1].kv_heads = 3;
    options = options_of(COP_PRECISION_F32, false);
    assert_int_not_equal(cop_network_create(&network, &broken, &options, backend, &err), COP_OK);
    assert_null(network);
    cop_backend_destroy(backend);
}

static void shorter_passes_give_the_same_rows(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_NEMOTRON_BIASED);
    const cop_network_options options = options_of(COP_PRECISION_F64, true);
    cop_backend *backend = tiny_backend("reference");
    cop_network *network = tiny_network(&arch, &options, backend);
    int32_t ids[TOKENS];
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options pass = {.ids = ids, .batch = 1, .sequence = 4};
    tiny_fill(network, 6);
    tiny_ids(ids, TOKENS, arch.vocab, 6);
    double *whole = forward(network, ids);
    assert_int_equal(cop_network_forward(network, &pass, &hidden, &err), COP_OK);
    assert_int_equal(hidden.rows, 4);
    double *part = tiny_values(backend, &hidden);
    // Causal: the first four positions do not see the rest.
    assert_memory_equal(part, whole, 4 * (size_t)arch.hidden * sizeof(double));
    free(whole);
    free(part);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

// --- Parameters ---------------------------------------------------------------------------------

static void initial_weights_follow_the_seed_and_the_roles(void **state)
{
    (void)state;
    cop_arch arch = tiny_arch(TINY_NEMOTRON_BIASED);
    arch.hidden = 64;
    const cop_network_options options = options_of(COP_PRECISION_F32, false);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &options, backend);
    cop_error err = {0};
    for (int64_t i = 0; i < cop_arch_tensor_count(&arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&arch, i);
        const int64_t count = spec.shape[0] * spec.shape[1];
        double *first = calloc((size_t)count, sizeof *first);
        double *second = calloc((size_t)count, sizeof *second);
        double *other = calloc((size_t)count, sizeof *other);
        double squares = 0.0;
        assert_int_equal(cop_network_init(network, 7, &err), COP_OK);
        assert_int_equal(cop_network_read(network, i, COP_F64, first, &err), COP_OK);
        assert_int_equal(cop_network_init(network, 8, &err), COP_OK);
        assert_int_equal(cop_network_read(network, i, COP_F64, other, &err), COP_OK);
        assert_int_equal(cop_network_init(network, 7, &err), COP_OK);
        assert_int_equal(cop_network_read(network, i, COP_F64, second, &err), COP_OK);
        assert_memory_equal(first, second, (size_t)count * sizeof *first);
        for (int64_t k = 0; k < count; k++) {
            squares += first[k] * first[k];
        }
        if (spec.rank == 1) {
            assert_true(squares == 0.0); // LayerNorm1P stores gain - 1
        } else {
            const bool is_into_residual = spec.role == COP_ROLE_O || spec.role == COP_ROLE_DOWN;
            const double want = 0.02 / (is_into_residual ? sqrt(6.0) : 1.0);
            // The smallest matrix has 640 elements: 5 standard errors of a deviation.
            assert_true(fabs(sqrt(squares / (double)count) / want - 1.0) < 0.14);
            assert_memory_not_equal(first, other, (size_t)count * sizeof *first);
        }
        free(first);
        free(second);
        free(other);
    }
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

static void joined_parameters_are_neighbours_and_aligned(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA_BIASED);
    const cop_network_options options = options_of(COP_PRECISION_BF16, true);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &options, backend);
    const cop_role groups[][3] = {{COP_ROLE_Q, COP_ROLE_K, COP_ROLE_V},
                                  {COP_ROLE_Q_BIAS, COP_ROLE_K_BIAS, COP_ROLE_V_BIAS},
                                  {COP_ROLE_GATE, COP_ROLE_UP, COP_ROLE_COUNT},
                                  {COP_ROLE_GATE_BIAS, COP_ROLE_UP_BIAS, COP_ROLE_COUNT}};
    for (int64_t i = 0; i < 4 * arch.layers; i++) {
        const cop_role *roles = groups[i % 4];
        const char *end = NULL;
        for (int k = 0; k < 3 && roles[k] != COP_ROLE_COUNT; k++) {
            const int64_t index = cop_arch_find(&arch, roles[k], i / 4);
            const cop_parameter_view view = cop_network_parameter(network, index);
            const cop_matrix at = view.working;
            assert_true(k == 0 ? (uintptr_t)at.data % 64 == 0 : (const char *)at.data == end);
            assert_int_equal(at.dtype, i % 2 == 0 ? COP_BF16 : COP_F32);
            assert_int_equal(view.master.dtype, COP_F32);
            assert_int_equal(view.gradient.dtype, COP_F32);
            end = (const char *)at.data + at.rows * at.cols * (int64_t)cop_dtype_bytes(at.dtype);
        }
    }
    assert_ptr_equal(cop_network_head(network).gradient.data,
                     cop_network_parameter(network, 0).gradient.data);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_naive_forward_pass),
        cmocka_unit_test(calls_every_tap_in_order_with_its_shape),
        cmocka_unit_test(taps_of_neighbours_see_the_same_residual_stream),
        cmocka_unit_test(a_failing_tap_ends_the_pass),
        cmocka_unit_test(forward_from_equals_forward_without_the_layer),
        cmocka_unit_test(a_masked_head_or_neuron_equals_zeros_behind_it),
        cmocka_unit_test(refuses_ids_outside_the_vocabulary),
        cmocka_unit_test(refuses_passes_it_was_not_planned_for),
        cmocka_unit_test(refuses_settings_that_cannot_be),
        cmocka_unit_test(shorter_passes_give_the_same_rows),
        cmocka_unit_test(initial_weights_follow_the_seed_and_the_roles),
        cmocka_unit_test(joined_parameters_are_neighbours_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
