// The plan of a search: stages, tokens, disk and memory by formula, on the published study and on a
// small one that can be checked by hand.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/arch_json.h"
#include "search/search.h"
#include "tests/support.h"

#define STUDIES COP_SOURCE_DIR "/configs/studies/"

static void near(double found, double wanted)
{
    assert_true(fabs(found - wanted) <= 1e-9 * fabs(wanted));
}

static void the_published_study_is_planned_from_shapes_alone(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_study_file study;
    static cop_search_plan plan;
    assert_int_equal(cop_study_file_read(&study, STUDIES "minitron-8b.yaml", false, &err), COP_OK);
    assert_int_equal(cop_search_plan_make(&plan, &study, "auto", &err), COP_OK);

    assert_int_equal(plan.size, 160);
    assert_int_equal(plan.feasible, 15);
    assert_int_equal(plan.stages, 4);
    // 0.33 of 15 is 4.95, of 5 is 1.65: rounded up.
    const int64_t candidates[] = {15, 15, 5, 2};
    // 0.5e6, 2e6 and 8e6 tokens are 4, 16 and 62 steps of 131072.
    const int64_t tokens[] = {0, 15 * 524288, 5 * 1572864, 2 * 6029312};
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(plan.stage[i].candidates, candidates[i]);
        assert_int_equal(plan.stage[i].tokens, tokens[i]);
        sum += tokens[i];
    }
    assert_int_equal(plan.tokens, sum);
    assert_int_equal(plan.tokens_without_halving, 15 * INT64_C(8126464));
    assert_int_equal(plan.held_out_sequences, 256);
    // Final states in bf16: 2 bytes, 6144 wide, for the last rung and the held-out text.
    assert_int_equal(plan.teacher_cache_bytes,
                     (UINT64_C(8126464) + UINT64_C(256) * 4096) * 6144 * 2);
    // Weights and two moments in f32 of the largest, for all 15 and one being replaced.
    assert_int_equal(plan.checkpoint_bytes, UINT64_C(8494131200) * 12 * 16);
    assert_int_equal(plan.micro_batch, 1);
    assert_int_equal(plan.precision, COP_PRECISION_BF16);
    assert_string_equal(plan.largest, "L32-C5120-H32-K8-F12800");
    assert_true(cop_plan_total(&plan.memory) > UINT64_C(8494131200) * 16);

    cop_search_plan_time(&plan, 790e12, 0.5);
    near(plan.flops_per_second, 395e12);
    near(plan.seconds, plan.flops / 395e12);
    near(plan.stage[0].flops + plan.stage[1].flops + plan.stage[2].flops + plan.stage[3].flops +
             plan.teacher_flops,
         plan.flops);
    cop_study_file_release(&study);
}

static void one_candidate_costs_what_the_cost_model_says(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_study_file study;
    static cop_search_plan plan;
    static cop_arch arch;
    const char *text = "teacher: ../models/minitron-4b.json\n"
                       "data: {validation_sequences: 3}\n"
                       "prune: {order: random}\n"
                       "probe: {rungs: [1024, 3072], sequence: 512, batch_tokens: 1024, loss: ce, "
                       "precision: f32, micro_batch: 2}\n";
    assert_int_equal(
        cop_study_file_parse(&study, STUDIES "x.yaml", text, strlen(text), false, &err), COP_OK);
    assert_int_equal(cop_search_plan_make(&plan, &study, "cpu", &err), COP_OK);
    assert_int_equal(cop_arch_read(&arch, study.teacher, &err), COP_OK);

    const double train = cop_cost_train_flops(&arch, 512);
    const double head = 2.0 * 256000 * 3072;
    const double held = 3 * 512;
    assert_int_equal(plan.feasible, 1);
    near(plan.stage[0].flops, held * (train / 3 + head));
    near(plan.stage[1].flops, 1024 * train + held * (train / 3 + head));
    near(plan.stage[2].flops, 2048 * train + held * (train / 3 + head));
    // No scoring, no states for training: held-out text only.
    near(plan.teacher_flops, held * (train / 3 - head));
    assert_int_equal(plan.teacher_cache_bytes, 3 * 512 * 3072 * 4);
    assert_int_equal(plan.micro_batch, 2);
    cop_study_file_release(&study);
}

static void samples_cost_no_teacher_head_in_a_step_and_little_disk(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_study_file study;
    static cop_search_plan plan;
    static cop_arch arch;
    const char *text = "teacher: ../models/minitron-4b.json\n"
                       "data: {validation_sequences: 3}\n"
                       "prune: {order: random}\n"
                       "probe: {rungs: [1024, 3072], sequence: 512, batch_tokens: 1024, precision: "
                       "f32, micro_batch: 2, targets: samples, draws: 20}\n";
    assert_int_equal(
        cop_study_file_parse(&study, STUDIES "x.yaml", text, strlen(text), false, &err), COP_OK);
    assert_int_equal(study.trainer.sample_draws, 20);
    assert_int_equal(cop_search_plan_make(&plan, &study, "cpu", &err), COP_OK);
    assert_int_equal(cop_arch_read(&arch, study.teacher, &err), COP_OK);

    const double train = cop_cost_train_flops(&arch, 512);
    const double head = 2.0 * 256000 * 3072;
    const double held = 3 * 512;
    near(plan.stage[1].flops, 1024 * train + held * (train / 3 + head));
    // The teacher's head runs once over the training text, to be drawn from.
    near(plan.teacher_flops, held * (train / 3 - head) + 3072 * train / 3);
    // States of held-out text; at most 20 ids and an entropy for each token of training text.
    assert_int_equal(plan.teacher_cache_bytes, 3 * 512 * 3072 * 4 + 3072 * (20 * 4 + 4));
    assert_int_equal(plan.sample_draws, 20);
    cop_study_file_release(&study);
}

#define PROBE                                                                          \
    "teacher: ../models/minitron-4b.json\n"                                            \
    "data: {validation_sequences: 3}\n"                                                \
    "prune: {order: random}\n"                                                         \
    "probe: {rungs: [1024, 3072, 9216], sequence: 512, batch_tokens: 1024, loss: ce, " \
    "precision: f32, micro_batch: 2, keep: 0.5, keep_pruned: 5}\n"
#define LISTED "space: {layers: [28, 30, 32], ffn: [6144, 7680, 9216], hidden: [2560, 3072]}\n"

static void read_text(cop_study_file *study, const char *text)
{
    cop_error err = {0};
    if (cop_study_file_parse(study, STUDIES "x.yaml", text, strlen(text), false, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

// With a strategy search.evaluations candidates go up to search.fidelity, and shares of them on.
static void a_strategy_pays_for_what_it_proposes(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        int64_t candidates[4];
    } rows[] = {
        {PROBE LISTED, {18, 5, 3, 2}}, // the grid
        {PROBE LISTED "search: {strategy: nsga2, evaluations: 12, fidelity: 0}\n", {12, 5, 3, 2}},
        {PROBE LISTED "search: {strategy: random, evaluations: 12, fidelity: 1}\n", {12, 12, 6, 3}},
        {PROBE LISTED "search: {strategy: surrogate, evaluations: 12, fidelity: 2}\n",
         {12, 12, 12, 6}},
        {PROBE LISTED "search: {strategy: stratified, evaluations: 1000, fidelity: 1}\n",
         {18, 18, 9, 5}}, // more than there are
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_error err = {0};
        cop_study_file study;
        static cop_search_plan plan;
        read_text(&study, rows[i].text);
        assert_int_equal(cop_search_plan_make(&plan, &study, "cpu", &err), COP_OK);
        assert_int_equal(plan.size, 18);
        assert_int_equal(plan.feasible, 18);
        assert_int_equal(plan.sampled, 18);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(plan.stage[k].candidates, rows[i].candidates[k]);
        }
        assert_int_equal(plan.tokens, rows[i].candidates[1] * 1024 + rows[i].candidates[2] * 2048 +
                                          rows[i].candidates[3] * 6144);
        assert_int_equal(plan.tokens_without_halving, rows[i].candidates[0] * 9216);
        near(plan.tokens_of_all, 18.0 * 9216);
        cop_study_file_release(&study);
    }
}

static void a_space_that_cannot_be_listed_is_planned_from_a_sample(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_study_file study;
    static cop_search_plan plan;
    static cop_search_plan again;

#define UNLISTED "space: {ffn@layer: [4608, 6144, 7680, 9216]}\n" // 4^32 points

    read_text(&study, PROBE UNLISTED "budget: {params: {max: 4.1e9}}\n"
                                     "search: {strategy: random, evaluations: 12, fidelity: 1}\n");
    if (cop_search_plan_make(&plan, &study, "cpu", &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(plan.size == INT64_MAX && plan.feasible == INT64_MAX);
    near(plan.log10_size, 32 * log10(4));
    assert_int_equal(plan.sampled, 512);
    assert_int_equal(plan.candidates, 12);
    assert_int_equal(plan.stage[1].candidates, 12);
    assert_int_equal(plan.stage[2].candidates, 6);
    assert_true(isnan(plan.tokens_of_all));
    assert_int_equal(strlen(plan.largest), strlen("L32-C3072-0123456789abcdef"));
    assert_true(cop_plan_total(&plan.memory) > 0 && plan.checkpoint_bytes > 0);
    assert_int_equal(cop_search_plan_make(&again, &study, "cpu", &err), COP_OK);
    near(again.flops, plan.flops); // the same sample
    assert_string_equal(again.largest, plan.largest);
    cop_study_file_release(&study);

    read_text(&study, PROBE UNLISTED "budget: {params: {max: 1e9}}\n"
                                     "search: {strategy: random, evaluations: 12}\n");
    assert_int_equal(cop_search_plan_make(&plan, &study, "cpu", &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "budget: no feasible candidate was found among "));
    cop_study_file_release(&study);

    read_text(&study, PROBE UNLISTED); // a grid needs the list
    assert_int_equal(cop_search_plan_make(&plan, &study, "cpu", &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "space"));
    cop_study_file_release(&study);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_study_file study;
    static cop_search_plan plan;
    const char *const texts[] = {
        PROBE LISTED "search: {strategy: nsga2, evaluations: 12}\n",
        PROBE UNLISTED "search: {strategy: nsga2, evaluations: 12}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        read_text(&study, texts[i]);
        const size_t blocks = cop_alloc_live_blocks();
        // A sample takes thousands of allocations: some of them, ever farther apart.
        for (size_t n = 0;; n += i == 0 ? 1 : 1 + n / 2) {
            cop_error err = {0};
            cop_alloc_fail_after(n);
            const cop_status status = cop_search_plan_make(&plan, &study, "cpu", &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_int_equal(cop_alloc_live_blocks(), blocks);
            if (status == COP_OK) {
                assert_true(n > 5);
                break;
            }
            assert_int_equal(status, COP_ERR_NOMEM);
        }
        cop_study_file_release(&study);
    }
}

static void a_study_without_rungs_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_study_file study;
    static cop_search_plan plan;
    assert_int_equal(cop_study_file_parse(&study, "s.yaml", "teacher: t\n", 11, false, &err),
                     COP_OK);
    assert_int_equal(cop_search_plan_make(&plan, &study, "cpu", &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml: the key probe.rungs is missing");
    cop_study_file_release(&study);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_study_is_planned_from_shapes_alone),
        cmocka_unit_test(one_candidate_costs_what_the_cost_model_says),
        cmocka_unit_test(samples_cost_no_teacher_head_in_a_step_and_little_disk),
        cmocka_unit_test(a_strategy_pays_for_what_it_proposes),
        cmocka_unit_test(a_space_that_cannot_be_listed_is_planned_from_a_sample),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(a_study_without_rungs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
