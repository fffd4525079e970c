// status: how far a study is, from another terminal. Reads only; the search is not disturbed.

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/study_progress.h"
#include "cli/trial_view.h"
#include "report/json_build.h"
#include "report/surrogate_json.h"

typedef struct arguments {
    cop_cli_common common;
    const char *directory;
    double watch_seconds; // 0: print once
} arguments;

enum { KEY_WATCH = 'w' };

static const double watch_fallback_seconds = 2;

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

// --- JSON -----------------------------------------------------------------------------------------

static json_t *json_stages(const cop_study_progress *p)
{
    json_t *list = json_array();
    for (int s = 0; s < p->stages; s++) {
        const cop_stage_progress *stage = &p->stage[s];
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

static json_t *json_running(const cop_study_progress *p, const cop_snapshot *snapshot)
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

static json_t *json_best(const cop_study_progress *p, const cop_snapshot *snapshot)
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

// null for a grid.
static json_t *json_search(const cop_study_progress *p, const cop_snapshot *snapshot)
{
    if (!p->has_strategy) {
        return json_null();
    }
    json_t *object = json_object();
    cop_build_put(object, "strategy", cop_build_text(p->strategy));
    cop_build_put(object, "batches", json_integer(p->batches));
    cop_build_put(object, "evaluated", json_integer(p->evaluated));
    cop_build_put(object, "planned", json_integer(p->planned));
    cop_build_put(object, "fidelity", json_integer(p->fidelity));
    cop_build_put(object, "surrogate", cop_report_json_surrogate(snapshot->fact, snapshot->facts));
    return object;
}

static int print_json(const cop_study_progress *p, const cop_snapshot *snapshot,
                      const char *directory)
{
    json_t *object = json_object();
    cop_build_put(object, "directory", cop_build_text(directory));
    cop_build_put(object, "state", cop_build_text(p->state));
    cop_build_put(object, "owner", cop_build_text(p->owner[0] == '\0' ? NULL : p->owner));
    cop_build_put(object, "stage", p->current < 0 ? json_null() : json_integer(p->current));
    cop_build_put(object, "stages", json_stages(p));
    cop_build_put(object, "candidates", json_integer(snapshot->count));
    cop_build_put(object, "search", json_search(p, snapshot));
    cop_build_put(object, "running", json_running(p, snapshot));
    cop_build_put(object, "best", json_best(p, snapshot));
    cop_build_put(object, "front", p->ranking.count > 0 ? json_integer(p->front) : json_null());
    cop_build_put(object, "failures", json_failures(snapshot));
    cop_build_put(object, "evaluations", json_integer(p->evaluations));
    cop_build_put(object, "tokens", json_integer(p->tokens));
    cop_build_put(object, "seconds", cop_build_real(p->seconds));
    cop_build_put(object, "eta_seconds", cop_build_real(p->eta_seconds));
    return cop_cli_print_json(object);
}

// --- Text -----------------------------------------------------------------------------------------

static void print_stages(const cop_study_progress *p)
{
    static const char *const titles[] = {"stage", "tokens each", "done", "failed", "time", ""};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;
    cop_cli_table_init(&table, "lrrrrl");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int s = 0; s < p->stages; s++) {
        const cop_stage_progress *stage = &p->stage[s];
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

static void print_search(const cop_study_progress *p, const cop_snapshot *snapshot)
{
    cop_text surrogate = {0};
    if (!p->has_strategy) {
        return;
    }
    cop_cli_print("search   %s, batch %lld, %lld of %lld candidates evaluated\n", p->strategy,
                  (long long)p->batches, (long long)p->evaluated, (long long)p->planned);
    cop_report_append_surrogate(&surrogate, snapshot->fact, snapshot->facts, "\nmodel    ");
    if (surrogate.length > 0 && !surrogate.is_broken) {
        cop_cli_print("model    %s\n", cop_text_view(&surrogate));
    }
    cop_text_release(&surrogate);
}

static void print_text(const cop_study_progress *p, const cop_snapshot *snapshot,
                       const char *directory)
{
    char text[COP_ESTIMATE_TEXT_BYTES];
    char tokens[COP_TEXT_NUMBER_BYTES];
    char seconds[COP_TEXT_NUMBER_BYTES];
    cop_cli_print("%s: %s%s%s\n", directory, p->state, p->owner[0] == '\0' ? "" : " by ", p->owner);
    print_stages(p);
    print_search(p, snapshot);
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
    if (p->ranking.count > 0) {
        cop_cli_print("front    %lld of %lld candidates of that stage\n", (long long)p->front,
                      (long long)p->ranking.count);
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
    cop_study_progress p = {0};
    bool has_trials = false;
    COP_TRY(status, cop_trial_view_is(&has_trials, given->directory, err));
    if (has_trials) {
        return cop_trial_view_status(given->directory, given->common.is_json, is_running, code,
                                     err);
    }
    COP_TRY(status, cop_study_view_open(&view, given->directory, err));
    COP_TRY(status, cop_study_progress_measure(&p, &view.snapshot, given->directory, err));
    *is_running = strcmp(p.state, "running") == 0;
    if (given->common.is_json) {
        *code = print_json(&p, &view.snapshot, given->directory);
    } else {
        print_text(&p, &view.snapshot, given->directory);
    }

done:
    cop_study_progress_release(&p);
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
