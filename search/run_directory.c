// The study directory: made or found, and what is in it taken back where --extend asks for more.

#include <stdio.h>

#include "base/alloc.h"
#include "base/file.h"
#include "search/run_internal.h"

static cop_status nomem(const cop_run *run, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
}

// A directory with files, but without a database, is somebody's else.
static cop_status check_directory(const cop_run *run, cop_error *err)
{
    const char *directory = run->options->directory;
    char *database = cop_file_join(directory, "study.db");

    if (database == NULL) {
        return nomem(run, err);
    }
    const bool is_study = cop_file_exists(database);
    cop_free(database);
    if (is_study || cop_file_check_absent(directory, false, NULL) == COP_OK) {
        return COP_OK;
    }
    return COP_FAIL(
        err, COP_ERR_IO,
        "%s: exists and is no study directory (allowed: a new path, an empty directory, "
        "or a study to continue)",
        directory);
}

cop_status cop_run_copy_study(cop_run *run, bool replaces, cop_error *err)
{
    cop_status status = COP_OK;
    char *copy = cop_file_join(run->options->directory, "study.yaml");

    if (copy == NULL) {
        return nomem(run, err);
    }
    if ((replaces || !cop_file_exists(copy)) && cop_file_exists(run->study->path)) {
        status = cop_file_copy(copy, run->study->path, err);
    }
    cop_free(copy);
    return status;
}

cop_status cop_run_open_directory(cop_run *run, cop_error *err)
{
    const char *directory = run->options->directory;
    cop_status status = COP_OK;
    char *log = NULL;

    COP_TRY(status, check_directory(run, err));
    COP_TRY(status, cop_file_make_directory(directory, err));
    COP_TRY(status, cop_store_open(&run->store, directory, COP_STORE_OWN, err));
    COP_TRY(status, cop_run_copy_study(run, false, err));
    log = cop_file_join(directory, "log");
    if (log == NULL) {
        status = nomem(run, err);
        goto done;
    }
    run->log = fopen(log, "a");

done:
    cop_free(log);
    return status;
}

// What --extend asked for: decisions are made again, and what does not hold any more is forgotten. The learning
// rate of a cosine schedule depends on the last rung.
cop_status cop_run_apply_changes(cop_run *run, cop_error *err)
{
    const cop_study_file *study = run->study;
    const bool is_cosine = study->trainer.schedule.kind == COP_SCHEDULE_COSINE;
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    unsigned forget = 0;
    char *checkpoints = NULL;
    cop_status status = COP_OK;

    if (run->changes == 0) {
        return COP_OK;
    }
    if ((run->changes & COP_CHANGED_RUNGS) != 0 && is_cosine) {
        forget |= COP_STORE_FORGET_RUNGS;
        cop_run_note(run, COP_LOG_WARNING,
                     "the cosine schedule ends with the last rung: with other rungs all probes "
                     "begin again (probe.schedule constant would keep them)");
    }
    if ((run->changes & (COP_CHANGED_SPACE | COP_CHANGED_BUDGET)) != 0) {
        forget |= COP_STORE_FORGET_SPACE;
    }
    if ((run->changes & COP_CHANGED_BUDGET) != 0 && cop_study_latencies(study, budget) > 0) {
        forget |= COP_STORE_FORGET_LATENCIES;
    }
    checkpoints = cop_file_join(run->options->directory, "checkpoints");
    if (checkpoints == NULL) {
        return nomem(run, err);
    }
    if ((forget & COP_STORE_FORGET_RUNGS) != 0) {
        COP_TRY(status, cop_file_remove_tree(checkpoints, err));
    }
    COP_TRY(status, cop_store_extend(run->store, forget, study->rung_tokens, study->rungs, err));
    COP_TRY(status, cop_run_extended(run, err));

done:
    cop_free(checkpoints);
    return status;
}
