// From rung to rung: who goes on, and whether two rungs agree.

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/kendall.h"
#include "search/ranking_internal.h"

typedef struct order_entry {
    double probability;
    int64_t at; // entry of the ranking, which is ordered by loss
} order_entry;

static int compare_probability(const void *a, const void *b)
{
    const order_entry *x = a;
    const order_entry *y = b;
    if (x->probability != y->probability) {
        return x->probability > y->probability ? -1 : 1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

cop_status cop_ranking_promote(char *decision, const cop_ranking *ranking, int64_t keep_count,
                               double rescue, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_rng *rng = NULL;
    const size_t count = (size_t)ranking->count;
    order_entry *order = cop_alloc(count + 1, sizeof *order);
    int64_t *rest = cop_alloc(count + 1, sizeof *rest);
    int64_t finite = 0;
    int64_t rest_count = 0;
    int64_t kept = 0;
    int64_t rescued = 0;
    if (order == NULL || rest == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "promotion: out of memory");
        goto done;
    }
    COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_RESCUE, (uint64_t)ranking->stage, err));
    for (int64_t i = 0; i < ranking->count; i++) {
        decision[i] = 'e';
        if (isfinite(ranking->entry[i].loss.value)) { // nothing else can go on
            order[finite++] = (order_entry){ranking->entry[i].top_probability, i};
        }
    }
    qsort(order, (size_t)finite, sizeof *order, compare_probability);
    kept = keep_count < finite ? keep_count : finite;
    // Everybody goes on: nobody needs rescue.
    rescued = kept == finite ? 0 : (int64_t)floor(fmin(fmax(rescue, 0), 1) * (double)kept);
    for (int64_t i = 0; i < finite; i++) {
        if (i < kept - rescued) {
            decision[order[i].at] = 'p';
        } else {
            rest[rest_count++] = order[i].at;
        }
    }
    cop_rng_shuffle(rng, rest, (size_t)rest_count);
    for (int64_t i = 0; i < rescued && i < rest_count; i++) {
        decision[rest[i]] = 'r';
    }
done:
    cop_rng_destroy(rng);
    cop_free(order);
    cop_free(rest);
    return status;
}

// Candidates that finished both stages, their losses side by side.
typedef struct shared_losses {
    int64_t count;
    const double **from; // owned arrays of borrowed arrays
    const double **to;
    cop_kendall_pair *pairs;
    cop_kendall_pair *scratch;
    double *taus;  // [R]
    double *means; // [2, count, R]
} shared_losses;

static void shared_release(shared_losses *s)
{
    cop_free((void *)s->from);
    cop_free((void *)s->to);
    cop_free(s->pairs);
    cop_free(s->scratch);
    cop_free(s->taus);
    cop_free(s->means);
}

static cop_status shared_create(shared_losses *s, const cop_stage_figures *from,
                                const cop_stage_figures *to, cop_error *err)
{
    const size_t most = (size_t)from->count + 1;
    s->from = cop_alloc(most, sizeof *s->from);
    s->to = cop_alloc(most, sizeof *s->to);
    s->pairs = cop_alloc(most, sizeof *s->pairs);
    s->scratch = cop_alloc(most, sizeof *s->scratch);
    s->taus = cop_alloc(COP_RANKING_RESAMPLES, sizeof *s->taus);
    s->means = cop_alloc(2 * most * COP_RANKING_RESAMPLES, sizeof *s->means);
    if (s->from == NULL || s->to == NULL || s->pairs == NULL || s->scratch == NULL ||
        s->taus == NULL || s->means == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "rank agreement: out of memory");
    }
    int64_t j = 0; // both lists ascend
    for (int64_t i = 0; i < from->count; i++) {
        while (j < to->count && to->candidate[j] < from->candidate[i]) {
            j++;
        }
        if (j < to->count && to->candidate[j] == from->candidate[i]) {
            s->from[s->count] = from->loss[i];
            s->to[s->count] = to->loss[j];
            s->count++;
        }
    }
    return COP_OK;
}

static void tau_intervals(cop_rank_agreement *out, shared_losses *s, const cop_resamples *resamples)
{
    const int64_t resample_count = resamples->count;
    double *to_means = s->means + s->count * resample_count;
    for (int64_t i = 0; i < s->count; i++) {
        s->pairs[i] = (cop_kendall_pair){cop_resamples_mean(s->from[i], resamples->sequences),
                                         cop_resamples_mean(s->to[i], resamples->sequences)};
        cop_resamples_means(s->means + i * resample_count, resamples, s->from[i]);
        cop_resamples_means(to_means + i * resample_count, resamples, s->to[i]);
    }
    const double value = cop_kendall_tau_b(s->pairs, s->scratch, s->count);
    int64_t valid = 0; // a resample in which one side is constant has no tau
    for (int64_t r = 0; r < resample_count; r++) {
        for (int64_t i = 0; i < s->count; i++) {
            s->pairs[i] = (cop_kendall_pair){s->means[i * resample_count + r],
                                             to_means[i * resample_count + r]};
        }
        const double tau = cop_kendall_tau_b(s->pairs, s->scratch, s->count);
        if (!isnan(tau)) {
            s->taus[valid++] = tau;
        }
    }
    out->tau = cop_resamples_interval(value, s->taus, isnan(value) ? 0 : valid);
}

cop_status cop_ranking_agreement(cop_rank_agreement *out, const cop_snapshot *snapshot,
                                 int from_stage, int to_stage, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_stage_figures from = {0};
    cop_stage_figures to = {0};
    cop_resamples resamples = {0};
    shared_losses shared = {0};
    const double none = (double)NAN;
    *out = (cop_rank_agreement){from_stage, to_stage, 0, {none, none, none}};
    COP_TRY(status, cop_stage_figures_create(&from, snapshot, from_stage, err));
    COP_TRY(status, cop_stage_figures_create(&to, snapshot, to_stage, err));
    COP_TRY(status, shared_create(&shared, &from, &to, err));
    out->shared = shared.count;
    if (shared.count < 3) {
        goto done;
    }
    if (from.sequences != to.sequences) {
        status = COP_FAIL(err, COP_ERR_SHAPE,
                          "rank agreement: stage %d has %lld sequences, stage %d has %lld",
                          from_stage, (long long)from.sequences, to_stage, (long long)to.sequences);
        goto done;
    }
    COP_TRY(status, cop_resamples_create(&resamples, from.sequences, COP_RANKING_RESAMPLES, seed,
                                         COP_RESAMPLE_AGREEMENT + 16 * (uint64_t)from_stage +
                                             (uint64_t)to_stage,
                                         err));
    tau_intervals(out, &shared, &resamples);
done:
    cop_stage_figures_release(&from);
    cop_stage_figures_release(&to);
    cop_resamples_release(&resamples);
    shared_release(&shared);
    return status;
}
