// Reads a whole study in one transaction, trusting nothing: every size is compared with its limits
// and every row with its checksum.

#include "search/snapshot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/store_internal.h"

static cop_status damaged(const cop_store *store, const char *what, const char *text,
                          cop_error *err)
{
    char id[COP_CANDIDATE_ID_BYTES]; // of a damaged row: whatever bytes they are
    (void)snprintf(id, sizeof id, "%s", text);
    for (char *c = id; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) {
            *c = '?';
        }
    }
    return COP_FAIL(err, COP_ERR_FORMAT, "%s: the study database is damaged: %s of candidate '%s'",
                    store->path, what, id);
}

static cop_status nomem(const cop_store *store, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", store->path);
}

static const char *column_text(sqlite3_stmt *row, int at)
{
    const unsigned char *text = sqlite3_column_text(row, at);
    return text == NULL ? "" : (const char *)text;
}

static double column_f64(sqlite3_stmt *row, int at)
{
    return sqlite3_column_type(row, at) == SQLITE_NULL ? (double)NAN
                                                       : sqlite3_column_double(row, at);
}

static bool is_in(int64_t value, int64_t min, int64_t max)
{
    return value >= min && value <= max;
}

cop_status cop_facts_read(cop_fact **out, int64_t *facts, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = false;
    int64_t count = 0;
    *out = NULL;
    *facts = 0;
    COP_TRY(status, cop_store_prepare(store, "SELECT count(*) FROM fact", &row, err));
    COP_TRY(status, cop_store_next(store, row, &has_row, err));
    count = has_row ? sqlite3_column_int64(row, 0) : 0;
    (void)sqlite3_reset(row);
    *out = cop_alloc((size_t)count + 1, sizeof **out);
    if (*out == NULL) {
        return nomem(store, err);
    }
    COP_TRY(status,
            cop_store_prepare(store, "SELECT key, value FROM fact ORDER BY key", &row, err));
    for (;;) {
        COP_TRY(status, cop_store_next(store, row, &has_row, err));
        if (!has_row || *facts == count) {
            break;
        }
        cop_fact *fact = &(*out)[(*facts)++];
        fact->key = cop_alloc_string(column_text(row, 0));
        fact->value = cop_alloc_string(column_text(row, 1));
        if (fact->key == NULL || fact->value == NULL) {
            status = nomem(store, err);
            goto done;
        }
    }
done:
    (void)sqlite3_reset(row);
    return status;
}

void cop_facts_release(cop_fact *facts, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        cop_free(facts[i].key);
        cop_free(facts[i].value);
    }
    cop_free(facts);
}

const char *cop_facts_find(const cop_fact *facts, int64_t count, const char *key)
{
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(facts[i].key, key) == 0) {
            return facts[i].value;
        }
    }
    return NULL;
}

static cop_status read_candidate(cop_snapshot_candidate *out, sqlite3_stmt *row, cop_store *store,
                                 cop_error *err)
{
    cop_candidate *c = &out->candidate;
    const char *id = column_text(row, 0);
    int64_t *const integers[] = {&c->grid_index,
                                 &c->layers,
                                 &c->hidden,
                                 &c->heads,
                                 &c->kv_heads,
                                 &c->head_dim,
                                 &c->ffn,
                                 &c->cost.params,
                                 &c->cost.params_non_embedding,
                                 &c->cost.matmul_params,
                                 &c->cost.weights_bytes,
                                 &c->cost.kv_cache_bytes,
                                 &c->cost.total_bytes};
    if (id[0] == '\0' || strlen(id) >= sizeof c->id) {
        return damaged(store, "the id", id, err);
    }
    memcpy(c->id, id, strlen(id) + 1);
    for (int i = 0; i < 13; i++) {
        *integers[i] = sqlite3_column_int64(row, 1 + i);
    }
    c->ffn_ratio = column_f64(row, 14);
    c->cost.flops_per_token = column_f64(row, 15);
    const int64_t state = sqlite3_column_int64(row, 17);
    const int64_t running = sqlite3_column_int64(row, 19);
    cop_hash hash = {0};
    char checksum[COP_HASH_TEXT_BYTES];
    const cop_status status = cop_store_candidate_hash(&hash, c, err);
    if (status != COP_OK) {
        return status;
    }
    if (strcmp(cop_hash_text(checksum, hash), column_text(row, 16)) != 0) {
        return damaged(store, "the checksum", id, err);
    }
    if (!is_in(state, COP_STATE_PENDING, COP_STATE_FAILED)) {
        return damaged(store, "the state", id, err);
    }
    if (!is_in(running, -1, COP_STORE_STAGE_MAX)) {
        return damaged(store, "the running stage", id, err);
    }
    out->state = (cop_candidate_state)state;
    (void)snprintf(out->reason, sizeof out->reason, "%s", column_text(row, 18));
    out->running_stage = (int)running;
    out->running_tokens = sqlite3_column_int64(row, 20);
    out->last_stage = -1;
    out->batch = -1;
    for (int i = 0; i < COP_SNAPSHOT_STAGES_MAX; i++) {
        out->stage[i].probability = (double)NAN;
        out->stage[i].record.stage = i;
    }
    return COP_OK;
}

static cop_status read_candidates(cop_snapshot *out, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = false;
    int64_t count = 0;
    COP_TRY(status, cop_store_prepare(store, "SELECT count(*) FROM candidate WHERE grid_index >= 0",
                                      &row, err));
    COP_TRY(status, cop_store_next(store, row, &has_row, err));
    count = has_row ? sqlite3_column_int64(row, 0) : 0;
    (void)sqlite3_reset(row);
    out->candidate = cop_alloc((size_t)count + 1, sizeof *out->candidate);
    if (out->candidate == NULL) {
        return nomem(store, err);
    }
    COP_TRY(status,
            cop_store_prepare(store,
                              "SELECT id, grid_index, layers, hidden, heads, kv_heads, head_dim,"
                              " ffn, params, params_non_embedding, matmul_params, weights_bytes,"
                              " kv_cache_bytes, total_bytes, ffn_ratio, flops_per_token, checksum,"
                              " state, reason, running_stage, running_tokens FROM candidate"
                              " WHERE grid_index >= 0 ORDER BY grid_index, id",
                              &row, err));
    for (;;) {
        COP_TRY(status, cop_store_next(store, row, &has_row, err));
        if (!has_row || out->count == count) {
            break;
        }
        COP_TRY(status, read_candidate(&out->candidate[out->count], row, store, err));
        out->count++;
    }
done:
    (void)sqlite3_reset(row);
    return status;
}

// A blob of exactly `count` f64, copied; NULL stays NULL.
static cop_status read_figures(double **out, sqlite3_stmt *row, int at, int64_t count,
                               cop_store *store, const char *id, cop_error *err)
{
    *out = NULL;
    if (sqlite3_column_type(row, at) == SQLITE_NULL) {
        return COP_OK;
    }
    const void *blob = sqlite3_column_blob(row, at);
    const size_t bytes = (size_t)count * sizeof **out;
    if (blob == NULL || (size_t)sqlite3_column_bytes(row, at) != bytes) {
        return damaged(store, "the figures", id, err);
    }
    *out = cop_alloc((size_t)count, sizeof **out);
    if (*out == NULL) {
        return nomem(store, err);
    }
    memcpy(*out, blob, bytes);
    return COP_OK;
}

static cop_status read_record(cop_snapshot_stage *out, sqlite3_stmt *row, cop_store *store,
                              const char *id, cop_error *err)
{
    cop_status status = COP_OK;
    cop_stage_record *record = &out->record;
    cop_evaluation *e = &record->evaluation;
    cop_hash hash = {0};
    char checksum[COP_HASH_TEXT_BYTES];
    record->tokens = sqlite3_column_int64(row, 4);
    record->seconds = column_f64(row, 5);
    e->sequences = sqlite3_column_int64(row, 6);
    e->sequence_tokens = sqlite3_column_int64(row, 7);
    if (!is_in(e->sequences, 1, COP_STORE_SEQUENCES_MAX) || e->sequence_tokens < 0 ||
        record->tokens < 0) {
        return damaged(store, "the number of sequences", id, err);
    }
    double **const figures[] = {&e->cross_entropy, &e->kl, &e->agreement,
                                &e->teacher_cross_entropy};
    for (int i = 0; i < 4; i++) {
        COP_TRY(status, read_figures(figures[i], row, 8 + i, e->sequences, store, id, err));
    }
    COP_TRY(status, cop_store_record_hash(&hash, id, record, err));
    if (e->cross_entropy == NULL ||
        strcmp(cop_hash_text(checksum, hash), column_text(row, 12)) != 0) {
        status = damaged(store, "the checksum of a stage", id, err);
    }
    out->is_done = true;
done:
    return status;
}

static cop_status read_stages(cop_snapshot *out, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = false;
    int64_t at = 0; // candidates and rows come in the same order
    COP_TRY(status,
            cop_store_prepare(
                store,
                "SELECT s.candidate, s.stage, s.attempts, s.is_done, s.tokens, s.seconds,"
                " s.sequences, s.sequence_tokens, s.cross_entropy, s.kl, s.agreement,"
                " s.teacher_cross_entropy, s.checksum, s.probability, s.decision FROM stage s"
                " JOIN candidate c ON c.id = s.candidate WHERE c.grid_index >= 0"
                " ORDER BY c.grid_index, c.id, s.stage",
                &row, err));
    for (;;) {
        COP_TRY(status, cop_store_next(store, row, &has_row, err));
        if (!has_row) {
            break;
        }
        const char *id = column_text(row, 0);
        while (at < out->count && strcmp(out->candidate[at].candidate.id, id) != 0) {
            at++;
        }
        const int64_t stage = sqlite3_column_int64(row, 1);
        if (at == out->count || !is_in(stage, 0, COP_STORE_STAGE_MAX)) {
            status = damaged(store, "a stage", id, err);
            goto done;
        }
        cop_snapshot_stage *entry = &out->candidate[at].stage[stage];
        entry->record.attempts = sqlite3_column_int(row, 2);
        entry->probability = column_f64(row, 13);
        (void)snprintf(entry->decision, sizeof entry->decision, "%s", column_text(row, 14));
        if (sqlite3_column_int(row, 3) != 0) {
            COP_TRY(status, read_record(entry, row, store, id, err));
            out->candidate[at].last_stage = (int)stage;
        }
    }
done:
    (void)sqlite3_reset(row);
    return status;
}

static bool append_point(cop_snapshot_candidate *candidate, int64_t *capacity,
                         cop_curve_point point)
{
    if (candidate->curve_points == *capacity) {
        const int64_t larger = *capacity == 0 ? 64 : 2 * *capacity;
        cop_curve_point *grown = cop_realloc(candidate->curve, (size_t)larger, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        candidate->curve = grown;
        *capacity = larger;
    }
    candidate->curve[candidate->curve_points++] = point;
    return true;
}

static cop_status read_curves(cop_snapshot *out, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = false;
    COP_TRY(status, cop_store_prepare(store,
                                      "SELECT tokens, loss FROM curve WHERE candidate = ?1"
                                      " ORDER BY tokens",
                                      &row, err));
    for (int64_t i = 0; i < out->count; i++) {
        int64_t capacity = 0;
        (void)sqlite3_reset(row);
        (void)sqlite3_bind_text(row, 1, out->candidate[i].candidate.id, -1, SQLITE_STATIC);
        for (;;) {
            COP_TRY(status, cop_store_next(store, row, &has_row, err));
            if (!has_row) {
                break;
            }
            const cop_curve_point point = {sqlite3_column_int64(row, 0), column_f64(row, 1)};
            if (!append_point(&out->candidate[i], &capacity, point)) {
                status = nomem(store, err);
                goto done;
            }
        }
    }
done:
    (void)sqlite3_reset(row);
    (void)sqlite3_clear_bindings(row);
    return status;
}

static cop_status read_proposals(cop_snapshot *out, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *row = NULL;
    bool has_row = store->has_proposals;
    int64_t at = 0; // candidates and rows come in the same order
    if (!has_row) {
        return COP_OK;
    }
    COP_TRY(status, cop_store_prepare(store,
                                      "SELECT p.candidate, p.batch, p.slot FROM proposal p JOIN"
                                      " candidate c ON c.id = p.candidate WHERE c.grid_index >= 0"
                                      " ORDER BY c.grid_index, c.id",
                                      &row, err));
    for (;;) {
        COP_TRY(status, cop_store_next(store, row, &has_row, err));
        if (!has_row) {
            break;
        }
        const char *id = column_text(row, 0);
        while (at < out->count && strcmp(out->candidate[at].candidate.id, id) != 0) {
            at++;
        }
        if (at == out->count) {
            status = damaged(store, "a proposal", id, err);
            goto done;
        }
        out->candidate[at].batch = sqlite3_column_int64(row, 1);
        out->candidate[at].slot = sqlite3_column_int64(row, 2);
    }
done:
    (void)sqlite3_reset(row);
    return status;
}

cop_status cop_snapshot_read(cop_snapshot *out, cop_store *store, cop_error *err)
{
    cop_status status = COP_OK;
    *out = (cop_snapshot){0};
    COP_TRY(status, cop_store_begin_read(store, err));
    COP_TRY(status, cop_facts_read(&out->fact, &out->facts, store, err));
    COP_TRY(status, read_candidates(out, store, err));
    COP_TRY(status, cop_snapshot_read_blocks(out, store, err));
    COP_TRY(status, read_proposals(out, store, err));
    COP_TRY(status, read_stages(out, store, err));
    COP_TRY(status, read_curves(out, store, err));
done:
    cop_store_rollback(store); // nothing was written
    if (status != COP_OK) {
        cop_snapshot_release(out);
    }
    return status;
}

void cop_snapshot_release(cop_snapshot *snapshot)
{
    for (int64_t i = 0; i < snapshot->count; i++) {
        cop_snapshot_candidate *candidate = &snapshot->candidate[i];
        for (int s = 0; s < COP_SNAPSHOT_STAGES_MAX; s++) {
            cop_evaluation_release(&candidate->stage[s].record.evaluation);
        }
        cop_free(candidate->curve);
        cop_free(candidate->blocks);
    }
    cop_free(snapshot->candidate);
    cop_facts_release(snapshot->fact, snapshot->facts);
    *snapshot = (cop_snapshot){0};
}

const char *cop_snapshot_fact(const cop_snapshot *snapshot, const char *key)
{
    return cop_facts_find(snapshot->fact, snapshot->facts, key);
}

int64_t cop_snapshot_find(const cop_snapshot *snapshot, const char *id)
{
    for (int64_t i = 0; i < snapshot->count; i++) {
        if (strcmp(snapshot->candidate[i].candidate.id, id) == 0) {
            return i;
        }
    }
    return -1;
}
