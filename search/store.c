// Writing to the study database, one transaction per call.

#include "search/store.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/store_internal.h"

static const char *const state_names[] = {
    [COP_STATE_PENDING] = "pending",
    [COP_STATE_ELIMINATED] = "eliminated",
    [COP_STATE_FINISHED] = "finished",
    [COP_STATE_FAILED] = "failed",
};

const char *cop_candidate_state_name(cop_candidate_state state)
{
    return state_names[state];
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    (void)sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

// NaN is stored as NULL, which reads back as NaN.
static void bind_f64(sqlite3_stmt *statement, int at, double value)
{
    (void)sqlite3_bind_double(statement, at, value);
}

static void bind_i64(sqlite3_stmt *statement, int at, int64_t value)
{
    (void)sqlite3_bind_int64(statement, at, value);
}

// Ends a transaction: commits when all went well, rolls back otherwise.
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

// Fails when the last statement changed no row: there is no such candidate.
static cop_status check_changed(const cop_store *store, const char *id, cop_error *err)
{
    return sqlite3_changes(store->db) > 0
               ? COP_OK
               : COP_FAIL(err, COP_ERR_CONFIG, "%s: candidate %s is not in this study", store->path,
                          id);
}

static cop_status check_stage(const cop_store *store, int stage, cop_error *err)
{
    return stage >= 0 && stage <= COP_STORE_STAGE_MAX
               ? COP_OK
               : COP_FAIL(err, COP_ERR_CONFIG, "%s: stage is %d (allowed: 0..%d)", store->path,
                          stage, COP_STORE_STAGE_MAX);
}

cop_status cop_store_set(cop_store *store, const char *key, const char *value, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status, cop_store_begin(store, true, err));
    COP_TRY(status, cop_store_prepare(store,
                                      "INSERT INTO fact (key, value) VALUES (?1, ?2)"
                                      " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                                      &statement, err));
    bind_text(statement, 1, key);
    bind_text(statement, 2, value);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
done:
    return finish(store, status, err);
}

cop_status cop_store_get(cop_store *store, const char *key, char **out, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    bool has_row = false;
    *out = NULL;
    COP_TRY(status,
            cop_store_prepare(store, "SELECT value FROM fact WHERE key = ?1", &statement, err));
    bind_text(statement, 1, key);
    COP_TRY(status, cop_store_next(store, statement, &has_row, err));
    if (has_row) {
        const unsigned char *value = sqlite3_column_text(statement, 0);
        *out = value == NULL ? NULL : cop_alloc_string((const char *)value);
        if (*out == NULL) {
            status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", store->path);
        }
    }
done:
    (void)sqlite3_reset(statement);
    return status;
}

static cop_status add_one(cop_store *store, const cop_candidate *c, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    cop_hash hash = {0};
    char checksum[COP_HASH_TEXT_BYTES];
    const int64_t integers[] = {c->grid_index, c->layers,   c->hidden, c->heads,
                                c->kv_heads,   c->head_dim, c->ffn};
    const int64_t costs[] = {c->cost.params,         c->cost.params_non_embedding,
                             c->cost.matmul_params,  c->cost.weights_bytes,
                             c->cost.kv_cache_bytes, c->cost.total_bytes};
    COP_TRY(status, cop_store_candidate_hash(&hash, c, err));
    COP_TRY(status,
            cop_store_prepare(
                store,
                "INSERT INTO candidate (id, grid_index, layers, hidden, heads, kv_heads,"
                " head_dim, ffn, ffn_ratio, params, params_non_embedding, matmul_params,"
                " weights_bytes, kv_cache_bytes, total_bytes, flops_per_token, checksum) VALUES"
                " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
                // Of an extended study: its place in the grid and its costs may be others.
                " ON CONFLICT (id) DO UPDATE SET grid_index = excluded.grid_index,"
                " ffn_ratio = excluded.ffn_ratio, weights_bytes = excluded.weights_bytes,"
                " kv_cache_bytes = excluded.kv_cache_bytes, total_bytes = excluded.total_bytes,"
                " flops_per_token = excluded.flops_per_token, checksum = excluded.checksum"
                " WHERE checksum <> excluded.checksum",
                &statement, err));
    bind_text(statement, 1, c->id);
    for (int i = 0; i < 7; i++) {
        bind_i64(statement, 2 + i, integers[i]);
    }
    bind_f64(statement, 9, c->ffn_ratio);
    for (int i = 0; i < 6; i++) {
        bind_i64(statement, 10 + i, costs[i]);
    }
    bind_f64(statement, 16, c->cost.flops_per_token);
    bind_text(statement, 17, cop_hash_text(checksum, hash));
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    COP_TRY(status, cop_store_put_blocks(store, c, err));
done:
    return status;
}

cop_status cop_store_add(cop_store *store, const cop_candidate *candidates, int64_t count,
                         cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status, add_one(store, &candidates[i], err));
    }
done:
    return finish(store, status, err);
}

static cop_status put_place(cop_store *store, const char *id, int64_t batch, int64_t slot,
                            cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status, cop_store_prepare(store,
                                      "INSERT OR REPLACE INTO proposal (candidate, batch, slot)"
                                      " VALUES (?1, ?2, ?3)",
                                      &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, batch);
    bind_i64(statement, 3, slot);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
done:
    return status;
}

cop_status cop_store_propose(cop_store *store, const cop_candidate *candidates, int64_t count,
                             int64_t batch, int64_t slot, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status, add_one(store, &candidates[i], err));
        COP_TRY(status, put_place(store, candidates[i].id, batch, slot + i, err));
    }
done:
    return finish(store, status, err);
}

static cop_status drop_other_rungs(cop_store *store, const int64_t *rung_tokens, int rungs,
                                   cop_error *err)
{
    cop_status status = COP_OK;
    for (int stage = 1; stage <= COP_STORE_STAGE_MAX; stage++) {
        sqlite3_stmt *statement = NULL;
        COP_TRY(status,
                cop_store_prepare(store, "DELETE FROM stage WHERE stage = ?1 AND tokens <> ?2",
                                  &statement, err));
        bind_i64(statement, 1, stage);
        bind_i64(statement, 2, stage <= rungs ? rung_tokens[stage - 1] : -1);
        COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    }
done:
    return status;
}

cop_status cop_store_extend(cop_store *store, unsigned forget, const int64_t *rung_tokens,
                            int rungs, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    COP_TRY(status, cop_store_exec(store,
                                   "UPDATE stage SET decision = '', probability = NULL;"
                                   "UPDATE candidate SET state = 0, reason = '' WHERE state IN"
                                   " (1, 2);" // eliminated, finished; failures stay
                                   "DELETE FROM fact WHERE key LIKE 'stage.%' OR"
                                   " key = 'stopped_early'",
                                   err));
    COP_TRY(status, drop_other_rungs(store, rung_tokens, rungs, err));
    if ((forget & COP_STORE_FORGET_RUNGS) != 0) {
        COP_TRY(status,
                cop_store_exec(store, "DELETE FROM stage WHERE stage > 0; DELETE FROM curve", err));
    }
    if ((forget & COP_STORE_FORGET_SPACE) != 0) {
        COP_TRY(status, cop_store_exec(store,
                                       "UPDATE candidate SET grid_index = -1, checksum = '';"
                                       "DELETE FROM proposal",
                                       err));
    }
    if ((forget & COP_STORE_FORGET_LATENCIES) != 0) {
        COP_TRY(status, cop_store_exec(store,
                                       "DELETE FROM fact WHERE key LIKE 'latency_ms.%';"
                                       "UPDATE stage SET is_done = 0 WHERE stage = 0",
                                       err));
    }
done:
    return finish(store, status, err);
}

cop_status cop_store_state(cop_store *store, const char *id, cop_candidate_state state,
                           const char *reason, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status, cop_store_begin(store, true, err));
    COP_TRY(status, cop_store_prepare(store,
                                      "UPDATE candidate SET state = ?2, reason = ?3,"
                                      " running_stage = -1, running_tokens = 0 WHERE id = ?1",
                                      &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, (int64_t)state);
    bind_text(statement, 3, reason == NULL ? "" : reason);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    COP_TRY(status, check_changed(store, id, err));
done:
    return finish(store, status, err);
}

static cop_status set_running(cop_store *store, const char *id, int stage, int64_t tokens,
                              cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status,
            cop_store_prepare(
                store, "UPDATE candidate SET running_stage = ?2, running_tokens = ?3 WHERE id = ?1",
                &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, stage);
    bind_i64(statement, 3, tokens);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    COP_TRY(status, check_changed(store, id, err));
done:
    return status;
}

cop_status cop_store_attempt(cop_store *store, const char *id, int stage, int *attempts,
                             cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *count = NULL;
    sqlite3_stmt *query = NULL;
    bool has_row = false;
    *attempts = 0;
    COP_TRY(status, check_stage(store, stage, err));
    COP_TRY(status, cop_store_begin(store, false, err));
    COP_TRY(status, set_running(store, id, stage, 0, err));
    COP_TRY(status, cop_store_prepare(store,
                                      "INSERT INTO stage (candidate, stage, attempts)"
                                      " VALUES (?1, ?2, 1) ON CONFLICT (candidate, stage)"
                                      " DO UPDATE SET attempts = attempts + 1",
                                      &count, err));
    bind_text(count, 1, id);
    bind_i64(count, 2, stage);
    COP_TRY(status, cop_store_run(store, count, "cannot write", err));
    COP_TRY(status, cop_store_prepare(
                        store, "SELECT attempts FROM stage WHERE candidate = ?1 AND stage = ?2",
                        &query, err));
    bind_text(query, 1, id);
    bind_i64(query, 2, stage);
    COP_TRY(status, cop_store_next(store, query, &has_row, err));
    *attempts = has_row ? sqlite3_column_int(query, 0) : 0;
    (void)sqlite3_reset(query);
done:
    return finish(store, status, err);
}

// f64, little-endian, [sequences]; NULL when the array is NULL. `scratch` outlives the statement.
static void bind_figures(sqlite3_stmt *statement, int at, const double *values, int64_t count)
{
    if (values != NULL) {
        (void)sqlite3_bind_blob64(statement, at, values, (sqlite3_uint64)count * sizeof *values,
                                  SQLITE_STATIC);
    }
}

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "the store keeps figures as little-endian f64: add a conversion for this machine"
#endif

static cop_status put_record(cop_store *store, const char *id, const cop_stage_record *record,
                             cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    const cop_evaluation *e = &record->evaluation;
    cop_hash hash = {0};
    char checksum[COP_HASH_TEXT_BYTES];
    COP_TRY(status, cop_store_record_hash(&hash, id, record, err));
    COP_TRY(status,
            cop_store_prepare(
                store,
                "INSERT INTO stage (candidate, stage, attempts, is_done, tokens, seconds,"
                " sequences, sequence_tokens, cross_entropy, kl, agreement,"
                " teacher_cross_entropy, checksum) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9,"
                " ?10, ?11, ?12) ON CONFLICT (candidate, stage) DO UPDATE SET"
                " attempts = max(attempts, excluded.attempts), is_done = 1,"
                " tokens = excluded.tokens, seconds = excluded.seconds,"
                " sequences = excluded.sequences, sequence_tokens = excluded.sequence_tokens,"
                " cross_entropy = excluded.cross_entropy, kl = excluded.kl,"
                " agreement = excluded.agreement,"
                " teacher_cross_entropy = excluded.teacher_cross_entropy,"
                " checksum = excluded.checksum",
                &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, record->stage);
    bind_i64(statement, 3, record->attempts);
    bind_i64(statement, 4, record->tokens);
    bind_f64(statement, 5, record->seconds);
    bind_i64(statement, 6, e->sequences);
    bind_i64(statement, 7, e->sequence_tokens);
    bind_figures(statement, 8, e->cross_entropy, e->sequences);
    bind_figures(statement, 9, e->kl, e->sequences);
    bind_figures(statement, 10, e->agreement, e->sequences);
    bind_figures(statement, 11, e->teacher_cross_entropy, e->sequences);
    bind_text(statement, 12, cop_hash_text(checksum, hash));
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
done:
    (void)sqlite3_clear_bindings(statement);
    return status;
}

static cop_status put_point(cop_store *store, const char *id, int stage, cop_curve_point point,
                            cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status, cop_store_prepare(store,
                                      "INSERT OR REPLACE INTO curve (candidate, tokens, stage,"
                                      " loss) VALUES (?1, ?2, ?3, ?4)",
                                      &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, point.tokens);
    bind_i64(statement, 3, stage);
    bind_f64(statement, 4, point.loss);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
done:
    return status;
}

static cop_status drop_points(cop_store *store, const char *id, int64_t from_tokens, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status,
            cop_store_prepare(store, "DELETE FROM curve WHERE candidate = ?1 AND tokens >= ?2",
                              &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, from_tokens);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
done:
    return status;
}

cop_status cop_store_finish_stage(cop_store *store, const char *id, const cop_stage_record *record,
                                  const cop_curve_point *curve, int64_t points, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_stage(store, record->stage, err));
    if (record->evaluation.sequences < 1 ||
        record->evaluation.sequences > COP_STORE_SEQUENCES_MAX) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: candidate %s has %lld sequences (allowed: 1..%d)",
                        store->path, id, (long long)record->evaluation.sequences,
                        COP_STORE_SEQUENCES_MAX);
    }
    COP_TRY(status, cop_store_begin(store, true, err));
    COP_TRY(status, set_running(store, id, -1, 0, err)); // notices an unknown candidate too
    COP_TRY(status, put_record(store, id, record, err));
    COP_TRY(status, drop_points(store, id, points > 0 ? curve[0].tokens : record->tokens + 1, err));
    for (int64_t i = 0; i < points; i++) {
        COP_TRY(status, put_point(store, id, record->stage, curve[i], err));
    }
done:
    return finish(store, status, err);
}

cop_status cop_store_progress(cop_store *store, const char *id, int stage, int64_t tokens,
                              double loss, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_stage(store, stage, err));
    COP_TRY(status, cop_store_begin(store, false, err));
    COP_TRY(status, set_running(store, id, stage, tokens, err));
    if (isfinite(loss)) {
        COP_TRY(status, drop_points(store, id, tokens, err));
        COP_TRY(status, put_point(store, id, stage, (cop_curve_point){tokens, loss}, err));
    }
done:
    return finish(store, status, err);
}

cop_status cop_store_promotion(cop_store *store, const char *id, int stage, double probability,
                               const char *decision, cop_error *err)
{
    cop_status status = COP_OK;
    sqlite3_stmt *statement = NULL;
    COP_TRY(status, cop_store_begin(store, true, err));
    COP_TRY(status, cop_store_prepare(store,
                                      "UPDATE stage SET probability = ?3, decision = ?4"
                                      " WHERE candidate = ?1 AND stage = ?2 AND is_done",
                                      &statement, err));
    bind_text(statement, 1, id);
    bind_i64(statement, 2, stage);
    bind_f64(statement, 3, probability);
    bind_text(statement, 4, decision);
    COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    if (sqlite3_changes(store->db) == 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG, "%s: candidate %s has not finished stage %d",
                          store->path, id, stage);
    }
done:
    return finish(store, status, err);
}

cop_status cop_store_forget(cop_store *store, const char *id, int stage, cop_error *err)
{
    static const char *const lines[] = {"DELETE FROM stage WHERE candidate = ?1 AND stage > ?2",
                                        "DELETE FROM curve WHERE candidate = ?1 AND stage > ?2"};
    cop_status status = COP_OK;
    COP_TRY(status, cop_store_begin(store, true, err));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        sqlite3_stmt *statement = NULL;
        COP_TRY(status, cop_store_prepare(store, lines[i], &statement, err));
        bind_text(statement, 1, id);
        bind_i64(statement, 2, stage);
        COP_TRY(status, cop_store_run(store, statement, "cannot write", err));
    }
done:
    return finish(store, status, err);
}
