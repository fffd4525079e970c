// A vocabulary frozen in one run and trained in the next; and runs of every form of state, resumed.

#include <string.h>

#include "base/alloc.h"
#include "tests/distill/fixture.h"

enum { SEQUENCE = 16, BATCH = 4, STEPS = 6 };

typedef struct run {
    cop_network *student;
    cop_trainer *trainer;
} run;

static const fixture_options teacher_options = {
    .family = COP_FAMILY_LLAMA,
    .hidden = 24,
    .layers = 2,
    .precision = COP_PRECISION_BF16,
    .teacher_batch = BATCH,
    .sequence = SEQUENCE,
};

static void open_run(run *out, fixture_set *from, cop_state_form form, bool is_frozen, bool thaws)
{
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    cop_trainer_options options = cop_trainer_options_default();
    cop_network_options network = {.precision = COP_PRECISION_BF16,
                                   .batch = 2,
                                   .sequence = SEQUENCE,
                                   .is_training = true,
                                   .freeze_vocabulary = is_frozen};
    cop_error err = {0};
    options.batch = BATCH;
    options.micro_batch = 2;
    options.sequence = SEQUENCE;
    options.seed = 5;
    options.thaws = thaws;
    options.schedule = (cop_schedule){COP_SCHEDULE_COSINE, 1e-2, 1e-3, 2, STEPS};
    cop_state_form_apply(form, &network, &options.optimizer);
    memset(out, 0, sizeof *out);
    must(cop_network_create(&out->student, &arch, &network, from->backend, &err), &err);
    must(cop_network_init(out->student, 21, &err), &err);
    must(cop_trainer_create(&out->trainer, out->student, from->sampler, &from->teacher, from->model,
                            &options, &err),
         &err);
}

static void close_run(run *at)
{
    cop_trainer_destroy(at->trainer);
    cop_network_destroy(at->student);
}

static void until(run *at, int64_t step)
{
    cop_error err = {0};
    must(cop_trainer_run(at->trainer, step, NULL, NULL, &err), &err);
}

static void assert_same(run *a, run *b)
{
    int64_t count = 0;
    double *left = read_parameters(a->student, &count);
    double *right = read_parameters(b->student, &count);
    assert_memory_equal(left, right, (size_t)count * sizeof *left);
    cop_free(left);
    cop_free(right);
}

static void a_resumed_run_of_every_form_equals_an_uninterrupted_one(void **state)
{
    (void)state;
    fixture_set from;
    fixture_open(&from, "forms", &teacher_options);
    for (int i = 0; i < 6; i++) {
        const cop_state_form form = (cop_state_form)(i / 2);
        const bool is_frozen = i % 2 == 1;
        cop_error err = {0};
        run whole;
        run resumed;
        open_run(&whole, &from, form, is_frozen, false);
        open_run(&resumed, &from, form, is_frozen, false);
        until(&whole, 3);
        must(cop_trainer_save(whole.trainer, "forms.training", &err), &err);
        must(cop_trainer_load(resumed.trainer, "forms.training", &err), &err);
        until(&whole, STEPS);
        until(&resumed, STEPS);
        assert_same(&whole, &resumed);
        close_run(&whole);
        close_run(&resumed);
    }
    fixture_close(&from);
}

static void a_frozen_run_is_continued_with_a_trained_vocabulary_where_that_is_meant(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    run frozen;
    run other;
    fixture_open(&from, "thaw", &teacher_options);
    open_run(&frozen, &from, COP_STATE_FULL, true, false);
    until(&frozen, 3);
    must(cop_trainer_save(frozen.trainer, "thaw.training", &err), &err);

    open_run(&other, &from, COP_STATE_FULL, false, false);
    assert_int_equal(cop_trainer_load(other.trainer, "thaw.training", &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "thaw.training/training.json: frozen_vocabulary of the interrupted run is "
                        "true, of this one false (allowed: the same options, or another output)");
    close_run(&other);

    open_run(&other, &from, COP_STATE_COMPACT, true, true);
    assert_int_equal(cop_trainer_load(other.trainer, "thaw.training", &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "state of the interrupted run is "));
    close_run(&other);

    open_run(&other, &from, COP_STATE_FULL, false, true);
    must(cop_trainer_load(other.trainer, "thaw.training", &err), &err);
    assert_same(&frozen, &other);
    assert_int_equal(cop_trainer_steps(other.trainer), 3);
    until(&other, STEPS);
    // The other way is refused: that a vocabulary was trained must not be forgotten silently.
    must(cop_trainer_save(other.trainer, "thaw.training", &err), &err);
    assert_int_equal(cop_trainer_load(frozen.trainer, "thaw.training", &err), COP_ERR_CONFIG);
    close_run(&other);
    close_run(&frozen);
    fixture_close(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_run_of_every_form_equals_an_uninterrupted_one),
        cmocka_unit_test(a_frozen_run_is_continued_with_a_trained_vocabulary_where_that_is_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
