// What happens between two stages: ranking, promotion, and the end when the ranking is stable.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/run_internal.h"

// As PASHA does (arXiv 2207.06940), on soft ranks; here by the lower bound of tau-b and the top set.
static const double stable_tau = 0.8;
static const double surely_out = 0.05; // of belonging in the top: a change within is a soft tie
static const double surely_in = 0.95;

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

// --- Stability ----------------------------------------------------------------------------------

static double top_probability(const cop_ranking *ranking, int64_t index)
{
    for (int64_t i = 0; i < ranking->count; i++) {
        if (ranking->entry[i].index == index) {
            return ranking->entry[i].top_probability;
        }
    }
    return (double)NAN;
}

// Is the set of the best the same at both rungs, but for candidates near its edge?
static bool is_same_top(const cop_ranking *now, const cop_ranking *before)
{
    for (int64_t i = 0; i < now->count; i++) {
        const double a = now->entry[i].top_probability;
        const double b = top_probability(before, now->entry[i].index);
        if ((a > surely_in && b < surely_out) || (a < surely_out && b > surely_in)) {
            return false;
        }
    }
    return true;
}

// Two successive pairs of rungs agree, and so do the sets of the best.
static cop_status check_stable(cop_run *run, const cop_ranking *now, int stage, int64_t kept,
                               bool *is_stable, char *why, size_t why_bytes, cop_error *err)
{
    const cop_study_file *study = run->study;
    cop_rank_agreement older = {0};
    cop_rank_agreement newer = {0};
    cop_ranking before = {0};
    cop_status status = COP_OK;

    *is_stable = false;
    if (!study->stop_when_stable || stage < STABLE_RUNGS_MIN || stage >= study->rungs) {
        return COP_OK;
    }
    COP_TRY(status,
            cop_ranking_agreement(&older, &run->snapshot, stage - 2, stage - 1, study->seed, err));
    COP_TRY(status,
            cop_ranking_agreement(&newer, &run->snapshot, stage - 1, stage, study->seed, err));
    if (!(older.tau.low >= stable_tau && newer.tau.low >= stable_tau)) {
        goto done;
    }
    COP_TRY(status, cop_ranking_make(&before, &run->snapshot, study->objective, study->objectives,
                                     stage - 1, kept, study->seed, err));
    *is_stable = is_same_top(now, &before);
    (void)snprintf(
        why, why_bytes,
        "the ranking is stable after rung %d: tau-b %.3f (at least %.3f) and %.3f (at least "
        "%.3f) over the last two steps, and the same best %" PRId64,
        stage, older.tau.value, older.tau.low, newer.tau.value, newer.tau.low, kept);

done:
    cop_ranking_release(&before);
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

static cop_status record(cop_run *run, const cop_ranked *entry, int stage, const char *decision,
                         cop_error *err)
{
    const cop_snapshot_candidate *candidate = &run->snapshot.candidate[entry->index];
    const char *id = candidate->candidate.id;
    char reason[COP_REASON_BYTES];
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_store_promotion(run->store, id, stage, entry->top_probability, decision, err));
    if (strcmp(decision, "eliminated") == 0) {
        if (is_known_behind(candidate, stage)) {
            COP_TRY(status, cop_store_forget(run->store, id, stage, err));
        }
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

static cop_status record_all(cop_run *run, const cop_ranking *ranking, int stage, int64_t kept,
                             bool is_end, cop_error *err)
{
    const cop_ranked *best = &ranking->entry[0];
    int64_t counts[256] = {0};
    cop_status status = COP_OK;
    char *decision = cop_alloc((size_t)ranking->count + 1, 1);

    if (decision == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
    }
    COP_TRY(status, cop_ranking_promote(decision, ranking, kept, run->study->rescue,
                                        run->study->seed, err));
    for (int64_t i = 0; i < ranking->count; i++) {
        counts[(unsigned char)decision[i]]++;
        COP_TRY(status, record(run, &ranking->entry[i], stage,
                               is_end ? "finished" : decision_text(decision[i]), err));
    }
    cop_run_note(
        run, COP_LOG_INFO,
        "stage %d: %" PRId64 " candidates, best %s with loss %.4f (%.4f to %.4f); %" PRId64 " %s",
        stage, ranking->count, run->snapshot.candidate[best->index].candidate.id, best->loss.value,
        best->loss.low, best->loss.high, is_end ? ranking->count : counts['p'] + counts['r'],
        is_end ? "finished" : "go on");

done:
    cop_free(decision);
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
    const int64_t kept = keep_count(study, stage, done);
    char why[256] = "";
    bool is_stable = false;
    cop_ranking ranking = {0};
    cop_status status = COP_OK;

    if (done == 0) {
        return fail_with_nobody(run, stage, err);
    }
    COP_TRY(status, cop_ranking_make(&ranking, &run->snapshot, study->objective, study->objectives,
                                     stage, kept, study->seed, err));
    COP_TRY(status, check_stable(run, &ranking, stage, kept, &is_stable, why, sizeof why, err));
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
