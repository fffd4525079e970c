// Training by several processes, with sharded state. Run alone and, by mpirun, with 2 and 3 processes; each
// process also trains alone, and compares.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/processes.h"
#include "model/arch_json.h"
#include "tests/distill/fixture.h"

enum { SEQUENCE = 16, BATCH = 6, STEPS = 5 };

static int rank;
static int size;

// A way to train, and how far sums in another order may lead from the same start.
typedef struct form {
    const char *name;
    const char *backend;
    cop_precision precision;
    cop_state_form state;
    bool is_frozen;
    bool has_states; // state losses, with their own projection
    double loss_tolerance;
    double weight_tolerance; // of the mean distance
} form;

// f64: sums of a few hundred terms differ by some 1e-15, which AdamW's eps of 1e-3 keeps small. f32: the
// same with 1e-7. bf16: gradients that differ in the last bit of f32 make weights round to a neighbour, 2^-9
// of their size of 0.1, and stochastic rounding of moments then takes another path.
static const form forms[] = {
    {"f64", "reference", COP_PRECISION_F64, COP_STATE_FULL, false, false, 1e-12, 1e-12},
    {"f64-states", "reference", COP_PRECISION_F64, COP_STATE_FULL, false, true, 1e-12, 1e-12},
    {"f32", "cpu", COP_PRECISION_F32, COP_STATE_FULL, false, false, 1e-5, 1e-6},
    {"f32-frozen", "cpu", COP_PRECISION_F32, COP_STATE_FULL, true, true, 1e-5, 1e-6},
    {"bf16-full", "cpu", COP_PRECISION_BF16, COP_STATE_FULL, false, false, 2e-2, 1e-4},
    {"bf16-frozen", "cpu", COP_PRECISION_BF16, COP_STATE_FULL, true, false, 2e-2, 1e-4},
    {"bf16-compact", "cpu", COP_PRECISION_BF16, COP_STATE_COMPACT, false, false, 2e-2, 1e-3},
    {"bf16-lean", "cpu", COP_PRECISION_BF16, COP_STATE_LEAN, false, false, 2e-2, 1e-3},
    {"bf16-lean-frozen", "reference", COP_PRECISION_BF16, COP_STATE_LEAN, true, false, 2e-2, 1e-3},
};

enum { FORMS = sizeof forms / sizeof forms[0] };

typedef struct history {
    int count;
    cop_trainer_step step[2 * STEPS];
} history;

static cop_status remember(void *context, const cop_trainer_step *step, cop_error *err)
{
    history *past = context;
    (void)err;
    past->step[past->count++] = *step;
    return COP_OK;
}

typedef struct training {
    fixture_set from;
    cop_group *group; // NULL: alone
    cop_network *student;
    cop_trainer *trainer;
    history past;
} training;

static cop_network_options network_options(const form *f, cop_optimizer_options *optimizer,
                                           cop_group *group)
{
    cop_network_options options = {.precision = f->precision,
                                   .batch = BATCH / size,
                                   .sequence = SEQUENCE,
                                   .is_training = true,
                                   .freeze_vocabulary = f->is_frozen,
                                   .group = group};
    if (f->state != COP_STATE_FULL) {
        cop_state_form_apply(f->state, &options, optimizer);
    }
    return options;
}

static cop_trainer_options trainer_options(const form *f)
{
    cop_trainer_options options = cop_trainer_options_default();
    options.ce_weight = 0.5;
    options.batch = BATCH;
    options.micro_batch = BATCH / size; // the same passes in all trainings
    options.sequence = SEQUENCE;
    options.seed = 5;
    options.schedule = (cop_schedule){COP_SCHEDULE_COSINE, 1e-2, 1e-3, 1, STEPS};
    options.optimizer.eps = 1e-3;
    options.optimizer.moments = f->state == COP_STATE_FULL ? COP_F32 : COP_BF16;
    if (f->has_states) {
        options.state_pairs = 2;
        options.state_pair[0] = (cop_state_pair){-1, -1};
        options.state_pair[1] = (cop_state_pair){1, 1};
    }
    return options;
}

static void training_open(training *out, const form *f, bool is_shared)
{
    const fixture_options fixture = {.backend = f->backend,
                                     .family = COP_FAMILY_LLAMA,
                                     .hidden = 24,
                                     .layers = 2,
                                     .precision = f->precision,
                                     .teacher_batch = BATCH,
                                     .sequence = SEQUENCE};
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    cop_trainer_options options = trainer_options(f);
    char name[32];
    cop_error err = {0};

    memset(out, 0, sizeof *out);
    (void)snprintf(name, sizeof name, "rank%d", rank); // processes write files of their own
    fixture_open(&out->from, name, &fixture);
    if (is_shared) {
        must(cop_group_create(&out->group, out->from.backend, &err), &err);
    }
    const cop_network_options network = network_options(f, &options.optimizer, out->group);
    must(cop_network_create(&out->student, &arch, &network, out->from.backend, &err), &err);
    must(cop_network_init(out->student, 21, &err), &err);
    must(cop_trainer_create(&out->trainer, out->student, out->from.sampler, &out->from.teacher,
                            out->from.model, &options, &err),
         &err);
}

static void training_close(training *t)
{
    cop_trainer_destroy(t->trainer);
    cop_network_destroy(t->student);
    cop_group_destroy(t->group);
    fixture_close(&t->from);
}

static void run_until(training *t, int64_t step)
{
    cop_error err = {0};
    must(cop_trainer_run(t->trainer, step, remember, &t->past, &err), &err);
}

static void check_near(const training *a, training *with_a, training *b, const form *f)
{
    int64_t count = 0;
    double sum = 0.0;
    double *x = read_parameters(with_a->student, &count);
    double *y = read_parameters(b->student, &count);
    for (int64_t i = 0; i < count; i++) {
        sum += fabs(x[i] - y[i]) / (double)count;
    }
    cop_free(x);
    cop_free(y);
    if (!(sum <= f->weight_tolerance)) {
        fail_msg("%s: weights are %g apart (allowed: %g)", f->name, sum, f->weight_tolerance);
    }
    assert_int_equal(a->past.count, b->past.count);
    for (int i = 0; i < a->past.count; i++) {
        const cop_trainer_step *p = &a->past.step[i];
        const cop_trainer_step *q = &b->past.step[i];
        assert_close(p->loss, q->loss, f->loss_tolerance);
        assert_close(p->kl, q->kl, f->loss_tolerance);
        assert_close(p->gradient_norm, q->gradient_norm,
                     f->loss_tolerance * fmax(1.0, q->gradient_norm));
        if (f->has_states) {
            assert_close(p->state_loss, q->state_loss, f->loss_tolerance);
        }
    }
}

static void check_equal(training *a, training *b)
{
    int64_t count = 0;
    double *x = read_parameters(a->student, &count);
    double *y = read_parameters(b->student, &count);
    assert_memory_equal(x, y, (size_t)count * sizeof *x);
    cop_free(x);
    cop_free(y);
    for (int i = 0; i < a->past.count; i++) {
        assert_true(a->past.step[i].loss == b->past.step[i].loss);
        assert_true(a->past.step[i].gradient_norm == b->past.step[i].gradient_norm);
    }
}

// --- Tests --------------------------------------------------------------------------------------

static void many_processes_train_what_one_does_and_repeat_it(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        training alone;
        training first;
        training second;
        training_open(&alone, &forms[i], false);
        run_until(&alone, STEPS);
        training_open(&first, &forms[i], true);
        run_until(&first, STEPS);
        check_near(&first, &first, &alone, &forms[i]);
        training_open(&second, &forms[i], true);
        run_until(&second, STEPS);
        check_equal(&first, &second);
        assert_true(first.past.step[STEPS - 1].loss < first.past.step[0].loss);
        training_close(&second);
        training_close(&first);
        training_close(&alone);
    }
}

static void all_processes_hold_the_same_weights(void **state)
{
    (void)state;
    const form *f = &forms[6];
    training t;
    cop_error err = {0};
    training_open(&t, f, true);
    run_until(&t, STEPS);
    const cop_matrix working = cop_network_all_parameters(t.student).working;
    const uint64_t bytes = (uint64_t)working.cols * cop_dtype_bytes(working.dtype);
    char *first = cop_alloc((size_t)bytes, 1);
    memcpy(first, working.data, (size_t)bytes);
    must(cop_processes_broadcast(first, bytes, 0, &err), &err);
    assert_memory_equal(first, working.data, (size_t)bytes);
    cop_free(first);
    training_close(&t);
}

static void remove_state(const char *directory)
{
    cop_error err = {0};
    if (rank == 0) {
        must(cop_file_remove_tree(directory, &err), &err);
    }
    must(cop_processes_barrier(&err), &err);
}

// Saved by all and continued by one, saved by one and continued by all.
static void a_state_is_continued_by_another_number_of_processes(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        const form *f = &forms[i];
        cop_error err = {0};
        char own[32];
        training whole;
        training saved;
        training by_one;
        training by_all;
        training again;
        (void)snprintf(own, sizeof own, "state%d", rank);
        remove_state("state");

        training_open(&whole, f, true);
        run_until(&whole, STEPS);
        training_open(&saved, f, true);
        run_until(&saved, 2);
        must(cop_trainer_save(saved.trainer, "state", &err), &err);

        training_open(&again, f, true); // by as many: bit for bit
        must(cop_trainer_load(again.trainer, "state", &err), &err);
        run_until(&again, STEPS);
        memmove(&again.past.step[2], &again.past.step[0], 3 * sizeof again.past.step[0]);
        memcpy(again.past.step, saved.past.step, 2 * sizeof again.past.step[0]);
        again.past.count = STEPS;
        check_equal(&again, &whole);

        training_open(&by_one, f, false);
        must(cop_trainer_load(by_one.trainer, "state", &err), &err);
        run_until(&by_one, 3);
        must(cop_file_remove_tree(own, &err), &err);
        must(cop_trainer_save(by_one.trainer, own, &err), &err);
        must(cop_processes_barrier(&err), &err);

        training_open(&by_all, f, true);
        must(cop_trainer_load(by_all.trainer, "state0", &err), &err);
        run_until(&by_all, STEPS);
        assert_int_equal(by_one.past.step[0].step, 3);
        by_all.past.step[2] = by_all.past.step[1];
        by_all.past.step[1] = by_all.past.step[0];
        by_all.past.step[0] = by_one.past.step[0];
        by_all.past.count = 3;
        training tail = whole;
        memmove(&tail.past.step[0], &whole.past.step[2], 3 * sizeof tail.past.step[0]);
        tail.past.count = 3;
        check_near(&tail, &whole, &by_all, f);

        training_close(&by_all);
        training_close(&by_one);
        training_close(&again);
        training_close(&saved);
        training_close(&whole);
    }
}

static void a_batch_that_cannot_be_shared_out_is_refused(void **state)
{
    (void)state;
    training t;
    cop_trainer *trainer = NULL;
    cop_error err = {0};
    char wanted[160];
    training_open(&t, &forms[2], true);
    cop_trainer_options options = trainer_options(&forms[2]);
    options.batch = 7;
    options.micro_batch = 1;
    const cop_status status =
        cop_trainer_create(&trainer, t.student, t.from.sampler, NULL, NULL, &options, &err);
    (void)snprintf(wanted, sizeof wanted,
                   "training: batch is 7 (allowed: multiples of %d, the number of processes)",
                   size);
    assert_int_equal(status, size > 1 ? COP_ERR_CONFIG : COP_OK);
    assert_string_equal(err.message, size > 1 ? wanted : "");
    cop_trainer_destroy(trainer);
    training_close(&t);
}

// Frozen students of one form, planned and made.
static void memory_is_what_the_plan_says(void **state)
{
    (void)state;
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    for (int i = 0; i < FORMS; i++) {
        cop_optimizer_options optimizer_options = COP_OPTIMIZER_OPTIONS_DEFAULT;
        cop_error err = {0};
        cop_backend *backend = NULL;
        cop_group *group = NULL;
        cop_network *network = NULL;
        cop_optimizer *optimizer = NULL;
        cop_plan plan;
        must(cop_backend_create(&backend, forms[i].backend, &err), &err);
        must(cop_group_create(&group, backend, &err), &err);
        const cop_network_options options = network_options(&forms[i], &optimizer_options, group);
        cop_plan_init(&plan);
        must(cop_network_plan(&plan, "student", &arch, &options, backend, &err), &err);
        must(cop_optimizer_plan(&plan, "student", &arch, &options, &optimizer_options, backend,
                                &err),
             &err);
        must(cop_network_create(&network, &arch, &options, backend, &err), &err);
        must(cop_optimizer_create(&optimizer, network, &optimizer_options, &err), &err);
        assert_int_equal(backend->memory_used_bytes, cop_plan_total(&plan) - plan.line[0].bytes);
        assert_true((cop_network_traffic_bytes(network) > 0) == (size > 1));
        cop_optimizer_destroy(optimizer);
        cop_network_destroy(network);
        cop_group_destroy(group);
        cop_backend_destroy(backend);
    }
}

// --- An 8B student on devices of 80 GB -------------------------------------------------------------

// Of an 80 GB device, 79.6 GiB as it reports, a context and NCCL's buffers leave some 77.
static const uint64_t usable_bytes = (uint64_t)77 << 30;

static const char *const model_files[] = {"minitron-8b.json", "nemotron-4-15b.json"};

// Bytes that a member of `members` needs: the student with its optimizer, one sequence of 4096 per pass, blocks
// recomputed, and of the 15B teacher the LM head and a batch of cached states.
static uint64_t planned_bytes(int members, cop_state_form state, bool is_frozen)
{
    cop_backend *backend = NULL;
    cop_arch arch[2];
    cop_plan plan;
    cop_error err = {0};
    cop_group group = {.rank = members - 1, .size = members}; // the last one has the longest part
    cop_trainer_options options = cop_trainer_options_default();
    options.batch = 4 * members;
    options.sequence = 4096;
    cop_network_options network = {.precision = COP_PRECISION_BF16,
                                   .batch = 1,
                                   .sequence = 4096,
                                   .is_training = true,
                                   .recompute = COP_RECOMPUTE_BLOCK,
                                   .freeze_vocabulary = is_frozen,
                                   .group = &group};
    const cop_teacher_options teacher = {
        .precision = COP_PRECISION_BF16, .batch = 1, .sequence = 4096};

    cop_state_form_apply(state, &network, &options.optimizer);
    for (int i = 0; i < 2; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/configs/models/%s", COP_SOURCE_DIR, model_files[i]);
        must(cop_arch_read(&arch[i], path, &err), &err);
    }
    must(cop_backend_create(&backend, "cpu", &err), &err);
    cop_plan_init(&plan);
    must(cop_network_plan(&plan, "student", &arch[0], &network, backend, &err), &err);
    must(cop_trainer_plan(&plan, &arch[0], &network, &options, &arch[1], backend, &err), &err);
    must(cop_teacher_plan(&plan, &arch[1], &teacher, false, backend, &err), &err);
    cop_backend_destroy(backend);
    return cop_plan_total(&plan) - plan.line[0].bytes;
}

static void an_8b_student_fits_eight_devices_of_80_gb(void **state)
{
    (void)state;
    if (rank > 0) {
        return;
    }
    // Alone neither form with f32 masters fits; eight members share even the full one.
    assert_true(planned_bytes(1, COP_STATE_FULL, false) > usable_bytes);
    assert_true(planned_bytes(1, COP_STATE_COMPACT, false) > usable_bytes);
    assert_true(planned_bytes(8, COP_STATE_FULL, false) <= usable_bytes);
    assert_true(planned_bytes(8, COP_STATE_COMPACT, false) <= usable_bytes);
    assert_true(planned_bytes(8, COP_STATE_LEAN, false) <= usable_bytes);
    assert_true(planned_bytes(8, COP_STATE_FULL, true) < planned_bytes(8, COP_STATE_FULL, false));
    assert_true(planned_bytes(2, COP_STATE_FULL, true) > planned_bytes(8, COP_STATE_FULL, true));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_processes_train_what_one_does_and_repeat_it),
        cmocka_unit_test(all_processes_hold_the_same_weights),
        cmocka_unit_test(a_state_is_continued_by_another_number_of_processes),
        cmocka_unit_test(a_batch_that_cannot_be_shared_out_is_refused),
        cmocka_unit_test(memory_is_what_the_plan_says),
        cmocka_unit_test(an_8b_student_fits_eight_devices_of_80_gb),
    };
    cop_error err = {0};
    if (cop_processes_start(&err) != COP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    rank = cop_processes_self().rank;
    size = cop_processes_self().size;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed != 0) {
        cop_processes_abort(1);
    }
    cop_processes_stop();
    return failed;
}
