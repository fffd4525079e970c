// search: runs a study, or continues it.

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/processes.h"
#include "cli/trial_view.h"
#include "kernels/cpu.h"
#include "search/search.h"

typedef struct arguments {
    cop_cli_common common;
    const char *study;
    const char *directory;
    cop_search_options settings;
} arguments;

enum { KEY_STALL = 0x4000, KEY_GIVE_UP, KEY_DEDICATED, KEY_EXTEND, PROCESSES_MAX = 1 << 20 };

static volatile int stop_requested;

// The first interrupt lets the step end and saves; a second one ends the program at once.
static void request_stop(int signal_number)
{
    stop_requested = 1;
    (void)signal(signal_number, SIG_DFL);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = request_stop, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGUSR1, &action, NULL); // what mpirun passes on to all
}

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;

    switch (key) {
    case 'o': given->directory = text; return 0;
    case KEY_EXTEND: given->settings.extend = true; return 0;
    case 'b': cop_cli_set_device(state, &given->common, "--backend", text); return 0;
    case KEY_STALL:
        given->settings.stall_seconds = cop_cli_real(state, "--stall", text, 0.1, 1e9);
        return 0;
    case KEY_GIVE_UP:
        given->settings.give_up_seconds = cop_cli_real(state, "--give-up", text, 0.1, 1e9);
        return 0;
    case KEY_DEDICATED:
        given->settings.dedicated_from =
            (int)cop_cli_number(state, "--dedicated", text, 2, PROCESSES_MAX);
        return 0;
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); return 0;
    case ARGP_KEY_ARG:
        if (given->study != NULL) {
            argp_error(state, "one study file is expected, and \"%s\" is another", text);
        }
        given->study = text;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the study file is missing"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// NOLINTEND(concurrency-mt-unsafe)

// --- Result -------------------------------------------------------------------------------------

typedef struct summary {
    cop_store *store;
    cop_snapshot snapshot;
    cop_ranking ranking; // of the deepest stage with results
} summary;

static cop_status summarize(summary *s, const cop_study_file *study, const char *directory,
                            cop_error *err)
{
    cop_status status = COP_OK;
    int stage = -1;

    COP_TRY(status, cop_store_open(&s->store, directory, COP_STORE_READ, err));
    COP_TRY(status, cop_snapshot_read(&s->snapshot, s->store, err));
    for (int64_t i = 0; i < s->snapshot.count; i++) {
        const int last = s->snapshot.candidate[i].last_stage;
        stage = last > stage ? last : stage;
    }
    if (stage >= 0) {
        COP_TRY(status, cop_ranking_make(&s->ranking, &s->snapshot, study->objective,
                                         study->objectives, stage, 1, study->seed, err));
    }

done:
    return status;
}

static void release(summary *s)
{
    cop_ranking_release(&s->ranking);
    cop_snapshot_release(&s->snapshot);
    cop_store_destroy(s->store);
}

static json_t *interval(cop_estimate estimate)
{
    return json_pack("{s:f, s:f, s:f}", "value", estimate.value, "low", estimate.low, "high",
                     estimate.high);
}

static int print_json(const summary *s, const char *directory, bool was_stopped)
{
    json_t *ranking = json_array();
    json_t *front = json_array();

    for (int64_t i = 0; i < s->ranking.count; i++) {
        const cop_ranked *entry = &s->ranking.entry[i];
        const cop_candidate *c = &s->snapshot.candidate[entry->index].candidate;
        json_t *object = json_pack("{s:s, s:i, s:b, s:I, s:o}", "id", c->id, "rank", entry->rank,
                                   "on_front", entry->on_front, "params",
                                   (json_int_t)c->cost.params, "loss", interval(entry->loss));
        (void)json_array_append_new(ranking, object);
        if (entry->on_front) {
            (void)json_array_append_new(front, json_string(c->id));
        }
    }
    return cop_cli_print_json(json_pack("{s:s, s:s, s:I, s:i, s:I, s:o, s:o}", "study", directory,
                                        "status", was_stopped ? "stopped" : "finished",
                                        "candidates", (json_int_t)s->snapshot.count, "stage",
                                        s->ranking.stage, "tokens", (json_int_t)s->ranking.tokens,
                                        "front", front, "ranking", ranking));
}

static void print_table(const summary *s, const char *directory, bool was_stopped)
{
    static const char *const titles[] = {"rank", "candidate", "params", "loss", "95 %", "front"};
    char tokens[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;

    if (s->ranking.count > 0) {
        cop_cli_table_init(&table, "rlrrrl");
        for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
            cop_cli_cell(&table, "%s", titles[i]);
        }
        for (int64_t i = 0; i < s->ranking.count; i++) {
            const cop_ranked *entry = &s->ranking.entry[i];
            const cop_candidate *c = &s->snapshot.candidate[entry->index].candidate;
            cop_cli_cell(&table, "%d%s", entry->rank, entry->is_tied_with_next ? " ~" : "");
            cop_cli_cell(&table, "%s", c->id);
            cop_cli_cell(&table, "%lld", (long long)c->cost.params);
            cop_cli_cell(&table, "%.4f", entry->loss.value);
            cop_cli_cell(&table, "%.4f to %.4f", entry->loss.low, entry->loss.high);
            cop_cli_cell(&table, "%s", entry->on_front ? "yes" : "");
        }
        cop_cli_table_print(&table);
        cop_cli_print("stage %d, %s tokens each; ~ tied with the next\n", s->ranking.stage,
                      cop_text_count(tokens, (double)s->ranking.tokens));
    }
    cop_cli_print("%s: %s\n", directory,
                  was_stopped ? "stopped; the same command continues" : "finished");
}

static cop_status show(const cop_study_file *study, const char *directory, bool was_stopped,
                       bool is_json, int *code, cop_error *err)
{
    cop_status status = COP_OK;
    summary result = {0};

    if (study->free != NULL) {
        return cop_trial_view_summary(directory, was_stopped, is_json, code, err);
    }
    COP_TRY(status, summarize(&result, study, directory, err));
    if (is_json) {
        *code = print_json(&result, directory, was_stopped);
    } else {
        print_table(&result, directory, was_stopped);
    }

done:
    release(&result);
    return status;
}

// --- Command ------------------------------------------------------------------------------------

static cop_status join_command(cop_text *out, int argc, char **argv, cop_error *err)
{
    for (int i = 0; i < argc; i++) {
        cop_text_appendf(out, "%s%s", i > 0 ? " " : "", argv[i]);
    }
    return cop_text_check(out, "command line", err);
}

// Evaluators are not watched by their silence: evaluator.timeout_seconds ends what takes too long.
static cop_status check_watch(const cop_study_file *study, const cop_search_options *settings,
                              cop_error *err)
{
    const char *option = settings->stall_seconds > 0     ? "--stall"
                         : settings->give_up_seconds > 0 ? "--give-up"
                         : settings->dedicated_from > 0  ? "--dedicated"
                                                         : NULL;
    if (study->free != NULL && option != NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "%s: has no use for a study with an evaluator (allowed: "
                        "evaluator.timeout_seconds in %s)",
                        option, study->path);
    }
    return COP_OK;
}

int cop_cmd_search(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "DIR", 0,
         "Study directory; without it, the study file's path with .study for .yaml", 0},
        {"extend", KEY_EXTEND, NULL, 0,
         "Take a study file with more evaluations, further rungs, a larger space or another budget "
         "than DIR was begun with, and use again what still holds",
         0},
        {"backend", 'b', "NAME", 0, "The same as --device", 0},
        {"stall", KEY_STALL, "SECONDS", 0,
         "With several processes: warn of one that is silent for so long (300)", 0},
        {"give-up", KEY_GIVE_UP, "SECONDS", 0,
         "With several processes: let another evaluate what one that is silent for so long is at; "
         "for launchers that let the others go on when one dies (mpirun --enable-recovery)",
         0},
        {"dedicated", KEY_DEDICATED, "N", 0,
         "From N processes on the first only hands out candidates (17)", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_cli_device_argp, 0, NULL, 0},
        {&cop_cli_json_argp, 0, NULL, 0},
        {&cop_cli_run_argp, 0, NULL, 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "STUDY.yaml",
        .doc =
            "Runs a study: prunes the candidates, all feasible ones or those that a strategy "
            "proposes, probes the survivors in rungs, ranks them; or asks an evaluator of yours. "
            "Started again after any interruption it continues, with the same result.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    cop_status status = COP_OK;
    cop_study_file study = {0};
    cop_text command = {0};
    char cpu_device[160];
    char *directory = NULL;
    bool was_stopped = false;
    cop_search_options settings;
    int code = COP_EXIT_DONE;
    bool do_all_know = false;
    cop_cpu_info cpu = {0};
    cop_cli_parse(&argp, argc, argv, &given);
    COP_TRY(status, cop_cli_join(&given.common, &err));

    cpu = cop_cpu_describe();
    (void)snprintf(cpu_device, sizeof cpu_device, "f32: %s; bf16: %s; %s", cpu.matmul_f32,
                   cpu.matmul_bf16, cpu.simd);
    directory = given.directory != NULL ? cop_alloc_string(given.directory)
                                        : cop_study_file_directory(given.study);
    if (directory == NULL) {
        status = COP_FAIL(&err, COP_ERR_NOMEM, "%s: out of memory", given.study);
        goto done;
    }
    COP_TRY(status, join_command(&command, argc, argv, &err));
    status = cop_study_file_read(&study, given.study, true, &err);
    if (status == COP_OK) {
        status = check_watch(&study, &given.settings, &err);
    }
    do_all_know = true;
    COP_TRY(status, cop_processes_agree(status, &err));
    catch_signals();
    settings = given.settings;
    settings.stop = &stop_requested;
    settings.was_stopped = &was_stopped;
    settings.cpu_device = cpu_device;
    settings.directory = directory;
    settings.backend = cop_cli_device_of(&given.common);
    settings.command = cop_text_view(&command);
    do_all_know = cop_cli_is_speaker(); // a failure of the study, which ends it for all
    COP_TRY(status, cop_search_run(&study, &settings, &err));
    if (!cop_cli_is_speaker()) {
        goto done;
    }
    COP_TRY(status, show(&study, directory, was_stopped, given.common.is_json, &code, &err));

done:
    cop_study_file_release(&study);
    cop_text_release(&command);
    cop_free(directory);
    return cop_cli_leave(status, code, &err, do_all_know);
}
