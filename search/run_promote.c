// What happens between two stages: ranking, promotion, and the end when the ranking is stable.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/hopeless.h"
#include "search/run_internal.h"
#include "search/stability.h"

enum { STABLE_RUNGS_MIN = 3 };

bool cop_run_enters(const cop_run *run, int64_t index, int stage)
{
    const cop_snapshot_candidate *c = &run->snapshot.candidate[index];

    if (stage > run->study->rungs) {
        return false;
    }
    if (stage == 0) {
        return c->stage[0].is_done || c->state == COP_STATE_PENDING;
    }
    if (run->is_proposing && stage <= run->study->fidelity) {
        return c->stage[stage - 1].is_done && c->state == COP_STATE_PENDING;
    }
    const char *decision = c->stage[stage - 1].decision;
    return strcmp(decision, "promoted") == 0 || strcmp(decision, "rescued") == 0;
}

static int64_t count_done(const cop_run *run, int stage)
{
    int64_t count = 0;
    for (int64_t i = 0; i < run->snapshot.count; i++) {
        count += run->snapshot.candidate[i].stage[stage].is_done ? 1 : 0;
    }
    return count;
}

static int64_t keep_count(const cop_study_file *study, int stage, int64_t done)
{
    if (stage == study->rungs) {
        return 1; // nobody goes on: the probability of being the best
    }
    if (stage == 0) {
        return study->keep_pruned == 0 || study->keep_pruned > done ? done : study->keep_pruned;
    }
    const int64_t kept = (int64_t)ceil(study->keep * (double)done - 1e-9);
    return kept < 1 ? 1 : kept;
}

// Who finished a stage, and those who were stopped as hopeless before: their places stay empty, so that a
// promotion keeps as many as it would have without.
static int64_t count_with_stopped(const cop_run *run, int stage)
{
    const cop_study_file *study = run->study;
    // The first promotion that may stop somebody: of a strategy, all come to its fidelity unranked.
    const int first = cop_run_has_strategy(run) && study->fidelity > 1 ? (int)study->fidelity : 1;
    if (!study->stop_hopeless || stage <= first) {
        return count_done(run, stage);
    }
    int64_t counted = count_done(run, first);
    for (int s = first + 1; s <= stage; s++) {
        const int64_t places = keep_count(study, s - 1, counted);
        int64_t entered = 0;
        for (int64_t i = 0; i < run->snapshot.count; i++) {
            entered += cop_run_enters(run, i, s) ? 1 : 0;
        }
        counted = count_done(run, s) + (places > entered ? places - entered : 0);
    }
    return counted;
}

// --- Stability ----------------------------------------------------------------------------------

static cop_status check_stable(cop_run *run, int stage, int64_t kept, bool *is_stable, char *why,
                               size_t why_bytes, cop_error *err)
{
    const cop_study_file *study = run->study;
    cop_stability found = {0};
    cop_status status = COP_OK;

    *is_stable = false;
    if (!study->stop_when_stable || stage < STABLE_RUNGS_MIN || stage >= study->rungs) {
        return COP_OK;
    }
    COP_TRY(status, cop_stability_judge(&found, &run->snapshot, study->objective, study->objectives,
                                        stage, kept, study->seed, err));
    *is_stable = found.is_stable;
    (void)snprintf(
        why, why_bytes,
        "the ranking is stable after rung %d: tau-b %.3f (at least %.3f) and %.3f (at "
        "least %.3f) over the last two steps, and the same best %" PRId64 " up to ties within %.4f",
        stage, found.agreement[0].tau.value, found.agreement[0].tau.low,
        found.agreement[1].tau.value, found.agreement[1].tau.low, found.best, found.epsilon[2]);

done:
    return status;
}

// --- Promotion ----------------------------------------------------------------------------------

// A study that was extended may hold figures of deeper stages.
static bool is_known_behind(const cop_snapshot_candidate *c, int stage)
{
    bool is_known =
        c->curve_points > 0 && c->curve[c->curve_points - 1].tokens > c->stage[stage].record.tokens;
    for (int s = stage + 1; s < COP_SNAPSHOT_STAGES_MAX; s++) {
        is_known = is_known || c->stage[s].is_done;
    }
    return is_known;
}

// `hopeless`: why one who would be promoted is eliminated; "": it is not.
static cop_status record(cop_run *run, const cop_ranked *entry, int stage, const char *decision,
                         const char *hopeless, cop_error *err)
{
    const cop_snapshot_candidate *candidate = &run->snapshot.candidate[entry->index];
    const char *id = candidate->candidate.id;
    char reason[COP_REASON_BYTES];
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_store_promotion(run->store, id, stage, entry->top_probability, decision, err));
    if (strcmp(decision, "eliminated") == 0 && is_known_behind(candidate, stage)) {
        COP_TRY(status, cop_store_forget(run->store, id, stage, err));
    }
    if (hopeless[0] != '\0') {
        COP_TRY(status, cop_store_state(run->store, id, COP_STATE_ELIMINATED, hopeless, err));
    } else if (strcmp(decision, "eliminated") == 0) {
        (void)snprintf(reason, sizeof reason,
                       "rank %d at stage %d, in the top with probability %.2f", entry->rank, stage,
                       entry->top_probability);
        COP_TRY(status, cop_store_state(run->store, id, COP_STATE_ELIMINATED, reason, err));
    } else if (strcmp(decision, "finished") == 0) {
        COP_TRY(status, cop_store_state(run->store, id, COP_STATE_FINISHED, "", err));
    }

done:
    return status;
}

static const char *decision_text(char letter)
{
    return letter == 'p' ? "promoted" : letter == 'r' ? "rescued" : "eliminated";
}

// Turns the 'p' of those who cannot win any more into 'h'. Somebody always goes on.
static cop_status stop_hopeless(cop_run *run, char *decision, cop_hopeless_verdict *verdict,
                                const cop_ranking *ranking, int64_t kept, cop_error *err)
{
    int64_t going_on = 0;
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_hopeless_find(verdict, &run->snapshot, run->study, ranking, decision, kept, err));
    for (int64_t i = 0; i < ranking->count; i++) {
        going_on += decision[i] != 'e' ? 1 : 0;
    }
    for (int64_t i = ranking->count - 1; i >= 0 && going_on > 1; i--) {
        if (verdict[i].is_hopeless) {
            decision[i] = 'h';
            going_on--;
        }
    }

done:
    return status;
}

static cop_status record_all(cop_run *run, const cop_ranking *ranking, int stage, int64_t kept,
                             bool is_end, cop_error *err)
{
    const cop_study_file *study = run->study;
    const cop_ranked *best = &ranking->entry[0];
    const size_t count = (size_t)ranking->count;
    int64_t counts[256] = {0};
    char note[96] = "";
    cop_status status = COP_OK;
    char *decision = cop_alloc(count + 1, 1);
    cop_hopeless_verdict *verdict = cop_alloc(count + 1, sizeof *verdict);

    if (decision == NULL || verdict == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
        goto done;
    }
    COP_TRY(status, cop_ranking_promote(decision, ranking, kept, study->rescue, study->seed, err));
    if (study->stop_hopeless && !is_end) {
        COP_TRY(status, stop_hopeless(run, decision, verdict, ranking, kept, err));
    }
    for (int64_t i = 0; i < ranking->count; i++) {
        char why[COP_REASON_BYTES] = "";
        if (decision[i] == 'h') {
            cop_hopeless_text(why, sizeof why, &verdict[i], study,
                              cop_hopeless_keep(study->keep, study->rungs - stage, kept));
        }
        counts[(unsigned char)decision[i]]++;
        COP_TRY(status, record(run, &ranking->entry[i], stage,
                               is_end ? "finished" : decision_text(decision[i]), why, err));
    }
    if (counts['h'] > 0) {
        (void)snprintf(note, sizeof note, ", %" PRId64 " stopped as hopeless", counts['h']);
    }
    cop_run_note(
        run, COP_LOG_INFO,
        "stage %d: %" PRId64 " candidates, best %s with loss %.4f (%.4f to %.4f); %" PRId64 " %s%s",
        stage, ranking->count, run->snapshot.candidate[best->index].candidate.id, best->loss.value,
        best->loss.low, best->loss.high, is_end ? ranking->count : counts['p'] + counts['r'],
        is_end ? "finished" : "go on", note);

done:
    cop_free(decision);
    cop_free(verdict);
    return status;
}

static cop_status fail_with_nobody(const cop_run *run, int stage, cop_error *err)
{
    for (int64_t i = 0; i < run->snapshot.count; i++) {
        const cop_snapshot_candidate *c = &run->snapshot.candidate[i];
        if (c->reason[0] != '\0' &&
            (c->state == COP_STATE_FAILED || c->state == COP_STATE_ELIMINATED)) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "%s: no candidate finished stage %d; the first is %s: %s",
                            run->options->directory, stage, c->candidate.id, c->reason);
        }
    }
    return COP_FAIL(err, COP_ERR_CONFIG, "%s: no candidate finished stage %d",
                    run->options->directory, stage);
}

cop_status cop_run_promote(cop_run *run, int stage, bool *is_last, cop_error *err)
{
    const cop_study_file *study = run->study;
    const int64_t done = count_done(run, stage);
    const int64_t kept = keep_count(study, stage, count_with_stopped(run, stage));
    char why[256] = "";
    bool is_stable = false;
    cop_ranking ranking = {0};
    cop_status status = COP_OK;

    if (done == 0) {
        return fail_with_nobody(run, stage, err);
    }
    COP_TRY(status, cop_ranking_make(&ranking, &run->snapshot, study->objective, study->objectives,
                                     stage, kept, study->seed, err));
    COP_TRY(status, check_stable(run, stage, kept, &is_stable, why, sizeof why, err));
    *is_last = stage == study->rungs || is_stable;
    if (is_stable) {
        cop_run_note(run, COP_LOG_INFO, "%s", why);
        COP_TRY(status, cop_store_set(run->store, "stopped_early", why, err));
    }
    COP_TRY(status, record_all(run, &ranking, stage, kept, *is_last, err));

done:
    cop_ranking_release(&ranking);
    return status;
}
