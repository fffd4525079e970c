#include "distill/trainer.h"

#include <inttypes.h>
#include <math.h>

#include "base/clock.h"
#include "distill/layout.h"
#include "distill/teacher_internal.h"
#include "distill/trainer_internal.h"
#include "model/cost.h"

// Rows [row, row + rows) of the step: one pass.
typedef struct batch_pass {
    int64_t first; // sequence number
    int64_t count; // sequences
    int64_t row;
    int64_t rows;
} batch_pass;

static bool is_dynamic(const cop_trainer *trainer)
{
    return trainer->states != NULL && trainer->options.state_alpha == 0.0;
}

static double alpha_of(const cop_trainer *trainer)
{
    if (trainer->states == NULL || !is_dynamic(trainer)) {
        return trainer->options.state_alpha;
    }
    return trainer->last_states > 0.0 ? trainer->last_logits / trainer->last_states : 0.0;
}

static cop_status fill_batch(cop_trainer *trainer, const batch_pass *pass, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_sampler_fill(trainer->sampler, pass->first, pass->count, trainer->inputs,
                                     trainer->targets, err));
    COP_TRY(status, cop_backend_to_device(cop_network_backend(trainer->student), NULL,
                                          trainer->buffers.targets, trainer->targets,
                                          (uint64_t)pass->rows * sizeof *trainer->targets, err));
    COP_TRY(status, cop_network_put_ids(trainer->student, trainer->inputs, pass->count,
                                        trainer->options.sequence, err));

done:
    return status;
}

// The sample of the batch; where steps are recorded, in the place that they read.
static cop_status take_sample(cop_trainer *trainer, const batch_pass *pass, cop_error *err)
{
    const cop_sample_source *source = &trainer->teacher.samples;
    cop_trainer_buffers *buffers = &trainer->buffers;
    const uint64_t rows = (uint64_t)pass->rows;
    const uint64_t places = rows * (uint64_t)buffers->sample_draws;
    cop_teacher_sample found = {0};
    cop_status status = COP_OK;

    COP_TRY(status, source->samples(source->context, pass->first, pass->count, &found, err));
    if (buffers->is_recordable) {
        COP_TRY(status, cop_backend_on_device(buffers->backend, NULL, buffers->sample_ids_copy,
                                              found.ids, places * sizeof *found.ids, err));
        COP_TRY(status,
                cop_backend_on_device(buffers->backend, NULL, buffers->sample_copy.weights.data,
                                      found.weights.data, places * sizeof(float), err));
        COP_TRY(status,
                cop_backend_on_device(buffers->backend, NULL, buffers->sample_copy.entropy.data,
                                      found.entropy.data, rows * sizeof(float), err));
        found = buffers->sample_copy;
    }
    buffers->sample = found;

done:
    return status;
}

// The teacher's final states of the batch; with state losses its network runs, watched.
static cop_status run_teacher(cop_trainer *trainer, const batch_pass *pass, cop_error *err)
{
    const cop_forward_options options = {
        .ids = trainer->inputs,
        .batch = pass->count,
        .sequence = trainer->options.sequence,
        .tap = cop_state_losses_teacher_tap,
        .tap_context = trainer->states,
    };
    cop_status status = COP_OK;
    cop_matrix hidden = {0};

    if (trainer->states != NULL) {
        cop_network *network = NULL;
        COP_TRY(status, cop_teacher_model_network(trainer->teacher_model, &network, err));
        COP_TRY(status, cop_network_forward(network, &options, &hidden, err));
    } else if (trainer->has_kl && trainer->buffers.sample_draws > 0) {
        return take_sample(trainer, pass, err);
    } else if (trainer->has_kl) {
        const cop_state_source *source = &trainer->teacher.states;
        COP_TRY(status, source->states(source->context, pass->first, pass->count, &hidden, err));
    }
    if (trainer->has_kl && trainer->buffers.is_recordable) {
        const cop_matrix copy = cop_layout_rows(trainer->buffers.teacher_copy, hidden.rows);
        COP_TRY(status,
                cop_backend_on_device(
                    trainer->buffers.backend, NULL, copy.data, hidden.data,
                    (uint64_t)(hidden.rows * hidden.cols) * cop_dtype_bytes(hidden.dtype), err));
        hidden = copy;
    }
    if (trainer->has_kl) {
        trainer->buffers.teacher_hidden = hidden;
    }

done:
    return status;
}

static cop_status run_student(cop_trainer *trainer, const batch_pass *pass, bool keep,
                              cop_error *err)
{
    const cop_forward_options options = {
        .batch = pass->count,
        .sequence = trainer->options.sequence,
        .keep = keep,
        .tap = trainer->states != NULL ? cop_state_losses_student_tap : NULL,
        .tap_context = trainer->states,
    };
    return cop_network_forward(trainer->student, &options, &trainer->buffers.hidden, err);
}

// What a pass enqueues when its inputs are in place: forward pass, losses and, when `keep`, gradients.
typedef struct pass_work {
    cop_trainer *trainer;
    const batch_pass *pass;
    bool keep;
} pass_work;

static cop_status enqueue_pass(void *context, cop_error *err)
{
    const pass_work *work = context;
    cop_trainer *trainer = work->trainer;
    const batch_pass *pass = work->pass;
    cop_trainer_buffers *buffers = &trainer->buffers;
    const cop_ops *ops = buffers->backend->ops;
    const cop_gradient_function inject = trainer->states != NULL ? cop_state_losses_inject : NULL;
    cop_head_loss_args args;
    cop_status status = COP_OK;

    COP_TRY(status, run_student(trainer, pass, work->keep, err));
    args = cop_trainer_head_args(buffers, &trainer->options, pass->row, pass->rows, work->keep);
    COP_TRY(status, ops->head_loss(buffers->backend, NULL, &args, err));
    if (work->keep) {
        COP_TRY(status, cop_network_backward(trainer->student, args.d_hidden, inject,
                                             trainer->states, err));
    }

done:
    return status;
}

// A recorded pass has one place for its losses, that of the last pass; `to` is where they belong.
static cop_status move_losses(cop_trainer *trainer, cop_matrix losses, int64_t from, int64_t to,
                              int64_t rows, cop_error *err)
{
    const int64_t bytes = (int64_t)cop_dtype_bytes(losses.dtype);
    if (losses.data == NULL || from == to) {
        return COP_OK;
    }
    return cop_backend_on_device(trainer->buffers.backend, NULL, (char *)losses.data + to * bytes,
                                 (const char *)losses.data + from * bytes, (uint64_t)(rows * bytes),
                                 err);
}

static cop_status run_recordable(cop_trainer *trainer, const batch_pass *pass, cop_error *err)
{
    cop_trainer_buffers *buffers = &trainer->buffers;
    cop_status status = COP_OK;
    batch_pass fixed = *pass;
    pass_work work = {.trainer = trainer, .pass = &fixed, .keep = true};

    fixed.row = buffers->tokens - pass->rows;
    COP_TRY(status, cop_trainer_replay(trainer, &trainer->pass_graph, enqueue_pass, &work, err));
    COP_TRY(status,
            move_losses(trainer, buffers->cross_entropy, fixed.row, pass->row, pass->rows, err));
    COP_TRY(status, move_losses(trainer, buffers->kl, fixed.row, pass->row, pass->rows, err));

done:
    return status;
}

static cop_status run_pass(cop_trainer *trainer, const batch_pass *pass, double alpha, bool keep,
                           cop_error *err)
{
    pass_work work = {.trainer = trainer, .pass = pass, .keep = keep};
    cop_status status = COP_OK;

    if (trainer->states != NULL) {
        cop_state_losses_begin(trainer->states, pass->rows, pass->row,
                               (float)(alpha / (double)trainer->buffers.tokens));
    }
    COP_TRY(status, fill_batch(trainer, pass, err));
    COP_TRY(status, run_teacher(trainer, pass, err));
    if (trainer->buffers.is_recordable) {
        COP_TRY(status, run_recordable(trainer, pass, err));
    } else {
        COP_TRY(status, enqueue_pass(&work, err));
    }
    if (!keep && trainer->states != NULL) {
        COP_TRY(status, cop_state_losses_measure(trainer->states, err));
    }

done:
    return status;
}

static cop_status run_passes(cop_trainer *trainer, double alpha, bool keep, cop_error *err)
{
    const cop_trainer_options *options = &trainer->options;
    const int64_t first = options->first_sequence + trainer->steps * options->batch;
    const int64_t part = options->batch / cop_group_size(trainer->group); // of this member
    const int64_t start = part * cop_group_rank(trainer->group);
    cop_status status = COP_OK;

    for (int64_t at = start; status == COP_OK && at < start + part; at += options->micro_batch) {
        const batch_pass pass = {
            .first = first + at,
            .count = options->micro_batch,
            .row = at * options->sequence,
            .rows = options->micro_batch * options->sequence,
        };
        status = run_pass(trainer, &pass, alpha, keep, err);
    }
    return status;
}

// Mean of losses that have come to the host.
static double mean_of(const cop_trainer *trainer, int64_t first)
{
    const int64_t count = trainer->buffers.tokens;
    double sum = 0.0;
    for (int64_t i = first; i < first + count; i++) {
        sum += trainer->buffers.wide == COP_F64 ? ((const double *)trainer->rows)[i]
                                                : (double)((const float *)trainer->rows)[i];
    }
    return sum / (double)count;
}

// Each member of a group has a part of a row of losses; then all have all.
static cop_status gather(cop_trainer *trainer, cop_matrix losses, cop_error *err)
{
    return cop_group_all_gather(trainer->group, NULL, losses.data, losses.cols,
                                losses.cols / cop_group_size(trainer->group), losses.dtype, err);
}

// Fetches losses and, when the optimizer made its step, the gradient's norm; the one place of a step
// that waits for the device.
static cop_status fetch(cop_trainer *trainer, double *norm_squared, cop_error *err)
{
    cop_trainer_buffers *buffers = &trainer->buffers;
    const uint64_t bytes = (uint64_t)buffers->tokens * cop_dtype_bytes(buffers->wide);
    cop_status status = COP_OK;

    COP_TRY(status, gather(trainer, buffers->cross_entropy, err));
    COP_TRY(status, cop_backend_to_host(buffers->backend, NULL, trainer->rows,
                                        buffers->cross_entropy.data, bytes, err));
    if (trainer->has_kl) {
        COP_TRY(status, gather(trainer, buffers->kl, err));
        COP_TRY(status, cop_backend_to_host(buffers->backend, NULL, (char *)trainer->rows + bytes,
                                            buffers->kl.data, bytes, err));
    }
    if (trainer->states != NULL) {
        COP_TRY(status, cop_state_losses_fetch(trainer->states, err));
    }
    COP_TRY(status, cop_backend_to_host(buffers->backend, NULL, norm_squared,
                                        cop_optimizer_norm_squared(trainer->optimizer),
                                        sizeof *norm_squared, err));
    COP_TRY(status, cop_backend_synchronize(buffers->backend, NULL, err));

done:
    return status;
}

// Fills the losses of the passes that were just run.
static cop_status collect(cop_trainer *trainer, double alpha, cop_trainer_step *out, cop_error *err)
{
    const cop_trainer_options *options = &trainer->options;
    cop_status status = COP_OK;
    double norm_squared = 0.0;

    out->kl = (double)NAN;
    out->state_loss = (double)NAN;
    COP_TRY(status, fetch(trainer, &norm_squared, err));
    out->gradient_norm = sqrt(norm_squared);
    out->cross_entropy = mean_of(trainer, 0);
    out->loss = options->ce_weight * out->cross_entropy;
    if (trainer->has_kl) {
        out->kl = mean_of(trainer, trainer->buffers.tokens);
        const double scale = options->kl_weight * options->temperature * options->temperature;
        trainer->last_logits = scale * out->kl;
        out->loss += scale * out->kl;
    } else {
        trainer->last_logits = out->loss;
    }
    if (trainer->states != NULL) {
        out->state_loss = cop_state_losses_value(trainer->states);
        trainer->last_states = out->state_loss;
        out->loss += alpha * out->state_loss;
    }

done:
    return status;
}

static double step_flops(const cop_trainer *trainer)
{
    const int64_t sequence = trainer->options.sequence;
    double flops = cop_cost_train_flops(cop_network_arch(trainer->student), sequence);
    if (trainer->has_kl && trainer->buffers.sample_draws == 0) {
        flops += 2.0 * (double)trainer->teacher.head.rows * (double)trainer->teacher.head.cols;
    }
    if (trainer->states != NULL) { // a forward pass is a third; its LM head is counted above
        const cop_arch *teacher = cop_checkpoint_arch(trainer->teacher_model->checkpoint);
        flops += cop_cost_train_flops(teacher, sequence) / 3.0 -
                 2.0 * (double)teacher->vocab * (double)teacher->hidden;
    }
    return flops * (double)trainer->buffers.tokens;
}

static cop_status check_finite(cop_trainer *trainer, const cop_trainer_step *step, cop_error *err)
{
    if (isfinite(step->loss) && isfinite(step->gradient_norm)) {
        return COP_OK;
    }
    trainer->is_spoilt = true;
    return COP_FAIL(err, COP_ERR_DEVICE,
                    "training: step %" PRId64
                    ": loss is %g, gradient norm %g, learning rate %g (allowed: finite numbers; a "
                    "smaller learning rate or a longer warm-up helps)",
                    step->step, step->loss, step->gradient_norm, step->learning_rate);
}

static cop_status enqueue_update(void *context, cop_error *err)
{
    const cop_trainer *trainer = context;
    return cop_optimizer_apply(trainer->optimizer, err);
}

static cop_status run_step(cop_trainer *trainer, cop_trainer_step *out, cop_error *err)
{
    const double start = cop_clock_seconds();
    cop_status status = COP_OK;
    double alpha = 0.0;

    *out = (cop_trainer_step){
        .step = trainer->steps + 1,
        .learning_rate = cop_schedule_rate(&trainer->options.schedule, trainer->steps),
        .flops = step_flops(trainer),
    };
    if (is_dynamic(trainer) && isnan(trainer->last_states)) {
        COP_TRY(status, cop_trainer_agree(trainer, run_passes(trainer, 0.0, false, err), err));
        COP_TRY(status, collect(trainer, 0.0, out, err));
    }
    alpha = alpha_of(trainer);
    // Whoever failed until here must not be waited for.
    COP_TRY(status, cop_trainer_agree(trainer, run_passes(trainer, alpha, true, err), err));
    trainer->is_exchanging = true;
    COP_TRY(status, cop_optimizer_begin(trainer->optimizer, out->learning_rate, err));
    COP_TRY(status,
            cop_trainer_replay(trainer, &trainer->step_graph, enqueue_update, trainer, err));
    if (trainer->states != NULL) {
        COP_TRY(status, cop_state_losses_update(trainer->states, out->learning_rate, err));
    }
    COP_TRY(status, collect(trainer, alpha, out, err));
    trainer->is_exchanging = false;
    out->seconds = cop_clock_seconds() - start;
    COP_TRY(status, check_finite(trainer, out, err));
    trainer->steps++;
    trainer->is_recording = trainer->buffers.is_recordable;

done:
    // A step that failed half way has gradients, or weights, of its own.
    trainer->is_spoilt = trainer->is_spoilt || status != COP_OK;
    return status;
}

bool cop_trainer_failed_alone(const cop_trainer *trainer)
{
    return trainer->is_exchanging && cop_group_size(trainer->group) > 1;
}

cop_status cop_trainer_run(cop_trainer *trainer, int64_t until_step, cop_trainer_hook hook,
                           void *context, cop_error *err)
{
    cop_status status = COP_OK;

    if (trainer->is_spoilt) {
        return COP_FAIL(err, COP_ERR_DEVICE,
                        "training: step %" PRId64 " failed before (allowed: a state from disk)",
                        trainer->steps + 1);
    }
    while (status == COP_OK && trainer->steps < until_step) {
        cop_trainer_step step;
        status = run_step(trainer, &step, err);
        if (status == COP_OK && hook != NULL) {
            status = hook(context, &step, err);
        }
    }
    return status;
}
