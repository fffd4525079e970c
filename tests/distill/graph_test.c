// Recorded steps: a replay is the step bit for bit, and nothing within a step waits.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/distill/fixture.h"
#include "tests/distill/graph_backend.h"

enum { SEQUENCE = 16, BATCH = 4, STEPS = 6 };

typedef struct outcome {
    double *parameters; // owned
    int64_t count;
    cop_trainer_step step[STEPS];
    graph_counts counts; // of the steps
} outcome;

typedef struct setting {
    int64_t micro_batch;
    bool has_teacher;
    bool without_graphs;
    cop_state_form form;
    bool is_frozen;
    cop_precision precision;
    int refused; // recording
} setting;

static cop_status remember(void *context, const cop_trainer_step *step, cop_error *err)
{
    outcome *out = context;
    (void)err;
    out->step[step->step - 1] = *step;
    return COP_OK;
}

// The whole of a fixture on the backend with graphs.
typedef struct rig {
    cop_backend *backend;
    cop_tokens *tokens;
    cop_sampler *sampler;
    cop_checkpoint *checkpoint;
    cop_teacher_model *model;
    cop_teacher_states *states;
    cop_network *student;
} rig;

static void open_rig(rig *at, const setting *how, cop_network_options *network)
{
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    const cop_arch teacher_arch = small_arch(COP_FAMILY_LLAMA, 24, 2);
    const cop_teacher_options teacher = {
        .precision = how->precision, .batch = BATCH, .sequence = SEQUENCE};
    cop_error err = {0};
    memset(at, 0, sizeof *at);
    at->backend = graph_backend_create();
    write_tokens("graph.bin", 4000, 3);
    write_model("graph-teacher", &teacher_arch, 9);
    must(cop_tokens_open(&at->tokens, "graph.bin", FIXTURE_VOCAB, &err), &err);
    must(cop_sampler_create(&at->sampler, at->tokens, SEQUENCE, 4, true, &err), &err);
    must(cop_checkpoint_open(&at->checkpoint, "graph-teacher", &err), &err);
    must(cop_teacher_model_create(&at->model, at->checkpoint, &teacher, at->backend, &err), &err);
    must(cop_teacher_states_online(&at->states, at->model, at->sampler, &err), &err);
    must(cop_network_create(&at->student, &arch, network, at->backend, &err), &err);
    must(cop_network_init(at->student, 21, &err), &err);
}

static void close_rig(rig *at)
{
    cop_network_destroy(at->student);
    cop_teacher_states_destroy(at->states);
    cop_teacher_model_destroy(at->model);
    cop_checkpoint_destroy(at->checkpoint);
    cop_sampler_destroy(at->sampler);
    cop_tokens_destroy(at->tokens);
    cop_backend_destroy(at->backend);
}

static outcome train(const setting *how)
{
    cop_trainer_options options = cop_trainer_options_default();
    cop_network_options network = {.precision = how->precision,
                                   .batch = how->micro_batch,
                                   .sequence = SEQUENCE,
                                   .is_training = true,
                                   .freeze_vocabulary = how->is_frozen};
    cop_trainer *trainer = NULL;
    cop_error err = {0};
    outcome out = {0};
    rig at;
    options.batch = BATCH;
    options.micro_batch = how->micro_batch;
    options.sequence = SEQUENCE;
    options.seed = 5;
    options.ce_weight = 0.5;
    options.without_graphs = how->without_graphs;
    options.schedule = (cop_schedule){COP_SCHEDULE_COSINE, 1e-2, 1e-3, 2, STEPS};
    cop_state_form_apply(how->form, &network, &options.optimizer);
    open_rig(&at, how, &network);
    const cop_teacher teacher = {.head = cop_teacher_model_head(at.model),
                                 .states = cop_teacher_states_source(at.states)};
    must(cop_trainer_create(&trainer, at.student, at.sampler, how->has_teacher ? &teacher : NULL,
                            NULL, &options, &err),
         &err);
    graph_count = (graph_counts){0};
    graph_backend_refuse(how->refused);
    must(cop_trainer_run(trainer, STEPS, remember, &out, &err), &err);
    out.counts = graph_count;
    out.parameters = read_parameters(at.student, &out.count);
    cop_trainer_destroy(trainer);
    close_rig(&at);
    return out;
}

static void assert_same(const outcome *a, const outcome *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->parameters, b->parameters, (size_t)a->count * sizeof *a->parameters);
    for (int i = 0; i < STEPS; i++) {
        assert_true(a->step[i].loss == b->step[i].loss);
        assert_true(a->step[i].cross_entropy == b->step[i].cross_entropy);
        assert_true(a->step[i].kl == b->step[i].kl || isnan(a->step[i].kl));
        assert_true(a->step[i].gradient_norm == b->step[i].gradient_norm);
        assert_true(a->step[i].learning_rate == b->step[i].learning_rate);
    }
}

static const setting settings[] = {
    {.micro_batch = BATCH, .has_teacher = true},
    {.micro_batch = 1, .has_teacher = true},
    {.micro_batch = 2},
    {.micro_batch = 2, .has_teacher = true, .is_frozen = true, .form = COP_STATE_COMPACT},
    {.micro_batch = 2,
     .has_teacher = true,
     .form = COP_STATE_LEAN,
     .is_frozen = true,
     .precision = COP_PRECISION_BF16},
};

enum { SETTINGS = sizeof settings / sizeof settings[0] };

static void a_replayed_step_is_the_step_bit_for_bit(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS; i++) {
        setting eager = settings[i];
        eager.without_graphs = true;
        outcome recorded = train(&settings[i]);
        outcome plain = train(&eager);
        assert_same(&recorded, &plain);
        assert_int_equal(plain.counts.records, 0);
        // One recording of the pass and one of the update; the first step runs without.
        const int passes = (int)(BATCH / settings[i].micro_batch);
        assert_int_equal(recorded.counts.records, 2);
        assert_int_equal(recorded.counts.replays, (STEPS - 1) * (passes + 1));
        assert_true(recorded.counts.calls < plain.counts.calls);
        cop_free(recorded.parameters);
        cop_free(plain.parameters);
    }
}

static void a_step_waits_once(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * SETTINGS; i++) {
        setting how = settings[i / 2];
        how.without_graphs = i % 2 == 1;
        outcome out = train(&how);
        assert_int_equal(out.counts.synchronizations, STEPS);
        cop_free(out.parameters);
    }
}

static void a_refused_recording_costs_nothing_but_time(void **state)
{
    (void)state;
    setting how = settings[1];
    outcome whole = train(&how);
    for (how.refused = 1; how.refused <= 2; how.refused++) {
        outcome out = train(&how);
        assert_same(&out, &whole);
        assert_int_equal(out.counts.records, how.refused);
        cop_free(out.parameters);
    }
    cop_free(whole.parameters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replayed_step_is_the_step_bit_for_bit),
        cmocka_unit_test(a_step_waits_once),
        cmocka_unit_test(a_refused_recording_costs_nothing_but_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
