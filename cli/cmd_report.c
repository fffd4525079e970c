// report: a study as report.html, report.json and candidates.csv. They are derived from the study's
// database and may be made again at any time, so existing ones are replaced.

#include <math.h>

#include "cli/study_view.h"
#include "cli/trial_view.h"
#include "report/surrogate_json.h"

typedef struct arguments {
    cop_cli_common common;
    const char *directory;
} arguments;

enum { ROWS = 12 };

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
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

// How the candidates were found, and whether the stages agree about them.
static void print_search(const cop_report *report)
{
    const cop_report_stage *last = &report->stage[report->deepest < 0 ? 0 : report->deepest];
    cop_text surrogate = {0};
    if (report->batches > 0) {
        cop_cli_print("%s, seed %llu: %lld candidates in %lld batches\n", report->strategy,
                      (unsigned long long)report->seed, (long long)report->snapshot->count,
                      (long long)report->batches);
    }
    cop_report_append_surrogate(&surrogate, report->snapshot->fact, report->snapshot->facts,
                                "\nsurrogate's ");
    if (surrogate.length > 0 && !surrogate.is_broken) {
        cop_cli_print("surrogate's %s\n", cop_text_view(&surrogate));
    }
    cop_text_release(&surrogate);
    if (isfinite(last->agreement.tau.value)) {
        cop_cli_print("tau-b with the stage before %.2f (%.2f to %.2f)", last->agreement.tau.value,
                      last->agreement.tau.low, last->agreement.tau.high);
        if (isfinite(last->agreement.within.value)) {
            cop_cli_print(", within sizes %.2f (%.2f to %.2f)", last->agreement.within.value,
                          last->agreement.within.low, last->agreement.within.high);
        }
        cop_cli_print("\n");
    }
    if (isfinite(report->volume.value)) {
        cop_cli_print("hypervolume %.4f of the front, by the range of the stage\n",
                      report->volume.value);
    }
}

static void print_text(const cop_report *report, const char *directory)
{
    char stage[COP_ESTIMATE_TEXT_BYTES];
    char tokens[COP_TEXT_NUMBER_BYTES];
    if (report->deepest >= 0) {
        const cop_report_stage *deepest = &report->stage[report->deepest];
        cop_cli_print("%s\n", cop_study_view_stage(stage, report->deepest, deepest->tokens));
        cop_study_view_ranking(report, &deepest->ranking, ROWS);
        if (deepest->ranking.count > ROWS) {
            cop_cli_print("... and %lld more\n", (long long)(deepest->ranking.count - ROWS));
        }
        cop_cli_print("\n");
    }
    if (report->has_pick) {
        cop_cli_print("pick  %s: %s\n",
                      report->snapshot->candidate[report->pick.index].candidate.id,
                      report->pick.reason);
    } else {
        cop_cli_print("no candidate has a finished stage yet\n");
    }
    print_search(report);
    cop_cli_print("%lld evaluations, %s tokens trained, %lld failures\n",
                  (long long)report->evaluations, cop_text_count(tokens, (double)report->tokens),
                  (long long)report->failures);
    cop_cli_print("written: %s/report.html, report.json, candidates.csv\n", directory);
}

static cop_status run(const arguments *given, int *code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_study_view view = {0};
    json_t *document = NULL;
    bool has_trials = false;
    COP_TRY(status, cop_trial_view_is(&has_trials, given->directory, err));
    if (has_trials) {
        return cop_trial_view_report(given->directory, given->common.is_json, code, err);
    }
    COP_TRY(status, cop_study_view_open(&view, given->directory, err));
    COP_TRY(status, cop_study_view_analyse(&view, given->directory, err));
    COP_TRY(status, cop_report_write(&view.report, given->directory, err));
    if (given->common.is_json) {
        COP_TRY(status, cop_report_json(&document, &view.report, err));
        *code = cop_cli_print_json(document);
    } else {
        print_text(&view.report, given->directory);
    }
done:
    cop_study_view_release(&view);
    return status;
}

int cop_cmd_report(int argc, char **argv)
{
    static const struct argp_child children[] = {{&cop_cli_json_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "DIR",
        .doc =
            "Writes report.html, report.json and candidates.csv into the study directory DIR: the "
            "front of loss against size with intervals, ranks and ties per stage, learning "
            "curves, the pick and why; of a study with an evaluator its objectives, front and "
            "hypervolume. Works while the search runs. The page needs no network.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    int code = COP_EXIT_DONE;
    cop_cli_parse(&argp, argc, argv, &given);
    const cop_status status = run(&given, &code, &err);
    return status == COP_OK ? code : cop_cli_fail(&err);
}
