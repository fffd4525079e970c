#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/processes.h"
#include "distill/layout.h"
#include "distill/teacher_internal.h"
#include "distill/trainer_internal.h"

cop_trainer_options cop_trainer_options_default(void)
{
    return (cop_trainer_options){
        .kl_weight = 1.0,
        .temperature = 1.0,
        .state_kind = COP_STATE_LOSS_COSINE,
        .batch = 1,
        .micro_batch = 1,
        .sequence = 512,
        .schedule = {.kind = COP_SCHEDULE_COSINE, .peak = 1e-4, .minimum = 1e-5, .steps = 100},
        .optimizer = COP_OPTIMIZER_OPTIONS_DEFAULT,
    };
}

cop_trainer_options cop_trainer_effective(const cop_trainer_options *options, bool has_teacher)
{
    cop_trainer_options effective = *options;
    effective.optimizer.seed = options->seed;
    if (!has_teacher) {
        effective.kl_weight = 0.0;
        effective.sample_draws = 0;
        effective.ce_weight = options->ce_weight > 0.0 ? options->ce_weight : 1.0;
    }
    return effective;
}

cop_state_losses_options cop_trainer_state_options(const cop_trainer_options *options,
                                                   cop_precision precision)
{
    cop_state_losses_options states = {
        .precision = precision,
        .kind = options->state_kind,
        .pairs = options->state_pairs,
        .tokens_pass = options->micro_batch * options->sequence,
        .tokens = options->batch * options->sequence,
        .seed = options->seed,
        .optimizer = options->optimizer,
    };
    for (int i = 0; i < options->state_pairs; i++) {
        states.pair[i] = options->state_pair[i];
    }
    return states;
}

// --- Checks -------------------------------------------------------------------------------------

static cop_status check_number(const char *name, double value, double min, double max,
                               cop_error *err)
{
    if (!(value >= min && value <= max)) {
        return COP_FAIL(err, COP_ERR_CONFIG, "training: %s is %g (allowed: %g..%g)", name, value,
                        min, max);
    }
    return COP_OK;
}

static cop_status check_numbers(const cop_trainer_options *options, cop_error *err)
{
    const double tiny = 1e-6;

    const struct {
        const char *name;
        double value;
        double min;
        double max;
    } numbers[] = {
        {"kl_weight", options->kl_weight, 0.0, 1e6},
        {"ce_weight", options->ce_weight, 0.0, 1e6},
        {"temperature", options->temperature, 1e-3, 1e3},
        {"state_alpha", options->state_alpha, 0.0, 1e6},
        {"learning rate", options->schedule.peak, 0.0, 1e3},
        {"minimum learning rate", options->schedule.minimum, 0.0, 1e3},
        {"batch", (double)options->batch, 1.0, 1e6},
        {"micro_batch", (double)options->micro_batch, 1.0, (double)options->batch},
        {"sequence", (double)options->sequence, 1.0, 1e7},
        {"sample draws", (double)options->sample_draws, 0.0, COP_SAMPLE_DRAWS_MAX},
        {"first sequence", (double)options->first_sequence, 0.0, 1e15},
        {"warm-up steps", (double)options->schedule.warmup_steps, 0.0, 1e12},
        {"loss weights", options->kl_weight + options->ce_weight, tiny, 2e6},
        {"state pairs", (double)options->state_pairs, 0.0, COP_STATE_PAIRS_MAX},
    };

    cop_status status = COP_OK;
    for (size_t i = 0; status == COP_OK && i < sizeof numbers / sizeof numbers[0]; i++) {
        status =
            check_number(numbers[i].name, numbers[i].value, numbers[i].min, numbers[i].max, err);
    }
    return status;
}

static cop_status check_options(const cop_trainer_options *options, const cop_group *group,
                                cop_error *err)
{
    const int64_t size = cop_group_size(group);
    const cop_status status = check_numbers(options, err);
    if (status != COP_OK) {
        return status;
    }
    if (options->batch % size != 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "training: batch is %" PRId64 " (allowed: multiples of %" PRId64
                        ", the number of processes)",
                        options->batch, size);
    }
    if (options->batch / size % options->micro_batch != 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "training: micro_batch is %" PRId64 " (allowed: divisors of %s%" PRId64 ")",
                        options->micro_batch,
                        size > 1 ? "each process's part of the batch, " : "batch ",
                        options->batch / size);
    }
    if (options->sample_draws > 0 && options->temperature != 1.0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "training: temperature is %g (allowed: 1 with samples of the teacher)",
                        options->temperature);
    }
    if (options->sample_draws > 0 && options->state_pairs > 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "training: state losses with samples of the teacher (allowed: with its "
                        "states)");
    }
    return COP_OK;
}

static cop_status check_gradients(const cop_network_options *network,
                                  const cop_trainer_options *options, cop_error *err)
{
    const int64_t size = cop_group_size(network->group);
    const int64_t passes = options->batch / size / options->micro_batch;
    if (network->gradients == COP_BF16 && passes > COP_NARROW_PASSES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "training: bf16 gradients are added up over %" PRId64
                        " passes (allowed: 1..%d; a larger micro_batch, or f32 gradients)",
                        passes, (int)COP_NARROW_PASSES_MAX);
    }
    return COP_OK;
}

static cop_status check_student(const cop_network *student, const cop_sampler *sampler,
                                const cop_trainer_options *options, cop_error *err)
{
    const cop_network_options *settings = cop_network_settings(student);
    if (!settings->is_training || settings->batch < options->micro_batch ||
        settings->sequence < options->sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "training: the student is a %s network for %" PRId64 " x %" PRId64
                        " (allowed: a training network for at least %" PRId64 " x %" PRId64 ")",
                        settings->is_training ? "training" : "inference", settings->batch,
                        settings->sequence, options->micro_batch, options->sequence);
    }
    if (cop_sampler_sequence(sampler) != options->sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "training: batches have sequences of %" PRId64 " (allowed: %" PRId64 ")",
                        cop_sampler_sequence(sampler), options->sequence);
    }
    return check_gradients(settings, options, err);
}

static cop_status check_teacher(const cop_network *student, const cop_teacher *teacher,
                                const cop_teacher_model *model, const cop_trainer_options *options,
                                cop_error *err)
{
    const int64_t vocab = cop_network_arch(student)->vocab;
    if (teacher != NULL && teacher->head.rows != vocab) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "training: the teacher's vocabulary is %" PRId64 ", the student's %" PRId64
                        " (allowed: the same)",
                        teacher->head.rows, vocab);
    }
    if (teacher != NULL && options->sample_draws > 0 &&
        (teacher->samples.samples == NULL || teacher->samples.draws != options->sample_draws)) {
        return COP_FAIL(
            err, COP_ERR_CONFIG,
            "training: the teacher gives %" PRId64 " draws of each token (allowed: %" PRId64 ")",
            teacher->samples.samples == NULL ? 0 : teacher->samples.draws, options->sample_draws);
    }
    if (options->state_pairs == 0) {
        return COP_OK;
    }
    if (teacher == NULL || model == NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "training: state losses without a teacher that runs (allowed: with one)");
    }
    if (model->options.batch < options->micro_batch ||
        model->options.sequence < options->sequence ||
        model->options.precision != cop_network_settings(student)->precision) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "training: the teacher runs %" PRId64 " x %" PRId64
                        " in %s (allowed: at least %" PRId64 " x %" PRId64 " in %s)",
                        model->options.batch, model->options.sequence,
                        cop_precision_name(model->options.precision), options->micro_batch,
                        options->sequence,
                        cop_precision_name(cop_network_settings(student)->precision));
    }
    return COP_OK;
}

// --- Memory -------------------------------------------------------------------------------------

cop_trainer_buffers cop_trainer_buffers_of(const cop_arch *student,
                                           const cop_network_options *network,
                                           const cop_trainer_options *options,
                                           const cop_arch *teacher, cop_backend *backend)
{
    const cop_dtype compute = cop_precision_dtype(network->precision);
    const cop_dtype wide = network->precision == COP_PRECISION_F64 ? COP_F64 : COP_F32;
    const cop_dtype gradient = network->gradients == COP_BF16 ? COP_BF16 : wide;
    const int64_t rows = options->micro_batch * options->sequence;
    cop_trainer_buffers buffers = {
        .backend = backend,
        .wide = wide,
        .tokens_pass = rows,
        .tokens = options->batch * options->sequence,
        .hidden = cop_matrix_dense(NULL, compute, rows, student->hidden),
        .head = cop_matrix_dense(NULL, compute, student->vocab, student->hidden),
    };
    buffers.is_recordable =
        cop_group_size(network->group) == 1 && cop_trainer_is_recordable(student, options, backend);
    if (!network->freeze_vocabulary) {
        buffers.head_gradient = cop_matrix_dense(NULL, gradient, student->vocab, student->hidden);
    }
    if (teacher != NULL && options->kl_weight > 0.0 && options->sample_draws > 0) {
        buffers.sample_draws = options->sample_draws;
        buffers.sample.weights = cop_matrix_dense(NULL, COP_F32, rows, options->sample_draws);
        buffers.sample.entropy = cop_matrix_dense(NULL, COP_F32, 1, rows);
    } else if (teacher != NULL && options->kl_weight > 0.0) {
        buffers.teacher_hidden = cop_matrix_dense(NULL, compute, rows, teacher->hidden);
        buffers.teacher_head = cop_matrix_dense(NULL, compute, teacher->vocab, teacher->hidden);
    }
    return buffers;
}

cop_head_loss_args cop_trainer_head_args(const cop_trainer_buffers *buffers,
                                         const cop_trainer_options *options, int64_t row,
                                         int64_t rows, bool with_gradient)
{
    const bool has_sample = buffers->sample_draws > 0;
    const bool has_kl = buffers->teacher_head.cols > 0 || has_sample;
    cop_head_loss_args args = {
        .hidden = cop_layout_rows(buffers->hidden, rows),
        .head = buffers->head,
        .targets = buffers->targets,
        .ce_weight = (float)options->ce_weight,
        .kl_weight = has_kl ? (float)options->kl_weight : 0.0F,
        .temperature = (float)options->temperature,
        .grad_scale = 1.0F / (float)buffers->tokens,
        .cross_entropy = cop_matrix_part(buffers->cross_entropy, 0, 1, row, rows),
        .scratch = buffers->scratch,
    };
    if (has_sample) {
        args.sample_ids = buffers->sample.ids;
        args.sample_weights = cop_layout_rows(buffers->sample.weights, rows);
        args.sample_entropy = cop_matrix_part(buffers->sample.entropy, 0, 1, 0, rows);
    } else if (has_kl) {
        args.teacher_hidden = cop_layout_rows(buffers->teacher_hidden, rows);
        args.teacher_head = buffers->teacher_head;
    }
    if (has_kl) {
        args.kl = cop_matrix_part(buffers->kl, 0, 1, row, rows);
    }
    if (with_gradient) {
        args.d_hidden = cop_layout_rows(buffers->d_hidden, rows);
        args.d_head = buffers->head_gradient;
    }
    return args;
}

// Where a sample lies that recorded steps read.
static void lay_out_sample(cop_trainer_buffers *buffers, char *base, uint64_t *at)
{
    const int64_t rows = buffers->tokens_pass;
    const int64_t draws = buffers->sample_draws;
    buffers->sample_ids_copy =
        cop_layout_take(base, at, (uint64_t)(rows * draws) * sizeof *buffers->sample_ids_copy);
    buffers->sample_copy = (cop_teacher_sample){
        .ids = buffers->sample_ids_copy,
        .weights = cop_layout_matrix(base, at, COP_F32, rows, draws),
        .entropy = cop_layout_matrix(base, at, COP_F32, 1, rows),
    };
}

uint64_t cop_trainer_buffers_lay_out(cop_trainer_buffers *buffers, char *base)
{
    const cop_trainer_options plain = {.temperature = 1.0, .ce_weight = 1.0, .kl_weight = 1.0};
    uint64_t at = 0;

    buffers->targets =
        cop_layout_take(base, &at, (uint64_t)buffers->tokens_pass * sizeof *buffers->targets);
    buffers->d_hidden =
        cop_layout_matrix(base, &at, buffers->wide, buffers->tokens_pass, buffers->hidden.cols);
    buffers->cross_entropy = cop_layout_matrix(base, &at, buffers->wide, 1, buffers->tokens);
    if (buffers->teacher_head.cols > 0 || buffers->sample_draws > 0) {
        buffers->kl = cop_layout_matrix(base, &at, buffers->wide, 1, buffers->tokens);
        if (buffers->is_recordable && buffers->sample_draws > 0) {
            lay_out_sample(buffers, base, &at);
        } else if (buffers->is_recordable) {
            buffers->teacher_copy =
                cop_layout_matrix(base, &at, buffers->teacher_hidden.dtype, buffers->tokens_pass,
                                  buffers->teacher_hidden.cols);
        }
    }
    const cop_head_loss_args args =
        cop_trainer_head_args(buffers, &plain, 0, buffers->tokens_pass, true);
    buffers->scratch = cop_layout_take(
        base, &at, buffers->backend->ops->scratch_bytes(buffers->backend, COP_OP_HEAD_LOSS, &args));
    return at;
}

cop_status cop_trainer_plan(cop_plan *plan, const cop_arch *arch,
                            const cop_network_options *network_options,
                            const cop_trainer_options *options, const cop_arch *teacher,
                            cop_backend *backend, cop_error *err)
{
    const cop_trainer_options effective = cop_trainer_effective(options, teacher != NULL);
    cop_status status = check_options(&effective, network_options->group, err);
    if (status == COP_OK) {
        status = check_gradients(network_options, &effective, err);
    }
    if (status != COP_OK) {
        return status;
    }
    const cop_state_losses_options states =
        cop_trainer_state_options(&effective, network_options->precision);
    cop_trainer_buffers buffers =
        cop_trainer_buffers_of(arch, network_options, &effective, teacher, backend);
    status = cop_optimizer_plan(plan, "student", arch, network_options, &effective.optimizer,
                                backend, err);
    if (status != COP_OK) {
        return status;
    }
    cop_plan_add(plan, "training: LM head and losses", cop_trainer_buffers_lay_out(&buffers, NULL));
    cop_plan_add_host(plan, "training: batches",
                      (uint64_t)buffers.tokens_pass * 2 * sizeof(int32_t) +
                          2 * (uint64_t)buffers.tokens * cop_dtype_bytes(buffers.wide));
    if (effective.state_pairs > 0 && teacher != NULL) {
        status = cop_state_losses_plan(plan, &states, arch, teacher, backend, err);
    }
    return status;
}

// --- Life ---------------------------------------------------------------------------------------

static cop_status create_states(cop_trainer *trainer, cop_error *err)
{
    cop_state_losses_options options = cop_trainer_state_options(
        &trainer->options, cop_network_settings(trainer->student)->precision);
    options.group = trainer->group;
    if (trainer->options.state_pairs == 0) {
        return COP_OK;
    }
    return cop_state_losses_create(&trainer->states, &options, cop_network_arch(trainer->student),
                                   cop_checkpoint_arch(trainer->teacher_model->checkpoint),
                                   cop_network_backend(trainer->student), err);
}

static cop_status create_buffers(cop_trainer *trainer, cop_error *err)
{
    const cop_parameter_view head = cop_network_head(trainer->student);
    cop_backend *backend = cop_network_backend(trainer->student);
    cop_trainer_buffers *buffers = &trainer->buffers;
    cop_arch teacher = {0};

    teacher.hidden = trainer->teacher.head.cols;
    teacher.vocab = trainer->teacher.head.rows;
    *buffers = cop_trainer_buffers_of(cop_network_arch(trainer->student),
                                      cop_network_settings(trainer->student), &trainer->options,
                                      trainer->has_kl ? &teacher : NULL, backend);
    const uint64_t bytes = cop_trainer_buffers_lay_out(buffers, NULL);
    const cop_status status =
        cop_backend_alloc(backend, &buffers->memory, bytes, "training: LM head and losses", err);
    if (status != COP_OK) {
        return status;
    }
    (void)cop_trainer_buffers_lay_out(buffers, buffers->memory);
    buffers->head = head.working;
    buffers->head_gradient = head.gradient;
    if (trainer->has_kl && buffers->sample_draws == 0) {
        buffers->teacher_head = trainer->teacher.head;
    }
    const size_t rows = (size_t)buffers->tokens_pass;
    trainer->inputs = cop_alloc(rows, sizeof *trainer->inputs);
    trainer->targets = cop_alloc(rows, sizeof *trainer->targets);
    trainer->rows = cop_alloc(2 * (size_t)buffers->tokens, cop_dtype_bytes(buffers->wide));
    if (trainer->inputs == NULL || trainer->targets == NULL || trainer->rows == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "training: no memory for batches of %" PRId64 " tokens",
                        buffers->tokens);
    }
    return COP_OK;
}

cop_status cop_trainer_create(cop_trainer **out, cop_network *student, cop_sampler *sampler,
                              const cop_teacher *teacher, cop_teacher_model *teacher_model,
                              const cop_trainer_options *options, cop_error *err)
{
    const cop_trainer_options effective = cop_trainer_effective(options, teacher != NULL);
    cop_status status = COP_OK;
    cop_trainer *trainer = NULL;

    *out = NULL;
    COP_TRY(status, check_options(&effective, cop_network_settings(student)->group, err));
    COP_TRY(status, check_student(student, sampler, &effective, err));
    COP_TRY(status, check_teacher(student, teacher, teacher_model, &effective, err));
    trainer = cop_alloc(1, sizeof *trainer);
    if (trainer == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "training: no memory");
        goto done;
    }
    trainer->student = student;
    trainer->group = cop_network_settings(student)->group;
    trainer->sampler = sampler;
    trainer->teacher = teacher != NULL ? *teacher : (cop_teacher){0};
    trainer->teacher_model = effective.state_pairs > 0 ? teacher_model : NULL;
    trainer->options = effective;
    trainer->has_kl = effective.kl_weight > 0.0;
    trainer->last_logits = (double)NAN;
    trainer->last_states = (double)NAN;
    COP_TRY(status, create_buffers(trainer, err));
    COP_TRY(status, cop_optimizer_create(&trainer->optimizer, student, &effective.optimizer, err));
    COP_TRY(status, create_states(trainer, err));
    *out = trainer;
    trainer = NULL;

done:
    cop_trainer_destroy(trainer);
    return status;
}

void cop_trainer_destroy(cop_trainer *trainer)
{
    if (trainer == NULL) {
        return;
    }
    const cop_backend_type *type = cop_network_backend(trainer->student)->type;
    if (trainer->pass_graph != NULL) {
        type->graph_destroy(cop_network_backend(trainer->student), trainer->pass_graph);
    }
    if (trainer->step_graph != NULL) {
        type->graph_destroy(cop_network_backend(trainer->student), trainer->step_graph);
    }
    cop_state_losses_destroy(trainer->states);
    cop_optimizer_destroy(trainer->optimizer);
    cop_backend_free(cop_network_backend(trainer->student), trainer->buffers.memory);
    cop_free(trainer->inputs);
    cop_free(trainer->targets);
    cop_free(trainer->rows);
    cop_free(trainer);
}

cop_status cop_trainer_agree(const cop_trainer *trainer, cop_status status, cop_error *err)
{
    return cop_group_size(trainer->group) > 1 ? cop_processes_agree(status, err) : status;
}

int64_t cop_trainer_steps(const cop_trainer *trainer)
{
    return trainer->steps;
}
