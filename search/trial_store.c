#include "search/trial_store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "search/store_internal.h"

// --- In memory ----------------------------------------------------------------------------------

static cop_status nomem(const cop_store *store, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", store->path);
}

cop_trial_entry *cop_trials_append(cop_trials *trials, int64_t batch, const char *id,
                                   const char *values)
{
    if (trials->count == trials->capacity) {
        const int64_t capacity = trials->capacity == 0 ? 64 : 2 * trials->capacity;
        cop_trial_entry *grown = cop_realloc(trials->entry, (size_t)capacity, sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        trials->entry = grown;
        trials->capacity = capacity;
    }
    cop_trial_entry *entry = &trials->entry[trials->count];
    *entry = (cop_trial_entry){
        .number = trials->count, .batch = batch, .values = cop_alloc_string(values)};
    if (entry->values == NULL) {
        return NULL;
    }
    (void)snprintf(entry->id, sizeof entry->id, "%s", id);
    trials->count++;
    return entry;
}

void cop_trials_release(cop_trials *trials)
{
    for (int64_t i = 0; i < trials->count; i++) {
        cop_free(trials->entry[i].values);
        for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
            cop_free(trials->entry[i].result[s].metric);
        }
    }
    cop_free(trials->entry);
    cop_facts_release(trials->fact, trials->facts);
    *trials = (cop_trials){0};
}

const char *cop_trials_fact(const cop_trials *trials, const char *key)
{
    return cop_facts_find(trials->fact, trials->facts, key);
}

int64_t cop_trials_find(const cop_trials *trials, const char *id)
{
    for (int64_t i = 0; i < trials->count; i++) {
        if (strcmp(trials->entry[i].id, id) == 0) {
            return i;
        }
    }
    return -1;
}

double cop_trial_metric(const cop_trial_result *result, const char *name)
{
    for (int i = 0; i < result->metrics; i++) {
        if (strcmp(result->metric[i].name, name) == 0) {
            return result->metric[i].value;
        }
    }
    return (double)NAN;
}

// --- Checksums and metrics ----------------------------------------------------------------------

static cop_status trial_hash(cop_hash *out, const cop_trial_entry *entry, cop_error *err)
{
    cop_hasher *hasher = NULL;
    const cop_status status = cop_hasher_create(&hasher, err);
    if (status == COP_OK) {
        cop_hasher_add_text(hasher, entry->id);
        cop_hasher_add_text(hasher, entry->values);
        *out = cop_hasher_value(hasher);
        cop_hasher_destroy(hasher);
    }
    return status;
}

static cop_status result_hash(cop_hash *out, const char *id, int stage, double fidelity,
                              const char *metrics, cop_error *err)
{
    cop_hasher *hasher = NULL;
    const cop_status status = cop_hasher_create(&hasher, err);
    if (status == COP_OK) {
        cop_hasher_add_text(hasher, id);
        cop_hasher_add_i64(hasher, stage);
        cop_hasher_add_f64(hasher, fidelity);
        cop_hasher_add_text(hasher, metrics);
        *out = cop_hasher_value(hasher);
        cop_hasher_destroy(hasher);
    }
    return status;
}

// {"name": value, …}: 17 digits, which read back to the same double. Owned by the caller.
static cop_status metrics_text(char **out, const cop_trial_result *result, cop_error *err)
{
    json_t *object = json_object();
    for (int i = 0; i < result->metrics; i++) {
        (void)json_object_set_new(object, result->metric[i].name,
                                  json_real(result->metric[i].value));
    }
    const cop_status status = cop_json_text(out, object, 0, err);
    json_decref(object);
    return status;
}

static cop_status parse_metrics(cop_trial_result *out, const char *text, cop_store *store,
                                cop_error *err)
{
    json_t *object = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    cop_status status = cop_json_parse(&object, store->path, text, strlen(text), err);

    if (status == COP_OK && !json_is_object(object)) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: metrics of a trial are no object: %.60s",
                          store->path, text);
    }
    if (status == COP_OK) {
        out->metric = cop_alloc(json_object_size(object) + 1, sizeof *out->metric);
        status = out->metric == NULL ? nomem(store, err) : COP_OK;
    }
    if (status == COP_OK) {
        json_object_foreach(object, key, value)
        {
            cop_metric *metric = &out->metric[out->metrics++];
            (void)snprintf(metric->name, sizeof metric->name, "%s", key);
            metric->value = json_number_value(value);
        }
    }
    json_decref(object);
    return status;
}

// --- Reading ------------------------------------------------------------------------------------

static const char *column_text(sqlite3_stmt *row, int at)
{
    const unsigned char *text = sqlite3_column_text(row, at);
    return text == NULL ? "" : (const char *)text;
}

static cop_status damaged(const cop_store *store, const char *what, int64_t number, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_FORMAT, "%s: the study database is damaged: %s of trial %lld",
                    store->path, what, (long long)number);
}

static cop_status read_entries(cop_trials *out, cop_store *store, bool detached, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = false;
    COP_TRY(status, cop_store_prepare(store,
                                      "SELECT number, batch, id, point, is_failed, failures,"
                                      " reason, checksum FROM trial WHERE (number < 0) = ?1"
                                      " ORDER BY number",
                                      &row, err));
    (void)sqlite3_bind_int(row, 1, detached ? 1 : 0);
    for (;;) {
        char checksum[COP_HASH_TEXT_BYTES];
        cop_hash hash = {0};
        COP_TRY(status, cop_store_next(store, row, &has_row, err));
        if (!has_row) {
            break;
        }
        const int64_t number = sqlite3_column_int64(row, 0);
        if ((!detached && number != out->count) ||
            strlen(column_text(row, 2)) >= COP_FREE_ID_BYTES) {
            status = damaged(store, "the number", number, err);
            goto done;
        }
        cop_trial_entry *entry = cop_trials_append(out, sqlite3_column_int64(row, 1),
                                                   column_text(row, 2), column_text(row, 3));
        if (entry == NULL) {
            status = nomem(store, err);
            goto done;
        }
        entry->is_failed = sqlite3_column_int(row, 4) != 0;
        entry->failures = sqlite3_column_int(row, 5);
        (void)snprintf(entry->reason, sizeof entry->reason, "%s", column_text(row, 6));
        COP_TRY(status, trial_hash(&hash, entry, err));
        if (strcmp(cop_hash_text(checksum, hash), column_text(row, 7)) != 0) {
            status = damaged(store, "the checksum", number, err);
            goto done;
        }
    }

done:
    (void)sqlite3_reset(row);
    return status;
}

static cop_status read_results(cop_trials *out, cop_store *store, bool detached, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = false;
    int64_t at = 0; // both come in the same order
    COP_TRY(status, cop_store_prepare(store,
                                      "SELECT t.id, r.stage, r.fidelity, r.seconds, r.metrics,"
                                      " r.checksum FROM trial t JOIN result r ON t.id = r.trial"
                                      " WHERE (t.number < 0) = ?1 ORDER BY t.number",
                                      &row, err));
    (void)sqlite3_bind_int(row, 1, detached ? 1 : 0);
    for (;;) {
        char checksum[COP_HASH_TEXT_BYTES];
        cop_hash hash = {0};
        COP_TRY(status, cop_store_next(store, row, &has_row, err));
        if (!has_row) {
            break;
        }
        const int64_t stage = sqlite3_column_int64(row, 1);
        while (at < out->count && strcmp(out->entry[at].id, column_text(row, 0)) != 0) {
            at++;
        }
        if (at == out->count || stage < 0 || stage >= COP_TRIAL_STAGES_MAX) {
            status = damaged(store, "a result", at, err);
            goto done;
        }
        cop_trial_result *result = &out->entry[at].result[stage];
        result->is_done = true;
        result->fidelity = sqlite3_column_double(row, 2);
        result->seconds = sqlite3_column_double(row, 3);
        COP_TRY(status, result_hash(&hash, out->entry[at].id, (int)stage, result->fidelity,
                                    column_text(row, 4), err));
        if (strcmp(cop_hash_text(checksum, hash), column_text(row, 5)) != 0) {
            status = damaged(store, "the checksum of a result", at, err);
            goto done;
        }
        COP_TRY(status, parse_metrics(result, column_text(row, 4), store, err));
    }

done:
    (void)sqlite3_reset(row);
    return status;
}

cop_status cop_store_has_trials(bool *out, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    char *kind = NULL;
    COP_TRY(status, cop_store_get(store, "kind", &kind, err));
    *out = kind != NULL && strcmp(kind, "evaluator") == 0;

done:
    cop_free(kind);
    return status;
}

cop_status cop_trials_read(cop_trials *out, cop_store *store, bool detached, cop_error *err)
{
    cop_status status = COP_OK;
    *out = (cop_trials){0};
    COP_TRY(status, cop_store_begin_read(store, err));
    COP_TRY(status, cop_facts_read(&out->fact, &out->facts, store, err));
    COP_TRY(status, read_entries(out, store, detached, err));
    COP_TRY(status, read_results(out, store, detached, err));

done:
    cop_store_rollback(store); // nothing was written
    if (status != COP_OK) {
        cop_trials_release(out);
    }
    return status;
}

// --- Writing ------------------------------------------------------------------------------------

static cop_status finish(cop_store *store, cop_status status, cop_error *err)
{
    if (status == COP_OK) {
        status = cop_store_commit(store, err);
    }
    if (status != COP_OK) {
        cop_store_rollback(store);
    }
    return status;
}

static cop_status put_trial(cop_store *store, const cop_trial_entry *entry, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    cop_hash hash = {0};
    char checksum[COP_HASH_TEXT_BYTES];
    COP_TRY(status, trial_hash(&hash, entry, err));
    COP_TRY(status, cop_store_prepare(store,
                                      "INSERT INTO trial (number, batch, id, point, checksum)"
                                      " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET"
                                      " number = excluded.number, batch = excluded.batch",
                                      &statement, err));
    (void)sqlite3_bind_int64(statement, 1, entry->number);
    (void)sqlite3_bind_int64(statement, 2, entry->batch);
    (void)sqlite3_bind_text(statement, 3, entry->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 4, entry->values, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 5, cop_hash_text(checksum, hash), -1, SQLITE_STATIC);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    (void)sqlite3_clear_bindings(statement);

done:
    return status;
}

cop_status cop_store_add_trials(cop_store *store, const cop_trials *trials, int64_t first,
                                int64_t count, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    for (int64_t i = first; i < first + count; i++) {
        COP_TRY(status, put_trial(store, &trials->entry[i], err));
    }

done:
    return finish(store, status, err);
}

static cop_status put_failure(cop_store *store, const cop_trial_entry *entry, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status, cop_store_prepare(store,
                                      "UPDATE trial SET is_failed = ?2, failures = ?3, reason = ?4"
                                      " WHERE id = ?1",
                                      &statement, err));
    (void)sqlite3_bind_text(statement, 1, entry->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(statement, 2, entry->is_failed ? 1 : 0);
    (void)sqlite3_bind_int(statement, 3, entry->failures);
    (void)sqlite3_bind_text(statement, 4, entry->reason, -1, SQLITE_STATIC);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    (void)sqlite3_clear_bindings(statement);

done:
    return status;
}

static cop_status put_result(cop_store *store, const cop_trial_entry *entry, int stage,
                             cop_error *err)
{
    const cop_trial_result *result = &entry->result[stage];
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    char *metrics = NULL;
    cop_hash hash = {0};
    char checksum[COP_HASH_TEXT_BYTES];
    COP_TRY(status, metrics_text(&metrics, result, err));
    COP_TRY(status, result_hash(&hash, entry->id, stage, result->fidelity, metrics, err));
    COP_TRY(status, cop_store_prepare(store,
                                      "INSERT OR REPLACE INTO result (trial, stage, fidelity,"
                                      " seconds, metrics, checksum) VALUES (?1, ?2, ?3, ?4, ?5,"
                                      " ?6)",
                                      &statement, err));
    (void)sqlite3_bind_text(statement, 1, entry->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(statement, 2, stage);
    (void)sqlite3_bind_double(statement, 3, result->fidelity);
    (void)sqlite3_bind_double(statement, 4, result->seconds);
    (void)sqlite3_bind_text(statement, 5, metrics, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 6, cop_hash_text(checksum, hash), -1, SQLITE_STATIC);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    (void)sqlite3_clear_bindings(statement);

done:
    cop_free(metrics);
    return status;
}

cop_status cop_store_finish_trials(cop_store *store, const cop_trials *trials, const int64_t *list,
                                   int64_t count, int stage, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    for (int64_t i = 0; i < count; i++) {
        const cop_trial_entry *entry = &trials->entry[list[i]];
        if (entry->is_failed || entry->failures > 0) {
            COP_TRY(status, put_failure(store, entry, err));
        }
        if (entry->result[stage].is_done) {
            COP_TRY(status, put_result(store, entry, stage, err));
        }
    }

done:
    return finish(store, status, err);
}

cop_status cop_store_detach_trials(cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    COP_TRY(status, cop_store_exec(store,
                                   "UPDATE trial SET number = (SELECT min(0, min(number))"
                                   " FROM trial) - 1 - number WHERE number >= 0",
                                   err));

done:
    return finish(store, status, err);
}
