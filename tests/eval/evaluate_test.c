#include "eval/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "eval/latency.h"
#include "tests/device_memory.h"
#include "tests/distill/fixture.h"

enum { SEQUENCE = 16, SEQUENCES = 7, WIDTH = 16, TEACHER_WIDTH = 24 };

static const fixture_options setting = {
    .family = COP_FAMILY_LLAMA,
    .hidden = TEACHER_WIDTH,
    .layers = 2,
    .precision = COP_PRECISION_F32,
    .teacher_batch = 4,
    .sequence = SEQUENCE,
};

static cop_network *make_model(const fixture_set *from, int64_t batch)
{
    const cop_arch arch = small_arch(COP_FAMILY_NEMOTRON, WIDTH, 2);
    return make_student(from->backend, &arch, COP_PRECISION_F32, batch, SEQUENCE, 9);
}

// --- The plain formula --------------------------------------------------------------------------

// log softmax of hidden[row] · headᵀ; returns the argmax.
static int log_softmax(double *out, const cop_matrix *hidden, int64_t row, const cop_matrix *head)
{
    int best = 0;
    double sum = 0.0;
    for (int v = 0; v < FIXTURE_VOCAB; v++) {
        out[v] = 0.0;
        for (int64_t c = 0; c < head->cols; c++) {
            out[v] += (double)((const float *)hidden->data)[row * hidden->stride + c] *
                      (double)((const float *)head->data)[v * head->stride + c];
        }
        best = out[v] > out[best] ? v : best;
    }
    const double max = out[best];
    for (int v = 0; v < FIXTURE_VOCAB; v++) {
        sum += exp(out[v] - max);
    }
    for (int v = 0; v < FIXTURE_VOCAB; v++) {
        out[v] -= max + log(sum);
    }
    return best;
}

typedef struct plain_result {
    double cross_entropy;
    double kl;
    double agreement;
    double teacher_cross_entropy;
} plain_result;

// The same matrix in memory of the host; its data is the caller's: free().
static cop_matrix on_host(cop_backend *backend, cop_matrix m)
{
    m.data = device_copy(backend, m.data, (size_t)(m.rows * m.stride) * sizeof(float));
    return m;
}

static plain_result evaluate_plainly(cop_network *network, const fixture_set *from, int64_t index)
{
    int32_t ids[SEQUENCE];
    int32_t targets[SEQUENCE];
    double s[FIXTURE_VOCAB];
    double t[FIXTURE_VOCAB];
    cop_error err = {0};
    cop_matrix hidden = {0};
    cop_matrix teacher = {0};
    const cop_forward_options pass = {.ids = ids, .batch = 1, .sequence = SEQUENCE};
    cop_backend *backend = cop_network_backend(network);
    const cop_matrix head = on_host(backend, cop_network_head(network).working);
    const cop_matrix teacher_head = on_host(backend, from->teacher.head);
    plain_result sum = {0};
    must(cop_sampler_fill(from->sampler, index, 1, ids, targets, &err), &err);
    must(cop_network_forward(network, &pass, &hidden, &err), &err);
    must(from->teacher.states.states(from->teacher.states.context, index, 1, &teacher, &err), &err);
    hidden = on_host(backend, hidden);
    teacher = on_host(backend, teacher);
    for (int i = 0; i < SEQUENCE; i++) {
        const int student_best = log_softmax(s, &hidden, i, &head);
        const int teacher_best = log_softmax(t, &teacher, i, &teacher_head);
        sum.cross_entropy -= s[targets[i]] / SEQUENCE;
        sum.teacher_cross_entropy -= t[targets[i]] / SEQUENCE;
        sum.agreement += (student_best == teacher_best ? 1.0 : 0.0) / SEQUENCE;
        for (int v = 0; v < FIXTURE_VOCAB; v++) {
            sum.kl += exp(t[v]) * (t[v] - s[v]) / SEQUENCE;
        }
    }
    free(head.data);
    free(teacher_head.data);
    free(hidden.data);
    free(teacher.data);
    return sum;
}

static void agrees_with_the_plain_formula_for_each_sequence(void **state)
{
    (void)state;
    const int64_t batches[] = {1, 3, 7, 16};
    for (int b = 0; b < 4; b++) { // the last batch is a part, or all of it is
        fixture_set from;
        cop_error err = {0};
        cop_evaluation found = {0};
        fixture_open(&from, "plain", &setting);
        cop_network *network = make_model(&from, batches[b]);
        must(cop_evaluate(&found, network, from.sampler, 2, SEQUENCES, &from.teacher, &err), &err);
        assert_int_equal(found.sequences, SEQUENCES);
        assert_int_equal(found.sequence_tokens, SEQUENCE);
        for (int i = 0; i < SEQUENCES; i++) {
            const plain_result expected = evaluate_plainly(network, &from, 2 + i);
            // f32 logits of size about 1, 1e-6 each; KL cancels, and is about 0.1.
            assert_close(found.cross_entropy[i], expected.cross_entropy, 1e-5);
            assert_close(found.teacher_cross_entropy[i], expected.teacher_cross_entropy, 1e-5);
            assert_close(found.kl[i], expected.kl, 1e-5);
            assert_close(found.agreement[i], expected.agreement, 1e-12);
        }
        cop_evaluation_release(&found);
        cop_network_destroy(network);
        fixture_close(&from);
    }
}

static void without_a_teacher_agreement_is_with_the_text(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_evaluation alone = {0};
    cop_evaluation compared = {0};
    int32_t ids[SEQUENCE];
    int32_t targets[SEQUENCE];
    double s[FIXTURE_VOCAB];
    cop_matrix hidden = {0};
    const cop_forward_options pass = {.ids = ids, .batch = 1, .sequence = SEQUENCE};
    fixture_open(&from, "alone", &setting);
    cop_network *network = make_model(&from, 2);
    must(cop_evaluate(&alone, network, from.sampler, 0, 3, NULL, &err), &err);
    must(cop_evaluate(&compared, network, from.sampler, 0, 3, &from.teacher, &err), &err);
    assert_null(alone.kl);
    assert_null(alone.teacher_cross_entropy);
    assert_memory_equal(alone.cross_entropy, compared.cross_entropy, 3 * sizeof(double));

    double hits = 0.0;
    const cop_matrix head = on_host(from.backend, cop_network_head(network).working);
    must(cop_sampler_fill(from.sampler, 0, 1, ids, targets, &err), &err);
    must(cop_network_forward(network, &pass, &hidden, &err), &err);
    hidden = on_host(from.backend, hidden);
    for (int i = 0; i < SEQUENCE; i++) {
        hits += log_softmax(s, &hidden, i, &head) == targets[i] ? 1.0 : 0.0;
    }
    free(head.data);
    free(hidden.data);
    assert_close(alone.agreement[0], hits / SEQUENCE, 1e-12);
    cop_evaluation_release(&alone);
    cop_evaluation_release(&compared);
    cop_network_destroy(network);
    fixture_close(&from);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_evaluation found = {0};
    cop_sampler *longer = NULL;
    cop_arch other = small_arch(COP_FAMILY_LLAMA, WIDTH, 1);
    fixture_open(&from, "refuses", &setting);
    cop_network *network = make_model(&from, 2);
    other.vocab = FIXTURE_VOCAB + 1;
    cop_network *wider = make_student(from.backend, &other, COP_PRECISION_F32, 2, SEQUENCE, 1);

    assert_int_equal(cop_evaluate(&found, network, from.sampler, 0, 0, NULL, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "evaluation: 0 sequences from 0 (allowed: at least 1, from 0)");
    assert_int_equal(cop_evaluate(&found, wider, from.sampler, 0, 2, &from.teacher, &err),
                     COP_ERR_SHAPE);
    assert_string_equal(err.message, "evaluation: the teacher's vocabulary is 32, the model's 33 "
                                     "(allowed: the same)");
    must(cop_sampler_create(&longer, from.tokens, SEQUENCE + 1, 3, true, &err), &err);
    assert_int_equal(cop_evaluate(&found, network, longer, 0, 2, NULL, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "evaluation: sequences of 17 (allowed: at most 16, which the "
                                     "network was made for)");
    assert_null(found.cross_entropy);
    cop_sampler_destroy(longer);
    cop_network_destroy(network);
    cop_network_destroy(wider);
    fixture_close(&from);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    fixture_set from;
    fixture_open(&from, "failing", &setting);
    cop_network *network = make_model(&from, 2);
    const size_t live = cop_alloc_live_blocks();
    size_t allowed = 0;
    for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
        cop_error err = {0};
        cop_evaluation found = {0};
        cop_alloc_fail_after(allowed);
        status = cop_evaluate(&found, network, from.sampler, 0, 3, &from.teacher, &err);
        cop_alloc_fail_after(SIZE_MAX);
        if (status != COP_OK) {
            assert_int_equal(status, COP_ERR_NOMEM);
            assert_null(found.cross_entropy);
        }
        cop_evaluation_release(&found);
        assert_int_equal(cop_alloc_live_blocks(), live);
        assert_true(allowed < 1000);
    }
    assert_true(allowed > 5);
    cop_network_destroy(network);
    fixture_close(&from);
}

// --- Estimates ----------------------------------------------------------------------------------

static void estimates_repeat_and_hold_the_mean(void **state)
{
    (void)state;
    const double values[] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0};
    cop_error err = {0};
    cop_estimate a = {0};
    cop_estimate b = {0};
    must(cop_estimate_mean(&a, values, 6, 1, &err), &err);
    must(cop_estimate_mean(&b, values, 6, 1, &err), &err);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.value == 3.5 && a.low < 3.5 && a.high > 3.5);
    // The standard error is 1.708 / sqrt(6) = 0.697; the interval ± 1.96 of it, roughly.
    assert_close(a.high - a.low, 2 * 1.96 * 0.697, 0.3);

    must(cop_estimate_mean(&a, values, 1, 1, &err), &err);
    assert_true(a.value == 1.0 && a.low == 1.0 && a.high == 1.0);
    const double broken[] = {1.0, (double)NAN};
    must(cop_estimate_mean(&a, broken, 2, 1, &err), &err);
    assert_true(isnan(a.value) && isnan(a.low) && isnan(a.high));
    assert_int_equal(cop_estimate_mean(&a, values, 0, 1, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "estimate: 0 values (allowed: at least 1)");
}

static void intervals_cover_the_truth_about_as_often_as_they_say(void **state)
{
    (void)state;

    enum { TRIALS = 200, VALUES = 40 };

    cop_error err = {0};
    cop_rng *rng = NULL;
    int covered = 0;
    must(cop_rng_create(&rng, 4, COP_RNG_TEST, 0, &err), &err);
    for (int trial = 0; trial < TRIALS; trial++) {
        double values[VALUES];
        cop_estimate found = {0};
        for (int i = 0; i < VALUES; i++) {
            values[i] = 2.0 + cop_rng_normal(rng);
        }
        must(cop_estimate_mean(&found, values, VALUES, (uint64_t)trial, &err), &err);
        covered += found.low <= 2.0 && 2.0 <= found.high ? 1 : 0;
    }
    cop_rng_destroy(rng);
    // 95 % of 200 is 190, standard deviation 3; percentile intervals of 40 values are slightly narrow.
    assert_in_range(covered, 176, 199);
}

// --- Latency ------------------------------------------------------------------------------------

static void latency_is_a_spread_of_real_passes(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_latency found = {0};
    fixture_open(&from, "latency", &setting);
    cop_network *network = make_model(&from, 2);
    must(cop_latency_measure(&found, network, 2, SEQUENCE, 0.0, &err), &err);
    assert_int_equal(found.repeats, 5);
    assert_true(found.low_seconds > 0.0 && found.low_seconds <= found.median_seconds);
    assert_true(found.median_seconds <= found.high_seconds);
    assert_close(found.tokens_per_second * found.median_seconds, 2.0 * SEQUENCE, 1e-9);
    must(cop_latency_measure(&found, network, 1, 3, 1e9, &err), &err);
    assert_int_equal(found.repeats, 50);

    assert_int_equal(cop_latency_measure(&found, network, 3, SEQUENCE, 1.0, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "latency: batch 3, sequence 16 (allowed: 1..2, 1..16)");
    cop_network_destroy(network);
    fixture_close(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_plain_formula_for_each_sequence),
        cmocka_unit_test(without_a_teacher_agreement_is_with_the_text),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(estimates_repeat_and_hold_the_mean),
        cmocka_unit_test(intervals_cover_the_truth_about_as_often_as_they_say),
        cmocka_unit_test(latency_is_a_spread_of_real_passes),
    };
    return cmocka_run_group_tests_name("evaluate", tests, NULL, NULL);
}
