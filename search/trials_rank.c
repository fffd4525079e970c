// Ranks what an evaluator measured, and decides who goes on to the next fidelity.

#include <math.h>
#include <stdlib.h>

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

typedef struct ranker {
    cop_front_point *points;
    cop_front_point *scratch;
    int64_t *work;
} ranker;

static void ranker_release(ranker *r)
{
    cop_free(r->points);
    cop_free(r->scratch);
    cop_free(r->work);
}

static cop_status set_fronts(cop_trial_rank *entries, int64_t count, int objectives, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t feasible = 0;
    ranker r = {0};

    r.points = cop_alloc((size_t)count + 1, sizeof *r.points);
    r.scratch = cop_alloc((size_t)count + 1, sizeof *r.scratch);
    r.work = cop_alloc((size_t)count + 1, sizeof *r.work);
    if (r.points == NULL || r.scratch == NULL || r.work == NULL) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "search: no memory to rank %lld points", (long long)count);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].violation == 0) {
            r.points[feasible].index = i;
            for (int k = 0; k < objectives; k++) {
                r.points[feasible].value[k] = entries[i].objective[k];
            }
            feasible++;
        }
    }
    cop_front_sort(r.points, feasible, objectives, r.scratch, r.work);
    for (int64_t i = 0; i < feasible; i++) {
        entries[r.points[i].index].front = r.points[i].front;
    }

done:
    ranker_release(&r);
    return status;
}

// One objective's share of the crowding distance of a front's members, entries[first … last).
static void add_crowding(cop_trial_rank *entries, int64_t *order, int64_t count, int k)
{
    for (int64_t i = 1; i < count; i++) { // insertion: fronts are nearly ordered already
        const int64_t moved = order[i];
        int64_t at = i;
        while (at > 0 && entries[order[at - 1]].objective[k] > entries[moved].objective[k]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = moved;
    }
    const double range = entries[order[count - 1]].objective[k] - entries[order[0]].objective[k];
    entries[order[0]].crowding = (double)INFINITY;
    entries[order[count - 1]].crowding = (double)INFINITY;
    for (int64_t i = 1; range > 0 && i + 1 < count; i++) {
        entries[order[i]].crowding +=
            (entries[order[i + 1]].objective[k] - entries[order[i - 1]].objective[k]) / range;
    }
}

static cop_status set_crowding(cop_trial_rank *entries, int64_t count, int objectives,
                               cop_error *err)
{
    int64_t *order = cop_alloc((size_t)count + 1, sizeof *order);
    if (order == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory to rank %lld points",
                        (long long)count);
    }
    for (int64_t first = 0; first < count;) {
        int64_t end = first + 1;
        while (end < count && entries[end].violation == entries[first].violation &&
               entries[end].front == entries[first].front) {
            end++;
        }
        for (int k = 0; k < objectives; k++) {
            for (int64_t i = first; i < end; i++) {
                order[i - first] = i;
            }
            add_crowding(entries, order, end - first, k);
        }
        first = end;
    }
    cop_free(order);
    return COP_OK;
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
    COP_TRY(status, set_crowding(entries, *count, space->objectives, err));
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
