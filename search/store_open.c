// Opening a study database: lock, schema, checks.

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "search/store_internal.h"

// Points that an evaluator of the user's is asked for, since version 2.
static const char schema_trials[] =
    "CREATE TABLE trial ("
    " id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, batch INTEGER NOT NULL,"
    " point TEXT NOT NULL, is_failed INTEGER NOT NULL DEFAULT 0,"
    " failures INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',"
    " checksum TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE result ("
    " trial TEXT NOT NULL REFERENCES trial (id), stage INTEGER NOT NULL, fidelity REAL NOT NULL,"
    " seconds REAL NOT NULL, metrics TEXT NOT NULL, checksum TEXT NOT NULL,"
    " PRIMARY KEY (trial, stage)) WITHOUT ROWID;"
    "CREATE TABLE proposal (" // of a strategy, to a study with a teacher
    " candidate TEXT PRIMARY KEY REFERENCES candidate (id), batch INTEGER NOT NULL,"
    " slot INTEGER NOT NULL) WITHOUT ROWID;";

static const char schema[] =
    "CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE candidate ("
    " id TEXT PRIMARY KEY, grid_index INTEGER NOT NULL,"
    " layers INTEGER NOT NULL, hidden INTEGER NOT NULL, heads INTEGER NOT NULL,"
    " kv_heads INTEGER NOT NULL, head_dim INTEGER NOT NULL, ffn INTEGER NOT NULL,"
    " ffn_ratio REAL, params INTEGER NOT NULL, params_non_embedding INTEGER NOT NULL,"
    " matmul_params INTEGER NOT NULL, weights_bytes INTEGER NOT NULL,"
    " kv_cache_bytes INTEGER NOT NULL, total_bytes INTEGER NOT NULL, flops_per_token REAL,"
    " checksum TEXT NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',"
    " running_stage INTEGER NOT NULL DEFAULT -1, running_tokens INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX candidate_order ON candidate (grid_index, id);"
    "CREATE TABLE stage ("
    " candidate TEXT NOT NULL REFERENCES candidate (id), stage INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0, is_done INTEGER NOT NULL DEFAULT 0,"
    " tokens INTEGER NOT NULL DEFAULT 0, seconds REAL,"
    " sequences INTEGER NOT NULL DEFAULT 0, sequence_tokens INTEGER NOT NULL DEFAULT 0,"
    " cross_entropy BLOB, kl BLOB, agreement BLOB, teacher_cross_entropy BLOB, checksum TEXT,"
    " probability REAL, decision TEXT NOT NULL DEFAULT '',"
    " PRIMARY KEY (candidate, stage)) WITHOUT ROWID;"
    "CREATE TABLE curve ("
    " candidate TEXT NOT NULL REFERENCES candidate (id), tokens INTEGER NOT NULL,"
    " stage INTEGER NOT NULL, loss REAL,"
    " PRIMARY KEY (candidate, tokens)) WITHOUT ROWID;";

// A number that one PRAGMA or SELECT returns.
static cop_status query_i64(cop_store *store, const char *sql, int64_t *out, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    bool has_row = false;
    *out = 0;
    COP_TRY(status, cop_store_prepare(store, sql, &statement, err));
    COP_TRY(status, cop_store_next(store, statement, &has_row, err));
    if (has_row) {
        *out = sqlite3_column_int64(statement, 0);
    }
done:
    (void)sqlite3_reset(statement);
    return status;
}

// From nothing, or from the version before.
static cop_status create_schema(cop_store *store, bool is_new, cop_error *err)
{
    cop_status status = COP_OK;
    char pragma[96];
    (void)snprintf(pragma, sizeof pragma, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
                   COP_STORE_APPLICATION, COP_STORE_VERSION);
    COP_TRY(status, cop_store_begin(store, true, err));
    if (is_new) {
        COP_TRY(status, cop_store_exec(store, schema, err));
    }
    COP_TRY(status, cop_store_exec(store, schema_trials, err));
    COP_TRY(status, cop_store_exec(store, pragma, err));
    COP_TRY(status, cop_store_commit(store, err));
done:
    if (status != COP_OK) {
        cop_store_rollback(store);
    }
    return status;
}

// Structure only; the contents carry their own checksums (search/snapshot.c).
static cop_status check_structure(cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    bool has_row = false;
    const unsigned char *answer = NULL;
    COP_TRY(status, cop_store_prepare(store, "PRAGMA quick_check(1)", &statement, err));
    COP_TRY(status, cop_store_next(store, statement, &has_row, err));
    answer = has_row ? sqlite3_column_text(statement, 0) : NULL;
    if (answer == NULL || strcmp((const char *)answer, "ok") != 0) {
        char line[200];
        (void)snprintf(line, sizeof line, "%s", answer == NULL ? "" : (const char *)answer);
        for (char *c = line; *c != '\0'; c++) {
            if (*c == '\n') {
                *c = ' ';
            }
        }
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: the study database is damaged: %s", store->path,
                          line);
    }
done:
    (void)sqlite3_reset(statement);
    return status;
}

static cop_status check_schema(cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t version = 0;
    int64_t application = 0;
    int64_t tables = 0;
    COP_TRY(status, query_i64(store, "PRAGMA application_id", &application, err));
    COP_TRY(status, query_i64(store, "PRAGMA user_version", &version, err));
    COP_TRY(status, query_i64(store, "SELECT count(*) FROM sqlite_master", &tables, err));
    if (tables == 0 && version == 0) {
        if (store->mode == COP_STORE_READ) {
            return COP_FAIL(err, COP_ERR_FORMAT, "%s: holds no study yet", store->path);
        }
        store->has_proposals = true;
        return create_schema(store, true, err);
    }
    if (application != COP_STORE_APPLICATION || version < 1) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: is an SQLite database, but no study of coppice",
                        store->path);
    }
    if (version > COP_STORE_VERSION) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: schema version is %lld, made by a newer coppice (allowed: 1..%d)",
                        store->path, (long long)version, COP_STORE_VERSION);
    }
    COP_TRY(status, check_structure(store, err));
    store->has_proposals = version > 1 || store->mode == COP_STORE_OWN;
    if (version == 1 && store->mode == COP_STORE_OWN) {
        status = create_schema(store, false, err);
    }
done:
    return status;
}

// A finished study in a folder that cannot be written: SQLite needs to be told that nobody else writes.
static int open_immutable(cop_store *store)
{
    cop_text uri = {0};
    cop_text_append(&uri, "file:");
    for (const char *c = store->path; *c != '\0'; c++) {
        if (strchr("?#%", *c) != NULL) {
            cop_text_appendf(&uri, "%%%02x", (unsigned)(unsigned char)*c);
        } else {
            cop_text_append_bytes(&uri, c, 1);
        }
    }
    cop_text_append(&uri, "?immutable=1");
    (void)sqlite3_close(store->db);
    store->db = NULL;
    const int code = uri.is_broken ? SQLITE_NOMEM
                                   : sqlite3_open_v2(cop_text_view(&uri), &store->db,
                                                     SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    cop_text_release(&uri);
    return code;
}

// Is there anything that is not in the database file yet?
static bool has_journal(const char *path)
{
    cop_text wal = {0};
    struct stat info = {0};
    cop_text_appendf(&wal, "%s-wal", path);
    const bool exists = stat(cop_text_view(&wal), &info) == 0 && info.st_size > 0;
    cop_text_release(&wal);
    return exists;
}

static cop_status connect_store(cop_store *store, const char *directory, cop_error *err)
{
    const bool is_owner = store->mode == COP_STORE_OWN;
    int code = sqlite3_open_v2(
        store->path, &store->db,
        is_owner ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY, NULL);
    if (code == SQLITE_OK && !is_owner && access(directory, W_OK) != 0 &&
        !has_journal(store->path)) {
        code = open_immutable(store);
    }
    if (code != SQLITE_OK) {
        return cop_store_fail(store, "cannot open", err);
    }
    (void)sqlite3_busy_timeout(store->db, 10000);
    // A crafted file must not run code through triggers, views or functions of its own schema.
    (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    return is_owner
               ? cop_store_exec(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err)
               : COP_OK;
}

cop_status cop_store_open(cop_store **out, const char *directory, cop_store_mode mode,
                          cop_error *err)
{
    cop_status status = COP_OK;
    cop_store *store = NULL;
    *out = NULL;
    store = cop_alloc(1, sizeof *store);
    char *path = cop_file_join(directory, "study.db");
    if (store == NULL || path == NULL) {
        cop_free(store);
        cop_free(path);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", directory);
    }
    *store = (cop_store){.path = path, .mode = mode, .lock_fd = -1, .is_full = true};
    if (mode == COP_STORE_OWN) {
        COP_TRY(status, cop_file_make_directory(directory, err));
        COP_TRY(status, cop_store_lock(&store->lock_fd, directory, err));
    } else if (!cop_file_exists(path)) {
        status = COP_FAIL(err, COP_ERR_IO,
                          "%s: does not exist (allowed: the directory of a study, made by "
                          "`coppice search`)",
                          path);
        goto done;
    }
    COP_TRY(status, connect_store(store, directory, err));
    COP_TRY(status, check_schema(store, err));
    *out = store;
    store = NULL;
done:
    cop_store_destroy(store);
    return status;
}

void cop_store_destroy(cop_store *store)
{
    if (store == NULL) {
        return;
    }
    for (int i = 0; i < store->cached_count; i++) {
        (void)sqlite3_finalize(store->cached[i].statement);
    }
    (void)sqlite3_close(store->db);
    cop_store_unlock(store->lock_fd); // last: the next owner finds a closed database
    cop_free(store->path);
    cop_free(store);
}
