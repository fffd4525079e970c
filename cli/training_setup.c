// Inputs, memory plan and objects of a training command.

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/processes.h"
#include "base/system.h"
#include "cli/quality.h"
#include "cli/training_internal.h"
#include "distill/memory_form.h"
#include "kernels/peak.h"
#include "model/arch_json.h"

enum { VALIDATION_SEQUENCES_MAX = 128 };

static const double rate_from_nothing = 1e-3;
static const double rate_of_trained = 1e-4;
static const double peak_seconds = 0.3;

static bool needs_teacher(const cop_training *run)
{
    return run->job->teacher != NULL &&
           (run->trainer_options.kl_weight > 0.0 || run->trainer_options.state_pairs > 0);
}

// With state losses the teacher runs on every batch; otherwise a cache serves as well.
static bool runs_teacher(const cop_training *run)
{
    return needs_teacher(run) && (run->job->cache == NULL || run->trainer_options.state_pairs > 0);
}

cop_network_options cop_training_network_options(const cop_training *run)
{
    cop_optimizer_options optimizer = run->trainer_options.optimizer;
    cop_network_options network = {
        .precision = run->precision,
        .batch = run->trainer_options.micro_batch,
        .sequence = run->trainer_options.sequence,
        .is_training = true,
        .recompute = run->job->options->recompute,
        .freeze_vocabulary = run->job->options->freezes_vocabulary,
        .group = run->group,
    };
    cop_state_form_apply(run->job->options->state, &network, &optimizer);
    return network;
}

static cop_teacher_options teacher_options(const cop_training *run)
{
    return (cop_teacher_options){
        .precision = run->precision,
        .batch = run->trainer_options.micro_batch,
        .sequence = run->trainer_options.sequence,
        .draws = needs_teacher(run) ? run->trainer_options.sample_draws : 0,
    };
}

// --- Inputs -------------------------------------------------------------------------------------

// "<output>.training", without slashes at the end of the output.
static cop_status name_state(cop_training *run, cop_error *err)
{
    const char *output = run->job->options->output;
    size_t length = strlen(output);
    cop_text path = {0};
    while (length > 1 && output[length - 1] == '/') {
        length--;
    }
    cop_text_append_bytes(&path, output, length);
    cop_text_append(&path, ".training");
    run->state_directory = path.is_broken ? NULL : cop_alloc_string(cop_text_view(&path));
    cop_text_release(&path);
    if (run->state_directory == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for a file name", output);
    }
    return COP_OK;
}

static cop_status open_models(cop_training *run, cop_error *err)
{
    const cop_training_job *job = run->job;
    cop_status status = COP_OK;

    if (job->model != NULL) {
        COP_TRY(status, cop_checkpoint_open(&run->checkpoint, job->model, err));
        run->arch = *cop_checkpoint_arch(run->checkpoint);
    } else {
        COP_TRY(status, cop_arch_read(&run->arch, job->arch, err));
    }
    if (job->teacher != NULL) {
        COP_TRY(status, cop_checkpoint_open(&run->teacher_checkpoint, job->teacher, err));
        COP_TRY(status, cop_cli_check_vocabulary(run->teacher_checkpoint, run->checkpoint, err));
    }

done:
    return status;
}

static cop_status open_data(cop_training *run, cop_error *err)
{
    const cop_training_options *options = run->job->options;
    const int64_t sequence = run->trainer_options.sequence;
    cop_status status = COP_OK;

    COP_TRY(status, cop_tokens_open(&run->tokens, options->data, run->arch.vocab, err));
    COP_TRY(status,
            cop_sampler_create(&run->sampler, run->tokens, sequence, options->seed, true, err));
    if (options->validation != NULL) {
        COP_TRY(status, cop_tokens_open(&run->validation_tokens, options->validation,
                                        run->arch.vocab, err));
        COP_TRY(status, cop_sampler_create(&run->validation_sampler, run->validation_tokens,
                                           sequence, COP_HELD_OUT_SEED, true, err));
        const int64_t windows = cop_sampler_windows(run->validation_sampler);
        run->validation_count =
            windows < VALIDATION_SEQUENCES_MAX ? windows : VALIDATION_SEQUENCES_MAX;
    }

done:
    return status;
}

// arXiv 2407.14679, Table 17: the embedding, and the layer two before the last of each model.
static void set_default_map(cop_training *run)
{
    const int64_t teacher = cop_checkpoint_arch(run->teacher_checkpoint)->layers;
    cop_trainer_options *options = &run->trainer_options;
    options->state_pairs = 2;
    options->state_pair[0] = (cop_state_pair){-1, -1};
    options->state_pair[1] =
        (cop_state_pair){teacher >= 3 ? teacher - 3 : teacher - 1,
                         run->arch.layers >= 3 ? run->arch.layers - 3 : run->arch.layers - 1};
}

// What else decides the result: the models, by content.
static cop_status hash_inputs(cop_training *run, cop_error *err)
{
    const cop_checkpoint *const models[] = {run->checkpoint, run->teacher_checkpoint};
    cop_status status = COP_OK;
    cop_hasher *hasher = NULL;

    COP_TRY(status, cop_hasher_create(&hasher, err));
    cop_hasher_add_text(hasher, run->job->verb);
    for (int i = 0; i < 2; i++) {
        cop_hash hash = {0};
        char text[COP_HASH_TEXT_BYTES];
        if (models[i] != NULL) {
            COP_TRY(status, cop_checkpoint_hash(models[i], &hash, err));
        }
        cop_hasher_add_text(hasher, cop_hash_text(text, hash));
    }
    run->trainer_options.inputs = cop_hasher_value(hasher);

done:
    cop_hasher_destroy(hasher);
    return status;
}

cop_status cop_training_open(cop_training *run, cop_error *err)
{
    const cop_training_job *job = run->job;
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_file_check_absent(job->options->output, job->options->common.is_forced, err));
    COP_TRY(status, name_state(run, err));
    COP_TRY(status, open_models(run, err));
    COP_TRY(status, cop_cli_backend(&run->backend, &job->options->common, err));
    COP_TRY(status,
            cop_cli_precision_of(&run->precision, &job->options->common, run->backend, err));
    run->trainer_options = job->trainer;
    COP_TRY(status,
            cop_training_settle(&run->trainer_options, job->options, &run->arch,
                                job->model != NULL ? rate_of_trained : rate_from_nothing, err));
    if (job->has_default_map) {
        set_default_map(run);
    }
    COP_TRY(status, open_data(run, err));
    COP_TRY(status, hash_inputs(run, err));
    cop_cli_note_device(run->backend, run->precision);
    // Before anything lies in the device's memory: the operands are large.
    COP_TRY(status, cop_matmul_peak(run->backend, &run->peak,
                                    run->precision == COP_PRECISION_BF16 ? COP_BF16 : COP_F32,
                                    peak_seconds, err));

done:
    return status;
}

cop_status cop_training_join(cop_training *run, cop_error *err)
{
    return cop_processes_self().size > 1 ? cop_group_create(&run->group, run->backend, err)
                                         : COP_OK;
}

// --- Memory plan --------------------------------------------------------------------------------

static void add_data(const cop_training *run, cop_plan *plan)
{
    const uint64_t order =
        (uint64_t)cop_sampler_windows(run->sampler) * sizeof(int64_t); // of one epoch
    cop_plan_add_host(plan, "data: order of an epoch", order);
}

// The teacher's states of one pass.
static uint64_t window_bytes(const cop_training *run)
{
    const cop_teacher_options teacher = teacher_options(run);
    const size_t element = run->precision == COP_PRECISION_BF16 ? sizeof(uint16_t) : sizeof(float);
    return (uint64_t)(teacher.batch * teacher.sequence) *
           (uint64_t)cop_checkpoint_arch(run->teacher_checkpoint)->hidden * element;
}

static cop_status plan_training(const cop_training *run, cop_plan *plan, cop_error *err)
{
    const cop_network_options network = cop_training_network_options(run);
    const cop_teacher_options teacher = teacher_options(run);
    const cop_arch *teacher_arch =
        needs_teacher(run) ? cop_checkpoint_arch(run->teacher_checkpoint) : NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_network_plan(plan, "student", &run->arch, &network, run->backend, err));
    COP_TRY(status, cop_trainer_plan(plan, &run->arch, &network, &run->trainer_options,
                                     teacher_arch, run->backend, err));
    if (teacher_arch != NULL) {
        COP_TRY(status, cop_teacher_plan(plan, teacher_arch, &teacher, runs_teacher(run),
                                         run->backend, err));
    }
    if (run->validation_count > 0) {
        COP_TRY(status,
                cop_evaluate_plan(plan, &run->arch, &network, teacher_arch, run->backend, err));
        if (teacher_arch != NULL) {
            cop_plan_add(
                plan, "teacher: states of a batch",
                cop_teacher_states_bytes(teacher_arch, &teacher, !runs_teacher(run), run->backend));
        }
    }
    add_data(run, plan);

done:
    return status;
}

// The plan of the same run in another form.
static cop_status plan_form(void *context, const cop_memory_form *form, cop_plan *out,
                            cop_error *err)
{
    const cop_training *run = context;
    cop_training_options options = *run->job->options;
    cop_training_job job = *run->job;
    cop_training trial = *run;
    cop_network_options unused = {0};
    options.recompute = form->recompute;
    options.state = form->state;
    options.freezes_vocabulary = form->freezes_vocabulary;
    job.options = &options;
    trial.job = &job;
    trial.trainer_options.micro_batch = form->micro_batch;
    cop_state_form_apply(form->state, &unused, &trial.trainer_options.optimizer);
    cop_plan_init(out);
    return plan_training(&trial, out, err);
}

// Refuses a run that does not fit, saying what would.
static cop_status check_plan(const cop_training *run, const cop_plan *plan,
                             const cop_plan_room *room, cop_error *err)
{
    const cop_memory_form now = {
        .recompute = run->job->options->recompute,
        .micro_batch = run->trainer_options.micro_batch,
        .state = run->job->options->state,
        .freezes_vocabulary = run->job->options->freezes_vocabulary,
    };
    cop_training trial = *run;
    cop_status status = COP_OK;
    cop_text advice = {0};

    if (cop_plan_fits(plan, room)) {
        return COP_OK;
    }
    COP_TRY(status, cop_memory_form_advise(&advice, &now, run->trainer_options.batch,
                                           run->precision, room, plan_form, &trial, err));
    status = cop_plan_check_room(plan, run->job->verb, room, cop_text_view(&advice), err);

done:
    cop_text_release(&advice);
    return status;
}

static cop_status show_plan(const cop_plan *plan, const cop_plan_room *room, const char *title,
                            cop_error *err)
{
    cop_text text = {0};
    cop_plan_append_room(plan, room, &text);
    const cop_status status = cop_text_check(&text, "memory plan", err);
    if (status == COP_OK) {
        cop_log(COP_LOG_INFO, "%s", title);
        for (const char *line = cop_text_view(&text); *line != '\0';) {
            const size_t length = strcspn(line, "\n");
            cop_log(COP_LOG_INFO, "%.*s", (int)length, line);
            line += length + (line[length] == '\n' ? 1 : 0);
        }
    }
    cop_text_release(&text);
    return status;
}

cop_status cop_training_plan(cop_training *run, cop_error *err)
{
    const cop_teacher_options teacher = teacher_options(run);
    cop_plan_room room = {0};
    cop_status status = COP_OK;
    cop_plan plan;
    cop_plan before;

    cop_plan_init(&plan);
    cop_plan_init(&before);
    COP_TRY(status, cop_plan_room_of(&room, run->backend, err));
    COP_TRY(status, plan_training(run, &plan, err));
    if (needs_teacher(run) && !runs_teacher(run)) {
        COP_TRY(status, cop_teacher_plan(&before, cop_checkpoint_arch(run->teacher_checkpoint),
                                         &teacher, true, run->backend, err));
        cop_plan_add_host(&before, "teacher: states on their way to disk", window_bytes(run));
        if (cop_plan_total(&before) > cop_plan_total(&plan)) {
            COP_TRY(status,
                    show_plan(&before, &room, "memory while the teacher fills its cache:", err));
            COP_TRY(status, cop_plan_check_room(&before, run->job->verb, &room, NULL, err));
        }
    }
    COP_TRY(status, show_plan(&plan, &room,
                              run->group != NULL ? "memory of each process:" : "memory:", err));
    COP_TRY(status, check_plan(run, &plan, &room, err));
    run->planned_bytes = cop_plan_device_total(&plan);

done:
    return status;
}

// --- Objects ------------------------------------------------------------------------------------

static cop_status build_states(cop_training *run, cop_teacher_states **out, cop_sampler *sampler,
                               int64_t count, cop_error *err)
{
    return runs_teacher(run)
               ? cop_teacher_states_online(out, run->teacher, sampler, err)
               : cop_teacher_states_cached(out, run->teacher, sampler, run->job->cache, count, err);
}

static cop_status build_samples(cop_training *run, int64_t count, cop_error *err)
{
    const uint64_t seed = run->trainer_options.seed;
    return runs_teacher(run)
               ? cop_teacher_samples_online(&run->samples, run->teacher, run->sampler, seed, err)
               : cop_teacher_samples_cached(&run->samples, run->teacher, run->sampler, seed,
                                            run->job->cache, count, err);
}

// Before the student: a cache is filled while its memory is not in use yet.
cop_status cop_training_build_teacher(cop_training *run, cop_error *err)
{
    const cop_teacher_options options = teacher_options(run);
    const int64_t count = run->trainer_options.schedule.steps * run->trainer_options.batch;
    cop_status status = COP_OK;

    if (!needs_teacher(run)) {
        return COP_OK;
    }
    COP_TRY(status, cop_teacher_model_create(&run->teacher, run->teacher_checkpoint, &options,
                                             run->backend, err));
    if (options.draws > 0) {
        COP_TRY(status, build_samples(run, count, err));
    } else {
        COP_TRY(status, build_states(run, &run->states, run->sampler, count, err));
    }
    if (run->validation_count > 0) {
        COP_TRY(status, build_states(run, &run->validation_states, run->validation_sampler,
                                     run->validation_count, err));
    }

done:
    return status;
}

const cop_teacher *cop_training_teacher(const cop_training *run, bool is_validation,
                                        cop_teacher *out)
{
    cop_teacher_states *states = is_validation ? run->validation_states : run->states;
    if (states == NULL && (is_validation || run->samples == NULL)) {
        return NULL;
    }
    out->head = cop_teacher_model_head(run->teacher);
    if (states == NULL) {
        out->samples = cop_teacher_samples_source(run->samples);
        return out;
    }
    out->states = cop_teacher_states_source(states);
    return out;
}

cop_status cop_training_build(cop_training *run, cop_error *err)
{
    const cop_network_options network = cop_training_network_options(run);
    char number[COP_TEXT_NUMBER_BYTES];
    cop_status status = COP_OK;
    cop_teacher teacher = {0};

    COP_TRY(status, cop_file_make_directory(run->state_directory, err));
    COP_TRY(status, cop_network_create(&run->network, &run->arch, &network, run->backend, err));
    if (run->group != NULL) {
        cop_log(COP_LOG_INFO, "%d processes, each sends %s per step", run->group->size,
                cop_text_bytes(number, cop_network_traffic_bytes(run->network)));
    }
    if (run->checkpoint != NULL) {
        COP_TRY(status, cop_network_load(run->network, run->checkpoint, err));
    } else {
        COP_TRY(status, cop_network_init(run->network, run->job->options->seed, err));
    }
    COP_TRY(status, cop_trainer_create(&run->trainer, run->network, run->sampler,
                                       cop_training_teacher(run, false, &teacher), run->teacher,
                                       &run->trainer_options, err));

done:
    return status;
}

cop_status cop_training_resume(cop_training *run, cop_error *err)
{
    cop_status status = COP_OK;

    if (cop_trainer_has_state(run->state_directory)) {
        COP_TRY(status, cop_trainer_load(run->trainer, run->state_directory, err));
        cop_log(COP_LOG_INFO, "%s: continuing after step %" PRId64, run->state_directory,
                cop_trainer_steps(run->trainer));
    }

done:
    return status;
}

void cop_training_release(cop_training *run)
{
    cop_trainer_destroy(run->trainer);
    cop_network_destroy(run->network);
    cop_group_destroy(run->group);
    cop_teacher_states_destroy(run->validation_states);
    cop_teacher_states_destroy(run->states);
    cop_teacher_samples_destroy(run->samples);
    cop_teacher_model_destroy(run->teacher);
    cop_sampler_destroy(run->validation_sampler);
    cop_sampler_destroy(run->sampler);
    cop_tokens_destroy(run->validation_tokens);
    cop_tokens_destroy(run->tokens);
    cop_checkpoint_destroy(run->teacher_checkpoint);
    cop_checkpoint_destroy(run->checkpoint);
    cop_backend_destroy(run->backend);
    cop_free(run->state_directory);
    *run = (cop_training){0};
}

cop_status cop_training_measure(cop_training *run, cop_training_quality *out, cop_error *err)
{
    cop_status status = COP_OK;
    cop_evaluation found = {0};
    cop_teacher teacher = {0};
    const cop_teacher *used = cop_training_teacher(run, true, &teacher);
    const uint64_t seed = run->job->options->seed;

    COP_TRY(status, cop_evaluate(&found, run->network, run->validation_sampler, 0,
                                 run->validation_count, used, err));
    COP_TRY(status, cop_estimate_mean(&out->loss, found.cross_entropy, found.sequences, seed, err));
    COP_TRY(status,
            cop_estimate_mean(&out->agreement, found.agreement, found.sequences, seed, err));
    if (used != NULL) {
        COP_TRY(status, cop_estimate_mean(&out->kl, found.kl, found.sequences, seed, err));
    }

done:
    cop_evaluation_release(&found);
    return status;
}
