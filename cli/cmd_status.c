// status: how far a study is, from another terminal. Reads only; the search is not disturbed.

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/study_view.h"
#include "cli/trial_view.h"
#include "report/json_build.h"
#include "report/settings.h"
#include "search/facts.h"

typedef struct arguments {
    cop_cli_common common;
    const char *directory;
    double watch_seconds; // 0: print once
} arguments;

enum { KEY_WATCH = 'w' };

static const double watch_fallback_seconds = 2;

typedef struct stage_progress {
    int64_t total; // candidates that enter; -1: not known yet
    int64_t done;
    int64_t failed;
    int64_t tokens; // cumulative, of each; -1: not known
    double seconds;
    int64_t spent; // tokens
} stage_progress;

typedef struct progress {
    const char *state; // "running", "stopped", "finished"
    char owner[160];
    int stages;
    int current; // stage at work or next; -1: all done
    stage_progress stage[COP_REPORT_STAGES_MAX];
    int64_t running; // index of the candidate at work, -1: none
    int64_t evaluations;
    int64_t failures;
    int64_t tokens;
    double seconds;
    double eta_seconds;  // NaN: not computable
    cop_ranking ranking; // of the deepest stage, by loss
} progress;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists

// "--watch" may stand before its number: argp knows "--watch=5" alone.
static double parse_watch(struct argp_state *state, const char *text)
{
    double seconds = 0;
    if (text == NULL && state->next < state->argc &&
        cop_text_to_f64(state->argv[state->next], &seconds)) {
        text = state->argv[state->next++];
    }
    return text == NULL ? watch_fallback_seconds : cop_cli_real(state, "--watch", text, 0.1, 86400);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case KEY_WATCH: given->watch_seconds = parse_watch(state, text); return 0;
    case ARGP_KEY_END:
        if (given->watch_seconds > 0 && given->common.is_json) {
            argp_error(state, "--watch and --json exclude each other");
        }
        return 0;
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); return 0;
    case ARGP_KEY_ARG:
        if (given->directory != NULL) {
            argp_error(state, "one study directory is expected, and \"%s\" is another", text);
        }
        given->directory = text;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the study directory is missing"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// NOLINTEND(concurrency-mt-unsafe)

// Tokens of the rungs, as planned: "500000,2000000".
static void read_plan(progress *p, const cop_snapshot *snapshot)
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

static void count_candidate(progress *p, const cop_snapshot_candidate *c, int64_t index)
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
    p->stage[0].total++;
    if (c->state == COP_STATE_FAILED) {
        p->failures++;
        if (c->last_stage + 1 < COP_REPORT_STAGES_MAX) {
            p->stage[c->last_stage + 1].failed++;
        }
    }
    if (c->running_stage >= 0) {
        p->running = index;
    }
}

static double share_kept(const cop_snapshot *snapshot)
{
    const char *text = cop_snapshot_fact(snapshot, "keep");
    double share = 0;
    return text != NULL && cop_text_to_f64(text, &share) && share > 0 && share <= 1 ? share : 1;
}

// Tokens ahead at the speed of those behind. Stages whose entrants are not known yet take the share
// that the study keeps.
static void estimate_rest(progress *p, const cop_snapshot *snapshot)
{
    double tokens = 0;
    double seconds = 0;
    double ahead = 0;
    double entrants = 0;
    for (int s = 1; s < p->stages; s++) {
        tokens += (double)p->stage[s].spent;
        seconds += p->stage[s].seconds;
    }
    for (int s = 1; s < p->stages; s++) {
        const double each = (double)(p->stage[s].tokens - p->stage[s - 1].tokens);
        const bool is_known = p->stage[s].total > 0;
        entrants = is_known ? (double)p->stage[s].total : ceil(entrants * share_kept(snapshot));
        ahead += each * fmax(0, entrants - (double)(p->stage[s].done + p->stage[s].failed));
    }
    if (p->running >= 0) {
        const cop_snapshot_candidate *c = &snapshot->candidate[p->running];
        const int64_t before = c->last_stage < 0 ? 0 : c->stage[c->last_stage].record.tokens;
        ahead -= (double)(c->running_tokens > before ? c->running_tokens - before : 0);
    }
    // Before the first probe has ended nothing is known about the speed.
    p->eta_seconds = tokens > 0 && p->current > 0 ? fmax(0, ahead) * seconds / tokens : (double)NAN;
}

static cop_status measure(progress *p, const cop_snapshot *snapshot, const char *directory,
                          cop_error *err)
{
    const cop_objective loss = COP_OBJECTIVE_LOSS;
    int deepest = -1;
    const char *seed = cop_snapshot_fact(snapshot, COP_FACT_SEED);
    int64_t number = 0;
    *p = (progress){.running = -1, .current = -1, .eta_seconds = (double)NAN};
    read_plan(p, snapshot);
    for (int64_t i = 0; i < snapshot->count; i++) {
        count_candidate(p, &snapshot->candidate[i], i);
    }
    const bool is_finished = cop_snapshot_fact(snapshot, COP_FACT_FINISHED) != NULL;
    const bool is_owned = cop_store_owner(directory, p->owner, sizeof p->owner);
    p->state = is_owned ? "running" : is_finished ? "finished" : "stopped";
    for (int s = 0; s < p->stages; s++) {
        p->tokens += p->stage[s].spent;
        p->seconds += p->stage[s].seconds;
        deepest = p->stage[s].done > 0 ? s : deepest;
        const bool is_open =
            p->stage[s].done + p->stage[s].failed < p->stage[s].total || p->stage[s].total == 0;
        p->current = is_open && p->current < 0 && !is_finished ? s : p->current;
    }
    if (!is_finished) {
        estimate_rest(p, snapshot);
    }
    if (!is_owned) {
        p->running = -1; // what an interrupted search was at
    }
    if (deepest < 0) {
        return COP_OK;
    }
    return cop_ranking_make(&p->ranking, snapshot, &loss, 1, deepest, 1,
                            seed != NULL && cop_text_to_i64(seed, &number) ? (uint64_t)number : 0,
                            err);
}

// --- JSON -----------------------------------------------------------------------------------------

static json_t *json_stages(const progress *p)
{
    json_t *list = json_array();
    for (int s = 0; s < p->stages; s++) {
        const stage_progress *stage = &p->stage[s];
        json_t *object = json_object();
        cop_build_put(object, "stage", json_integer(s));
        cop_build_put(object, "tokens",
                      stage->tokens < 0 ? json_null() : json_integer(stage->tokens));
        cop_build_put(object, "total", stage->total > 0 ? json_integer(stage->total) : json_null());
        cop_build_put(object, "done", json_integer(stage->done));
        cop_build_put(object, "failed", json_integer(stage->failed));
        cop_build_put(object, "seconds", cop_build_real(stage->seconds));
        cop_build_add(list, object);
    }
    return list;
}

static json_t *json_running(const progress *p, const cop_snapshot *snapshot)
{
    if (p->running < 0) {
        return json_null();
    }
    const cop_snapshot_candidate *c = &snapshot->candidate[p->running];
    json_t *object = json_object();
    cop_build_put(object, "id", cop_build_text(c->candidate.id));
    cop_build_put(object, "stage", json_integer(c->running_stage));
    cop_build_put(object, "tokens", json_integer(c->running_tokens));
    cop_build_put(object, "of", json_integer(p->stage[c->running_stage].tokens));
    return object;
}

static json_t *json_best(const progress *p, const cop_snapshot *snapshot)
{
    if (p->ranking.count == 0) {
        return json_null();
    }
    const cop_ranked *best = &p->ranking.entry[0];
    json_t *object = json_object();
    cop_build_put(object, "id", cop_build_text(snapshot->candidate[best->index].candidate.id));
    cop_build_put(object, "stage", json_integer(p->ranking.stage));
    cop_build_put(object, "tokens", json_integer(p->ranking.tokens));
    cop_build_put(object, "loss", cop_report_json_estimate(&best->loss));
    cop_build_put(object, "is_tied", json_boolean(best->is_tied_with_next));
    return object;
}

static json_t *json_failures(const cop_snapshot *snapshot)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        if (c->state == COP_STATE_FAILED) {
            json_t *object = json_object();
            cop_build_put(object, "id", cop_build_text(c->candidate.id));
            cop_build_put(object, "stage", json_integer(c->last_stage + 1));
            cop_build_put(object, "reason", cop_build_text(c->reason));
            cop_build_add(list, object);
        }
    }
    return list;
}

static int print_json(const progress *p, const cop_snapshot *snapshot, const char *directory)
{
    json_t *object = json_object();
    cop_build_put(object, "directory", cop_build_text(directory));
    cop_build_put(object, "state", cop_build_text(p->state));
    cop_build_put(object, "owner", cop_build_text(p->owner[0] == '\0' ? NULL : p->owner));
    cop_build_put(object, "stage", p->current < 0 ? json_null() : json_integer(p->current));
    cop_build_put(object, "stages", json_stages(p));
    cop_build_put(object, "candidates", json_integer(snapshot->count));
    cop_build_put(object, "running", json_running(p, snapshot));
    cop_build_put(object, "best", json_best(p, snapshot));
    cop_build_put(object, "failures", json_failures(snapshot));
    cop_build_put(object, "evaluations", json_integer(p->evaluations));
    cop_build_put(object, "tokens", json_integer(p->tokens));
    cop_build_put(object, "seconds", cop_build_real(p->seconds));
    cop_build_put(object, "eta_seconds", cop_build_real(p->eta_seconds));
    return cop_cli_print_json(object);
}

// --- Text -----------------------------------------------------------------------------------------

static void print_stages(const progress *p)
{
    static const char *const titles[] = {"stage", "tokens each", "done", "failed", "time", ""};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;
    cop_cli_table_init(&table, "lrrrrl");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int s = 0; s < p->stages; s++) {
        const stage_progress *stage = &p->stage[s];
        if (s == 0) {
            cop_cli_cell(&table, "pruned");
        } else {
            cop_cli_cell(&table, "rung %d", s);
        }
        cop_cli_cell(&table, "%s",
                     stage->tokens < 0 ? "?" : cop_text_count(text, (double)stage->tokens));
        if (stage->total > 0) {
            cop_cli_cell(&table, "%lld/%lld", (long long)stage->done, (long long)stage->total);
        } else {
            cop_cli_cell(&table, "-");
        }
        cop_cli_cell(&table, "%lld", (long long)stage->failed);
        cop_cli_cell(&table, "%s",
                     stage->seconds > 0 ? cop_text_seconds(text, stage->seconds) : "-");
        cop_cli_cell(&table, "%s", s == p->current ? "<- now" : "");
    }
    cop_cli_table_print(&table);
}

static void print_failures(const cop_snapshot *snapshot)
{
    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        if (c->state == COP_STATE_FAILED) {
            cop_cli_print("failed   %s at stage %d: %s\n", c->candidate.id, c->last_stage + 1,
                          c->reason);
        }
    }
}

static void print_text(const progress *p, const cop_snapshot *snapshot, const char *directory)
{
    char text[COP_ESTIMATE_TEXT_BYTES];
    char tokens[COP_TEXT_NUMBER_BYTES];
    char seconds[COP_TEXT_NUMBER_BYTES];
    cop_cli_print("%s: %s%s%s\n", directory, p->state, p->owner[0] == '\0' ? "" : " by ", p->owner);
    print_stages(p);
    if (p->running >= 0) {
        const cop_snapshot_candidate *c = &snapshot->candidate[p->running];
        const int64_t of = p->stage[c->running_stage].tokens;
        cop_cli_print("running  %s, %s", c->candidate.id,
                      cop_text_count(tokens, (double)c->running_tokens));
        cop_cli_print(" of %s tokens\n", cop_text_count(tokens, of < 0 ? 0 : (double)of));
    }
    if (p->ranking.count > 0) {
        const cop_ranked *best = &p->ranking.entry[0];
        const cop_candidate *c = &snapshot->candidate[best->index].candidate;
        cop_cli_print("best     %s (%s)", c->id, cop_text_count(tokens, (double)c->cost.params));
        cop_cli_print(", loss %s", cop_study_view_estimate(text, &best->loss));
        cop_cli_print(" at %s%s\n", cop_study_view_stage(text, p->ranking.stage, p->ranking.tokens),
                      best->is_tied_with_next ? ", tied with the next" : "");
    }
    print_failures(snapshot);
    cop_cli_print("spent    %s tokens, %s, %lld evaluations\n",
                  cop_text_count(tokens, (double)p->tokens), cop_text_seconds(seconds, p->seconds),
                  (long long)p->evaluations);
    if (isfinite(p->eta_seconds)) {
        cop_cli_print("left     about %s\n", cop_text_seconds(seconds, p->eta_seconds));
    }
}

// Prints once; *is_running tells whether some process is at work on the study.
static cop_status show(const arguments *given, bool *is_running, int *code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_study_view view = {0};
    progress p = {0};
    bool has_trials = false;
    COP_TRY(status, cop_trial_view_is(&has_trials, given->directory, err));
    if (has_trials) {
        return cop_trial_view_status(given->directory, given->common.is_json, is_running, code,
                                     err);
    }
    COP_TRY(status, cop_study_view_open(&view, given->directory, err));
    COP_TRY(status, measure(&p, &view.snapshot, given->directory, err));
    *is_running = strcmp(p.state, "running") == 0;
    if (given->common.is_json) {
        *code = print_json(&p, &view.snapshot, given->directory);
    } else {
        print_text(&p, &view.snapshot, given->directory);
    }

done:
    cop_ranking_release(&p.ranking);
    cop_study_view_release(&view);
    return status;
}

static void wait_for(double seconds)
{
    const double whole = floor(seconds);
    const struct timespec time = {(time_t)whole, (long)((seconds - whole) * 1e9)};
    (void)nanosleep(&time, NULL);
}

// On a terminal each table takes the place of the one before; else they follow one another.
static cop_status watch(const arguments *given, int *code, cop_error *err)
{
    const bool is_terminal = isatty(STDOUT_FILENO) != 0;
    cop_status status = COP_OK;
    bool is_running = true;
    for (bool is_first = true; is_running; is_first = false) {
        if (!is_first) {
            wait_for(given->watch_seconds);
        }
        cop_cli_print("%s", is_terminal ? "\033[H\033[2J" : is_first ? "" : "\n");
        COP_TRY(status, show(given, &is_running, code, err));
        (void)fflush(stdout);
    }

done:
    return status;
}

int cop_cmd_status(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"watch", KEY_WATCH, "SECONDS", OPTION_ARG_OPTIONAL,
         "Print again every SECONDS (2 when absent) until the study is finished or stopped", 0},
        {0},
    };
    static const struct argp_child children[] = {{&cop_cli_json_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "DIR",
        .doc = "Shows how far the study in DIR is: stages, what is running, the best so far, "
               "failures, cost and time left. The search may run meanwhile.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    bool is_running = false;
    int code = COP_EXIT_DONE;
    cop_cli_parse(&argp, argc, argv, &given);
    const cop_status status = given.watch_seconds > 0 ? watch(&given, &code, &err)
                                                      : show(&given, &is_running, &code, &err);
    return status == COP_OK ? code : cop_cli_fail(&err);
}
