#include "search/stability.h"

#include <math.h>

#include "base/alloc.h"
#include "search/front.h"
#include "search/ranking_internal.h"

enum { RUNGS = 3, FIRST_RUNG = 1 };

typedef struct judge {
    const cop_objective *objective; // loss first
    int objectives;
    cop_snapshot view; // of the survivors; what it holds is borrowed
    double *loss;      // [RUNGS, survivors]
    bool *is_best;     // [RUNGS, survivors]
    bool *is_front;    // [RUNGS, survivors]
    cop_front_point *sort;
    cop_front_point *sorted;
    int64_t *scratch;
} judge;

static void judge_release(judge *j)
{
    cop_free(j->view.candidate);
    cop_free(j->loss);
    cop_free(j->is_best);
    cop_free(j->is_front);
    cop_free(j->sort);
    cop_free(j->sorted);
    cop_free(j->scratch);
}

static cop_status judge_create(judge *j, const cop_snapshot *snapshot, int stage, cop_error *err)
{
    const size_t most = (size_t)snapshot->count + 1;
    j->view.candidate = cop_alloc(most, sizeof *j->view.candidate);
    j->loss = cop_alloc(RUNGS * most, sizeof *j->loss);
    j->is_best = cop_alloc(RUNGS * most, sizeof *j->is_best);
    j->is_front = cop_alloc(RUNGS * most, sizeof *j->is_front);
    j->sort = cop_alloc(most, sizeof *j->sort);
    j->sorted = cop_alloc(most, sizeof *j->sorted);
    j->scratch = cop_alloc(most, sizeof *j->scratch);
    if (j->view.candidate == NULL || j->loss == NULL || j->is_best == NULL || j->is_front == NULL ||
        j->sort == NULL || j->sorted == NULL || j->scratch == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "stability: out of memory");
    }
    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        if (c->stage[stage].is_done && c->stage[stage - 1].is_done && c->stage[stage - 2].is_done) {
            j->view.candidate[j->view.count++] = *c;
        }
    }
    return COP_OK;
}

// Twice the standard error of a mean loss, common difficulty of sequences taken out.
static double epsilon_of(const cop_stage_figures *f)
{
    const double n = (double)f->count;
    const double sequences = (double)f->sequences;
    double squares = 0;
    if (f->count < 2 || f->sequences < 2) {
        return 0;
    }
    double all = 0;
    for (int64_t i = 0; i < f->count; i++) {
        all += cop_resamples_mean(f->loss[i], f->sequences) / n;
    }
    for (int64_t s = 0; s < f->sequences; s++) {
        double common = 0;
        for (int64_t i = 0; i < f->count; i++) {
            common += f->loss[i][s] / n;
        }
        for (int64_t i = 0; i < f->count; i++) {
            const double own = cop_resamples_mean(f->loss[i], f->sequences);
            const double residual = f->loss[i][s] - common - (own - all);
            squares += residual * residual;
        }
    }
    const double variance = squares / ((n - 1) * (sequences - 1));
    return 2 * sqrt(variance / sequences);
}

// Orders the survivors at a rung; one of them (or none: -1) with its loss lowered.
static void sort_rung(judge *j, int rung, int64_t lowered, double by)
{
    const int64_t count = j->view.count;
    for (int64_t i = 0; i < count; i++) {
        const double loss = j->loss[rung * count + i] - (i == lowered ? by : 0);
        j->sort[i].index = i;
        for (int k = 0; k < j->objectives; k++) {
            j->sort[i].value[k] =
                cop_objective_value(&j->view.candidate[i].candidate, j->objective[k], loss);
        }
    }
    cop_front_sort(j->sort, count, j->objectives, j->sorted, j->scratch);
}

static cop_status read_rung(judge *j, cop_stability *out, int rung, int stage, cop_error *err)
{
    const int64_t count = j->view.count;
    cop_stage_figures figures = {0};
    const cop_status status = cop_stage_figures_create(&figures, &j->view, stage, err);
    if (status != COP_OK) {
        return status;
    }
    for (int64_t i = 0; i < count; i++) {
        j->loss[rung * count + i] = cop_resamples_mean(figures.loss[i], figures.sequences);
    }
    out->epsilon[rung] = epsilon_of(&figures);
    cop_stage_figures_release(&figures);
    sort_rung(j, rung, -1, 0);
    for (int64_t i = 0; i < count; i++) {
        const cop_front_point *point = &j->sort[i];
        j->is_best[rung * count + point->index] = i < out->best;
        j->is_front[rung * count + point->index] = point->front == 0;
    }
    return COP_OK;
}

// Is the candidate in the set at the rung, with its loss lowered?
static bool is_in_with(judge *j, const cop_stability *out, int rung, int64_t candidate, double by,
                       bool of_front)
{
    sort_rung(j, rung, candidate, by);
    for (int64_t i = 0; i < j->view.count; i++) {
        if (j->sort[i].index == candidate) {
            return of_front ? j->sort[i].front == 0 : i < out->best;
        }
    }
    return false;
}

// Is a set the same at `rung` and the next one, but for those near its edge at one of them?
static bool is_same(judge *j, const cop_stability *out, int rung, const bool *is_in, bool of_front)
{
    const int64_t count = j->view.count;
    for (int64_t i = 0; i < count; i++) {
        const bool now[2] = {is_in[rung * count + i], is_in[(rung + 1) * count + i]};
        bool is_soft = now[0] == now[1];
        for (int k = 0; k < 2 && !is_soft; k++) {
            const double by = out->epsilon[rung + k] * (now[k] ? -1 : 1);
            is_soft = is_in_with(j, out, rung + k, i, by, of_front) != now[k];
        }
        if (!is_soft) {
            return false;
        }
    }
    return true;
}

cop_status cop_stability_judge(cop_stability *out, const cop_snapshot *snapshot,
                               const cop_objective *objectives, int objective_count, int stage,
                               int64_t keep, uint64_t seed, cop_error *err)
{
    judge j = {.objective = objectives, .objectives = objective_count};
    cop_status status = COP_OK;
    *out = (cop_stability){0};
    if (stage < FIRST_RUNG + RUNGS - 1 || stage >= COP_SNAPSHOT_STAGES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "stability: stage is %d (allowed: %d..%d)", stage,
                        FIRST_RUNG + RUNGS - 1, COP_SNAPSHOT_STAGES_MAX - 1);
    }
    COP_TRY(status, judge_create(&j, snapshot, stage, err));
    out->survivors = j.view.count;
    if (j.view.count < 3) {
        goto done;
    }
    out->best = keep < j.view.count ? keep : 1;
    for (int rung = 0; rung < RUNGS; rung++) {
        COP_TRY(status, read_rung(&j, out, rung, stage - RUNGS + 1 + rung, err));
    }
    out->is_stable = true;
    for (int step = 0; step < RUNGS - 1; step++) {
        const int from = stage - RUNGS + 1 + step;
        COP_TRY(status,
                cop_ranking_agreement(&out->agreement[step], &j.view, from, from + 1, seed, err));
        out->is_same_best[step] = is_same(&j, out, step, j.is_best, false);
        out->is_same_front[step] = objective_count == 1 || is_same(&j, out, step, j.is_front, true);
        out->is_stable = out->is_stable && out->agreement[step].tau.low >= COP_STABLE_TAU &&
                         out->is_same_best[step] && out->is_same_front[step];
    }
done:
    judge_release(&j);
    return status;
}
