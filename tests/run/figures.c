#include "tests/run/figures.h"

#include "tests/support.h"

void figures_read(const char *directory, cop_store **store, cop_snapshot *snapshot)
{
    cop_error err = {0};
    if (cop_store_open(store, directory, COP_STORE_READ, &err) != COP_OK ||
        cop_snapshot_read(snapshot, *store, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

static void append_values(cop_text *out, const char *name, const double *values, int64_t count)
{
    cop_text_appendf(out, " %s", name);
    for (int64_t i = 0; values != NULL && i < count; i++) {
        cop_text_appendf(out, " %a", values[i]);
    }
}

static void append_stage(cop_text *out, const cop_snapshot_stage *stage)
{
    const cop_evaluation *e = &stage->record.evaluation;
    cop_text_appendf(out, "  stage %d tokens %lld %s %a", stage->record.stage,
                     (long long)stage->record.tokens, stage->decision, stage->probability);
    append_values(out, "ce", e->cross_entropy, e->sequences);
    append_values(out, "kl", e->kl, e->sequences);
    append_values(out, "agreement", e->agreement, e->sequences);
    append_values(out, "teacher", e->teacher_cross_entropy, e->sequences);
    cop_text_append(out, "\n");
}

char *figures_of(const char *directory)
{
    cop_store *store = NULL;
    cop_snapshot snapshot = {0};
    cop_text out = {0};

    figures_read(directory, &store, &snapshot);
    for (int64_t i = 0; i < snapshot.count; i++) {
        const cop_snapshot_candidate *c = &snapshot.candidate[i];
        cop_text_appendf(&out, "%s %s '%s'\n", c->candidate.id, cop_candidate_state_name(c->state),
                         c->reason);
        for (int s = 0; s < COP_SNAPSHOT_STAGES_MAX; s++) {
            if (c->stage[s].is_done) {
                append_stage(&out, &c->stage[s]);
            }
        }
        for (int64_t k = 0; k < c->curve_points; k++) {
            cop_text_appendf(&out, "  %lld %a\n", (long long)c->curve[k].tokens, c->curve[k].loss);
        }
    }
    assert_false(out.is_broken);
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
    return out.data;
}
