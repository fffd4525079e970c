// From rung to rung: whether two of them put the candidates into the same order.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/kendall.h"
#include "search/ranking_internal.h"

// Candidates that finished both stages, their losses side by side.
typedef struct shared_losses {
    int64_t count;
    const double **from; // owned arrays of borrowed arrays
    const double **to;
    int64_t *params;  // [count]
    int64_t *ordered; // [count], ascending
    int8_t *stratum;  // [count]
    cop_kendall_pair *pairs;
    cop_kendall_pair *scratch;
    double *taus;  // [2, R]: of all, and within the strata
    double *means; // [2, count, R]
} shared_losses;

static void shared_release(shared_losses *s)
{
    cop_free((void *)s->from);
    cop_free((void *)s->to);
    cop_free(s->params);
    cop_free(s->ordered);
    cop_free(s->stratum);
    cop_free(s->pairs);
    cop_free(s->scratch);
    cop_free(s->taus);
    cop_free(s->means);
}

static int compare_params(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;
    return (*x > *y) - (*x < *y);
}

// Thirds by size; candidates of one size stay together.
static void make_strata(shared_losses *s, cop_size_stratum stratum[COP_SIZE_STRATA])
{
    memcpy(s->ordered, s->params, (size_t)s->count * sizeof *s->ordered);
    qsort(s->ordered, (size_t)s->count, sizeof *s->ordered, compare_params);
    for (int64_t i = 0; i < s->count; i++) {
        s->stratum[i] = 0;
        for (int k = 1; k < COP_SIZE_STRATA; k++) {
            const int64_t bound = s->ordered[s->count * k / COP_SIZE_STRATA];
            s->stratum[i] = s->params[i] >= bound ? (int8_t)k : s->stratum[i];
        }
        cop_size_stratum *out = &stratum[s->stratum[i]];
        out->params_min =
            out->count == 0 || s->params[i] < out->params_min ? s->params[i] : out->params_min;
        out->params_max = s->params[i] > out->params_max ? s->params[i] : out->params_max;
        out->count++;
    }
}

static cop_status shared_create(shared_losses *s, const cop_snapshot *snapshot,
                                const cop_stage_figures *from, const cop_stage_figures *to,
                                cop_error *err)
{
    const size_t most = (size_t)from->count + 1;
    s->from = cop_alloc(most, sizeof *s->from);
    s->to = cop_alloc(most, sizeof *s->to);
    s->params = cop_alloc(most, sizeof *s->params);
    s->ordered = cop_alloc(most, sizeof *s->ordered);
    s->stratum = cop_alloc(most, sizeof *s->stratum);
    s->pairs = cop_alloc(most, sizeof *s->pairs);
    s->scratch = cop_alloc(most, sizeof *s->scratch);
    s->taus = cop_alloc((size_t)2 * COP_RANKING_RESAMPLES, sizeof *s->taus);
    s->means = cop_alloc(2 * most * COP_RANKING_RESAMPLES, sizeof *s->means);
    if (s->from == NULL || s->to == NULL || s->params == NULL || s->ordered == NULL ||
        s->stratum == NULL || s->pairs == NULL || s->scratch == NULL || s->taus == NULL ||
        s->means == NULL) {
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
            s->params[s->count] = snapshot->candidate[from->candidate[i]].candidate.cost.params;
            s->count++;
        }
    }
    return COP_OK;
}

static int64_t pairs_of(int64_t count)
{
    return count * (count - 1) / 2;
}

// tau-b of the candidates of one stratum, or of all (-1). x and y are their losses, `stride` apart.
static double tau_of(const shared_losses *s, int stratum, const double *x, const double *y,
                     int64_t stride)
{
    int64_t count = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if (stratum < 0 || s->stratum[i] == stratum) {
            s->pairs[count++] = (cop_kendall_pair){x[i * stride], y[i * stride]};
        }
    }
    return cop_kendall_tau_b(s->pairs, s->scratch, count);
}

// The mean over the strata that have a tau, weighted by their pairs of candidates.
static double tau_within(const shared_losses *s, const cop_size_stratum *stratum, const double *x,
                         const double *y, int64_t stride)
{
    double sum = 0;
    double weights = 0;
    for (int k = 0; k < COP_SIZE_STRATA; k++) {
        if (!isnan(stratum[k].tau)) {
            const double weight = (double)pairs_of(stratum[k].count);
            sum += weight * tau_of(s, k, x, y, stride);
            weights += weight;
        }
    }
    return weights > 0 ? sum / weights : (double)NAN;
}

static cop_status tau_intervals(cop_rank_agreement *out, shared_losses *s,
                                const cop_resamples *resamples, cop_error *err)
{
    const int64_t count = resamples->count;
    double *to_means = s->means + s->count * count;
    double *within = s->taus + count;
    int64_t valid = 0; // a resample in which one side is constant has no tau
    int64_t valid_within = 0;
    double *x = cop_alloc((size_t)s->count * 2, sizeof *x);

    if (x == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "rank agreement: out of memory");
    }
    double *y = x + s->count;
    for (int64_t i = 0; i < s->count; i++) {
        x[i] = cop_resamples_mean(s->from[i], resamples->sequences);
        y[i] = cop_resamples_mean(s->to[i], resamples->sequences);
        cop_resamples_means(s->means + i * count, resamples, s->from[i]);
        cop_resamples_means(to_means + i * count, resamples, s->to[i]);
    }
    for (int k = 0; k < COP_SIZE_STRATA; k++) {
        cop_size_stratum *stratum = &out->stratum[k];
        stratum->tau = stratum->count < COP_STRATUM_MIN ? (double)NAN : tau_of(s, k, x, y, 1);
    }
    const double value = tau_of(s, -1, x, y, 1);
    const double value_within = tau_within(s, out->stratum, x, y, 1);
    for (int64_t r = 0; r < count; r++) {
        const double tau = tau_of(s, -1, s->means + r, to_means + r, count);
        const double inside = tau_within(s, out->stratum, s->means + r, to_means + r, count);
        s->taus[valid] = tau;
        valid += isnan(tau) ? 0 : 1;
        within[valid_within] = inside;
        valid_within += isnan(inside) ? 0 : 1;
    }
    out->tau = cop_resamples_interval(value, s->taus, isnan(value) ? 0 : valid);
    out->within =
        cop_resamples_interval(value_within, within, isnan(value_within) ? 0 : valid_within);
    cop_free(x);
    return COP_OK;
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
    *out = (cop_rank_agreement){.from_stage = from_stage,
                                .to_stage = to_stage,
                                .tau = {none, none, none},
                                .within = {none, none, none}};
    for (int k = 0; k < COP_SIZE_STRATA; k++) {
        out->stratum[k].tau = none;
    }
    COP_TRY(status, cop_stage_figures_create(&from, snapshot, from_stage, err));
    COP_TRY(status, cop_stage_figures_create(&to, snapshot, to_stage, err));
    COP_TRY(status, shared_create(&shared, snapshot, &from, &to, err));
    out->shared = shared.count;
    if (shared.count < 3) {
        goto done;
    }
    make_strata(&shared, out->stratum);
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
    COP_TRY(status, tau_intervals(out, &shared, &resamples, err));
done:
    cop_stage_figures_release(&from);
    cop_stage_figures_release(&to);
    cop_resamples_release(&resamples);
    shared_release(&shared);
    return status;
}
