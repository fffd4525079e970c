// Recorded steps.

#include "base/log.h"
#include "distill/trainer_internal.h"
#include "model/cost.h"

// Operators of a layer, forward and backward, and of the rest of a pass: about.
enum { OPERATORS_PER_LAYER = 30, OPERATORS_ELSE = 20 };

bool cop_trainer_is_recordable(const cop_arch *student, const cop_trainer_options *options,
                               cop_backend *backend)
{
    const double tokens = (double)(options->micro_batch * options->sequence);
    const double operators = (double)(student->layers * OPERATORS_PER_LAYER + OPERATORS_ELSE);
    const double flops = cop_cost_train_flops(student, options->sequence) * tokens;
    cop_device_info info = {0};
    cop_error ignored = {0};
    if (options->without_graphs || options->state_pairs > 0 ||
        flops / operators > COP_GRAPH_FLOPS_PER_OPERATOR) {
        return false;
    }
    return cop_backend_info(backend, &info, &ignored) == COP_OK && info.has_graphs;
}

// Records `work`; *out stays NULL where it cannot be.
static cop_status record(cop_backend *backend, cop_graph **out,
                         cop_status (*work)(void *context, cop_error *err), void *context,
                         cop_error *err)
{
    cop_error ending = {0};
    cop_status status = backend->type->graph_begin(backend, NULL, err);
    if (status != COP_OK) {
        return status;
    }
    status = work(context, err);
    const cop_status ended = backend->type->graph_end(backend, NULL, out, &ending);
    if (status == COP_OK && ended != COP_OK) {
        status = COP_FAIL(err, ended, "%s", ending.message);
    }
    if (status != COP_OK && ended == COP_OK) {
        backend->type->graph_destroy(backend, *out);
        *out = NULL;
    }
    return status;
}

cop_status cop_trainer_replay(cop_trainer *trainer, cop_graph **graph,
                              cop_status (*work)(void *context, cop_error *err), void *context,
                              cop_error *err)
{
    cop_backend *backend = trainer->buffers.backend;
    cop_error why = {0};
    if (trainer->is_recording && *graph == NULL &&
        record(backend, graph, work, context, &why) != COP_OK) {
        // Nothing has run, so nothing is lost but time.
        cop_log(COP_LOG_WARNING, "training: steps are not recorded: %s", why.message);
        trainer->is_recording = false;
        trainer->buffers.is_recordable = false;
    }
    return trainer->is_recording ? backend->type->graph_run(backend, NULL, *graph, err)
                                 : work(context, err);
}
