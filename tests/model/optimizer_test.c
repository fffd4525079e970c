// AdamW over a network: against the formula, its clipping and decay, and its state on disk.

#include "model/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/safetensors.h"
#include "tests/device_memory.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 2, SEQUENCE = 6 };

typedef struct trainee {
    cop_backend *backend;
    cop_network *network;
    cop_optimizer *optimizer;
} trainee;

static void start(trainee *at, const char *backend, cop_precision precision, const cop_arch *arch,
                  const cop_optimizer_options *options)
{
    const cop_network_options network_options = {
        .precision = precision, .batch = BATCH, .sequence = SEQUENCE, .is_training = true};
    cop_error err = {0};
    at->optimizer = NULL;
    at->backend = tiny_backend(backend);
    at->network = tiny_network(arch, &network_options, at->backend);
    tiny_fill(at->network, 31);
    if (cop_optimizer_create(&at->optimizer, at->network, options, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

static void finish(trainee *at)
{
    cop_optimizer_destroy(at->optimizer);
    cop_network_destroy(at->network);
    cop_backend_destroy(at->backend);
}

static void step(trainee *at, uint64_t seed)
{
    cop_error err = {0};
    (void)tiny_backward(at->network, BATCH, SEQUENCE, seed, 0.0F);
    assert_int_equal(cop_optimizer_step(at->optimizer, 0.01, &err), COP_OK);
}

// What one tensor should become, in f64.
typedef struct expected_tensor {
    int64_t count;
    bool is_matrix;
    double *parameter;
    double *gradient;
    double *m;
    double *v;
} expected_tensor;

static void expected_step(expected_tensor *at, const cop_optimizer_options *options, double scale,
                          double rate, int t)
{
    const double decay = at->is_matrix ? options->weight_decay : 0.0;
    for (int64_t i = 0; i < at->count; i++) {
        const double g = at->gradient[i] * scale;
        at->m[i] = options->beta1 * at->m[i] + (1.0 - options->beta1) * g;
        at->v[i] = options->beta2 * at->v[i] + (1.0 - options->beta2) * g * g;
        const double m = at->m[i] / (1.0 - pow(options->beta1, t));
        const double v = at->v[i] / (1.0 - pow(options->beta2, t));
        at->parameter[i] -= rate * (m / (sqrt(v) + options->eps) + decay * at->parameter[i]);
    }
}

static void follows_the_formula_with_clipping_and_decay_of_matrices_only(void **state)
{
    (void)state;
    const double clips[] = {0.0, 0.25, 1e6};
    for (int c = 0; c < 3; c++) {
        const cop_arch arch = tiny_arch(TINY_NEMOTRON_BIASED);
        const cop_optimizer_options options = {
            .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.3, .clip_norm = clips[c]};
        const int64_t tensors = cop_arch_tensor_count(&arch);
        expected_tensor *expected = calloc((size_t)tensors, sizeof *expected);
        cop_error err = {0};
        trainee at;
        assert_non_null(expected);
        start(&at, "reference", COP_PRECISION_F64, &arch, &options);
        for (int64_t i = 0; i < tensors; i++) {
            const cop_tensor_spec spec = cop_arch_tensor(&arch, i);
            const int64_t count = spec.shape[0] * spec.shape[1];
            expected[i].count = count;
            expected[i].is_matrix = spec.rank == 2;
            expected[i].parameter = calloc((size_t)count, sizeof(double));
            expected[i].gradient = calloc((size_t)count, sizeof(double));
            expected[i].m = calloc((size_t)count, sizeof(double));
            expected[i].v = calloc((size_t)count, sizeof(double));
            assert_int_equal(cop_network_read(at.network, i, COP_F64, expected[i].parameter, &err),
                             COP_OK);
        }
        for (int t = 1; t <= 3; t++) {
            double squares = 0.0;
            double norm = 0.0;
            (void)tiny_backward(at.network, BATCH, SEQUENCE, (uint64_t)t, 0.0F);
            for (int64_t i = 0; i < tensors; i++) {
                assert_int_equal(
                    cop_network_read_gradient(at.network, i, COP_F64, expected[i].gradient, &err),
                    COP_OK);
                for (int64_t k = 0; k < expected[i].count; k++) {
                    squares += expected[i].gradient[k] * expected[i].gradient[k];
                }
            }
            const double clip = clips[c] > 0.0 ? fmin(1.0, clips[c] / sqrt(squares)) : 1.0;
            assert_int_equal(cop_optimizer_step(at.optimizer, 0.02, &err), COP_OK);
            assert_int_equal(cop_optimizer_norm(at.optimizer, &norm, &err), COP_OK);
            assert_true(fabs(norm / sqrt(squares) - 1.0) < 1e-12);
            assert_int_equal(cop_optimizer_steps(at.optimizer), t);
            for (int64_t i = 0; i < tensors; i++) {
                double *found = calloc((size_t)expected[i].count, sizeof *found);
                expected_step(&expected[i], &options, clip, 0.02, t);
                assert_int_equal(cop_network_read(at.network, i, COP_F64, found, &err), COP_OK);
                // Rates and betas reach the operator in f32.
                assert_true(tiny_distance(found, expected[i].parameter, expected[i].count) < 1e-6);
                assert_int_equal(cop_network_read_gradient(at.network, i, COP_F64, found, &err),
                                 COP_OK);
                for (int64_t k = 0; k < expected[i].count; k++) {
                    assert_true(found[k] == 0.0);
                }
                free(found);
            }
        }
        for (int64_t i = 0; i < tensors; i++) {
            free(expected[i].parameter);
            free(expected[i].gradient);
            free(expected[i].m);
            free(expected[i].v);
        }
        free(expected);
        finish(&at);
    }
}

static void assert_same_parameters(trainee *a, trainee *b)
{
    const cop_parameter_view left = cop_network_all_parameters(a->network);
    const cop_parameter_view right = cop_network_all_parameters(b->network);
    assert_device_equal(a->backend, left.master.data, b->backend, right.master.data,
                        (size_t)left.master.cols * cop_dtype_bytes(left.master.dtype));
    assert_device_equal(a->backend, left.working.data, b->backend, right.working.data,
                        (size_t)left.working.cols * cop_dtype_bytes(left.working.dtype));
}

static void a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(void **state)
{
    (void)state;

    const struct {
        const char *backend;
        cop_precision precision;
    } settings[] = {{"reference", COP_PRECISION_F32},
                    {"reference", COP_PRECISION_F64},
                    {"cpu", COP_PRECISION_F32},
                    {"cpu", COP_PRECISION_BF16}};

    const cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    for (int i = 0; i < 4 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const char *backend = settings[i / TINY_COUNT].backend;
        const cop_precision precision = settings[i / TINY_COUNT].precision;
        cop_error err = {0};
        trainee whole;
        trainee resumed;
        start(&whole, backend, precision, &arch, &options);
        start(&resumed, backend, precision, &arch, &options);
        for (uint64_t t = 0; t < 3; t++) {
            step(&whole, t);
        }
        if (cop_optimizer_save(whole.optimizer, "state.safetensors", &err) != COP_OK ||
            cop_optimizer_load(resumed.optimizer, "state.safetensors", &err) != COP_OK) {
            fail_msg("%s", err.message);
        }
        assert_int_equal(cop_optimizer_steps(resumed.optimizer), 3);
        assert_same_parameters(&whole, &resumed);
        for (uint64_t t = 3; t < 6; t++) {
            step(&whole, t);
            step(&resumed, t);
        }
        assert_same_parameters(&whole, &resumed);
        finish(&whole);
        finish(&resumed);
    }
}

static void steps_lower_the_loss(void **state)
{
    (void)state;
    const cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    for (int which = 0; which < TINY_COUNT; which++) {
        const cop_arch arch = tiny_arch(which);
        cop_error err = {0};
        trainee at;
        start(&at, "cpu", COP_PRECISION_BF16, &arch, &options);
        const double first = tiny_backward(at.network, BATCH, SEQUENCE, 5, 0.0F);
        assert_int_equal(cop_optimizer_step(at.optimizer, 0.01, &err), COP_OK);
        for (int t = 0; t < 30; t++) {
            step(&at, 5);
        }
        const double last = tiny_backward(at.network, BATCH, SEQUENCE, 5, 0.0F);
        assert_true(last < 0.5 * first);
        finish(&at);
    }
}

static void refuses_the_state_of_another_model(void **state)
{
    (void)state;
    const cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const cop_arch llama = tiny_arch(TINY_LLAMA);
    cop_arch wider = llama;
    const cop_arch nemotron = tiny_arch(TINY_NEMOTRON);
    cop_error err = {0};
    trainee from;
    trainee to;
    wider.layer[1].ffn = 11;
    start(&from, "reference", COP_PRECISION_F32, &llama, &options);
    assert_int_equal(cop_optimizer_save(from.optimizer, "llama.safetensors", &err), COP_OK);
    start(&to, "reference", COP_PRECISION_F32, &wider, &options);
    assert_int_equal(cop_optimizer_load(to.optimizer, "llama.safetensors", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "llama.safetensors: parameter.model.layers.1.mlp.gate_proj.weight is f32 "
                        "[10, 12] (allowed: f32 [11, 12])");
    finish(&to);
    start(&to, "reference", COP_PRECISION_F64, &llama, &options);
    assert_int_equal(cop_optimizer_load(to.optimizer, "llama.safetensors", &err), COP_ERR_FORMAT);
    finish(&to);
    start(&to, "reference", COP_PRECISION_F32, &nemotron, &options);
    assert_int_equal(cop_optimizer_load(to.optimizer, "llama.safetensors", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "llama.safetensors: tensors: 90 (allowed: 102)");
    assert_int_equal(cop_optimizer_steps(to.optimizer), 0);
    finish(&to);
    finish(&from);
}

static void refuses_files_that_are_no_optimizer_state(void **state)
{
    (void)state;
    const cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const cop_arch arch = tiny_arch(TINY_LLAMA);

    const struct {
        const char *metadata[5];
        const char *message;
    } cases[] = {
        {{"format", "pt", "step", "3", NULL},
         "other.safetensors: format is pt (allowed: coppice-optimizer-1)"},
        {{"step", "3", NULL, NULL, NULL},
         "other.safetensors: format is missing (allowed: coppice-optimizer-1)"},
        {{"format", "coppice-optimizer-1", NULL, NULL, NULL},
         "other.safetensors: step is missing (allowed: 0 or more)"},
        {{"format", "coppice-optimizer-1", "step", "3x", NULL},
         "other.safetensors: step is 3x (allowed: 0 or more)"},
        {{"format", "coppice-optimizer-1", "step", "3", NULL},
         "other.safetensors: tensors: 1 (allowed: 90)"},
    };

    trainee at;
    start(&at, "reference", COP_PRECISION_F32, &arch, &options);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const float value = 1.0F;
        const cop_safetensors_entry entry = {
            .name = "x", .dtype = COP_F32, .rank = 1, .shape = {1}, .bytes = sizeof value};
        cop_safetensors_writer *writer = NULL;
        cop_error err = {0};
        assert_int_equal(cop_safetensors_writer_create(&writer, "other.safetensors", &entry, 1,
                                                       cases[i].metadata, &err),
                         COP_OK);
        assert_int_equal(cop_safetensors_writer_put(writer, &value, sizeof value, &err), COP_OK);
        assert_int_equal(cop_safetensors_writer_commit(writer, &err), COP_OK);
        cop_safetensors_writer_destroy(writer);
        assert_int_equal(cop_optimizer_load(at.optimizer, "other.safetensors", &err),
                         COP_ERR_FORMAT);
        assert_string_equal(err.message, cases[i].message);
    }
    finish(&at);
}

static void a_truncated_state_changes_nothing(void **state)
{
    (void)state;
    const cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_error err = {0};
    char *text = NULL;
    size_t bytes = 0;
    trainee at;
    trainee untouched;
    start(&at, "reference", COP_PRECISION_F32, &arch, &options);
    start(&untouched, "reference", COP_PRECISION_F32, &arch, &options);
    step(&at, 1);
    assert_int_equal(cop_optimizer_save(at.optimizer, "whole.safetensors", &err), COP_OK);
    assert_int_equal(cop_file_read(&text, &bytes, "whole.safetensors", 1 << 24, &err), COP_OK);
    scratch_file("part.safetensors", text, bytes - 1000);
    assert_int_equal(cop_optimizer_load(untouched.optimizer, "part.safetensors", &err),
                     COP_ERR_FORMAT);
    assert_int_equal(cop_optimizer_steps(untouched.optimizer), 0);
    trainee fresh;
    start(&fresh, "reference", COP_PRECISION_F32, &arch, &options);
    assert_same_parameters(&fresh, &untouched);
    cop_free(text);
    finish(&at);
    finish(&untouched);
    finish(&fresh);
}

static void refuses_networks_without_gradients_and_senseless_options(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    const cop_network_options network_options = {.batch = 1, .sequence = 1};
    cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    cop_optimizer *optimizer = NULL;
    cop_error err = {0};
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &network_options, backend);
    assert_int_equal(cop_optimizer_create(&optimizer, network, &options, &err),
                     COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "optimizer: the network has no gradients (allowed: training networks)");
    cop_network_destroy(network);
    const cop_network_options training = {.batch = 1, .sequence = 1, .is_training = true};
    network = tiny_network(&arch, &training, backend);
    options.beta2 = 1.0;
    assert_int_equal(cop_optimizer_create(&optimizer, network, &options, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "optimizer: betas are 0.9, 1 (allowed: 0 up to below 1)");
    options.beta2 = 0.95;
    options.clip_norm = (double)NAN;
    assert_int_equal(cop_optimizer_create(&optimizer, network, &options, &err), COP_ERR_CONFIG);
    assert_null(optimizer);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_formula_with_clipping_and_decay_of_matrices_only),
        cmocka_unit_test(a_resumed_run_equals_an_uninterrupted_one_bit_for_bit),
        cmocka_unit_test(steps_lower_the_loss),
        cmocka_unit_test(refuses_the_state_of_another_model),
        cmocka_unit_test(refuses_files_that_are_no_optimizer_state),
        cmocka_unit_test(a_truncated_state_changes_nothing),
        cmocka_unit_test(refuses_networks_without_gradients_and_senseless_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
