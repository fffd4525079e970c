// Random sampling of targets: the draws themselves, and what they promise: weights with mean p, and a
// loss and a gradient with the exact ones as their means.

#include <math.h>
#include <omp.h>
#include <stdio.h>

#include "kernels/cpu/simd.h"
#include "tests/kernels/rig.h"
#include "tests/kernels/sample_check.h"

static void every_backend_draws_by_the_inverse_of_the_cumulated_distribution(void **state)
{
    (void)state;
    cop_backend *reference = rig_backend("reference");
    cop_backend *fast = rig_backend("cpu");
    for (int i = 0; i < sample_cases_count; i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "reference, case %d", i);
        sample_check(reference, &sample_cases[i], what);
        for (int simd = 0; simd <= (int)cop_simd_best(); simd++) {
            for (int threads = 1; threads <= rig_threads(); threads++) {
                (void)snprintf(what, sizeof what, "cpu, simd %d, %d threads, case %d", simd,
                               threads, i);
                cop_simd_use((cop_simd)simd);
                omp_set_num_threads(threads);
                sample_check(fast, &sample_cases[i], what);
            }
        }
    }
    cop_backend_destroy(reference);
    cop_backend_destroy(fast);
}

enum { ROWS = 2000, VOCAB = 23, WIDTH = 6, TEACHER_WIDTH = 4, DRAWS = 20 };

// A student and a teacher in the same state at every row, and a sample of its own for each row.
typedef struct bundle {
    rig self;
    cop_matrix teacher_hidden;
    cop_matrix teacher_head;
    cop_head_loss_args exact;
    cop_head_loss_args sampled;
} bundle;

static void repeat_first_row(cop_matrix m)
{
    for (int64_t r = 1; r < m.rows; r++) {
        for (int64_t c = 0; c < m.cols; c++) {
            rig_put(m, r, c, rig_get(m, 0, c));
        }
    }
}

static void run(bundle *b, cop_backend *backend, cop_op op)
{
    b->self.op = op;
    rig_run(&b->self, backend);
}

static void bundle_open(bundle *b, cop_backend *backend, uint64_t seed)
{
    rig *self = &b->self;
    rig_init(self, COP_OP_SAMPLE_TARGETS, COP_F32, 0, 0);
    b->teacher_hidden = rig_parameter(self, ROWS, TEACHER_WIDTH, RIG_NORMAL);
    b->teacher_head = rig_parameter(self, VOCAB, TEACHER_WIDTH, RIG_NORMAL);
    repeat_first_row(b->teacher_hidden);
    const cop_sample_targets_args sample = {
        .hidden = b->teacher_hidden,
        .head = b->teacher_head,
        .draws = DRAWS,
        .seed = seed,
        .ids = rig_ids(self, (int64_t)ROWS * DRAWS, 0, 1),
        .weights = rig_parameter(self, ROWS, DRAWS, RIG_NORMAL),
        .entropy = rig_parameter(self, 1, ROWS, RIG_NORMAL),
    };
    self->args.sample_targets = sample;
    run(b, backend, COP_OP_SAMPLE_TARGETS);
    b->exact = (cop_head_loss_args){
        .hidden = rig_parameter(self, ROWS, WIDTH, RIG_NORMAL),
        .head = rig_parameter(self, VOCAB, WIDTH, RIG_NORMAL),
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .kl = rig_parameter(self, 1, ROWS, RIG_NORMAL),
        .d_hidden = rig_parameter(self, ROWS, WIDTH, RIG_NORMAL),
    };
    repeat_first_row(b->exact.hidden);
    b->sampled = b->exact;
    b->sampled.kl = rig_parameter(self, 1, ROWS, RIG_NORMAL);
    b->sampled.d_hidden = rig_parameter(self, ROWS, WIDTH, RIG_NORMAL);
    b->sampled.sample_ids = sample.ids;
    b->sampled.sample_weights = sample.weights;
    b->sampled.sample_entropy = sample.entropy;
    b->exact.teacher_hidden = b->teacher_hidden;
    b->exact.teacher_head = b->teacher_head;
    self->args.head_loss = b->exact;
    run(b, backend, COP_OP_HEAD_LOSS);
    self->args.head_loss = b->sampled;
    run(b, backend, COP_OP_HEAD_LOSS);
}

// Mean over the rows, and the standard error of that mean.
static double mean_of(cop_matrix m, int64_t c, bool is_column, double *error)
{
    double sum = 0.0;
    double squares = 0.0;
    for (int64_t r = 0; r < ROWS; r++) {
        const double x = is_column ? rig_get(m, r, c) : rig_get(m, 0, r);
        sum += x;
        squares += x * x;
    }
    const double mean = sum / ROWS;
    *error = sqrt(fmax(squares / ROWS - mean * mean, 0.0) / (ROWS - 1));
    return mean;
}

static void check_mean(double mean, double error, double exact, const char *what)
{
    // 5 standard errors: once in 1.7 million tries; and rounding of f32.
    if (!(fabs(mean - exact) <= 5.0 * error + 1e-5)) {
        fail_msg("%s has mean %.9g, standard error %.3g (allowed: %.9g)", what, mean, error, exact);
    }
}

static void weights_have_the_distribution_as_their_mean(void **state)
{
    (void)state;
    static const char *const names[] = {"reference", "cpu"};
    for (int i = 0; i < 2; i++) {
        cop_backend *backend = rig_backend(names[i]);
        bundle b = {0};
        bundle_open(&b, backend, 11);
        double total = 0.0;
        double p[VOCAB];
        double mean[VOCAB] = {0};
        for (int64_t v = 0; v < VOCAB; v++) {
            double u = 0.0;
            for (int64_t c = 0; c < TEACHER_WIDTH; c++) {
                u += rig_get(b.teacher_hidden, 0, c) * rig_get(b.teacher_head, v, c);
            }
            p[v] = exp(u);
            total += p[v];
        }
        for (int64_t k = 0; k < (int64_t)ROWS * DRAWS; k++) {
            if (b.sampled.sample_ids[k] >= 0) {
                mean[b.sampled.sample_ids[k]] +=
                    rig_get(b.sampled.sample_weights, k / DRAWS, k % DRAWS) / ROWS;
            }
        }
        for (int64_t v = 0; v < VOCAB; v++) {
            const double wanted = p[v] / total;
            check_mean(mean[v], sqrt(wanted * (1.0 - wanted) / ((double)ROWS * DRAWS)), wanted,
                       "weight");
        }
        rig_release(&b.self);
        cop_backend_destroy(backend);
    }
}

static void sampled_loss_and_gradient_have_the_exact_ones_as_their_means(void **state)
{
    (void)state;
    static const char *const names[] = {"reference", "cpu"};
    for (int i = 0; i < 2; i++) {
        cop_backend *backend = rig_backend(names[i]);
        bundle b = {0};
        bundle_open(&b, backend, 12);
        double error = 0.0;
        double mean = mean_of(b.sampled.kl, 0, false, &error);
        check_mean(mean, error, rig_get(b.exact.kl, 0, 0), "KL");
        for (int64_t c = 0; c < WIDTH; c++) {
            mean = mean_of(b.sampled.d_hidden, c, true, &error);
            check_mean(mean, error, rig_get(b.exact.d_hidden, 0, c), "gradient");
        }
        rig_release(&b.self);
        cop_backend_destroy(backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_backend_draws_by_the_inverse_of_the_cumulated_distribution),
        cmocka_unit_test(weights_have_the_distribution_as_their_mean),
        cmocka_unit_test(sampled_loss_and_gradient_have_the_exact_ones_as_their_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
