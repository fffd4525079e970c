// A study directory belongs to one study: its settings, teacher and data are stored when it is
// started and compared when it is continued.

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/system.h"
#include "base/version.h"
#include "search/facts.h"
#include "search/run_internal.h"

cop_status cop_run_is(cop_run *run, const char *key, const char *value, bool *out, cop_error *err)
{
    char *stored = NULL;
    const cop_status status = cop_store_get(run->store, key, &stored, err);

    *out = stored != NULL && strcmp(stored, value) == 0;
    cop_free(stored);
    return status;
}

cop_status cop_run_claim(cop_run *run, const char *key, const char *what, const char *value,
                         cop_error *err)
{
    char *stored = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_store_get(run->store, key, &stored, err));
    if (stored == NULL) {
        COP_TRY(status, cop_store_set(run->store, key, value, err));
    } else if (strcmp(stored, value) != 0) {
        status =
            COP_FAIL(err, COP_ERR_CONFIG,
                     "%s: is another study: its %s is %s, that of %s is %s (allowed: the same, "
                     "or another directory)",
                     run->options->directory, what, stored, run->study->path, value);
    }

done:
    cop_free(stored);
    return status;
}

cop_status cop_run_set_i64(cop_run *run, const char *key, int64_t value, cop_error *err)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    return cop_store_set(run->store, key, text, err);
}

// What --extend may change, by the beginning of the key.
static unsigned change_of(const char *key)
{
    static const struct {
        const char *prefix;
        unsigned change;
    } table[] = {{"search.evaluations", COP_CHANGED_EVALUATIONS},
                 {"search.generations", COP_CHANGED_EVALUATIONS},
                 {"probe.rungs", COP_CHANGED_RUNGS},
                 {"space", COP_CHANGED_SPACE},
                 {"budget", COP_CHANGED_BUDGET}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strncmp(key, table[i].prefix, strlen(table[i].prefix)) == 0) {
            return table[i].change;
        }
    }
    return 0;
}

// Fewer evaluations than were asked for would leave results that no study of the new file has.
static bool is_shrunk(const char *key, const char *stored, const char *value)
{
    int64_t before = 0;
    int64_t now = 0;
    return strcmp(key, "search.evaluations") == 0 && cop_text_to_i64(stored, &before) &&
           cop_text_to_i64(value, &now) && now < before;
}

static cop_status change_setting(cop_run *run, const char *name, const char *key,
                                 const char *stored, const char *value, cop_error *err)
{
    cop_status status = COP_OK;

    // On disk before the setting is: what follows from it must follow after a kill as well.
    run->changes |= change_of(key);
    COP_TRY(status, cop_run_set_i64(run, COP_FACT_EXTENDING, (int64_t)run->changes, err));
    COP_TRY(status, cop_store_set(run->store, name, value, err));
    cop_run_note(run, COP_LOG_INFO, "extended: %s was %s, is %s", key, stored, value);

done:
    return status;
}

// `is_check`: only whether it may be so. A study that is refused stays as it was.
static cop_status claim_setting(cop_run *run, const char *key, const char *value, bool is_check,
                                cop_error *err)
{
    const unsigned change = change_of(key);
    char name[96];
    char *stored = NULL;
    cop_status status = COP_OK;

    (void)snprintf(name, sizeof name, "setting.%s", key);
    COP_TRY(status, cop_store_get(run->store, name, &stored, err));
    if (stored == NULL || strcmp(stored, value) == 0) {
        status = is_check ? COP_OK : cop_run_claim(run, name, key, value, err);
    } else if (change == 0) {
        status = cop_run_claim(run, name, key, value, err); // which says no
    } else if (!run->options->extend) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: is another study: its %s is %s, that of %s is %s (allowed: the "
                          "same, another directory, or --extend)",
                          run->options->directory, key, stored, run->study->path, value);
    } else if (is_shrunk(key, stored, value)) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: --extend: its %s is %s, that of %s is %s (allowed: at least as "
                          "many, or another directory)",
                          run->options->directory, key, stored, run->study->path, value);
    } else if (!is_check) {
        status = change_setting(run, name, key, stored, value, err);
    }

done:
    cop_free(stored);
    return status;
}

static cop_status claim_settings(cop_run *run, bool is_check, cop_error *err)
{
    cop_status status = COP_OK;
    cop_text value = {0};

    for (size_t i = 0; i < cop_study_key_count(); i++) {
        const cop_study_key key = cop_study_key_at(i);
        cop_text_release(&value);
        if (!cop_study_key_value(run->study, i, &value)) {
            continue;
        }
        COP_TRY(status, cop_text_check(&value, key.path, err));
        COP_TRY(status, claim_setting(run, key.path, cop_text_view(&value), is_check, err));
    }

done:
    cop_text_release(&value);
    return status;
}

// Paths are no part of the identity, but pick and report need to find the files again.
cop_status cop_run_set_path(cop_run *run, const char *key, const char *path, cop_error *err)
{
    char *absolute = realpath(path, NULL);
    const cop_status status =
        cop_store_set(run->store, key, absolute != NULL ? absolute : path, err);
    free(absolute);
    return status;
}

// Backends round differently: "cpu" of "cpu: AMD EPYC".
static cop_status claim_backend(cop_run *run, cop_error *err)
{
    cop_device_info info = {0};
    char *stored = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_backend_info(run->backend, &info, err));
    info.name[strcspn(info.name, ":")] = '\0';
    COP_TRY(status, cop_store_get(run->store, "backend", &stored, err));
    if (stored == NULL) {
        COP_TRY(status, cop_store_set(run->store, "backend", info.name, err));
    } else if (strcmp(stored, info.name) != 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: its results were computed by the backend %s, this one is %s "
                          "(allowed: --device %s, or another directory)",
                          run->options->directory, stored, info.name, stored);
    }

done:
    cop_free(stored);
    return status;
}

static cop_status claim_hashes(cop_run *run, cop_error *err)
{
    char text[COP_HASH_TEXT_BYTES];
    cop_hash hash = {0};
    cop_status status = COP_OK;

    COP_TRY(status, cop_checkpoint_hash(run->teacher, &hash, err));
    COP_TRY(status, cop_run_claim(run, "teacher_hash", "teacher", cop_hash_text(text, hash), err));
    hash = cop_tokens_hash(run->train);
    COP_TRY(status, cop_run_claim(run, "train_hash", "data.train", cop_hash_text(text, hash), err));
    hash = cop_tokens_hash(run->validation);
    COP_TRY(status, cop_run_claim(run, "validation_hash", "data.validation",
                                  cop_hash_text(text, hash), err));

done:
    return status;
}

static cop_status set_summary(cop_run *run, cop_error *err)
{
    const cop_study_file *study = run->study;
    static const char *const losses[] = {"kl", "ce", "mixed"};
    cop_text objectives = {0};
    cop_text rungs = {0};
    char keep[32];
    cop_status status = COP_OK;

    for (int i = 0; i < study->objectives; i++) {
        cop_text_appendf(&objectives, "%s%s", i > 0 ? "," : "",
                         cop_objective_name(study->objective[i]));
    }
    for (int i = 0; i < study->rungs; i++) {
        cop_text_appendf(&rungs, "%s%" PRId64, i > 0 ? "," : "", study->rung_tokens[i]);
    }
    (void)snprintf(keep, sizeof keep, "%g", study->keep);
    COP_TRY(status, cop_text_check(&objectives, "objectives", err));
    COP_TRY(status, cop_text_check(&rungs, "rungs", err));
    COP_TRY(status, cop_store_set(run->store, "objectives", cop_text_view(&objectives), err));
    COP_TRY(status, cop_store_set(run->store, "rungs", cop_text_view(&rungs), err));
    COP_TRY(status, cop_store_set(run->store, "keep", keep, err));
    COP_TRY(status, cop_store_set(run->store, "loss", losses[study->probe_loss], err));
    COP_TRY(status, cop_run_set_i64(run, "seed", (int64_t)study->seed, err));
    COP_TRY(status, cop_run_set_i64(run, "sequence", study->probe_sequence, err));
    COP_TRY(status, cop_run_set_i64(run, "batch_tokens", study->batch_tokens, err));
    COP_TRY(status, cop_run_set_i64(run, "held_out_sequences", run->held_count, err));

done:
    cop_text_release(&objectives);
    cop_text_release(&rungs);
    return status;
}

// Another number of threads, or another device of the same kind, may round the last bits differently; that
// is worth a line, not a refusal.
static cop_status note_change(cop_run *run, const char *key, const char *value, const char *unit,
                              cop_error *err)
{
    char *stored = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_store_get(run->store, key, &stored, err));
    if (stored != NULL && strcmp(stored, value) != 0) {
        cop_run_note(run, COP_LOG_WARNING,
                     "the study ran on %s%s before, on %s%s now: last bits may differ", stored,
                     unit, value, unit);
    }
    COP_TRY(status, cop_store_set(run->store, key, value, err));

done:
    cop_free(stored);
    return status;
}

static cop_status note_device(cop_run *run, cop_error *err)
{
    cop_device_info info = {0};
    const char *device = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_backend_info(run->backend, &info, err));
    cop_run_note(run, COP_LOG_INFO, "device: %s", info.name);
    device = strstr(info.name, ": ");
    device = device != NULL ? device + 2 : info.name;
    if (strncmp(info.name, "cpu: ", 5) == 0 && run->options->cpu_device != NULL) {
        device = run->options->cpu_device; // the CPU's name is a fact of its own
    }
    COP_TRY(status, note_change(run, "device", device, "", err));

done:
    return status;
}

static cop_status count_resumes(cop_run *run, cop_error *err)
{
    char date[COP_CLOCK_DATE_BYTES];
    char *created = NULL;
    char *resumes = NULL;
    int64_t count = 0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_store_get(run->store, "created", &created, err));
    if (created == NULL) {
        COP_TRY(status, cop_store_set(run->store, "created", cop_clock_date(date), err));
        COP_TRY(status, cop_run_set_i64(run, "resumes", 0, err));
    } else {
        COP_TRY(status, cop_store_get(run->store, "resumes", &resumes, err));
        if (resumes != NULL && cop_text_to_i64(resumes, &count)) {
            count++;
        }
        COP_TRY(status, cop_run_set_i64(run, "resumes", count, err));
    }

done:
    cop_free(created);
    cop_free(resumes);
    return status;
}

// By which program, where and when.
static cop_status set_origin(cop_run *run, cop_error *err)
{
    char cpu[128];
    cop_status status = COP_OK;

    cop_system_cpu_name(cpu, sizeof cpu);
    COP_TRY(status, count_resumes(run, err));
    COP_TRY(status, cop_store_set(run->store, "program", cop_version(), err));
    COP_TRY(status, cop_store_set(run->store, "cpu", cpu, err));
    if (run->options->command != NULL) {
        COP_TRY(status, cop_store_set(run->store, "command", run->options->command, err));
    }
    COP_TRY(status, cop_run_set_path(run, "study", run->study->path, err));

done:
    return status;
}

// Who computed it, where and with what.
static cop_status set_provenance(cop_run *run, cop_error *err)
{
    char threads[32];
    cop_status status = COP_OK;

    COP_TRY(status, set_origin(run, err));
    (void)snprintf(threads, sizeof threads, "%d", cop_system_threads());
    COP_TRY(status, note_change(run, "threads", threads, " threads", err));
    COP_TRY(status, note_device(run, err));
    COP_TRY(status, cop_run_set_path(run, "teacher", run->study->teacher, err));
    COP_TRY(status, cop_run_set_path(run, "train", run->study->train, err));
    COP_TRY(status, cop_run_set_path(run, "validation", run->study->validation, err));

done:
    return status;
}

// A directory holds a study of a teacher or one of an evaluator.
static cop_status claim_kind(cop_run *run, const char *kind, cop_error *err)
{
    char *created = NULL;
    char *stored = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_store_get(run->store, "created", &created, err));
    COP_TRY(status, cop_store_get(run->store, COP_FACT_KIND, &stored, err));
    if (stored == NULL && created != NULL && strcmp(kind, "teacher") != 0) {
        // Begun by a version that knew teachers only.
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: is a study with a teacher, %s has an evaluator (allowed: another "
                          "directory)",
                          run->options->directory, run->study->path);
        goto done;
    }
    COP_TRY(status, cop_run_claim(run, COP_FACT_KIND, "evaluator or teacher", kind, err));

done:
    cop_free(created);
    cop_free(stored);
    return status;
}

// Reports read the copy of the study file: it changes when the study does, and not when it was refused.
static cop_status reopen(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    if (run->changes != 0) {
        COP_TRY(status, cop_run_copy_study(run, true, err));
        COP_TRY(status, cop_store_set(run->store, COP_FACT_FINISHED, "", err));
    }

done:
    return status;
}

// An extension that a kill interrupted is still to be made.
static cop_status find_changes(cop_run *run, cop_error *err)
{
    char *stored = NULL;
    int64_t changes = 0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_store_get(run->store, COP_FACT_EXTENDING, &stored, err));
    if (stored != NULL && cop_text_to_i64(stored, &changes)) {
        run->changes |= (unsigned)changes;
    }

done:
    cop_free(stored);
    return status;
}

cop_status cop_run_extended(cop_run *run, cop_error *err)
{
    run->changes = 0;
    return cop_run_set_i64(run, COP_FACT_EXTENDING, 0, err);
}

cop_status cop_run_identify_trials(cop_run *run, cop_error *err)
{
    const cop_study_file *study = run->study;
    cop_status status = COP_OK;
    cop_text axes = {0};
    cop_text objectives = {0};
    cop_text bounds = {0};
    cop_text rungs = {0};
    char number[40];

    for (int i = 0; i < study->rungs; i++) {
        cop_text_appendf(&rungs, "%s%" PRId64, i > 0 ? "," : "", study->rung_tokens[i]);
    }
    cop_free_space_describe(&axes, &objectives, &bounds, study->free);
    COP_TRY(status, cop_text_check(&axes, "space", err));
    COP_TRY(status, cop_text_check(&objectives, "objectives", err));
    COP_TRY(status, cop_text_check(&bounds, "budget", err));
    COP_TRY(status, cop_text_check(&rungs, "rungs", err));
    COP_TRY(status, claim_kind(run, "evaluator", err));
    COP_TRY(status, find_changes(run, err));
    for (int pass = 0; pass < 2; pass++) {
        const bool is_check = pass == 0;
        COP_TRY(status, claim_settings(run, is_check, err));
        COP_TRY(status, claim_setting(run, "space", cop_text_view(&axes), is_check, err));
        COP_TRY(status,
                claim_setting(run, "objectives", cop_text_view(&objectives), is_check, err));
        COP_TRY(status, claim_setting(run, "budget", cop_text_view(&bounds), is_check, err));
    }
    COP_TRY(status, set_origin(run, err));
    COP_TRY(status,
            cop_store_set(run->store, COP_FACT_OBJECTIVES, cop_text_view(&objectives), err));
    COP_TRY(status, cop_store_set(run->store, COP_FACT_RUNGS, cop_text_view(&rungs), err));
    COP_TRY(status, cop_run_set_i64(run, COP_FACT_SEED, (int64_t)study->seed, err));
    (void)snprintf(number, sizeof number, "%.17g", cop_free_space_size(study->free));
    COP_TRY(status, cop_store_set(run->store, COP_FACT_SPACE_SIZE, number, err));
    COP_TRY(status, reopen(run, err));

done:
    cop_text_release(&axes);
    cop_text_release(&objectives);
    cop_text_release(&bounds);
    cop_text_release(&rungs);
    return status;
}

cop_status cop_run_identify(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;

    COP_TRY(status, claim_kind(run, "teacher", err));
    COP_TRY(status, find_changes(run, err));
    COP_TRY(status, claim_settings(run, true, err));
    COP_TRY(status, claim_backend(run, err));
    COP_TRY(status, claim_hashes(run, err));
    COP_TRY(status, claim_settings(run, false, err));
    COP_TRY(status, set_summary(run, err));
    COP_TRY(status, set_provenance(run, err));
    COP_TRY(status, reopen(run, err));

done:
    return status;
}
