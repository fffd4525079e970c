#include <math.h>

#include "base/alloc.h"
#include "search/ranking_internal.h"

void cop_comparison_release(cop_comparison *comparison)
{
    cop_resamples_release(&comparison->resamples);
    cop_free(comparison->means);
}

cop_status cop_comparison_create(cop_comparison *out, const cop_snapshot *snapshot, int stage,
                                 uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_stage_figures figures = {0};
    *out = (cop_comparison){.snapshot = snapshot, .stage = stage, .held = -1};
    COP_TRY(status, cop_stage_figures_create(&figures, snapshot, stage, err));
    out->has_teacher = figures.has_teacher;
    COP_TRY(status, cop_resamples_create(&out->resamples, figures.sequences, COP_RANKING_RESAMPLES,
                                         seed, COP_RESAMPLE_STAGE + (uint64_t)stage, err));
    out->means = cop_alloc((size_t)3 * COP_RANKING_RESAMPLES, sizeof *out->means);
    if (out->means == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "comparison: out of memory");
    }
done:
    cop_stage_figures_release(&figures);
    return status;
}

static const double *loss_of(const cop_comparison *comparison, int64_t index)
{
    const cop_snapshot_candidate *candidate = &comparison->snapshot->candidate[index];
    const cop_evaluation *e = &candidate->stage[comparison->stage].record.evaluation;
    return comparison->has_teacher ? e->kl : e->cross_entropy;
}

cop_estimate cop_comparison_of(cop_comparison *comparison, int64_t b, int64_t a)
{
    const int64_t sequences = comparison->resamples.sequences;
    const size_t count = COP_RANKING_RESAMPLES;
    const double *loss_b = loss_of(comparison, b);
    const double *loss_a = loss_of(comparison, a);
    double *means = comparison->means;
    cop_resamples_means(means, &comparison->resamples, loss_b);
    if (comparison->held != a) { // many are compared with the same one
        cop_resamples_means(means + count, &comparison->resamples, loss_a);
        comparison->held = a;
    }
    return cop_paired_difference(means, means + count,
                                 cop_resamples_mean(loss_b, sequences) -
                                     cop_resamples_mean(loss_a, sequences),
                                 means + 2 * count, COP_RANKING_RESAMPLES);
}

cop_estimate cop_comparison_loss(const cop_comparison *comparison, int64_t a)
{
    const double *loss = loss_of(comparison, a);
    double *means = comparison->means + (size_t)2 * COP_RANKING_RESAMPLES;
    cop_resamples_means(means, &comparison->resamples, loss);
    return cop_resamples_interval(cop_resamples_mean(loss, comparison->resamples.sequences), means,
                                  COP_RANKING_RESAMPLES);
}

cop_status cop_ranking_difference(cop_estimate *out, const cop_snapshot *snapshot, int stage,
                                  int64_t first, int64_t second, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_comparison comparison = {0};
    *out = (cop_estimate){(double)NAN, (double)NAN, (double)NAN};
    if (stage < 0 || stage >= COP_SNAPSHOT_STAGES_MAX ||
        !snapshot->candidate[first].stage[stage].is_done ||
        !snapshot->candidate[second].stage[stage].is_done) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "comparison: %s and %s have not both finished stage %d",
                        snapshot->candidate[first].candidate.id,
                        snapshot->candidate[second].candidate.id, stage);
    }
    COP_TRY(status, cop_comparison_create(&comparison, snapshot, stage, seed, err));
    *out = cop_comparison_of(&comparison, first, second);
done:
    cop_comparison_release(&comparison);
    return status;
}
