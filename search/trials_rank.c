// Ranks what an evaluator measured, and decides who goes on to the next fidelity.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/trials.h"

int cop_trials_stages(const cop_study_file *study)
{
    return study->rungs > 0 ? study->rungs : 1;
}

double cop_trials_fidelity(const cop_study_file *study, int stage)
{
    return study->rungs > 0 ? (double)study->rung_tokens[stage] : 1;
}

static double metric_of(const void *context, const char *name)
{
    return cop_trial_metric(context, name);
}

// Feasible ones by front and first objective, the others by violation; then the order proposed.
static int compare_ranks(const void *a, const void *b)
{
    const cop_trial_rank *x = a;
    const cop_trial_rank *y = b;
    if (x->violation != y->violation) {
        return x->violation < y->violation ? -1 : 1;
    }
    if (x->front != y->front) {
        return x->front < y->front ? -1 : 1;
    }
    for (int k = 0; k < COP_FRONT_OBJECTIVES_MAX; k++) {
        if (x->objective[k] != y->objective[k]) {
            return x->objective[k] < y->objective[k] ? -1 : 1;
        }
    }
    return (x->index > y->index) - (x->index < y->index);
}

// Fronts and crowding distances of the feasible entries; the others keep 0.
static cop_status set_fronts(cop_trial_rank *entries, int64_t count, int objectives, cop_error *err)
{
    const size_t most = (size_t)count + 1;
    cop_status status = COP_OK;
    int64_t feasible = 0;
    double *values = cop_alloc(most * (size_t)objectives, sizeof *values);
    int64_t *front = cop_alloc(most, sizeof *front);
    double *crowding = cop_alloc(most, sizeof *crowding);

    if (values == NULL || front == NULL || crowding == NULL) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "search: no memory to rank %lld points", (long long)count);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].violation == 0) {
            memcpy(values + feasible * objectives, entries[i].objective,
                   (size_t)objectives * sizeof *values);
            feasible++;
        }
    }
    COP_TRY(status, cop_front_rank(front, values, feasible, objectives, err));
    COP_TRY(status, cop_front_crowding(crowding, values, front, feasible, objectives, err));
    feasible = 0;
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].violation == 0) {
            entries[i].front = front[feasible];
            entries[i].crowding = crowding[feasible];
            feasible++;
        }
    }

done:
    cop_free(values);
    cop_free(front);
    cop_free(crowding);
    return status;
}

cop_status cop_trials_rank(cop_trial_rank **out, int64_t *count, const cop_trials *trials,
                           const cop_free_space *space, int stage, cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial_rank *entries = cop_alloc((size_t)trials->count + 1, sizeof *entries);

    *out = NULL;
    *count = 0;
    if (entries == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory to rank %lld points",
                        (long long)trials->count);
    }
    for (int64_t i = 0; i < trials->count; i++) {
        const cop_trial_result *result = &trials->entry[i].result[stage];
        if (!result->is_done) {
            continue;
        }
        cop_trial_rank *entry = &entries[(*count)++];
        *entry = (cop_trial_rank){.index = i,
                                  .violation = cop_free_space_violation(space, metric_of, result)};
        for (int k = 0; k < space->objectives; k++) {
            entry->objective[k] = cop_trial_metric(result, space->objective[k]);
        }
    }
    COP_TRY(status, set_fronts(entries, *count, space->objectives, err));
    qsort(entries, (size_t)*count, sizeof *entries, compare_ranks);
    *out = entries;
    entries = NULL;

done:
    cop_free(entries);
    return status;
}

// --- Promotion ----------------------------------------------------------------------------------

typedef struct place {
    const cop_trial_rank *entry;
    int64_t at;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a;
    const place *y = b;
    if (x->entry->violation != y->entry->violation) {
        return x->entry->violation < y->entry->violation ? -1 : 1;
    }
    if (x->entry->front != y->entry->front) {
        return x->entry->front < y->entry->front ? -1 : 1;
    }
    if (x->entry->crowding != y->entry->crowding) {
        return x->entry->crowding > y->entry->crowding ? -1 : 1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

cop_status cop_trials_promote(char *decision, const cop_trial_rank *ranking, int64_t count,
                              int stage, double share, double rescue, uint64_t seed, cop_error *err)
{
    const int64_t wanted = (int64_t)ceil(share * (double)count - 1e-9);
    const int64_t kept = count == 0 ? 0 : wanted < 1 ? 1 : wanted;
    const int64_t lots = kept == count ? 0 : (int64_t)floor(rescue * (double)kept);
    cop_status status = COP_OK;
    cop_rng *rng = NULL;
    int64_t others = 0;
    place *places = cop_alloc((size_t)count + 1, sizeof *places);
    int64_t *rest = cop_alloc((size_t)count + 1, sizeof *rest);

    if (places == NULL || rest == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "search: no memory to promote %lld points",
                          (long long)count);
        goto done;
    }
    COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_RESCUE, (uint64_t)stage, err));
    for (int64_t i = 0; i < count; i++) {
        places[i] = (place){&ranking[i], i};
        decision[i] = 'e';
    }
    qsort(places, (size_t)count, sizeof *places, compare_places);
    for (int64_t i = 0; i < count; i++) {
        if (i < kept - lots) {
            decision[places[i].at] = 'p';
        } else if (places[i].entry->violation == 0) {
            rest[others++] = places[i].at;
        }
    }
    cop_rng_shuffle(rng, rest, (size_t)others);
    for (int64_t i = 0; i < lots && i < others; i++) {
        decision[rest[i]] = 'r';
    }

done:
    cop_rng_destroy(rng);
    cop_free(places);
    cop_free(rest);
    return status;
}

void cop_trials_keep_promoted(cop_trials *trials, const cop_trial_rank *ranking, int64_t count,
                              const char *decision, int stage)
{
    for (int64_t i = 0; i < count; i++) {
        for (int s = stage + 1; decision[i] == 'e' && s < COP_TRIAL_STAGES_MAX; s++) {
            cop_trial_result *result = &trials->entry[ranking[i].index].result[s];
            cop_free(result->metric);
            *result = (cop_trial_result){0};
        }
    }
}
