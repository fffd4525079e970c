// Latency budgets: measured once per candidate and workload, remembered as facts, so that a continued study
// decides the same.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "eval/latency.h"
#include "search/run_internal.h"

enum { KEY_BYTES = COP_CANDIDATE_ID_BYTES + COP_WORKLOAD_NAME_BYTES + 16 };

static const double latency_seconds = 2.0;

cop_latencies cop_latencies_unknown(void)
{
    cop_latencies out;
    for (int i = 0; i < COP_STUDY_LATENCIES_MAX; i++) {
        out.ms[i] = (double)NAN;
    }
    return out;
}

static bool is_within(const cop_latency_budget *budget, double ms)
{
    return isnan(ms) || (ms <= budget->bound.max && ms >= budget->bound.min);
}

bool cop_run_is_timely(const cop_run *run, const cop_latencies *latencies)
{
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int count = cop_study_latencies(run->study, budget);
    for (int i = 0; i < count; i++) {
        if (!is_within(&budget[i], latencies->ms[i])) {
            return false;
        }
    }
    return true;
}

void cop_run_untimely_text(const cop_run *run, const cop_latencies *latencies, char *out,
                           size_t bytes)
{
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int count = cop_study_latencies(run->study, budget);
    for (int i = 0; i < count; i++) {
        const double ms = latencies->ms[i];
        if (!is_within(&budget[i], ms)) {
            const cop_bound bound = budget[i].bound;
            const bool is_slow = ms > bound.max;
            (void)snprintf(out, bytes, "%s%slatency is %.4g ms (budget: %s %.4g ms)",
                           budget[i].name, budget[i].name[0] == '\0' ? "" : ".", ms,
                           is_slow ? "at most" : "at least", is_slow ? bound.max : bound.min);
            return;
        }
    }
}

// --- Measuring ----------------------------------------------------------------------------------

static cop_status measure(cop_run *run, const cop_arch *arch, const cop_latency_budget *budget,
                          double *milliseconds, cop_error *err)
{
    const cop_network_options options = {.precision = run->footprint.precision,
                                         .batch = budget->batch,
                                         .sequence = budget->sequence};
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

cop_status cop_run_find_latencies(cop_run *run, const cop_arch *arch, cop_latencies *latencies,
                                  cop_error *err)
{
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int count = cop_study_latencies(run->study, budget);
    cop_status status = COP_OK;

    for (int i = 0; i < count; i++) {
        double *ms = &latencies->ms[i];
        if (isnan(*ms)) {
            COP_TRY(status, measure(run, arch, &budget[i], ms, err));
        }
        if (!is_within(&budget[i], *ms)) {
            break;
        }
    }

done:
    return status;
}

// --- Remembering --------------------------------------------------------------------------------

static const char *key_of(char key[KEY_BYTES], const cop_latency_budget *budget, const char *id)
{
    (void)snprintf(key, KEY_BYTES, "latency_ms.%s%s%s", budget->name,
                   budget->name[0] == '\0' ? "" : ".", id);
    return key;
}

cop_status cop_run_stored_latencies(cop_run *run, const char *id, cop_latencies *out,
                                    cop_error *err)
{
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int count = cop_study_latencies(run->study, budget);
    char key[KEY_BYTES];
    char *stored = NULL;
    cop_status status = COP_OK;

    *out = cop_latencies_unknown();
    for (int i = 0; i < count; i++) {
        COP_TRY(status, cop_store_get(run->store, key_of(key, &budget[i], id), &stored, err));
        if (stored != NULL && !cop_text_to_f64(stored, &out->ms[i])) {
            out->ms[i] = (double)NAN;
        }
        cop_free(stored);
        stored = NULL;
    }

done:
    cop_free(stored);
    return status;
}

cop_status cop_run_store_latencies(cop_run *run, const char *id, const cop_latencies *found,
                                   cop_latencies *known, cop_error *err)
{
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int count = cop_study_latencies(run->study, budget);
    cop_status status = COP_OK;

    for (int i = 0; i < count; i++) {
        char key[KEY_BYTES];
        char text[64];
        if (isnan(found->ms[i]) || !isnan(known->ms[i])) {
            continue;
        }
        (void)snprintf(text, sizeof text, "%.17g", found->ms[i]);
        COP_TRY(status, cop_store_set(run->store, key_of(key, &budget[i], id), text, err));
        known->ms[i] = found->ms[i];
    }

done:
    return status;
}
