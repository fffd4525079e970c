// One candidate at one stage, in whatever process: pruned, trained where the stage says so, evaluated.
// Nothing is recorded here; the outcome says what is to be.

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "search/run_internal.h"

// --- One attempt --------------------------------------------------------------------------------

static cop_status check_finite(const cop_evaluation *evaluation, cop_error *err)
{
    for (int64_t i = 0; i < evaluation->sequences; i++) {
        const double kl = evaluation->kl != NULL ? evaluation->kl[i] : 0.0;
        if (!isfinite(evaluation->cross_entropy[i]) || !isfinite(kl)) {
            return COP_FAIL(err, COP_ERR_DEVICE,
                            "evaluation: held-out sequence %" PRId64
                            " has cross-entropy %g and KL %g (allowed: finite numbers)",
                            i, evaluation->cross_entropy[i], kl);
        }
    }
    return COP_OK;
}

static cop_status evaluate(cop_run *run, cop_network *network, cop_evaluation *out, cop_error *err)
{
    const cop_teacher teacher = {.head = cop_teacher_model_head(run->teacher_model),
                                 .states = cop_teacher_states_source(run->held_states)};
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_evaluate(out, network, run->held_sampler, 0, run->held_count, &teacher, err));
    COP_TRY(status, check_finite(out, err));

done:
    return status;
}

static cop_status attempt(cop_run *run, const cop_candidate *candidate,
                          const cop_assignment *assignment, cop_outcome *out, cop_error *err)
{
    const int stage = assignment->stage;
    const cop_network_options options = cop_footprint_network(run->study, run->footprint.precision,
                                                              run->footprint.micro_batch, stage);
    const double start = cop_clock_seconds();
    cop_status status = COP_OK;
    cop_network *network = NULL;
    cop_arch *arch = cop_alloc(1, sizeof *arch);

    if (arch == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", candidate->id);
    }
    *arch = cop_candidate_arch(candidate, cop_checkpoint_arch(run->teacher));
    if (stage == 0) {
        out->latency = assignment->latency;
        COP_TRY(status, cop_run_find_latencies(run, arch, &out->latency, err));
        if (!cop_run_is_timely(run, &out->latency)) {
            goto done;
        }
    }
    COP_TRY(status, cop_network_create(&network, arch, &options, run->backend, err));
    if (stage == 0) {
        COP_TRY(status, cop_run_prune(run, network, err));
    } else {
        COP_TRY(status, cop_run_train(run, candidate, stage, network, &out->seconds, err));
        if (run->is_stopped) {
            goto done;
        }
    }
    COP_TRY(status, evaluate(run, network, &out->evaluation, err));
    out->seconds = stage == 0 ? cop_clock_seconds() - start : out->seconds;
    cop_run_count(run, run->held_count * run->study->probe_sequence, NULL);

done:
    cop_network_destroy(network);
    cop_free(arch);
    return status;
}

void cop_run_attempt(cop_run *run, const cop_candidate *candidate, const cop_assignment *assignment,
                     cop_outcome *out)
{
    *out = (cop_outcome){.latency = cop_latencies_unknown()};
    out->status = attempt(run, candidate, assignment, out, &out->error);
    out->is_stopped = out->status == COP_OK && run->is_stopped;
}

void cop_outcome_release(cop_outcome *outcome)
{
    cop_evaluation_release(&outcome->evaluation);
}
