// Ranking one stage: means, intervals, ties, front, and the probability of belonging in the top.

#include "search/ranking.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "search/front.h"
#include "search/ranking_internal.h"

// Everything of one call, so that it is released in one place.
typedef struct ranker {
    const cop_snapshot *snapshot;
    cop_stage_figures figures;
    cop_resamples resamples;
    double *means;           // [count, R] resampled losses, in the order of the entries
    double *scratch;         // [R]
    cop_front_point *points; // [count]
    cop_front_point *sorted; // [count], scratch
    int64_t *last;           // [count]
} ranker;

static void ranker_release(ranker *r)
{
    cop_stage_figures_release(&r->figures);
    cop_resamples_release(&r->resamples);
    cop_free(r->means);
    cop_free(r->scratch);
    cop_free(r->points);
    cop_free(r->sorted);
    cop_free(r->last);
}

double cop_objective_value(const cop_candidate *c, cop_objective objective, double loss)
{
    switch (objective) {
    case COP_OBJECTIVE_PARAMS: return (double)c->cost.params;
    case COP_OBJECTIVE_MEMORY: return (double)c->cost.total_bytes;
    case COP_OBJECTIVE_FLOPS: return c->cost.flops_per_token;
    case COP_OBJECTIVE_LOSS:
    default: return loss;
    }
}

// Lowest loss first; what is not finite last; then grid order.
static int compare_entries(const void *a, const void *b)
{
    const cop_ranked *x = a;
    const cop_ranked *y = b;
    const double u = isfinite(x->loss.value) ? x->loss.value : (double)INFINITY;
    const double v = isfinite(y->loss.value) ? y->loss.value : (double)INFINITY;
    if (u != v) {
        return u < v ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

static const cop_evaluation *evaluation_of(const ranker *r, int64_t index)
{
    return &r->snapshot->candidate[index].stage[r->figures.stage].record.evaluation;
}

static cop_estimate estimate_of(const ranker *r, const double *values)
{
    if (values == NULL) {
        return (cop_estimate){(double)NAN, (double)NAN, (double)NAN};
    }
    cop_resamples_means(r->scratch, &r->resamples, values);
    return cop_resamples_interval(cop_resamples_mean(values, r->resamples.sequences), r->scratch,
                                  r->resamples.count);
}

static const double *loss_of(const ranker *r, int64_t index)
{
    const cop_evaluation *e = evaluation_of(r, index);
    return r->figures.has_teacher ? e->kl : e->cross_entropy;
}

static void fill_entries(const ranker *r, cop_ranking *out)
{
    const int64_t sequences = r->resamples.sequences;
    const int64_t count = r->resamples.count;
    for (int64_t i = 0; i < out->count; i++) {
        const int64_t index = r->figures.candidate[i];
        out->entry[i] = (cop_ranked){.index = index};
        out->entry[i].loss.value = cop_resamples_mean(r->figures.loss[i], sequences);
    }
    qsort(out->entry, (size_t)out->count, sizeof *out->entry, compare_entries);
    int64_t leader = 0; // first of the current group of ties
    for (int64_t i = 0; i < out->count; i++) {
        cop_ranked *entry = &out->entry[i];
        double *means = r->means + i * count;
        const double value = entry->loss.value;
        cop_resamples_means(means, &r->resamples, loss_of(r, entry->index));
        const double *best = r->means;
        entry->difference_to_best =
            cop_paired_difference(means, best, value - out->entry[0].loss.value, r->scratch, count);
        const cop_estimate to_leader =
            cop_paired_difference(means, r->means + leader * count,
                                  value - out->entry[leader].loss.value, r->scratch, count);
        leader = cop_estimate_holds_zero(&to_leader) ? leader : i;
        entry->rank = (int)leader + 1;
        if (i > 0) {
            const cop_estimate to_previous = cop_paired_difference(
                means, means - count, value - out->entry[i - 1].loss.value, r->scratch, count);
            out->entry[i - 1].is_tied_with_next = cop_estimate_holds_zero(&to_previous);
        }
        for (int64_t k = 0; k < count; k++) {
            r->scratch[k] = means[k];
        }
        const cop_evaluation *e = evaluation_of(r, entry->index);
        entry->loss = cop_resamples_interval(value, r->scratch, count);
        entry->cross_entropy = estimate_of(r, e->cross_entropy);
        entry->agreement = estimate_of(r, e->agreement);
    }
}

// Non-dominated sort of the entries with the losses of one resample; -1: with the measured ones.
static void sort_fronts(ranker *r, const cop_ranking *out, const cop_objective *objectives,
                        int objective_count, int64_t resample)
{
    for (int64_t i = 0; i < out->count; i++) {
        const double loss =
            resample < 0 ? out->entry[i].loss.value : r->means[i * r->resamples.count + resample];
        const cop_candidate *c = &r->snapshot->candidate[out->entry[i].index].candidate;
        r->points[i].index = i;
        for (int k = 0; k < objective_count; k++) {
            r->points[i].value[k] = cop_objective_value(c, objectives[k], loss);
        }
    }
    cop_front_sort(r->points, out->count, objective_count, r->sorted, r->last);
}

// The entry with the lowest loss in a resample; the first of equals.
static int64_t lowest_of(const ranker *r, const cop_ranking *out, int64_t resample)
{
    int64_t lowest = 0;
    for (int64_t i = 1; i < out->count; i++) {
        const double loss = r->means[i * r->resamples.count + resample];
        lowest = loss < r->means[lowest * r->resamples.count + resample] ? i : lowest;
    }
    return lowest;
}

// Counts over the resamples how often each entry is not dominated, and how often among the best
// `keep_count`: fronts in their order, within a front the lower loss first.
static void fill_probabilities(ranker *r, cop_ranking *out, const cop_objective *objectives,
                               int objective_count, int64_t keep_count)
{
    const int64_t count = r->resamples.count;
    sort_fronts(r, out, objectives, objective_count, -1);
    for (int64_t i = 0; i < out->count; i++) {
        cop_ranked *entry = &out->entry[r->points[i].index];
        entry->on_front = r->points[i].front == 0 && isfinite(entry->loss.value);
    }
    for (int64_t b = 0; b < count; b++) {
        out->entry[lowest_of(r, out, b)].best_probability += 1;
        sort_fronts(r, out, objectives, objective_count, b);
        for (int64_t i = 0; i < out->count; i++) {
            cop_ranked *entry = &out->entry[r->points[i].index];
            if (isfinite(entry->loss.value)) {
                entry->front_probability += r->points[i].front == 0 ? 1 : 0;
                entry->top_probability += i < keep_count ? 1 : 0;
            }
        }
    }
    for (int64_t i = 0; i < out->count; i++) {
        out->entry[i].front_probability /= (double)count;
        out->entry[i].best_probability /= (double)count;
        out->entry[i].top_probability /= (double)count;
    }
}

static cop_status check_objectives(const cop_objective *objectives, int count, cop_error *err)
{
    if (count < 1 || count > COP_FRONT_OBJECTIVES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "ranking: %d objectives (allowed: 1..%d)", count,
                        COP_FRONT_OBJECTIVES_MAX);
    }
    for (int i = 0; i < count; i++) {
        if (objectives[i] > COP_OBJECTIVE_FLOPS) {
            return COP_FAIL(err, COP_ERR_CONFIG, "ranking: objective %d is unknown: %d", i,
                            (int)objectives[i]);
        }
    }
    return COP_OK;
}

// The sort settles ties inside a front by the first objective: loss goes first.
static void order_objectives(cop_objective *to, const cop_objective *from, int count)
{
    int at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < count; i++) {
            if ((from[i] == COP_OBJECTIVE_LOSS) == (pass == 0)) {
                to[at++] = from[i];
            }
        }
    }
}

cop_status cop_ranking_make(cop_ranking *out, const cop_snapshot *snapshot,
                            const cop_objective *objectives, int objective_count, int stage,
                            int64_t keep_count, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    ranker r = {.snapshot = snapshot};
    cop_objective ordered[COP_FRONT_OBJECTIVES_MAX];
    size_t count = 0;
    *out = (cop_ranking){.stage = stage};
    COP_TRY(status, check_objectives(objectives, objective_count, err));
    order_objectives(ordered, objectives, objective_count);
    COP_TRY(status, cop_stage_figures_create(&r.figures, snapshot, stage, err));
    if (r.figures.count == 0) {
        goto done;
    }
    count = (size_t)r.figures.count;
    COP_TRY(status, cop_resamples_create(&r.resamples, r.figures.sequences, COP_RANKING_RESAMPLES,
                                         seed, COP_RESAMPLE_STAGE + (uint64_t)stage, err));
    r.means = cop_alloc(count * COP_RANKING_RESAMPLES, sizeof *r.means);
    r.scratch = cop_alloc(COP_RANKING_RESAMPLES, sizeof *r.scratch);
    r.points = cop_alloc(count, sizeof *r.points);
    r.sorted = cop_alloc(count, sizeof *r.sorted);
    r.last = cop_alloc(count, sizeof *r.last);
    out->entry = cop_alloc(count, sizeof *out->entry);
    if (r.means == NULL || r.scratch == NULL || r.points == NULL || r.sorted == NULL ||
        r.last == NULL || out->entry == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "ranking of %zu candidates: out of memory", count);
        goto done;
    }
    out->count = r.figures.count;
    out->tokens = snapshot->candidate[r.figures.candidate[0]].stage[stage].record.tokens;
    fill_entries(&r, out);
    fill_probabilities(&r, out, ordered, objective_count, keep_count);
done:
    ranker_release(&r);
    if (status != COP_OK) {
        cop_ranking_release(out);
    }
    return status;
}

void cop_ranking_release(cop_ranking *ranking)
{
    cop_free(ranking->entry);
    *ranking = (cop_ranking){0};
}
