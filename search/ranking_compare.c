#include <math.h>

#include "base/alloc.h"
#include "search/ranking_internal.h"

void cop_comparison_release(cop_comparison *c)
{
    cop_resamples_release(&c->resamples);
    cop_free(c->means);
}

cop_status cop_comparison_create(cop_comparison *out, const cop_snapshot *snapshot, int stage,
                                 uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_stage_figures figures = {0};
    *out = (cop_comparison){.snapshot = snapshot, .stage = stage};
    COP_TRY(status, cop_stage_figures_create(&figures, snapshot, stage, err));
    out->has_teacher = figures.has_teacher;
    COP_TRY(status, cop_resamples_create(&out->resamples, figures.sequences, COP_RANKING_RESAMPLES,
                                         seed, COP_RESAMPLE_STAGE + (uint64_t)stage, err));
    out->means = cop_alloc(3 * COP_RANKING_RESAMPLES, sizeof *out->means);
    if (out->means == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "comparison: out of memory");
    }
done:
    cop_stage_figures_release(&figures);
    return status;
}

cop_estimate cop_comparison_of(const cop_comparison *c, int64_t b, int64_t a)
{
    const cop_evaluation *eb = &c->snapshot->candidate[b].stage[c->stage].record.evaluation;
    const cop_evaluation *ea = &c->snapshot->candidate[a].stage[c->stage].record.evaluation;
    const double *vb = c->has_teacher ? eb->kl : eb->cross_entropy;
    const double *va = c->has_teacher ? ea->kl : ea->cross_entropy;
    cop_resamples_means(c->means, &c->resamples, vb);
    cop_resamples_means(c->means + COP_RANKING_RESAMPLES, &c->resamples, va);
    const int64_t sequences = c->resamples.sequences;
    return cop_paired_difference(c->means, c->means + COP_RANKING_RESAMPLES,
                                 cop_resamples_mean(vb, sequences) -
                                     cop_resamples_mean(va, sequences),
                                 c->means + 2 * COP_RANKING_RESAMPLES, COP_RANKING_RESAMPLES);
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
