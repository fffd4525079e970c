#include "distill/state_losses.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/distill/fixture.h"

enum { SEQUENCES = 2, SEQUENCE = 5, TOKENS = SEQUENCES * SEQUENCE };

// A student and a teacher in f64, and the loss of one pass over fixed ids.
typedef struct subject {
    cop_backend *backend;
    cop_network *student;
    cop_network *teacher;
    cop_state_losses *losses;
    int32_t ids[TOKENS];
} subject;

static const float scale = 0.5F; // exact in f32, as the operators take it

static void subject_open(subject *out, cop_family family, cop_state_loss_kind kind)
{
    const cop_arch student = small_arch(family, 12, 2);
    const cop_arch teacher = small_arch(COP_FAMILY_LLAMA, 20, 3);
    const cop_state_losses_options options = {
        .precision = COP_PRECISION_F64,
        .kind = kind,
        .pairs = 3, // two pairs read one student state
        .pair = {{-1, -1}, {1, 0}, {2, 0}},
        .tokens_pass = TOKENS,
        .tokens = TOKENS,
        .seed = 3,
        .optimizer = COP_OPTIMIZER_OPTIONS_DEFAULT,
    };
    cop_error err = {0};
    memset(out, 0, sizeof *out);
    must(cop_backend_create(&out->backend, "reference", &err), &err);
    out->student = make_student(out->backend, &student, COP_PRECISION_F64, SEQUENCES, SEQUENCE, 5);
    out->teacher = make_student(out->backend, &teacher, COP_PRECISION_F64, SEQUENCES, SEQUENCE, 6);
    must(cop_state_losses_create(&out->losses, &options, &student, &teacher, out->backend, &err),
         &err);
    for (int i = 0; i < TOKENS; i++) {
        out->ids[i] = (7 * i + 3) % FIXTURE_VOCAB;
    }
}

static void subject_close(subject *subject_to_close)
{
    cop_state_losses_destroy(subject_to_close->losses);
    cop_network_destroy(subject_to_close->student);
    cop_network_destroy(subject_to_close->teacher);
    cop_backend_destroy(subject_to_close->backend);
}

// Σ of losses of the pass (before the mean over tokens); with gradients when wanted.
static double run_losses(subject *of, bool with_gradient)
{
    cop_error err = {0};
    cop_matrix hidden = {0};
    cop_forward_options pass = {
        .ids = of->ids,
        .batch = SEQUENCES,
        .sequence = SEQUENCE,
        .tap = cop_state_losses_teacher_tap,
        .tap_context = of->losses,
    };
    cop_state_losses_begin(of->losses, TOKENS, 0, scale);
    must(cop_network_forward(of->teacher, &pass, &hidden, &err), &err);
    pass.tap = cop_state_losses_student_tap;
    pass.keep = with_gradient;
    must(cop_network_forward(of->student, &pass, &hidden, &err), &err);
    if (with_gradient) {
        double *zeros = cop_alloc((size_t)(hidden.rows * hidden.cols), sizeof *zeros);
        assert_non_null(zeros);
        must(cop_network_backward(of->student,
                                  cop_matrix_dense(zeros, COP_F64, hidden.rows, hidden.cols),
                                  cop_state_losses_inject, of->losses, &err),
             &err);
        cop_free(zeros);
    } else {
        must(cop_state_losses_measure(of->losses, &err), &err);
    }
    must(cop_state_losses_fetch(of->losses, &err), &err);
    must(cop_backend_synchronize(of->backend, NULL, &err), &err);
    return cop_state_losses_value(of->losses) * TOKENS;
}

// Central difference of the scaled loss by one number.
static double slope_at(subject *of, double *number)
{
    const double step = 1e-5; // error about step² and 1e-16 / step: 1e-10 each
    const double before = *number;
    *number = before + step;
    const double above = run_losses(of, false);
    *number = before - step;
    const double below = run_losses(of, false);
    *number = before;
    return (double)scale * (above - below) / (2.0 * step);
}

static void gradients_agree_with_finite_differences(void **state)
{
    (void)state;
    const cop_family families[] = {COP_FAMILY_LLAMA, COP_FAMILY_NEMOTRON};
    const cop_state_loss_kind kinds[] = {COP_STATE_LOSS_MSE, COP_STATE_LOSS_COSINE};
    for (int f = 0; f < 2; f++) {
        for (int k = 0; k < 2; k++) {
            subject of;
            cop_error err = {0};
            subject_open(&of, families[f], kinds[k]);
            must(cop_network_zero_gradients(of.student, &err), &err);
            (void)run_losses(&of, true);

            const cop_matrix projection = cop_state_losses_projection(of.losses);
            const cop_matrix d_projection = cop_state_losses_gradient(of.losses);
            for (int64_t i = 0; i < projection.rows * projection.cols; i += 7) {
                const double d = ((const double *)d_projection.data)[i];
                assert_close(d, slope_at(&of, (double *)projection.data + i),
                             1e-7 * fmax(1.0, fabs(d)));
            }
            const cop_parameter_view all = cop_network_all_parameters(of.student);
            const int64_t count = all.master.cols;
            double largest = 0.0;
            for (int64_t i = 0; i < count; i += 29) {
                const double d = ((const double *)all.gradient.data)[i];
                assert_close(d, slope_at(&of, (double *)all.master.data + i),
                             1e-7 * fmax(1.0, fabs(d)));
                largest = fmax(largest, fabs(d));
            }
            assert_true(largest > 1e-3); // there was something to compare
            subject_close(&of);
        }
    }
}

static void value_is_the_mean_over_positions_of_the_sum_over_pairs(void **state)
{
    (void)state;
    subject of;
    subject_open(&of, COP_FAMILY_LLAMA, COP_STATE_LOSS_COSINE);
    const double forward_only = run_losses(&of, false);
    const double with_backward = run_losses(&of, true);
    assert_true(forward_only == with_backward);
    // Random directions: cosine near 0, so near 1 for each of 3 pairs.
    assert_close(forward_only / TOKENS, 3.0, 1.0);
    subject_close(&of);
}

static void projection_is_the_identity_between_equal_widths(void **state)
{
    (void)state;
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 12, 2);
    const cop_state_losses_options options = {
        .precision = COP_PRECISION_F32, .pairs = 1, .tokens_pass = 1, .tokens = 1};
    cop_error err = {0};
    cop_backend *backend = NULL;
    cop_state_losses *losses = NULL;
    must(cop_backend_create(&backend, "cpu", &err), &err);
    must(cop_state_losses_create(&losses, &options, &arch, &arch, backend, &err), &err);
    const float *w = cop_state_losses_projection(losses).data;
    for (int i = 0; i < 12 * 12; i++) {
        assert_true(w[i] == (i / 12 == i % 12 ? 1.0F : 0.0F));
    }
    cop_state_losses_destroy(losses);
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_agree_with_finite_differences),
        cmocka_unit_test(value_is_the_mean_over_positions_of_the_sum_over_pairs),
        cmocka_unit_test(projection_is_the_identity_between_equal_widths),
    };
    return cmocka_run_group_tests_name("state losses", tests, NULL, NULL);
}
