// What training the published 8B student takes in every form, by plan alone; and what is advised where
// it does not fit.

#include "distill/memory_form.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "distill/trainer.h"
#include "model/arch_json.h"
#include "model/cost.h"
#include "tests/distill/fixture.h"

#define MODELS COP_SOURCE_DIR "/configs/models/"

enum { SEQUENCE = 4096, BATCH = 2 };

static const double gib = 1073741824.0;

// Scratch depends on the backend: LM head for 4096 tokens at a time with V = 256,000 (f32 logits of
// 1024 tokens of two models and bf16 gradients of 4096: 4.2 GB), 32 MiB for matrix products, and what
// the driver holds.
static const double scratch_allowance = 4.3e9 + 0.6e9;

typedef struct study {
    cop_arch student;
    cop_arch teacher;
    cop_backend *backend;
} study;

static void open_study(study *at)
{
    cop_error err = {0};
    must(cop_arch_read(&at->student, MODELS "minitron-8b.json", &err), &err);
    must(cop_arch_read(&at->teacher, MODELS "nemotron-4-15b.json", &err), &err);
    must(cop_backend_create(&at->backend, "reference", &err), &err);
}

static cop_status plan_training(void *context, const cop_memory_form *form, cop_plan *out,
                                cop_error *err)
{
    const study *at = context;
    cop_trainer_options options = cop_trainer_options_default();
    cop_network_options network = {.precision = COP_PRECISION_BF16,
                                   .batch = form->micro_batch,
                                   .sequence = SEQUENCE,
                                   .is_training = true,
                                   .recompute = form->recompute,
                                   .freeze_vocabulary = form->freezes_vocabulary};
    const cop_teacher_options teacher = {
        .precision = COP_PRECISION_BF16, .batch = form->micro_batch, .sequence = SEQUENCE};
    cop_status status = COP_OK;
    options.batch = BATCH;
    options.micro_batch = form->micro_batch;
    options.sequence = SEQUENCE;
    cop_state_form_apply(form->state, &network, &options.optimizer);
    memset(out, 0, sizeof *out);
    COP_TRY(status, cop_network_plan(out, "student", &at->student, &network, at->backend, err));
    COP_TRY(status, cop_trainer_plan(out, &at->student, &network, &options, &at->teacher,
                                     at->backend, err));
    COP_TRY(status, cop_teacher_plan(out, &at->teacher, &teacher, false, at->backend, err));

done:
    return status;
}

static uint64_t line_bytes(const cop_plan *plan, const char *name)
{
    for (int i = 0; i < plan->count; i++) {
        if (strcmp(plan->line[i].name, name) == 0) {
            return plan->line[i].bytes;
        }
    }
    fail_msg("no line %s", name);
    return 0;
}

static void an_8b_student_with_a_cached_teacher_fits_where_it_should(void **state)
{
    (void)state;

    const struct {
        cop_state_form form;
        bool is_frozen;
        int64_t micro_batch;
        bool fits_139_gib;
        bool fits_80_gb;
    } cases[] = {
        {COP_STATE_FULL, false, 2, false, false},  {COP_STATE_FULL, false, 1, false, false},
        {COP_STATE_FULL, true, 1, true, false},    {COP_STATE_COMPACT, false, 1, true, false},
        {COP_STATE_COMPACT, true, 2, true, false}, {COP_STATE_LEAN, false, 2, true, false},
        {COP_STATE_LEAN, false, 1, true, false},   {COP_STATE_LEAN, true, 2, true, false},
        {COP_STATE_LEAN, true, 1, true, true},
    };

    study at;
    open_study(&at);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const cop_memory_form form = {.recompute = COP_RECOMPUTE_SELECTIVE,
                                      .micro_batch = cases[i].micro_batch,
                                      .state = cases[i].form,
                                      .freezes_vocabulary = cases[i].is_frozen};
        cop_error err = {0};
        cop_plan plan;
        must(plan_training(&at, &form, &plan, &err), &err);
        const double needed = (double)cop_plan_device_total(&plan) -
                              (double)line_bytes(&plan, "student: scratch") + scratch_allowance;
        print_message("%-8s %-8s passes of %d: %6.1f GiB\n", cop_state_form_name(form.state),
                      form.freezes_vocabulary ? "frozen" : "trained", (int)form.micro_batch,
                      needed / gib);
        assert_int_equal(needed <= 139.0 * gib, cases[i].fits_139_gib);
        assert_int_equal(needed <= 80e9, cases[i].fits_80_gb);
    }
    cop_backend_destroy(at.backend);
}

static void state_takes_the_bytes_of_its_form(void **state)
{
    (void)state;
    const double bytes[] = {18.0, 14.0, 8.0};
    study at;
    open_study(&at);
    for (int i = 0; i < 3; i++) {
        const cop_memory_form form = {.micro_batch = 1, .state = (cop_state_form)i};
        const char *const names[] = {"student: weights", "student: gradients", "student: optimizer",
                                     "student: master weights"};
        cop_error err = {0};
        cop_plan plan;
        double sum = 0.0;
        must(plan_training(&at, &form, &plan, &err), &err);
        for (int k = 0; k < (i == COP_STATE_LEAN ? 3 : 4); k++) {
            sum += (double)line_bytes(&plan, names[k]);
        }
        // Norms have more, but are a ten-thousandth.
        const double each = sum / (double)cop_cost_of(&at.student, 1, 1, COP_BF16, COP_BF16).params;
        assert_close(each, bytes[i], 2e-3);
    }
    cop_backend_destroy(at.backend);
}

// Kept per token and layer with selective recomputation: two residual streams in f32, q, k, v, the
// attention output and the MLP's first product in bf16, and statistics.
static void selective_recomputation_keeps_what_is_counted_here(void **state)
{
    (void)state;
    const double hidden = 4096.0;
    const double qkv = (48.0 + 2.0 * 8.0) * 128.0;
    const double heads = 48.0 * 128.0;
    const double layer =
        2.0 * 4.0 * hidden + 2.0 * (qkv + heads + 16384.0) + 4.0 * (2.0 + 2.0 + 48.0);
    const cop_memory_form form = {.recompute = COP_RECOMPUTE_SELECTIVE, .micro_batch = BATCH};
    study at;
    cop_error err = {0};
    cop_plan plan;
    open_study(&at);
    must(plan_training(&at, &form, &plan, &err), &err);
    const double each = (double)line_bytes(&plan, "student: activations") / (BATCH * SEQUENCE);
    print_message("%.2f MB per token, %.2f of them per layer kept\n", each / 1e6,
                  32.0 * layer / 1e6);
    // Besides: what all layers share, some 30 vectors of the width of the model.
    assert_true(each > 32.0 * layer);
    assert_true(each < 32.0 * layer + 40.0 * 4.0 * hidden);
    cop_backend_destroy(at.backend);
}

static void the_first_form_that_fits_is_advised_with_its_total(void **state)
{
    (void)state;

    const struct {
        double room; // GiB
        cop_memory_form now;
        const char *advice;
    } cases[] = {
        {1000.0, {0, BATCH, COP_STATE_FULL, false}, "recompute selective need *"},
        {200.0, {COP_RECOMPUTE_SELECTIVE, BATCH, COP_STATE_FULL, false}, "micro_batch 1 need *"},
        {150.0,
         {0, BATCH, COP_STATE_FULL, false},
         "recompute selective and micro_batch 1 and state compact need *"},
        {100.0,
         {0, BATCH, COP_STATE_FULL, false},
         "recompute selective and micro_batch 1 and state compact and a frozen vocabulary need *"},
        {75.0,
         {0, BATCH, COP_STATE_FULL, false},
         "recompute selective and micro_batch 1 and state lean and a frozen vocabulary need *"},
        {10.0,
         {0, BATCH, COP_STATE_FULL, false},
         "a shorter sequence, or a smaller model; even recompute block and micro_batch 1 and state "
         "lean and a frozen vocabulary need *"},
    };

    study at;
    open_study(&at);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const cop_plan_room room = {.device_bytes = (uint64_t)(cases[i].room * gib),
                                    .host_bytes = UINT64_MAX};
        cop_error err = {0};
        cop_text text = {0};
        must(cop_memory_form_advise(&text, &cases[i].now, BATCH, COP_PRECISION_BF16, &room,
                                    plan_training, &at, &err),
             &err);
        const size_t fixed = strlen(cases[i].advice) - 1; // up to the figure
        if (strncmp(cop_text_view(&text), cases[i].advice, fixed) != 0) {
            fail_msg("%s (allowed: %s)", cop_text_view(&text), cases[i].advice);
        }
        cop_text_release(&text);
    }
    cop_backend_destroy(at.backend);
}

static void narrow_gradients_are_refused_over_many_passes(void **state)
{
    (void)state;
    cop_trainer_options options = cop_trainer_options_default();
    const cop_network_options network = {.precision = COP_PRECISION_BF16,
                                         .batch = 1,
                                         .sequence = SEQUENCE,
                                         .is_training = true,
                                         .gradients = COP_BF16};
    study at;
    cop_error err = {0};
    cop_plan plan = {0};
    open_study(&at);
    options.batch = 5;
    options.sequence = SEQUENCE;
    assert_int_equal(
        cop_trainer_plan(&plan, &at.student, &network, &options, NULL, at.backend, &err),
        COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "training: bf16 gradients are added up over 5 passes (allowed: 1..4; a "
                        "larger micro_batch, or f32 gradients)");
    assert_int_equal(cop_memory_form_smallest_pass(5, COP_STATE_LEAN), 5);
    assert_int_equal(cop_memory_form_smallest_pass(32, COP_STATE_LEAN), 8);
    assert_int_equal(cop_memory_form_smallest_pass(32, COP_STATE_COMPACT), 1);
    cop_backend_destroy(at.backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_8b_student_with_a_cached_teacher_fits_where_it_should),
        cmocka_unit_test(state_takes_the_bytes_of_its_form),
        cmocka_unit_test(selective_recomputation_keeps_what_is_counted_here),
        cmocka_unit_test(the_first_form_that_fits_is_advised_with_its_total),
        cmocka_unit_test(narrow_gradients_are_refused_over_many_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
