// Operators against closed forms and naive computations that share no code with them.

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/check.h"
#include "kernels/cpu.h"
#include "kernels/cpu/fast_math.h"
#include "kernels/peak.h"
#include "tests/kernels/rig.h"

static void each_backend(void (*test)(cop_backend *backend))
{
    static const char *const names[] = {"reference", "cpu"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cop_backend *backend = rig_backend(names[i]);
        test(backend);
        cop_backend_destroy(backend);
    }
}

// Llama's rotation of dimensions (i, i + D / 2) by the angle t * 10000^(-2i / D).
static void check_rope_angle(cop_backend *backend)
{
    enum { T = 9, D = 8 };

    rig self;
    rig_init(&self, COP_OP_ROPE, COP_F32, 0, 0);
    cop_rope_args *args = &self.args.rope;
    *args = (cop_rope_args){
        .x = rig_parameter(&self, T, D, RIG_NORMAL),
        .heads = 1,
        .head_dim = D,
        .sequence = T,
        .cos = rig_parameter(&self, T, D / 2, RIG_NORMAL),
        .sin = rig_parameter(&self, T, D / 2, RIG_NORMAL),
    };
    double radius[T][D / 2];
    double angle[T][D / 2];
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < D / 2; i++) {
            const double turn = t * pow(10000.0, -2.0 * i / D);
            const double low = rig_get(args->x, t, i);
            const double high = rig_get(args->x, t, i + D / 2);
            radius[t][i] = hypot(low, high);
            angle[t][i] = atan2(high, low) + turn;
            rig_put(args->cos, t, i, cos(turn));
            rig_put(args->sin, t, i, sin(turn));
        }
    }
    rig_run(&self, backend);
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < D / 2; i++) {
            // f32 tables and operands: a few units of 6e-8 of the radius.
            const double allowed = 1e-6 * fmax(radius[t][i], 1.0);
            assert_true(fabs(rig_get(args->x, t, i) - radius[t][i] * cos(angle[t][i])) < allowed);
            assert_true(fabs(rig_get(args->x, t, i + D / 2) - radius[t][i] * sin(angle[t][i])) <
                        allowed);
        }
    }
    rig_release(&self);
}

static void rope_turns_each_pair_by_its_angle(void **state)
{
    (void)state;
    each_backend(check_rope_angle);
}

static double naive_logit(cop_matrix hidden, cop_matrix head, int64_t r, int64_t v)
{
    double sum = 0.0;
    for (int64_t c = 0; c < hidden.cols; c++) {
        sum += rig_get(hidden, r, c) * rig_get(head, v, c);
    }
    return sum;
}

static void naive_softmax(double *p, cop_matrix hidden, cop_matrix head, int64_t r, double tau)
{
    double sum = 0.0;
    for (int64_t v = 0; v < head.rows; v++) {
        p[v] = exp(naive_logit(hidden, head, r, v) / tau);
        sum += p[v];
    }
    for (int64_t v = 0; v < head.rows; v++) {
        p[v] /= sum;
    }
}

static void check_kl(cop_backend *backend)
{
    enum { N = 5, V = 33 };

    rig self;
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F32, 0, 2);
    cop_head_loss_args *args = &self.args.head_loss;
    *args = (cop_head_loss_args){
        .hidden = rig_parameter(&self, N, 7, RIG_NORMAL),
        .head = rig_parameter(&self, V, 7, RIG_NORMAL),
        .teacher_hidden = rig_parameter(&self, N, 9, RIG_NORMAL),
        .teacher_head = rig_parameter(&self, V, 9, RIG_NORMAL),
        .kl_weight = 1.0F,
        .temperature = 1.5F,
        .grad_scale = 1.0F,
        .kl = rig_parameter(&self, 1, N, RIG_NORMAL),
    };
    rig_run(&self, backend);
    for (int64_t r = 0; r < N; r++) {
        double p[V] = {0};
        double s[V] = {0};
        double kl = 0.0;
        naive_softmax(p, args->teacher_hidden, args->teacher_head, r, 1.5);
        naive_softmax(s, args->hidden, args->head, r, 1.5);
        for (int v = 0; v < V; v++) {
            kl += p[v] * log(p[v] / s[v]);
        }
        assert_true(fabs(rig_get(args->kl, 0, r) - kl) < 1e-5 * fmax(kl, 1.0));
    }
    rig_release(&self);
}

static void kl_is_that_of_two_naive_softmaxes(void **state)
{
    (void)state;
    each_backend(check_kl);
}

static void check_identical(cop_backend *backend)
{
    rig self;
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F32, 0, 2);
    cop_head_loss_args *args = &self.args.head_loss;
    *args = (cop_head_loss_args){
        .hidden = rig_parameter(&self, 9, 7, RIG_NORMAL),
        .head = rig_parameter(&self, 1500, 7, RIG_NORMAL),
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .kl = rig_parameter(&self, 1, 9, RIG_NORMAL),
        .agree = rig_parameter(&self, 1, 9, RIG_NORMAL),
        .d_hidden = rig_parameter(&self, 9, 7, RIG_NORMAL),
    };
    args->teacher_hidden = args->hidden;
    args->teacher_head = args->head;
    rig_run(&self, backend);
    for (int64_t r = 0; r < 9; r++) {
        assert_true(rig_get(args->kl, 0, r) >= 0.0);
        assert_true(rig_get(args->kl, 0, r) < 1e-7);
        assert_true(rig_get(args->agree, 0, r) == 1.0);
        for (int64_t c = 0; c < 7; c++) {
            assert_true(fabs(rig_get(args->d_hidden, r, c)) < 1e-7);
        }
    }
    rig_release(&self);
}

static void a_student_equal_to_its_teacher_has_no_divergence(void **state)
{
    (void)state;
    each_backend(check_identical);
}

// Logits of up to 1e4 in size: the largest exponent must be taken out first.
static void check_large_logits(cop_backend *backend)
{
    static const int32_t targets[] = {1, 0};
    rig self;
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F32, 0, 0);
    cop_head_loss_args *args = &self.args.head_loss;
    *args = (cop_head_loss_args){
        .hidden = rig_parameter(&self, 2, 1, RIG_NORMAL),
        .head = rig_parameter(&self, 3, 1, RIG_NORMAL),
        .targets = targets,
        .ce_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .cross_entropy = rig_parameter(&self, 1, 2, RIG_NORMAL),
        .agree = rig_parameter(&self, 1, 2, RIG_NORMAL),
        .d_hidden = rig_parameter(&self, 2, 1, RIG_NORMAL),
    };
    const double head[] = {-1e4, 1e4, 1e4};
    for (int v = 0; v < 3; v++) {
        rig_put(args->head, v, 0, head[v]);
    }
    rig_put(args->hidden, 0, 0, 1.0);
    rig_put(args->hidden, 1, 0, 0.0);
    rig_run(&self, backend);
    assert_true(fabs(rig_get(args->cross_entropy, 0, 0) - log(2.0)) < 1e-6);
    assert_true(fabs(rig_get(args->cross_entropy, 0, 1) - log(3.0)) < 1e-6);
    // Ties go to the lowest index: 1 among (1, 2), 0 among all three.
    assert_true(rig_get(args->agree, 0, 0) == 1.0);
    assert_true(rig_get(args->agree, 0, 1) == 1.0);
    rig_release(&self);
}

static void cross_entropy_survives_large_logits_and_ties(void **state)
{
    (void)state;
    each_backend(check_large_logits);
}

// Two vocabularies of 70,001 logits leave room for 128 tokens in a chunk.
static void head_loss_in_two_chunks_equals_one_at_a_time(void **state)
{
    (void)state;

    enum { N = 140, FIRST = 90, V = 70001 };

    cop_backend *backend = rig_backend("cpu");
    rig self;
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F32, 0, 0);
    int32_t *targets = rig_ids(&self, N, 0, V);
    cop_head_loss_args *args = &self.args.head_loss;
    *args = (cop_head_loss_args){
        .hidden = rig_parameter(&self, N, 2, RIG_NORMAL),
        .head = rig_parameter(&self, V, 2, RIG_SMALL),
        .targets = targets,
        .teacher_hidden = rig_parameter(&self, N, 1, RIG_NORMAL),
        .teacher_head = rig_parameter(&self, V, 1, RIG_SMALL),
        .ce_weight = 1.0F,
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .cross_entropy = rig_parameter(&self, 1, N, RIG_NORMAL),
        .kl = rig_parameter(&self, 1, N, RIG_NORMAL),
        .d_hidden = rig_parameter(&self, N, 2, RIG_NORMAL),
        .d_head = rig_parameter(&self, V, 2, RIG_NORMAL),
    };
    const cop_head_loss_args whole = *args;
    const cop_matrix d_head = rig_parameter(&self, V, 2, RIG_NORMAL);
    memcpy(d_head.data, whole.d_head.data, (size_t)V * 2 * sizeof(float));
    rig_run(&self, backend);
    for (int64_t first = 0; first < N; first += FIRST) {
        const int64_t rows = first == 0 ? FIRST : N - FIRST;
        *args = whole;
        args->hidden = cop_matrix_part(whole.hidden, first, rows, 0, 2);
        args->teacher_hidden = cop_matrix_part(whole.teacher_hidden, first, rows, 0, 1);
        args->targets = targets + first;
        args->cross_entropy = rig_parameter(&self, 1, rows, RIG_NORMAL);
        args->kl = rig_parameter(&self, 1, rows, RIG_NORMAL);
        args->d_hidden = rig_parameter(&self, rows, 2, RIG_NORMAL);
        args->d_head = d_head;
        rig_run(&self, backend);
        for (int64_t r = 0; r < rows; r++) {
            const double ce = rig_get(whole.cross_entropy, 0, first + r);
            assert_true(fabs(rig_get(args->cross_entropy, 0, r) - ce) < 1e-5);
            assert_true(fabs(rig_get(args->kl, 0, r) - rig_get(whole.kl, 0, first + r)) < 1e-5);
            assert_true(
                fabs(rig_get(args->d_hidden, r, 1) - rig_get(whole.d_hidden, first + r, 1)) < 1e-5);
        }
    }
    for (int64_t v = 0; v < V; v++) {
        assert_true(fabs(rig_get(d_head, v, 0) - rig_get(whole.d_head, v, 0)) < 1e-4);
    }
    rig_release(&self);
    cop_backend_destroy(backend);
}

// One row, one column at a time: clip factor 1 / 2, first step, so that m / (1 - b1) = g'.
static void check_adamw(cop_backend *backend)
{
    rig self;
    rig_init(&self, COP_OP_ADAMW, COP_F32, 0, 0);
    double norm_squared = 16.0;
    cop_adamw_args *args = &self.args.adamw;
    *args = (cop_adamw_args){
        .parameter = rig_parameter(&self, 1, 1, RIG_NORMAL),
        .gradient = rig_parameter(&self, 1, 1, RIG_NORMAL),
        .m = rig_parameter(&self, 1, 1, RIG_NORMAL),
        .v = rig_parameter(&self, 1, 1, RIG_NORMAL),
        .learning_rate = 0.5F,
        .beta1 = 0.75F,
        .beta2 = 0.5F,
        .eps = 0.25F,
        .weight_decay = 0.125F,
        .step = 1,
        .norm_squared = &norm_squared,
        .max_norm = 2.0F,
        .zero_gradient = true,
    };
    rig_put(args->parameter, 0, 0, 8.0);
    rig_put(args->gradient, 0, 0, 4.0);
    rig_put(args->m, 0, 0, 0.0);
    rig_put(args->v, 0, 0, 0.0);
    rig_run(&self, backend);
    // g' = 2: m = 0.5, v = 2, p -= 0.5 * (2 / (2 + 0.25) + 0.125 * 8)
    assert_true(fabs(rig_get(args->m, 0, 0) - 0.5) < 1e-6);
    assert_true(fabs(rig_get(args->v, 0, 0) - 2.0) < 1e-6);
    assert_true(fabs(rig_get(args->parameter, 0, 0) - (8.0 - 0.5 * (2.0 / 2.25 + 1.0))) < 1e-6);
    assert_true(rig_get(args->gradient, 0, 0) == 0.0);
    rig_release(&self);
}

static void adamw_makes_the_step_of_its_formula(void **state)
{
    (void)state;
    each_backend(check_adamw);
}

static void check_zero_rows(cop_backend *backend)
{
    float x[] = {0.0F, 0.0F, 0.0F, 0.0F, 3.0F, 4.0F};
    float y[] = {0.0F, 0.0F, 1.0F, 0.0F, 6.0F, 8.0F};
    double sum = 0.5;
    rig self = {.op = COP_OP_ROW_COSINE};
    self.args.row_cosine = (cop_row_cosine_args){
        .x = {.data = x, .rows = 3, .cols = 2, .stride = 2},
        .y = {.data = y, .rows = 3, .cols = 2, .stride = 2},
        .sum = &sum,
    };
    rig_run(&self, backend);
    assert_true(fabs(sum - (0.5 + 1.0 + 0.0 + 1.0)) < 1e-12);
}

static void cosine_of_zero_rows_is_one_only_when_both_are_zero(void **state)
{
    (void)state;
    each_backend(check_zero_rows);
}

static void elementary_functions_are_accurate(void **state)
{
    (void)state;
    double worst_exp = 0.0;
    double worst_cdf = 0.0;
    for (int i = -870000; i <= 880000; i += 7) {
        const float x = (float)i * 1e-4F;
        const double want = exp((double)x);
        worst_exp = fmax(worst_exp, fabs((double)cop_fast_exp(x) - want) / want);
        if (fabs((double)x) < 12.0) {
            const double cdf = 0.5 * erfc(-(double)x * 0.70710678118654752440);
            worst_cdf = fmax(worst_cdf, fabs((double)cop_fast_normal_cdf(x) - cdf) / cdf);
        }
    }
    // One unit in the last place is 1.2e-7 at most. Φ loses more where e^(-x²/2) is small.
    assert_true(worst_exp < 2.4e-7);
    assert_true(worst_cdf < 8e-6);
    assert_true(cop_fast_exp(-INFINITY) == 0.0F);
    assert_true(cop_fast_exp(-1000.0F) == 0.0F);
    assert_true(cop_fast_exp(0.0F) == 1.0F);
    assert_true(isnan(cop_fast_exp(NAN)));
    assert_true(cop_fast_sigmoid(-1000.0F) == 0.0F || cop_fast_sigmoid(-1000.0F) < 1e-37F);
    assert_true(cop_fast_sigmoid(1000.0F) == 1.0F);
}

static void the_machine_is_described(void **state)
{
    (void)state;
    const cop_cpu_info info = cop_cpu_describe();
    assert_true(strncmp(info.matmul_f32, "OpenBLAS", 8) == 0);
    assert_true(strlen(info.matmul_bf16) > 0);
    assert_true(strlen(info.simd) > 0);
}

static void the_matmul_peak_of_a_backend_is_measured(void **state)
{
    (void)state;
    static const char *const names[] = {"cpu", "reference"};
    cop_error err = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        static const cop_dtype dtypes[] = {COP_F32, COP_BF16};
        cop_backend *backend = rig_backend(names[i]);
        double peak = 0.0;
        for (size_t k = 0; k < sizeof dtypes / sizeof dtypes[0]; k++) {
            peak = 0.0;
            assert_int_equal(cop_matmul_peak(backend, &peak, dtypes[k], 0.0, &err), COP_OK);
            assert_true(peak > 0.0 && peak < 1e18);
        }
        assert_int_equal(backend->memory_peak_bytes, 0);
        assert_int_equal(cop_matmul_peak(backend, &peak, COP_F64, 0.0, &err), COP_ERR_UNSUPPORTED);
        assert_string_equal(err.message, "matmul peak: type is f64 (allowed: f32, bf16)");
        cop_backend_destroy(backend);
    }
}

static void a_backend_allocates_copies_and_zeroes(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("cpu");
    cop_device_info info;
    cop_error err = {0};
    void *memory = NULL;
    const uint8_t bytes[3] = {1, 2, 3};
    uint8_t back[3] = {9, 9, 9};
    assert_int_equal(cop_backend_info(backend, &info, &err), COP_OK);
    assert_true(info.is_host_memory && info.memory_bytes > 0);
    assert_int_equal(cop_backend_alloc(backend, &memory, 3, "test", &err), COP_OK);
    assert_int_equal((uintptr_t)memory % 64, 0);
    assert_int_equal(cop_backend_to_host(backend, NULL, back, memory, 3, &err), COP_OK);
    assert_true(back[0] == 0 && back[1] == 0 && back[2] == 0);
    assert_int_equal(cop_backend_to_device(backend, NULL, memory, bytes, 3, &err), COP_OK);
    assert_int_equal(cop_backend_to_host(backend, NULL, back, memory, 3, &err), COP_OK);
    assert_memory_equal(back, bytes, 3);
    assert_int_equal(cop_backend_zero(backend, NULL, memory, 2, &err), COP_OK);
    assert_int_equal(cop_backend_to_host(backend, NULL, back, memory, 3, &err), COP_OK);
    assert_true(back[0] == 0 && back[1] == 0 && back[2] == 3);
    assert_int_equal(cop_backend_synchronize(backend, NULL, &err), COP_OK);
    cop_backend_free(backend, memory);
    cop_backend_free(backend, NULL);
    cop_backend_destroy(backend);
    cop_backend_destroy(NULL);
}

static void running_out_of_memory_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    cop_error err = {0};
    const size_t live = cop_alloc_live_blocks();
    for (size_t n = 0; n < 2; n++) {
        cop_backend *backend = NULL;
        cop_alloc_fail_after(n);
        assert_int_equal(cop_backend_create(&backend, "cpu", &err), COP_ERR_NOMEM);
        assert_null(backend);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
    cop_backend *backend = rig_backend("cpu");
    void *memory = NULL;
    const size_t with_backend = cop_alloc_live_blocks();
    for (size_t n = 0; n < 4; n++) { // the values and the three operands
        double peak = 0.0;
        cop_alloc_fail_after(n);
        assert_int_equal(cop_matmul_peak(backend, &peak, COP_F32, 0.0, &err), COP_ERR_NOMEM);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), with_backend);
    }
    cop_alloc_fail_after(0);
    assert_int_equal(cop_backend_alloc(backend, &memory, 1000, "test", &err), COP_ERR_NOMEM);
    assert_true(strncmp(err.message, "cpu: device memory: 1000 bytes (allowed: ", 41) == 0);
    cop_alloc_fail_after(SIZE_MAX);
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_turns_each_pair_by_its_angle),
        cmocka_unit_test(kl_is_that_of_two_naive_softmaxes),
        cmocka_unit_test(a_student_equal_to_its_teacher_has_no_divergence),
        cmocka_unit_test(cross_entropy_survives_large_logits_and_ties),
        cmocka_unit_test(head_loss_in_two_chunks_equals_one_at_a_time),
        cmocka_unit_test(adamw_makes_the_step_of_its_formula),
        cmocka_unit_test(cosine_of_zero_rows_is_one_only_when_both_are_zero),
        cmocka_unit_test(elementary_functions_are_accurate),
        cmocka_unit_test(the_machine_is_described),
        cmocka_unit_test(the_matmul_peak_of_a_backend_is_measured),
        cmocka_unit_test(a_backend_allocates_copies_and_zeroes),
        cmocka_unit_test(running_out_of_memory_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
