// Blocks of candidates whose layers differ: the facts blocks.<id>, written with the candidate and read with
// the snapshot. The id is a hash over them, which is their checksum.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/snapshot.h"
#include "search/store_internal.h"

enum { KEY_BYTES = COP_CANDIDATE_ID_BYTES + 16, HASH_DIGITS = 16 };

static const char *key_of(char key[KEY_BYTES], const char *id)
{
    (void)snprintf(key, KEY_BYTES, "blocks.%s", id);
    return key;
}

cop_status cop_store_put_blocks(cop_store *store, const cop_candidate *candidate, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    cop_text text = {0};
    char key[KEY_BYTES];

    if (candidate->layer == NULL) {
        return COP_OK;
    }
    cop_candidate_append_blocks(candidate, &text);
    COP_TRY(status, cop_text_check(&text, candidate->id, err));
    COP_TRY(status,
            cop_store_prepare(store, "INSERT OR REPLACE INTO fact (key, value) VALUES (?1, ?2)",
                              &statement, err));
    (void)sqlite3_bind_text(statement, 1, key_of(key, candidate->id), -1, SQLITE_TRANSIENT);
    (void)sqlite3_bind_text(statement, 2, cop_text_view(&text), -1, SQLITE_TRANSIENT);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));

done:
    cop_text_release(&text);
    return status;
}

// "L2-C64-0123456789abcdef": what cop_candidate_name() calls blocks that differ.
static bool has_blocks(const char *id)
{
    const char *first = strchr(id, '-');
    const char *second = first == NULL ? NULL : strchr(first + 1, '-');
    return second != NULL && strlen(second + 1) == HASH_DIGITS && strchr(second + 1, '-') == NULL;
}

static int compare_key(const void *key, const void *fact)
{
    return strcmp(key, ((const cop_fact *)fact)->key);
}

static cop_status read_one(cop_snapshot_candidate *out, const char *text, const cop_store *store,
                           cop_error *err)
{
    cop_candidate *c = &out->candidate;
    const bool is_sane = c->layers >= 1 && c->layers <= COP_ARCH_LAYERS_MAX;
    cop_candidate named = *c;

    out->blocks = cop_alloc(is_sane ? (size_t)c->layers : 1, sizeof *out->blocks);
    if (out->blocks == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", store->path);
    }
    if (is_sane && text != NULL && cop_candidate_parse_blocks(out->blocks, c->layers, text)) {
        cop_candidate_name(&named, out->blocks);
        if (strcmp(named.id, c->id) == 0) {
            c->layer = out->blocks;
            return COP_OK;
        }
    }
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: the study database is damaged: the blocks of candidate '%s'", store->path,
                    c->id);
}

cop_status cop_snapshot_read_blocks(cop_snapshot *snapshot, const cop_store *store, cop_error *err)
{
    for (int64_t i = 0; i < snapshot->count; i++) {
        char key[KEY_BYTES];
        cop_snapshot_candidate *candidate = &snapshot->candidate[i];
        if (!has_blocks(candidate->candidate.id)) {
            continue;
        }
        // Facts are sorted by key.
        const cop_fact *fact =
            snapshot->facts == 0
                ? NULL
                : bsearch(key_of(key, candidate->candidate.id), snapshot->fact,
                          (size_t)snapshot->facts, sizeof *snapshot->fact, compare_key);
        const cop_status status =
            read_one(candidate, fact == NULL ? NULL : fact->value, store, err);
        if (status != COP_OK) {
            return status;
        }
    }
    return COP_OK;
}
