// Longer than the aim: one test file for one source, whose cases share what is above them.

#include "distill/trainer.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/distill/fixture.h"

enum { SEQUENCE = 16, BATCH = 4, STEPS_MAX = 64 };

static cop_trainer_options options_for(int64_t steps)
{
    cop_trainer_options options = cop_trainer_options_default();
    options.batch = BATCH;
    options.micro_batch = BATCH;
    options.sequence = SEQUENCE;
    options.seed = 5;
    options.schedule = (cop_schedule){COP_SCHEDULE_COSINE, 1e-2, 1e-3, 2, steps};
    return options;
}

static const fixture_options llama = {
    .family = COP_FAMILY_LLAMA,
    .hidden = 24,
    .layers = 2,
    .precision = COP_PRECISION_F32,
    .teacher_batch = BATCH,
    .sequence = SEQUENCE,
};

static const fixture_options nemotron = {
    .family = COP_FAMILY_NEMOTRON,
    .hidden = 24,
    .layers = 2,
    .precision = COP_PRECISION_F32,
    .teacher_batch = BATCH,
    .sequence = SEQUENCE,
};

typedef struct history {
    int count;
    cop_trainer_step step[STEPS_MAX];
} history;

static cop_status remember(void *context, const cop_trainer_step *step, cop_error *err)
{
    history *past = context;
    (void)err;
    assert_true(past->count < STEPS_MAX);
    past->step[past->count++] = *step;
    return COP_OK;
}

// A student, its trainer, and what they did.
typedef struct training_run {
    cop_network *student;
    cop_trainer *trainer;
    history past;
} training_run;

static void run_open(training_run *out, fixture_set *from, const cop_trainer_options *options,
                     const cop_teacher *teacher)
{
    const cop_arch arch = small_arch(cop_checkpoint_arch(from->checkpoint)->family, 16, 2);
    cop_error err = {0};
    memset(out, 0, sizeof *out);
    out->student =
        make_student(from->backend, &arch, COP_PRECISION_F32, options->micro_batch, SEQUENCE, 21);
    must(cop_trainer_create(&out->trainer, out->student, from->sampler, teacher, from->model,
                            options, &err),
         &err);
}

static void run_until(training_run *run, int64_t step)
{
    cop_error err = {0};
    must(cop_trainer_run(run->trainer, step, remember, &run->past, &err), &err);
    assert_int_equal(cop_trainer_steps(run->trainer), step);
}

static void run_close(training_run *run)
{
    cop_trainer_destroy(run->trainer);
    cop_network_destroy(run->student);
}

static void assert_same_weights(cop_network *a, cop_network *b)
{
    int64_t count = 0;
    double *x = read_parameters(a, &count);
    double *y = read_parameters(b, &count);
    assert_memory_equal(x, y, (size_t)count * sizeof *x);
    cop_free(x);
    cop_free(y);
}

// --- Learning -----------------------------------------------------------------------------------

static void learns_text_by_cross_entropy(void **state)
{
    (void)state;
    fixture_set from;
    training_run run;
    const cop_trainer_options options = options_for(60);
    fixture_open(&from, "learns-ce", &llama);
    run_open(&run, &from, &options, NULL);
    run_until(&run, 60);

    const cop_trainer_step *first = &run.past.step[0];
    const cop_trainer_step *last = &run.past.step[59];
    // A uniform guess costs log(32) = 3.47; the text's entropy is about 1.2.
    assert_close(first->cross_entropy, 3.47, 0.3);
    assert_true(last->cross_entropy < 2.4);
    assert_true(first->loss == first->cross_entropy);
    assert_true(isnan(first->kl) && isnan(first->state_loss));
    assert_true(first->learning_rate == 0.5e-2 && last->gradient_norm > 0.0);
    assert_true(first->flops > 0.0 && first->seconds >= 0.0 && last->step == 60);
    run_close(&run);
    fixture_close(&from);
}

static void learns_from_a_teacher_in_every_form(void **state)
{
    (void)state;
    const fixture_options *families[] = {&llama, &nemotron};
    for (int form = 0; form < 8; form++) {
        fixture_set from;
        training_run run;
        cop_trainer_options options = options_for(30);
        options.temperature = form % 2 == 0 ? 1.0 : 2.0;
        options.ce_weight = form % 4 < 2 ? 0.0 : 0.25;
        if (form >= 4) {
            options.state_pairs = 2;
            options.state_pair[0] = (cop_state_pair){-1, -1};
            options.state_pair[1] = (cop_state_pair){1, 0};
            options.state_kind = form < 6 ? COP_STATE_LOSS_COSINE : COP_STATE_LOSS_MSE;
            options.state_alpha = form % 2 == 0 ? 0.0 : 0.1;
        }
        fixture_open(&from, "learns-kl", families[form % 2]);
        run_open(&run, &from, &options, &from.teacher);
        run_until(&run, 30);
        const cop_trainer_step *first = &run.past.step[0];
        const cop_trainer_step *last = &run.past.step[29];
        // With text in the loss, a teacher of random weights pulls elsewhere: its KL need not fall.
        assert_true(first->kl > 0.0 && last->loss < 0.95 * first->loss);
        if (options.ce_weight == 0.0) {
            assert_true(last->kl < 0.6 * first->kl);
        }
        if (options.state_pairs > 0) {
            assert_true(last->state_loss < 0.6 * first->state_loss);
        }
        const double logits = options.temperature * options.temperature * last->kl;
        double expected = options.ce_weight * last->cross_entropy + logits;
        if (options.state_pairs > 0) {
            const cop_trainer_step *before = &run.past.step[28];
            const double alpha =
                options.state_alpha > 0.0
                    ? options.state_alpha
                    : options.temperature * options.temperature * before->kl / before->state_loss;
            expected += alpha * last->state_loss;
        }
        assert_close(last->loss, expected, 1e-12); // the same sum in f64
        run_close(&run);
        fixture_close(&from);
    }
}

static void a_student_equal_to_its_teacher_has_nothing_to_learn(void **state)
{
    (void)state;
    const fixture_options *families[] = {&llama, &nemotron};
    for (int i = 0; i < 2; i++) {
        fixture_set from;
        cop_error err = {0};
        cop_trainer *trainer = NULL;
        history past = {0};
        cop_trainer_options options = options_for(1);
        options.state_pairs = 2; // equal widths: the projection starts as the identity
        options.state_pair[0] = (cop_state_pair){-1, -1};
        options.state_pair[1] = (cop_state_pair){1, 1};
        fixture_open(&from, "nothing", families[i]);
        cop_network *student = make_student(from.backend, cop_checkpoint_arch(from.checkpoint),
                                            COP_PRECISION_F32, BATCH, SEQUENCE, 1);
        must(cop_network_load(student, from.checkpoint, &err), &err);
        must(cop_trainer_create(&trainer, student, from.sampler, &from.teacher, from.model,
                                &options, &err),
             &err);
        must(cop_trainer_run(trainer, 1, remember, &past, &err), &err);
        // Student and teacher logits come from the same operations: only f32 rounding remains.
        assert_true(past.step[0].kl < 1e-7);
        assert_true(past.step[0].state_loss < 1e-6);
        assert_true(past.step[0].gradient_norm < 1e-5);
        cop_trainer_destroy(trainer);
        cop_network_destroy(student);
        fixture_close(&from);
    }
}

// --- Equivalences -------------------------------------------------------------------------------

static void a_step_does_not_depend_on_the_size_of_its_passes(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        double *whole = NULL;
        int64_t count = 0;
        for (int64_t micro = BATCH; micro >= 1; micro /= 2) {
            fixture_set from;
            training_run run;
            cop_trainer_options options = options_for(3);
            options.micro_batch = micro;
            options.state_pairs = form;
            options.state_pair[0] = (cop_state_pair){0, 1};
            fixture_open(&from, "micro", form == 0 ? &llama : &nemotron);
            run_open(&run, &from, &options, &from.teacher);
            run_until(&run, 3);
            double *weights = read_parameters(run.student, &count);
            if (whole == NULL) {
                whole = weights;
            } else {
                for (int64_t i = 0; i < count; i++) {
                    // Gradients differ by the order of f32 sums; Adam divides by their size, so a
                    // tiny one may move a weight by up to a step: 1e-2 times its share of error.
                    assert_close(weights[i], whole[i], 2e-4);
                }
                cop_free(weights);
            }
            run_close(&run);
            fixture_close(&from);
        }
        cop_free(whole);
    }
}

static void cached_states_train_like_computed_ones_bit_for_bit(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    training_run online;
    training_run cached;
    cop_teacher_states *states = NULL;
    cop_trainer_options options = options_for(4);
    options.micro_batch = 2; // half a window of the teacher
    fixture_open(&from, "cached", &llama);
    must(cop_file_remove_tree("cached-cache", &err), &err);
    run_open(&online, &from, &options, &from.teacher);
    run_until(&online, 4);

    must(cop_teacher_states_cached(&states, from.model, from.sampler, "cached-cache",
                                   INT64_C(4) * BATCH, &err),
         &err);
    const cop_teacher teacher = {.head = from.teacher.head,
                                 .states = cop_teacher_states_source(states)};
    run_open(&cached, &from, &options, &teacher);
    run_until(&cached, 4);
    assert_same_weights(online.student, cached.student);
    assert_true(online.past.step[3].loss == cached.past.step[3].loss);
    run_close(&online);
    run_close(&cached);
    cop_teacher_states_destroy(states);
    fixture_close(&from);
}

static void a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        fixture_set from;
        cop_error err = {0};
        training_run whole;
        training_run first;
        training_run second;
        cop_trainer_options options = options_for(7);
        options.state_pairs = form / 2;
        options.state_pair[0] = (cop_state_pair){1, 1};
        fixture_open(&from, "resumed", form % 2 == 0 ? &llama : &nemotron);
        must(cop_file_remove_tree("resumed-state", &err), &err);
        run_open(&whole, &from, &options, &from.teacher);
        run_until(&whole, 7);

        run_open(&first, &from, &options, &from.teacher);
        run_until(&first, 2);
        must(cop_trainer_save(first.trainer, "resumed-state", &err), &err);
        run_until(&first, 3);
        must(cop_trainer_save(first.trainer, "resumed-state", &err), &err);
        run_close(&first);
        assert_true(cop_trainer_has_state("resumed-state"));
        assert_false(cop_file_exists("resumed-state/training-2.safetensors"));

        run_open(&second, &from, &options, &from.teacher);
        must(cop_trainer_load(second.trainer, "resumed-state", &err), &err);
        assert_int_equal(cop_trainer_steps(second.trainer), 3);
        run_until(&second, 7);
        assert_same_weights(whole.student, second.student);
        for (int i = 0; i < 4; i++) {
            assert_true(whole.past.step[3 + i].loss == second.past.step[i].loss);
            assert_true(whole.past.step[3 + i].gradient_norm == second.past.step[i].gradient_norm);
        }
        run_close(&whole);
        run_close(&second);
        fixture_close(&from);
    }
}

// --- What goes wrong ----------------------------------------------------------------------------

static void refuses_the_state_of_another_run_by_name(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    training_run run;
    cop_trainer_options saved = options_for(9);
    fixture_open(&from, "other", &llama);
    must(cop_file_remove_tree("other-state", &err), &err);
    run_open(&run, &from, &saved, &from.teacher);
    must(cop_trainer_save(run.trainer, "other-state", &err), &err);
    run_close(&run);

    for (int i = 0; i < 6; i++) {
        cop_trainer_options options = saved;
        const char *message = NULL;
        switch (i) {
        case 0:
            options.batch = options.micro_batch = 2;
            message = "other-state/training.json: batch of the interrupted run is 4, of this one 2 "
                      "(allowed: the same options, or another output)";
            break;
        case 1:
            options.seed = 6;
            message = "other-state/training.json: seed of the interrupted run is 5, of this one 6 "
                      "(allowed: the same options, or another output)";
            break;
        case 2:
            options.temperature = 2.0;
            message = "other-state/training.json: temperature of the interrupted run is 1.0, of "
                      "this one 2.0 (allowed: the same options, or another output)";
            break;
        case 3:
            options.schedule.steps = 10;
            message = "other-state/training.json: steps of the interrupted run is 9, of this one "
                      "10 (allowed: the same options, or another output)";
            break;
        case 4:
            options.schedule.kind = COP_SCHEDULE_CONSTANT;
            message = "other-state/training.json: schedule of the interrupted run is \"cosine\", "
                      "of this one \"constant\" (allowed: the same options, or another output)";
            break;
        default:
            options.inputs = (cop_hash){.low = 1};
            message = "other-state/training.json: inputs_hash of the interrupted run is "
                      "\"00000000000000000000000000000000\", of this one "
                      "\"00000000000000000000000000000001\" (allowed: the same options, or another "
                      "output)";
            break;
        }
        run_open(&run, &from, &options, &from.teacher);
        assert_int_equal(cop_trainer_load(run.trainer, "other-state", &err), COP_ERR_CONFIG);
        assert_string_equal(err.message, message);
        assert_int_equal(cop_trainer_steps(run.trainer), 0);
        run_close(&run);
    }
    fixture_close(&from);
}

static void refuses_options_that_do_not_fit(void **state)
{
    (void)state;
    fixture_set from;
    fixture_open(&from, "options", &llama);
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    cop_network *student = make_student(from.backend, &arch, COP_PRECISION_F32, BATCH, SEQUENCE, 1);
    for (int i = 0; i < 8; i++) {
        cop_trainer_options options = options_for(4);
        const cop_teacher *teacher = &from.teacher;
        const char *message = NULL;
        switch (i) {
        case 0:
            options.micro_batch = 3;
            message = "training: micro_batch is 3 (allowed: divisors of batch 4)";
            break;
        case 1:
            options.micro_batch = 8;
            message = "training: micro_batch is 8 (allowed: 1..4)";
            break;
        case 2:
            options.temperature = 0.0;
            message = "training: temperature is 0 (allowed: 0.001..1000)";
            break;
        case 3:
            options.sequence = 8;
            message = "training: batches have sequences of 16 (allowed: 8)";
            break;
        case 4:
            options.state_pairs = 1;
            options.state_pair[0] = (cop_state_pair){1, 2};
            message = "state losses: student layer is 2 (allowed: 0..1, or -1 for the embedding)";
            break;
        case 5:
            options.state_pairs = 1;
            teacher = NULL;
            message = "training: state losses without a teacher that runs (allowed: with one)";
            break;
        case 6:
            options.kl_weight = 0.0;
            message = "training: loss weights is 0 (allowed: 1e-06..2e+06)";
            break;
        default:
            options.state_pairs = 17;
            message = "training: state pairs is 17 (allowed: 0..16)";
            break;
        }
        cop_error err = {0};
        cop_trainer *trainer = NULL;
        assert_int_not_equal(cop_trainer_create(&trainer, student, from.sampler, teacher,
                                                from.model, &options, &err),
                             COP_OK);
        assert_null(trainer);
        assert_string_equal(err.message, message);
    }
    cop_network_destroy(student);
    fixture_close(&from);
}

static void a_loss_that_is_not_finite_stops_and_leaves_the_saved_state(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    training_run run;
    cop_trainer_options options = options_for(5);
    fixture_open(&from, "spoilt", &llama);
    must(cop_file_remove_tree("spoilt-state", &err), &err);
    run_open(&run, &from, &options, &from.teacher);
    run_until(&run, 1);
    must(cop_trainer_save(run.trainer, "spoilt-state", &err), &err);

    const cop_parameter_view all = cop_network_all_parameters(run.student);
    ((float *)all.working.data)[3] = (float)NAN;
    assert_int_equal(cop_trainer_run(run.trainer, 5, NULL, NULL, &err), COP_ERR_DEVICE);
    assert_non_null(strstr(err.message, "training: step 2: loss is "));
    assert_non_null(strstr(err.message, "learning rate 0.01 (allowed: finite numbers; "));
    assert_int_equal(cop_trainer_run(run.trainer, 5, NULL, NULL, &err), COP_ERR_DEVICE);
    assert_string_equal(err.message, "training: step 2 failed before (allowed: a state from disk)");
    assert_int_equal(cop_trainer_save(run.trainer, "spoilt-state", &err), COP_ERR_DEVICE);
    assert_string_equal(err.message, "spoilt-state: not saved: step 2 failed (the last saved "
                                     "state stays)");
    must(cop_trainer_load(run.trainer, "spoilt-state", &err), &err);
    run_until(&run, 5); // and goes on from there
    run_close(&run);
    fixture_close(&from);
}

static void a_full_disk_leaves_the_older_state_whole(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    training_run run;
    const cop_trainer_options options = options_for(5);
    struct rlimit limit;
    fixture_open(&from, "full", &llama);
    must(cop_file_remove_tree("full-state", &err), &err);
    run_open(&run, &from, &options, &from.teacher);
    run_until(&run, 1);
    must(cop_trainer_save(run.trainer, "full-state", &err), &err);
    run_until(&run, 2);

    // A limit on the size of files stands for the full disk: write() fails either way.
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlim_t before = limit.rlim_cur;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const cop_status status = cop_trainer_save(run.trainer, "full-state", &err);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, COP_ERR_IO);
    assert_non_null(strstr(err.message, "full-state/training-2.safetensors"));

    must(cop_trainer_load(run.trainer, "full-state", &err), &err);
    assert_int_equal(cop_trainer_steps(run.trainer), 1);
    run_close(&run);
    fixture_close(&from);
}

static cop_status stop_at_two(void *context, const cop_trainer_step *step, cop_error *err)
{
    (void)context;
    return step->step < 2 ? COP_OK : COP_FAIL(err, COP_ERR_IO, "stopped by hand");
}

static void a_hook_stops_a_run_that_can_go_on(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    training_run run;
    const cop_trainer_options options = options_for(5);
    fixture_open(&from, "hook", &llama);
    run_open(&run, &from, &options, &from.teacher);
    assert_int_equal(cop_trainer_run(run.trainer, 5, stop_at_two, NULL, &err), COP_ERR_IO);
    assert_string_equal(err.message, "stopped by hand");
    assert_int_equal(cop_trainer_steps(run.trainer), 2);
    run_until(&run, 5);
    run_close(&run);
    fixture_close(&from);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    fixture_set from;
    fixture_open(&from, "failing", &llama);
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 1);
    cop_network *student = make_student(from.backend, &arch, COP_PRECISION_F32, BATCH, SEQUENCE, 1);
    cop_trainer_options options = options_for(1);
    options.state_pairs = 1;
    options.state_pair[0] = (cop_state_pair){0, 0};
    const size_t live = cop_alloc_live_blocks();
    size_t allowed = 0;
    for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
        cop_error err = {0};
        cop_trainer *trainer = NULL;
        cop_alloc_fail_after(allowed);
        status = cop_trainer_create(&trainer, student, from.sampler, &from.teacher, from.model,
                                    &options, &err);
        if (status == COP_OK) {
            status = cop_trainer_run(trainer, 1, NULL, NULL, &err);
        }
        if (status == COP_OK) {
            status = cop_trainer_save(trainer, "failing-state", &err);
        }
        cop_trainer_destroy(trainer);
        cop_alloc_fail_after(SIZE_MAX);
        if (status != COP_OK) {
            assert_int_equal(status, COP_ERR_NOMEM);
            assert_true(err.message[0] != '\0');
        }
        assert_int_equal(cop_alloc_live_blocks(), live);
        assert_true(allowed < 1000);
    }
    assert_true(allowed > 10);
    cop_network_destroy(student);
    fixture_close(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_text_by_cross_entropy),
        cmocka_unit_test(learns_from_a_teacher_in_every_form),
        cmocka_unit_test(a_student_equal_to_its_teacher_has_nothing_to_learn),
        cmocka_unit_test(a_step_does_not_depend_on_the_size_of_its_passes),
        cmocka_unit_test(cached_states_train_like_computed_ones_bit_for_bit),
        cmocka_unit_test(a_resumed_run_equals_an_uninterrupted_one_bit_for_bit),
        cmocka_unit_test(refuses_the_state_of_another_run_by_name),
        cmocka_unit_test(refuses_options_that_do_not_fit),
        cmocka_unit_test(a_loss_that_is_not_finite_stops_and_leaves_the_saved_state),
        cmocka_unit_test(a_full_disk_leaves_the_older_state_whole),
        cmocka_unit_test(a_hook_stops_a_run_that_can_go_on),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("trainer", tests, NULL, NULL);
}
