#include "tests/run/evaluator_study.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "search/store.h"
#include "search/trial_store.h"
#include "tests/cli/program.h"
#include "tests/support.h"

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        fail_msg("%s", err->message);
    }
}

void evaluator_study_write(const char *folder, const evaluator_study *study)
{
    char path[128];
    cop_error err = {0};
    cop_text text = {0};
    const char *strategy = study->strategy != NULL ? study->strategy : "nsga2, population: 12";

    cop_text_appendf(&text,
                     "evaluator: {command: \"exec %s %d asked\", processes: %d, attempts: 9, "
                     "restarts: 99}\nspace: {%s}\nobjectives: [f1, f2]\n",
                     COP_ZDT1_EVALUATOR, study->milliseconds,
                     study->processes > 0 ? study->processes : 1, study->axes);
    cop_text_appendf(&text, "search: {strategy: %s", strategy);
    if (study->evaluations > 0) {
        cop_text_appendf(&text, ", evaluations: %d", study->evaluations);
    }
    cop_text_append(&text, "}\n");
    if (study->budget != NULL) {
        cop_text_appendf(&text, "budget: {%s}\n", study->budget);
    }
    if (study->rungs != NULL) {
        cop_text_appendf(&text, "probe: {rungs: [%s], keep: 0.4}\n", study->rungs);
    }
    cop_text_append(&text, study->more != NULL ? study->more : "");
    must(cop_text_check(&text, "study", &err), &err);
    must(cop_file_make_directory(folder, &err), &err);
    (void)snprintf(path, sizeof path, "%s/study.yaml", folder);
    must(cop_file_write(path, text.data, text.length, &err), &err);
    cop_text_release(&text);
}

char *evaluator_study_report(const char *directory)
{
    char line[128];
    char *text = NULL;
    json_t *report = NULL;
    cop_error err = {0};

    (void)snprintf(line, sizeof line, "$coppice report %s --json", directory);
    program_result result = program_run(line);
    if (result.exit_code != 0) {
        fail_msg("%s: %s", line, result.err);
    }
    must(cop_json_parse(&report, line, result.out, strlen(result.out), &err), &err);
    assert_int_equal(json_object_del(report, "provenance"), 0);
    must(cop_json_text(&text, report, 2, &err), &err);
    json_decref(report);
    program_release(&result);
    return text;
}

void evaluator_study_check_same(const char *directory, const char *wanted)
{
    char *found_text = evaluator_study_report(directory);
    char *wanted_text = evaluator_study_report(wanted);
    size_t at = 0;

    while (found_text[at] != '\0' && found_text[at] == wanted_text[at]) {
        at++;
    }
    if (found_text[at] != wanted_text[at]) {
        const size_t from = at > 200 ? at - 200 : 0;
        fail_msg("%s is not as %s: ...%.400s\n--- is, wanted ---\n...%.400s", directory, wanted,
                 found_text + from, wanted_text + from);
    }
    cop_free(found_text);
    cop_free(wanted_text);
}

// --- What is known ------------------------------------------------------------------------------

static char *read_asked(const char *folder)
{
    char path[128];
    char *text = NULL;
    cop_error err = {0};
    (void)snprintf(path, sizeof path, "%s/asked", folder);
    if (!cop_file_exists(path)) {
        text = cop_alloc_string("");
    } else {
        must(cop_file_read(&text, NULL, path, 1 << 24, &err), &err);
    }
    assert_non_null(text);
    return text;
}

static void append_known(cop_text *out, cop_store *store, bool is_detached)
{
    cop_error err = {0};
    cop_trials trials = {0};
    must(cop_trials_read(&trials, store, is_detached, &err), &err);
    for (int64_t i = 0; i < trials.count; i++) {
        const cop_trial_entry *entry = &trials.entry[i];
        for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
            if (entry->result[s].is_done) {
                cop_text_appendf(out, "%s %g\n", entry->id, entry->result[s].fidelity);
            }
        }
    }
    cop_trials_release(&trials);
}

void evaluator_known_read(evaluator_known *known, const char *folder, const char *directory)
{
    char path[128];
    cop_error err = {0};
    cop_text text = {0};
    cop_store *store = NULL;

    evaluator_known_release(known);
    char *asked = read_asked(folder);
    known->from = (int64_t)strlen(asked);
    cop_free(asked);
    cop_text_append(&text, "\n");
    (void)snprintf(path, sizeof path, "%s/study.db", directory);
    // Killed while it made the database: it is begun again.
    if (cop_file_exists(path) &&
        cop_store_open(&store, directory, COP_STORE_READ, &err) == COP_OK) {
        append_known(&text, store, false);
        append_known(&text, store, true);
    }
    cop_store_destroy(store);
    assert_false(text.is_broken);
    known->text = text.data;
}

int evaluator_known_check(const evaluator_known *known, const char *folder)
{
    char *asked = read_asked(folder);
    int count = 0;
    for (char *line = asked + known->from; *line != '\0';) {
        char wanted[512];
        const int length = (int)strcspn(line, "\n");
        (void)snprintf(wanted, sizeof wanted, "\n%.*s\n", length, line);
        if (strstr(known->text, wanted) != NULL) {
            fail_msg("was asked for again: %s", wanted);
        }
        count++;
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    cop_free(asked);
    return count;
}

void evaluator_known_release(evaluator_known *known)
{
    cop_free(known->text);
    *known = (evaluator_known){0};
}
