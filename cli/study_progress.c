#include "cli/study_progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/settings.h"
#include "search/facts.h"

static int64_t integer_fact(const cop_snapshot *snapshot, const char *key, int64_t fallback)
{
    const char *text = cop_snapshot_fact(snapshot, key);
    int64_t value = 0;
    return text != NULL && cop_text_to_i64(text, &value) ? value : fallback;
}

// Tokens of the rungs, as planned: "500000,2000000".
static void read_plan(cop_study_progress *p, const cop_snapshot *snapshot)
{
    const char *at = cop_snapshot_fact(snapshot, COP_FACT_RUNGS);
    p->stages = 1;
    for (int s = 1; s < COP_REPORT_STAGES_MAX; s++) {
        p->stage[s].tokens = -1;
    }
    while (at != NULL && *at != '\0' && p->stages < COP_REPORT_STAGES_MAX) {
        char number[32];
        const size_t length = strcspn(at, ",");
        (void)snprintf(number, sizeof number, "%.*s", (int)length, at);
        (void)cop_text_to_i64(number, &p->stage[p->stages].tokens);
        p->stages++;
        at += length + (at[length] == ',' ? 1 : 0);
    }
}

static bool is_promoted(const cop_snapshot_stage *stage)
{
    return strcmp(stage->decision, "promoted") == 0 || strcmp(stage->decision, "rescued") == 0;
}

static void count_stages(cop_study_progress *p, const cop_snapshot_candidate *c)
{
    for (int s = 0; s < COP_REPORT_STAGES_MAX; s++) {
        const cop_snapshot_stage *stage = &c->stage[s];
        const int64_t before = s > 0 ? c->stage[s - 1].record.tokens : 0;
        if (stage->is_done) {
            p->stage[s].done++;
            p->stage[s].tokens = stage->record.tokens;
            p->stage[s].spent += stage->record.tokens - before;
            p->stage[s].seconds += isfinite(stage->record.seconds) ? stage->record.seconds : 0;
            p->evaluations++;
            p->stages = s + 1 > p->stages ? s + 1 : p->stages;
        }
        if (s + 1 < COP_REPORT_STAGES_MAX && is_promoted(stage)) {
            p->stage[s + 1].total++;
        }
    }
}

static void count_candidate(cop_study_progress *p, const cop_snapshot_candidate *c, int64_t index)
{
    const bool is_untimely = c->state == COP_STATE_ELIMINATED && c->last_stage < 0;
    count_stages(p, c);
    p->stage[0].total++;
    p->stage[0].untimely += is_untimely ? 1 : 0;
    if (c->state == COP_STATE_FAILED && c->last_stage + 1 < COP_REPORT_STAGES_MAX) {
        p->stage[c->last_stage + 1].failed++;
    }
    if (c->batch >= 0) {
        p->batches = c->batch >= p->batches ? c->batch + 1 : p->batches;
        p->evaluated +=
            c->last_stage >= p->fidelity || is_untimely || c->state == COP_STATE_FAILED ? 1 : 0;
    }
    if (c->running_stage >= 0) {
        p->running = index;
    }
}

static int64_t ended(const cop_stage_progress *stage)
{
    return stage->done + stage->failed + stage->untimely;
}

// --- Strategies -----------------------------------------------------------------------------------

static void read_strategy(cop_study_progress *p, const cop_snapshot *snapshot)
{
    const char *name = cop_snapshot_fact(snapshot, COP_FACT_SETTING "search.strategy");
    const int64_t fidelity = integer_fact(snapshot, COP_FACT_SETTING "search.fidelity", 0);

    p->has_strategy = name != NULL && strcmp(name, "grid") != 0;
    if (p->has_strategy) {
        (void)snprintf(p->strategy, sizeof p->strategy, "%s", name);
        p->fidelity = fidelity < 0 || fidelity >= COP_REPORT_STAGES_MAX ? 0 : (int)fidelity;
    }
}

// What a strategy is going to propose counts as entering the stages up to the one it learns from; only those
// that dropped out on the way do not.
static void plan_proposals(cop_study_progress *p, const cop_snapshot *snapshot, bool is_finished)
{
    const int64_t wanted = integer_fact(snapshot, COP_FACT_SETTING "search.evaluations", 0);
    const int64_t feasible = integer_fact(snapshot, COP_FACT_FEASIBLE, INT64_MAX);
    bool is_over = is_finished;
    int64_t entering = 0;
    char key[32];

    (void)snprintf(key, sizeof key, COP_FACT_STAGE_PREFIX "%d", p->fidelity);
    const char *stage = cop_snapshot_fact(snapshot, key);
    is_over = is_over || (stage != NULL && strcmp(stage, "done") == 0);
    p->planned = wanted < feasible ? wanted : feasible;
    p->planned = is_over || p->planned < snapshot->count ? snapshot->count : p->planned;
    entering = p->planned;
    for (int s = 0; s <= p->fidelity && s < p->stages; s++) {
        p->stage[s].total = entering;
        entering -= p->stage[s].failed + p->stage[s].untimely;
    }
}

// While candidates are proposed the work goes to and fro between the stages: the one that has more to do of what was
// proposed so far.
static int current_of_batch(const cop_study_progress *p, const cop_snapshot *snapshot)
{
    int64_t entered = snapshot->count;
    if (p->running >= 0) {
        return snapshot->candidate[p->running].running_stage;
    }
    for (int s = 0; s <= p->fidelity; s++) {
        if (ended(&p->stage[s]) < entered) {
            return s;
        }
        entered = p->stage[s].done;
    }
    return p->evaluated < p->planned ? 0 : -1;
}

// --- Time -----------------------------------------------------------------------------------------

static double share_kept(const cop_snapshot *snapshot)
{
    const char *text = cop_snapshot_fact(snapshot, "keep");
    double share = 0;
    return text != NULL && cop_text_to_f64(text, &share) && share > 0 && share <= 1 ? share : 1;
}

// Of `entrants` at a stage, how many enter the next one when that is not known yet.
static double expected(const cop_snapshot *snapshot, int stage, double entrants)
{
    const int64_t pruned = integer_fact(snapshot, COP_FACT_SETTING "probe.keep_pruned", 0);
    if (stage > 0) {
        return ceil(entrants * share_kept(snapshot) - 1e-9);
    }
    return pruned > 0 ? fmin(entrants, (double)pruned) : entrants;
}

// Tokens ahead at the speed of those behind, and what is left to evaluate untrained.
static void estimate_rest(cop_study_progress *p, const cop_snapshot *snapshot)
{
    const cop_stage_progress *pruned = &p->stage[0];
    double tokens = 0;
    double seconds = 0;
    double ahead = 0;
    double entrants = (double)(pruned->total - pruned->failed - pruned->untimely);
    const double untrained = (double)(pruned->total - ended(pruned)) * pruned->seconds /
                             (double)(pruned->done > 0 ? pruned->done : 1);

    for (int s = 1; s < p->stages; s++) {
        const double each = (double)(p->stage[s].tokens - p->stage[s - 1].tokens);
        const bool is_known = p->stage[s].total > 0;
        tokens += (double)p->stage[s].spent;
        seconds += p->stage[s].seconds;
        entrants = is_known ? (double)p->stage[s].total : expected(snapshot, s - 1, entrants);
        ahead += each * fmax(0, entrants - (double)ended(&p->stage[s]));
    }
    if (p->running >= 0) {
        const cop_snapshot_candidate *c = &snapshot->candidate[p->running];
        const int64_t before = c->last_stage < 0 ? 0 : c->stage[c->last_stage].record.tokens;
        ahead -= (double)(c->running_tokens > before ? c->running_tokens - before : 0);
    }
    // Before the first probe has ended nothing is known about the speed.
    p->eta_seconds =
        tokens > 0 ? fmax(0, ahead) * seconds / tokens + fmax(0, untrained) : (double)NAN;
}

// --- All of it ------------------------------------------------------------------------------------

static int find_current(const cop_study_progress *p, const cop_snapshot *snapshot)
{
    const int batch = p->has_strategy ? current_of_batch(p, snapshot) : -1;
    if (batch >= 0) {
        return batch;
    }
    for (int s = p->has_strategy ? p->fidelity + 1 : 0; s < p->stages; s++) {
        if (ended(&p->stage[s]) < p->stage[s].total || p->stage[s].total == 0) {
            return s;
        }
    }
    return -1;
}

// The best, and how many are on the front, by the study's objectives.
static cop_status rank(cop_study_progress *p, const cop_snapshot *snapshot, const char *directory,
                       int deepest, cop_error *err)
{
    static cop_report settings; // large
    cop_status status = COP_OK;

    settings = (cop_report){.snapshot = snapshot};
    (void)snprintf(settings.directory, sizeof settings.directory, "%s", directory);
    COP_TRY(status, cop_report_settings(&settings, err));
    COP_TRY(status, cop_ranking_make(&p->ranking, snapshot, settings.objective, settings.objectives,
                                     deepest, 1, settings.seed, err));
    for (int64_t i = 0; i < p->ranking.count; i++) {
        p->front += p->ranking.entry[i].on_front ? 1 : 0;
    }

done:
    return status;
}

cop_status cop_study_progress_measure(cop_study_progress *out, const cop_snapshot *snapshot,
                                      const char *directory, cop_error *err)
{
    const char *finished = cop_snapshot_fact(snapshot, COP_FACT_FINISHED);
    const bool is_finished = finished != NULL && finished[0] != '\0';
    cop_study_progress *p = out;
    int deepest = -1;

    *p = (cop_study_progress){.running = -1, .current = -1, .eta_seconds = (double)NAN};
    read_plan(p, snapshot);
    read_strategy(p, snapshot);
    for (int64_t i = 0; i < snapshot->count; i++) {
        count_candidate(p, &snapshot->candidate[i], i);
    }
    if (p->has_strategy) {
        plan_proposals(p, snapshot, is_finished);
    }
    const bool is_owned = cop_store_owner(directory, p->owner, sizeof p->owner);
    p->state = is_owned ? "running" : is_finished ? "finished" : "stopped";
    for (int s = 0; s < p->stages; s++) {
        p->tokens += p->stage[s].spent;
        p->seconds += p->stage[s].seconds;
        deepest = p->stage[s].done > 0 ? s : deepest;
    }
    if (!is_finished) {
        p->current = find_current(p, snapshot);
        estimate_rest(p, snapshot);
    }
    if (!is_owned) {
        p->running = -1; // what an interrupted search was at
    }
    return deepest < 0 ? COP_OK : rank(p, snapshot, directory, deepest, err);
}

void cop_study_progress_release(cop_study_progress *progress)
{
    cop_ranking_release(&progress->ranking);
}
