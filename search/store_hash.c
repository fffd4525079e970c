// Checksums of rows: over every field in a fixed order and width.

#include "search/store_internal.h"

cop_status cop_store_candidate_hash(cop_hash *out, const cop_candidate *c, cop_error *err)
{
    cop_hasher *hasher = NULL;
    const cop_status status = cop_hasher_create(&hasher, err);
    if (status != COP_OK) {
        return status;
    }
    const int64_t integers[] = {c->grid_index,
                                c->layers,
                                c->hidden,
                                c->heads,
                                c->kv_heads,
                                c->head_dim,
                                c->ffn,
                                c->cost.params,
                                c->cost.params_non_embedding,
                                c->cost.matmul_params,
                                c->cost.weights_bytes,
                                c->cost.kv_cache_bytes,
                                c->cost.total_bytes};
    cop_hasher_add_text(hasher, c->id);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        cop_hasher_add_i64(hasher, integers[i]);
    }
    // A NaN has many bit patterns; the database keeps only that it is one.
    cop_hasher_add_i64(hasher, c->ffn_ratio != c->ffn_ratio);
    cop_hasher_add_f64(hasher, c->ffn_ratio != c->ffn_ratio ? 0 : c->ffn_ratio);
    cop_hasher_add_f64(hasher, c->cost.flops_per_token);
    *out = cop_hasher_value(hasher);
    cop_hasher_destroy(hasher);
    return COP_OK;
}

static void add_figures(cop_hasher *hasher, const double *values, int64_t count)
{
    cop_hasher_add_i64(hasher, values == NULL ? -1 : count);
    if (values != NULL) {
        cop_hasher_add_bytes(hasher, values, (size_t)count * sizeof *values);
    }
}

cop_status cop_store_record_hash(cop_hash *out, const char *id, const cop_stage_record *record,
                                 cop_error *err)
{
    cop_hasher *hasher = NULL;
    const cop_evaluation *e = &record->evaluation;
    const cop_status status = cop_hasher_create(&hasher, err);
    if (status != COP_OK) {
        return status;
    }
    cop_hasher_add_text(hasher, id);
    cop_hasher_add_i64(hasher, record->stage);
    cop_hasher_add_i64(hasher, record->tokens);
    cop_hasher_add_i64(hasher, e->sequences);
    cop_hasher_add_i64(hasher, e->sequence_tokens);
    add_figures(hasher, e->cross_entropy, e->sequences);
    add_figures(hasher, e->kl, e->sequences);
    add_figures(hasher, e->agreement, e->sequences);
    add_figures(hasher, e->teacher_cross_entropy, e->sequences);
    *out = cop_hasher_value(hasher);
    cop_hasher_destroy(hasher);
    return COP_OK;
}
