#include "report/settings.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "search/facts.h"
#include "search/study_file.h"

enum { NAMES = COP_OBJECTIVE_FLOPS + 1 };

static int objective_of(const char *word, size_t length)
{
    for (int i = 0; i < NAMES; i++) {
        if (strlen(cop_objective_name((cop_objective)i)) == length &&
            memcmp(cop_objective_name((cop_objective)i), word, length) == 0) {
            return i;
        }
    }
    return -1;
}

// "loss,params"; false when a word is unknown or there are too many.
static bool parse_objectives(cop_report *report, const char *text)
{
    report->objectives = 0;
    for (const char *at = text; at != NULL && *at != '\0';) {
        const size_t length = strcspn(at, ",");
        const int objective = objective_of(at, length);
        if (objective < 0 || report->objectives == 4) {
            report->objectives = 0;
            return false;
        }
        report->objective[report->objectives++] = (cop_objective)objective;
        at = at[length] == ',' ? at + length + 1 : NULL;
    }
    return report->objectives > 0;
}

// The study's own copy of its file, for what the facts do not say. A copy that cannot be read is no
// reason to refuse a report.
static void read_study_file(cop_report *report, bool needs_objectives, bool needs_seed)
{
    cop_study_file *study = cop_alloc(1, sizeof *study);
    char *path = cop_file_join(report->directory, "study.yaml");
    if (study != NULL && path != NULL && cop_file_exists(path) &&
        cop_study_file_read(study, path, false, NULL) == COP_OK) {
        if (needs_objectives && study->objectives > 0) {
            report->objectives = study->objectives;
            memcpy(report->objective, study->objective, sizeof report->objective);
        }
        if (needs_seed) {
            report->seed = study->seed;
        }
        report->stages = study->rungs + 1 > report->stages ? study->rungs + 1 : report->stages;
        cop_study_file_release(study);
    }
    cop_free(path);
    cop_free(study);
}

static int count_commas(const char *text)
{
    int count = 0;
    for (; *text != '\0'; text++) {
        count += *text == ',';
    }
    return count;
}

void cop_report_set_name(char *out, size_t bytes, const char *path, const char *directory)
{
    char text[COP_STUDY_PATH_BYTES];
    (void)snprintf(text, sizeof text, "%s", path != NULL ? path : directory);
    size_t length = strlen(text);
    while (length > 1 && text[length - 1] == '/') {
        text[--length] = '\0';
    }
    const char *name = cop_file_name(text);
    const char *suffix = path == NULL ? NULL : strrchr(name, '.');
    const size_t kept = suffix == NULL || suffix == name ? strlen(name) : (size_t)(suffix - name);
    (void)snprintf(out, bytes, "%.*s", (int)kept, name);
}

cop_status cop_report_settings(cop_report *report, cop_error *err)
{
    const char *objectives = cop_snapshot_fact(report->snapshot, COP_FACT_OBJECTIVES);
    const char *seed = cop_snapshot_fact(report->snapshot, COP_FACT_SEED);
    const char *rungs = cop_snapshot_fact(report->snapshot, COP_FACT_RUNGS);
    const char *strategy = cop_snapshot_fact(report->snapshot, COP_FACT_SETTING "search.strategy");
    int64_t number = 0;
    cop_report_set_name(report->name, sizeof report->name,
                        cop_snapshot_fact(report->snapshot, COP_FACT_STUDY), report->directory);
    const bool has_objectives = parse_objectives(report, objectives);
    const bool has_seed = seed != NULL && cop_text_to_i64(seed, &number);
    if (objectives != NULL && !has_objectives) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: objectives of the study are unknown: %.200s (allowed: loss, params, "
                        "memory_bytes, flops_per_token)",
                        report->directory, objectives);
    }
    report->seed = (uint64_t)number;
    (void)snprintf(report->strategy, sizeof report->strategy, "%s",
                   strategy != NULL ? strategy : "grid");
    report->stages = rungs == NULL || rungs[0] == '\0' ? 1 : count_commas(rungs) + 2;
    if (!has_objectives || !has_seed || rungs == NULL) {
        read_study_file(report, !has_objectives, !has_seed);
    }
    if (report->objectives == 0) {
        report->objective[0] = COP_OBJECTIVE_LOSS;
        report->objective[1] = COP_OBJECTIVE_PARAMS;
        report->objectives = 2;
    }
    report->resource = COP_OBJECTIVE_PARAMS;
    for (int i = report->objectives - 1; i >= 0; i--) {
        if (report->objective[i] != COP_OBJECTIVE_LOSS) {
            report->resource = report->objective[i];
        }
    }
    if (report->stages > COP_REPORT_STAGES_MAX) {
        report->stages = COP_REPORT_STAGES_MAX;
    }
    return COP_OK;
}
