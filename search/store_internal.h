// What the parts of the study store share: the connection, its prepared statements, transactions.

#ifndef COP_SEARCH_STORE_INTERNAL_H
#define COP_SEARCH_STORE_INTERNAL_H

#include <sqlite3.h>

#include "base/hash.h"
#include "search/store.h"

enum {
    COP_STORE_VERSION = 2,
    COP_STORE_APPLICATION = 0x434f5050, // "COPP", in the header of the database
    COP_STORE_STATEMENTS_MAX = 40,
    COP_STORE_STAGE_MAX = 12,
    COP_STORE_SEQUENCES_MAX = 1 << 20
};

struct cop_store {
    sqlite3 *db;
    char *path; // of the database, owned
    cop_store_mode mode;
    int lock_fd;        // -1: none
    bool is_full;       // synchronous = FULL at the moment
    bool has_proposals; // false: read from a database of version 1
    bool is_grouped;    // several writes make one transaction

    // Prepared on first use, found by the address of their text; finalized at the end.
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } cached[COP_STORE_STATEMENTS_MAX];

    int cached_count;
};

// One message for every failure of SQLite: "<file>: <what>: <reason>". The kind of failure follows
// SQLite's code: a damaged file is COP_ERR_FORMAT, memory COP_ERR_NOMEM, all else COP_ERR_IO.
cop_status cop_store_fail(const cop_store *store, const char *what, cop_error *err);

// A statement, reset and without bindings; borrowed. `sql` is a string literal.
COP_MUST_CHECK cop_status cop_store_prepare(cop_store *store, const char *sql, sqlite3_stmt **out,
                                            cop_error *err);
// Runs a statement that returns no rows, and resets it.
COP_MUST_CHECK cop_status cop_store_run(cop_store *store, sqlite3_stmt *statement, const char *what,
                                        cop_error *err);
// Fetches the next row; `has_row` false at the end.
COP_MUST_CHECK cop_status cop_store_next(cop_store *store, sqlite3_stmt *statement, bool *has_row,
                                         cop_error *err);
// Runs SQL without parameters.
COP_MUST_CHECK cop_status cop_store_exec(cop_store *store, const char *sql, cop_error *err);

// A transaction. A writing one takes the write lock at once; `is_durable` waits for the disk at
// commit, so that a power cut loses nothing either.
COP_MUST_CHECK cop_status cop_store_begin(cop_store *store, bool is_durable, cop_error *err);
COP_MUST_CHECK cop_status cop_store_begin_read(cop_store *store, cop_error *err);
COP_MUST_CHECK cop_status cop_store_commit(cop_store *store, cop_error *err);
void cop_store_rollback(cop_store *store);

// Takes <directory>/study.lock or names who holds it.
COP_MUST_CHECK cop_status cop_store_lock(int *fd, const char *directory, cop_error *err);
void cop_store_unlock(int fd);

// Checksums of what a row says; stored beside it, so that a flipped byte is noticed.
COP_MUST_CHECK cop_status cop_store_candidate_hash(cop_hash *out, const cop_candidate *candidate,
                                                   cop_error *err);
COP_MUST_CHECK cop_status cop_store_record_hash(cop_hash *out, const char *id,
                                                const cop_stage_record *record, cop_error *err);

// --- store_blocks.c -----------------------------------------------------------------------------

struct cop_snapshot;

// Writes a candidate's blocks, where they differ, inside of the open transaction.
COP_MUST_CHECK cop_status cop_store_put_blocks(cop_store *store, const cop_candidate *candidate,
                                               cop_error *err);
// Gives the candidates of a snapshot their blocks; its facts are read. COP_ERR_FORMAT: damaged.
COP_MUST_CHECK cop_status cop_snapshot_read_blocks(struct cop_snapshot *snapshot,
                                                   const cop_store *store, cop_error *err);

#endif
