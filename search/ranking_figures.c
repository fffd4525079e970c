#include "base/alloc.h"
#include "search/ranking_internal.h"

cop_status cop_stage_figures_create(cop_stage_figures *out, const cop_snapshot *snapshot, int stage,
                                    cop_error *err)
{
    *out = (cop_stage_figures){.stage = stage, .has_teacher = true};
    if (stage < 0 || stage >= COP_SNAPSHOT_STAGES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "ranking: stage is %d (allowed: 0..%d)", stage,
                        COP_SNAPSHOT_STAGES_MAX - 1);
    }
    out->candidate = cop_alloc((size_t)snapshot->count + 1, sizeof *out->candidate);
    out->loss = cop_alloc((size_t)snapshot->count + 1, sizeof *out->loss);
    if (out->candidate == NULL || out->loss == NULL) {
        cop_stage_figures_release(out);
        return COP_FAIL(err, COP_ERR_NOMEM, "ranking: out of memory");
    }
    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        const cop_evaluation *e = &c->stage[stage].record.evaluation;
        if (!c->stage[stage].is_done) {
            continue;
        }
        if (out->count > 0 && e->sequences != out->sequences) {
            const cop_status status = COP_FAIL(
                err, COP_ERR_SHAPE,
                "ranking: %s was judged on %lld sequences at stage %d, others on %lld",
                c->candidate.id, (long long)e->sequences, stage, (long long)out->sequences);
            cop_stage_figures_release(out);
            return status;
        }
        out->sequences = e->sequences;
        out->has_teacher = out->has_teacher && e->kl != NULL;
        out->candidate[out->count++] = i;
    }
    for (int64_t k = 0; k < out->count; k++) {
        const cop_evaluation *e =
            &snapshot->candidate[out->candidate[k]].stage[stage].record.evaluation;
        out->loss[k] = out->has_teacher ? e->kl : e->cross_entropy;
    }
    return COP_OK;
}

void cop_stage_figures_release(cop_stage_figures *figures)
{
    cop_free(figures->candidate);
    cop_free((void *)figures->loss);
    *figures = (cop_stage_figures){0};
}

cop_estimate cop_paired_difference(const double *means_a, const double *means_b, double value,
                                   double *scratch, int64_t count)
{
    for (int64_t r = 0; r < count; r++) {
        scratch[r] = means_a[r] - means_b[r];
    }
    return cop_resamples_interval(value, scratch, count);
}
