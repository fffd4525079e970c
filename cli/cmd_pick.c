// pick: one architecture out of a study, and why; with -o as a model, with the recipe of its retraining.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/study_view.h"
#include "cli/trial_view.h"
#include "report/json_build.h"
#include "search/export.h"

enum { KEY_UNDER = 0x2000, LIMITS_MAX = 8, ROWS = 6 };

typedef struct arguments {
    cop_cli_common common;
    const char *directory;
    const char *output;
    cop_pick_limit limit[LIMITS_MAX];
    int limits;
} arguments;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists

// "params=4.2e9"
static void parse_limit(const struct argp_state *state, arguments *given, const char *text)
{
    const char *value = strchr(text, '=');
    if (given->limits == LIMITS_MAX) {
        argp_error(state, "--under is given more than %d times", LIMITS_MAX);
        return;
    }
    if (value == NULL || value == text) {
        argp_error(state, "--under: '%s' (allowed: <name>=<number>, as in params=4.2e9)", text);
        return;
    }
    cop_pick_limit *limit = &given->limit[given->limits++];
    (void)snprintf(limit->name, sizeof limit->name, "%.*s", (int)(value - text), text);
    char option[sizeof limit->name + 16];
    (void)snprintf(option, sizeof option, "--under: %s", limit->name);
    limit->limit = cop_cli_real(state, option, value + 1, -1e300, 1e300);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); return 0;
    case KEY_UNDER: parse_limit(state, given, text); return 0;
    case 'o': given->output = text; return 0;
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

static int print_json(const arguments *given, const cop_report *report, const cop_pick *pick,
                      const char *command)
{
    json_t *object = cop_report_json_candidate(report, pick->index);
    const cop_snapshot *snapshot = report->snapshot;
    cop_build_put(object, "reason", cop_build_text(pick->reason));
    cop_build_put(object, "is_tie", json_boolean(pick->is_tie));
    cop_build_put(object, "runner_up",
                  pick->runner_up < 0
                      ? json_null()
                      : cop_build_text(snapshot->candidate[pick->runner_up].candidate.id));
    cop_build_put(object, "runner_up_difference", cop_report_json_estimate(&pick->difference));
    if (given->output != NULL) {
        cop_build_put(object, "output", cop_build_text(given->output));
        cop_build_put(object, "command", cop_build_text(command));
    }
    return cop_cli_print_json(object);
}

static void print_text(const arguments *given, const cop_report *report, const cop_pick *pick,
                       const char *command)
{
    const cop_snapshot *snapshot = report->snapshot;
    const cop_candidate *c = &snapshot->candidate[pick->index].candidate;
    char params[COP_TEXT_NUMBER_BYTES];
    char stage[COP_ESTIMATE_TEXT_BYTES];
    char estimate[COP_ESTIMATE_TEXT_BYTES];
    cop_cli_print("%s\n  %lld layers, hidden %lld, %lld/%lld heads of %lld, ffn %lld, %s "
                  "parameters\n",
                  c->id, (long long)c->layers, (long long)c->hidden, (long long)c->heads,
                  (long long)c->kv_heads, (long long)c->head_dim, (long long)c->ffn,
                  cop_text_count(params, (double)c->cost.params));
    cop_cli_print("  why: %s\n", pick->reason);
    if (pick->runner_up >= 0) {
        const cop_candidate *r = &snapshot->candidate[pick->runner_up].candidate;
        cop_cli_print("  runner-up: %s with %s parameters, loss difference %s%s\n", r->id,
                      cop_text_count(params, (double)r->cost.params),
                      cop_study_view_estimate(estimate, &pick->difference),
                      pick->difference.low <= 0 && pick->difference.high >= 0 ? ", a tie" : "");
    }
    if (given->output != NULL) {
        cop_cli_print("  written: %s, with retrain.yaml\n\nretrain it with\n  %s\n", given->output,
                      command);
    } else {
        const cop_report_stage *s = &report->stage[pick->stage];
        cop_cli_print("\n%s\n", cop_study_view_stage(stage, pick->stage, s->tokens));
        cop_study_view_ranking(report, &s->ranking, ROWS);
    }
}

static cop_status run(const arguments *given, int *code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_study_view view = {0};
    cop_text command = {0};
    cop_pick pick = {0};
    bool has_trials = false;
    COP_TRY(status, cop_trial_view_is(&has_trials, given->directory, err));
    if (has_trials && given->output != NULL) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: -o writes a pruned teacher, and this study has an evaluator instead "
                          "of a teacher (allowed: no -o)",
                          given->directory);
        goto done;
    }
    if (has_trials) {
        return cop_trial_view_pick(given->directory, given->limit, given->limits,
                                   given->common.is_json, code, err);
    }
    COP_TRY(status, cop_study_view_open(&view, given->directory, err));
    COP_TRY(status, cop_study_view_analyse(&view, given->directory, err));
    COP_TRY(status, cop_pick_make(&pick, &view.snapshot, given->limit, given->limits,
                                  view.report.seed, err));
    view.report.pick = pick; // what the tables mark
    view.report.has_pick = true;
    if (given->output != NULL) {
        COP_TRY(status,
                cop_export_candidate(&view.snapshot, given->directory, pick.index, given->output,
                                     given->common.is_forced, &command, err));
    }
    if (given->common.is_json) {
        *code = print_json(given, &view.report, &pick, cop_text_view(&command));
    } else {
        print_text(given, &view.report, &pick, cop_text_view(&command));
    }
done:
    cop_text_release(&command);
    cop_study_view_release(&view);
    return status;
}

int cop_cmd_pick(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"under", KEY_UNDER, "NAME=X", 0,
         "Only candidates whose params, params_non_embedding, memory_bytes, flops_per_token or "
         "loss is at most X; with an evaluator, any of its metrics; may be repeated",
         0},
        {"output", 'o', "DIR", 0, "Write the pick as a model directory, with retrain.yaml", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_cli_force_argp, 0, NULL, 0}, {&cop_cli_json_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "DIR",
        .doc =
            "Recommends one architecture of the study in DIR: the lowest loss at the deepest "
            "stage, and among those tied with it the fewest parameters; of a study with an "
            "evaluator the lowest first objective within all bounds.\vWith -o the teacher is "
            "pruned to it once more, exactly as the search did; the model loads everywhere. Its "
            "weights are the teacher's, not those of the short probe: they are meant for the full "
            "retraining that retrain.yaml describes.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    int code = COP_EXIT_DONE;
    cop_cli_parse(&argp, argc, argv, &given);
    const cop_status status = run(&given, &code, &err);
    return status == COP_OK ? code : cop_cli_fail(&err);
}
