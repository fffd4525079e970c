// One candidate at one stage, in whatever process: pruned, trained where the stage says so, evaluated.
// Nothing is recorded here; the outcome says what is to be.

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "eval/latency.h"
#include "search/run_internal.h"

static const double latency_seconds = 2.0;

// --- Latency ------------------------------------------------------------------------------------

static cop_status measure_latency(cop_run *run, const cop_arch *arch, double *milliseconds,
                                  cop_error *err)
{
    const cop_network_options options = {.precision = run->footprint.precision,
                                         .batch = run->study->latency_batch,
                                         .sequence = run->study->latency_sequence};
    cop_status status = COP_OK;
    cop_network *network = NULL;
    cop_latency latency = {0};

    COP_TRY(status, cop_network_create(&network, arch, &options, run->backend, err));
    COP_TRY(status, cop_run_prune(run, network, err));
    COP_TRY(status, cop_latency_measure(&latency, network, options.batch, options.sequence,
                                        latency_seconds, err));
    *milliseconds = 1e3 * latency.median_seconds;

done:
    cop_network_destroy(network);
    return status;
}

bool cop_run_is_timely(const cop_run *run, double latency_ms)
{
    const cop_bound bound = run->study->latency_ms;
    return isnan(latency_ms) || (latency_ms <= bound.max && latency_ms >= bound.min);
}

// Measured once: what was measured before counts, so that a continued study decides the same.
static cop_status find_latency(cop_run *run, const cop_arch *arch, double before, double *out,
                               cop_error *err)
{
    const cop_bound bound = run->study->latency_ms;

    *out = before;
    if (!isnan(before) || (!(bound.max < HUGE_VAL) && !(bound.min > -HUGE_VAL))) {
        return COP_OK;
    }
    return measure_latency(run, arch, out, err);
}

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
        COP_TRY(status, find_latency(run, arch, assignment->latency_ms, &out->latency_ms, err));
        if (!cop_run_is_timely(run, out->latency_ms)) {
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
    *out = (cop_outcome){.latency_ms = (double)NAN};
    out->status = attempt(run, candidate, assignment, out, &out->error);
    out->is_stopped = out->status == COP_OK && run->is_stopped;
}

void cop_outcome_release(cop_outcome *outcome)
{
    cop_evaluation_release(&outcome->evaluation);
}
