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
        cmocka_unit_test(a_study_without_rungs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
