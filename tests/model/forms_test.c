// The forms of training state: what is frozen stays, every form learns, and every form resumes.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/optimizer.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 2, SEQUENCE = 6, STEPS = 60 };

typedef struct form {
    const char *name;
    bool is_frozen;
    cop_dtype gradients;
    bool without_masters;
    cop_dtype moments;
} form;

// The first is what the others are compared with.
static const form forms[] = {
    {"full", false, COP_F32, false, COP_F32},
    {"bf16 gradients", false, COP_BF16, false, COP_F32},
    {"bf16 moments", false, COP_F32, false, COP_BF16},
    {"no masters", false, COP_F32, true, COP_F32},
    {"all narrow", false, COP_BF16, true, COP_BF16},
    {"frozen", true, COP_F32, false, COP_F32},
    {"frozen, all narrow", true, COP_BF16, true, COP_BF16},
};

enum { FORM_COUNT = sizeof forms / sizeof forms[0] };

static const char *const backends[] = {"reference", "cpu"};

typedef struct trainee {
    cop_backend *backend;
    cop_network *network;
    cop_optimizer *optimizer;
} trainee;

static void start(trainee *at, const char *backend, const cop_arch *arch, const form *how)
{
    const cop_network_options network_options = {.precision = COP_PRECISION_BF16,
                                                 .batch = BATCH,
                                                 .sequence = SEQUENCE,
                                                 .is_training = true,
                                                 .freeze_vocabulary = how->is_frozen,
                                                 .gradients = how->gradients,
                                                 .without_masters = how->without_masters};
    cop_optimizer_options options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    cop_error err = {0};
    options.moments = how->moments;
    options.seed = 7;
    at->optimizer = NULL;
    at->backend = tiny_backend(backend);
    at->network = tiny_network(arch, &network_options, at->backend);
    tiny_fill(at->network, 31);
    if (cop_optimizer_create(&at->optimizer, at->network, &options, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

static void finish(trainee *at)
{
    cop_optimizer_destroy(at->optimizer);
    cop_network_destroy(at->network);
    cop_backend_destroy(at->backend);
}

static double step(trainee *at, uint64_t seed)
{
    cop_error err = {0};
    const double loss = tiny_backward(at->network, BATCH, SEQUENCE, seed, 0.0F);
    assert_int_equal(cop_optimizer_step(at->optimizer, 0.003, &err), COP_OK);
    return loss;
}

static int64_t count_of(const cop_arch *arch, int64_t tensor)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, tensor);
    return spec.shape[0] * spec.shape[1];
}

static double *read(const trainee *at, int64_t tensor, bool is_gradient)
{
    cop_error err = {0};
    const int64_t count = count_of(cop_network_arch(at->network), tensor);
    double *values = calloc((size_t)count, sizeof *values);
    assert_non_null(values);
    const cop_status status =
        is_gradient ? cop_network_read_gradient(at->network, tensor, COP_F64, values, &err)
                    : cop_network_read(at->network, tensor, COP_F64, values, &err);
    if (status != COP_OK) {
        fail_msg("%s", err.message);
    }
    return values;
}

static void assert_same_parameters(const trainee *a, const trainee *b)
{
    const cop_arch *arch = cop_network_arch(a->network);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        double *left = read(a, i, false);
        double *right = read(b, i, false);
        assert_memory_equal(left, right, (size_t)count_of(arch, i) * sizeof *left);
        free(left);
        free(right);
    }
}

static bool is_vocabulary(const cop_arch *arch, int64_t tensor)
{
    const cop_role role = cop_arch_tensor(arch, tensor).role;
    return role == COP_ROLE_EMBEDDING || role == COP_ROLE_HEAD;
}

// The loss on one batch, learnt by heart, against what the full form reaches.
static void every_form_learns_like_the_full_one(void **state)
{
    (void)state;
    for (int which = 0; which < TINY_COUNT; which++) {
        const cop_arch arch = tiny_arch(which);
        for (int b = 0; b < 2; b++) {
            double full = 0.0;
            for (int f = 0; f < FORM_COUNT; f++) {
                trainee at;
                start(&at, backends[b], &arch, &forms[f]);
                const double first = step(&at, 5);
                for (int t = 1; t < STEPS; t++) {
                    (void)step(&at, 5);
                }
                const double fall = first - step(&at, 5);
                assert_true(fall > 0.0);
                full = f == 0 ? fall : full;
                // Rounding is unbiased, so what is lost is its noise: bf16 has 8 bits and a step
                // here changes weights by less than one of their last bit. Frozen forms have
                // fewer parameters to learn with.
                const double share = forms[f].is_frozen ? 0.3 : 0.9;
                if (fall < share * full) {
                    fail_msg("architecture %d, %s, %s: the loss fell by %g (allowed: %g or more)",
                             which, backends[b], forms[f].name, fall, share * full);
                }
                finish(&at);
            }
        }
    }
}

static void what_is_frozen_stays_bit_for_bit(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i / 2);
        trainee at;
        trainee untouched;
        start(&at, "cpu", &arch, &forms[FORM_COUNT - 1 - i % 2]);
        start(&untouched, "cpu", &arch, &forms[FORM_COUNT - 1 - i % 2]);
        for (uint64_t t = 0; t < 4; t++) {
            (void)step(&at, t);
        }
        for (int64_t k = 0; k < cop_arch_tensor_count(&arch); k++) {
            const size_t bytes = (size_t)count_of(&arch, k) * sizeof(double);
            double *now = read(&at, k, false);
            double *before = read(&untouched, k, false);
            // The key's bias has no gradient but rounding: softmax does not see it.
            if (is_vocabulary(&arch, k)) {
                assert_memory_equal(now, before, bytes);
            } else if (cop_arch_tensor(&arch, k).rank == 2) {
                assert_memory_not_equal(now, before, bytes);
            }
            free(now);
            free(before);
        }
        finish(&at);
        finish(&untouched);
    }
}

static void a_frozen_vocabulary_changes_no_other_gradient(void **state)
{
    (void)state;
    const form whole = forms[0];
    form frozen = forms[0];
    frozen.is_frozen = true;
    for (int i = 0; i < 2 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i / 2);
        trainee a;
        trainee b;
        cop_error err = {0};
        start(&a, backends[i % 2], &arch, &whole);
        start(&b, backends[i % 2], &arch, &frozen);
        (void)tiny_backward(a.network, BATCH, SEQUENCE, 3, 0.5F);
        (void)tiny_backward(b.network, BATCH, SEQUENCE, 3, 0.5F);
        for (int64_t k = 0; k < cop_arch_tensor_count(&arch); k++) {
            double *left = read(&a, k, true);
            if (is_vocabulary(&arch, k)) {
                assert_int_equal(cop_network_read_gradient(b.network, k, COP_F64, left, &err),
                                 COP_ERR_UNSUPPORTED);
            } else {
                double *right = read(&b, k, true);
                assert_memory_equal(left, right, (size_t)count_of(&arch, k) * sizeof *left);
                free(right);
            }
            free(left);
        }
        assert_string_equal(err.message, arch.is_tied
                                             ? "network: model.embed_tokens.weight is frozen "
                                               "(allowed: parameters that are trained)"
                                             : "network: lm_head.weight is frozen (allowed: "
                                               "parameters that are trained)");
        finish(&a);
        finish(&b);
    }
}

static void bf16_gradients_are_the_f32_ones_rounded(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * TINY_COUNT; i++) {
        const cop_arch arch = tiny_arch(i / 2);
        trainee a;
        trainee b;
        start(&a, backends[i % 2], &arch, &forms[0]);
        start(&b, backends[i % 2], &arch, &forms[1]);
        (void)tiny_backward(a.network, BATCH, SEQUENCE, 3, 0.0F);
        (void)tiny_backward(b.network, BATCH, SEQUENCE, 3, 0.0F);
        for (int64_t k = 0; k < cop_arch_tensor_count(&arch); k++) {
            double *left = read(&a, k, true);
            double *right = read(&b, k, true);
            // Tied embeddings are added to by the head and then by every token: some roundings of
            // half a unit in the last of 8 bits each.
            assert_true(tiny_distance(right, left, count_of(&arch, k)) < 1.6e-2);
            free(left);
            free(right);
        }
        finish(&a);
        finish(&b);
    }
}

static void every_form_resumes_bit_for_bit(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * FORM_COUNT; i++) {
        const form *how = &forms[i / 2];
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        cop_error err = {0};
        trainee whole;
        trainee resumed;
        start(&whole, backends[i % 2], &arch, how);
        start(&resumed, backends[i % 2], &arch, how);
        for (uint64_t t = 0; t < 3; t++) {
            (void)step(&whole, t);
        }
        if (cop_optimizer_save(whole.optimizer, "form.safetensors", &err) != COP_OK ||
            cop_optimizer_load(resumed.optimizer, "form.safetensors", &err) != COP_OK) {
            fail_msg("%s: %s", how->name, err.message);
        }
        assert_same_parameters(&whole, &resumed);
        for (uint64_t t = 3; t < 6; t++) {
            (void)step(&whole, t);
            (void)step(&resumed, t);
        }
        assert_same_parameters(&whole, &resumed);
        finish(&whole);
        finish(&resumed);
    }
}

static void refuses_the_state_of_another_form_by_name(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_error err = {0};
    trainee from;
    trainee to;
    start(&from, "reference", &arch, &forms[0]);
    assert_int_equal(cop_optimizer_save(from.optimizer, "full.safetensors", &err), COP_OK);
    start(&to, "reference", &arch, &forms[FORM_COUNT - 1]);
    assert_int_equal(cop_optimizer_load(to.optimizer, "full.safetensors", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "full.safetensors: the state has f32 masters, f32 moments (allowed: no "
                        "masters, bf16 moments, frozen vocabulary)");
    finish(&to);
    finish(&from);
}

// A vocabulary that was frozen in an early rung is trained in the next.
static void a_frozen_state_is_thawed(void **state)
{
    (void)state;
    for (int which = 0; which < TINY_COUNT; which++) {
        const cop_arch arch = tiny_arch(which);
        form how = forms[0];
        cop_error err = {0};
        trainee frozen;
        trainee thawed;
        how.is_frozen = true;
        start(&frozen, "cpu", &arch, &how);
        start(&thawed, "cpu", &arch, &forms[0]);
        for (uint64_t t = 0; t < 3; t++) {
            (void)step(&frozen, t);
            (void)step(&thawed, t); // what it has learnt and its moments must go
        }
        if (cop_optimizer_save(frozen.optimizer, "frozen.safetensors", &err) != COP_OK ||
            cop_optimizer_load(thawed.optimizer, "frozen.safetensors", &err) != COP_OK) {
            fail_msg("%s", err.message);
        }
        assert_int_equal(cop_optimizer_steps(thawed.optimizer), 3);
        assert_same_parameters(&frozen, &thawed);
        (void)step(&thawed, 3);
        double *moved = read(&thawed, 0, false);
        double *before = read(&frozen, 0, false);
        assert_memory_not_equal(moved, before, (size_t)count_of(&arch, 0) * sizeof *moved);
        free(moved);
        free(before);
        finish(&frozen);
        finish(&thawed);
    }
}

static void refuses_narrow_state_in_wide_precision(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = NULL;
    cop_error err = {0};
    cop_network_options options = {
        .batch = BATCH, .sequence = SEQUENCE, .is_training = true, .gradients = COP_BF16};
    assert_int_equal(cop_network_create(&network, &arch, &options, backend, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "network: bf16 gradients in precision f32 (allowed: in bf16)");
    options.gradients = COP_F32;
    options.without_masters = true;
    assert_int_equal(cop_network_create(&network, &arch, &options, backend, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "network: no master weights in precision f32 (allowed: in bf16)");
    options.gradients = COP_F16;
    assert_int_equal(cop_network_create(&network, &arch, &options, backend, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "network: gradients are f16 (allowed: f32, bf16)");
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_learns_like_the_full_one),
        cmocka_unit_test(what_is_frozen_stays_bit_for_bit),
        cmocka_unit_test(a_frozen_vocabulary_changes_no_other_gradient),
        cmocka_unit_test(bf16_gradients_are_the_f32_ones_rounded),
        cmocka_unit_test(every_form_resumes_bit_for_bit),
        cmocka_unit_test(refuses_the_state_of_another_form_by_name),
        cmocka_unit_test(a_frozen_state_is_thawed),
        cmocka_unit_test(refuses_narrow_state_in_wide_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
