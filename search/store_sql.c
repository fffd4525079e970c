// The thin layer over SQLite: statements, transactions, one form of message.

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "search/store_internal.h"

static cop_status kind_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM: return COP_ERR_NOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR: // a table or column that the schema version promises is missing
    case SQLITE_FORMAT: return COP_ERR_FORMAT;
    default: return COP_ERR_IO;
    }
}

cop_status cop_store_fail(const cop_store *store, const char *what, cop_error *err)
{
    const int code = store->db == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(store->db);
    const int system = store->db == NULL ? 0 : sqlite3_system_errno(store->db);
    const char *reason = store->db == NULL ? "out of memory" : sqlite3_errmsg(store->db);
    const cop_status kind = kind_of(code);
    char system_reason[128] = "";
    if (kind == COP_ERR_IO && system != 0 &&
        strerror_r(system, system_reason, sizeof system_reason) != 0) {
        system_reason[0] = '\0';
    }
    return COP_FAIL(err, kind, "%s: %s: %s%s%s", store->path,
                    kind == COP_ERR_FORMAT ? "the study database is damaged" : what, reason,
                    system_reason[0] == '\0' ? "" : ": ", system_reason);
}

cop_status cop_store_prepare(cop_store *store, const char *sql, sqlite3_stmt **out, cop_error *err)
{
    *out = NULL;
    for (int i = 0; i < store->cached_count; i++) {
        if (store->cached[i].sql == sql) {
            *out = store->cached[i].statement;
            (void)sqlite3_reset(*out);
            (void)sqlite3_clear_bindings(*out);
            return COP_OK;
        }
    }
    assert(store->cached_count < COP_STORE_STATEMENTS_MAX);
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK) {
        return cop_store_fail(store, "cannot read", err);
    }
    store->cached[store->cached_count].sql = sql;
    store->cached[store->cached_count].statement = *out;
    store->cached_count++;
    return COP_OK;
}

cop_status cop_store_next(cop_store *store, sqlite3_stmt *statement, bool *has_row, cop_error *err)
{
    const int code = sqlite3_step(statement);
    *has_row = code == SQLITE_ROW;
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        const cop_status status = cop_store_fail(store, "cannot read", err);
        (void)sqlite3_reset(statement);
        return status;
    }
    return COP_OK;
}

cop_status cop_store_run(cop_store *store, sqlite3_stmt *statement, const char *what,
                         cop_error *err)
{
    cop_status status = COP_OK;
    const int code = sqlite3_step(statement);
    if (code != SQLITE_DONE && code != SQLITE_ROW) {
        status = cop_store_fail(store, what, err);
    }
    (void)sqlite3_reset(statement);
    return status;
}

cop_status cop_store_exec(cop_store *store, const char *sql, cop_error *err)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? COP_OK
               : cop_store_fail(store, "cannot write", err);
}

static cop_status set_durable(cop_store *store, bool is_durable, cop_error *err)
{
    if (store->is_full != is_durable) {
        const cop_status status = cop_store_exec(
            store, is_durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
        if (status != COP_OK) {
            return status;
        }
        store->is_full = is_durable;
    }
    return COP_OK;
}

static bool is_in_transaction(const cop_store *store)
{
    return sqlite3_get_autocommit(store->db) == 0;
}

// In a group records are savepoints of one transaction. How durable that is cannot change once it has begun.
static cop_status begin_grouped(cop_store *store, bool is_durable, cop_error *err)
{
    cop_status status = COP_OK;
    if (is_in_transaction(store) && is_durable && !store->is_full) {
        COP_TRY(status, cop_store_exec(store, "COMMIT", err));
    }
    if (!is_in_transaction(store)) {
        COP_TRY(status, set_durable(store, is_durable, err));
        COP_TRY(status, cop_store_exec(store, "BEGIN IMMEDIATE", err));
    }
    COP_TRY(status, cop_store_exec(store, "SAVEPOINT record", err));

done:
    return status;
}

cop_status cop_store_begin(cop_store *store, bool is_durable, cop_error *err)
{
    cop_status status = COP_OK;
    if (store->mode != COP_STORE_OWN) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "%s: is open for reading only", store->path);
    }
    if (store->is_grouped) {
        return begin_grouped(store, is_durable, err);
    }
    COP_TRY(status, set_durable(store, is_durable, err));
    COP_TRY(status, cop_store_exec(store, "BEGIN IMMEDIATE", err));

done:
    return status;
}

void cop_store_group(cop_store *store)
{
    store->is_grouped = true;
}

cop_status cop_store_group_end(cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    store->is_grouped = false;
    if (is_in_transaction(store)) {
        status = cop_store_exec(store, "COMMIT", err);
    }
    if (status != COP_OK) {
        cop_store_rollback(store);
    }
    return status;
}

cop_status cop_store_begin_read(cop_store *store, cop_error *err)
{
    return cop_store_exec(store, "BEGIN", err);
}

cop_status cop_store_commit(cop_store *store, cop_error *err)
{
    return cop_store_exec(store, store->is_grouped ? "RELEASE record" : "COMMIT", err);
}

void cop_store_rollback(cop_store *store)
{
    if (store->db != NULL && store->is_grouped && is_in_transaction(store)) {
        (void)sqlite3_exec(store->db, "ROLLBACK TO record; RELEASE record", NULL, NULL, NULL);
        return;
    }
    // SQLite rolls back by itself on some failures (full disk); then there is nothing to do.
    if (store->db != NULL && is_in_transaction(store)) {
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
}
