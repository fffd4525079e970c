#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/array_file.h"
#include "prune/importance_file.h"

void cop_scores_origin_release(cop_scores_origin *origin)
{
    cop_free(origin->teacher);
    cop_free(origin->teacher_hash);
    cop_free(origin->data);
    cop_free(origin->key_text);
    cop_free(origin->precision);
    *origin = (cop_scores_origin){0};
}

static cop_status read_origin(cop_scores_origin *out, const cop_array_reader *reader,
                              const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t schema = 0;

    COP_TRY(status, cop_array_reader_i64(reader, "meta", "schema", &schema, err));
    if (schema != COP_SCORES_SCHEMA) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: schema of the importance file is %lld (allowed: %d)", path,
                        (long long)schema, COP_SCORES_SCHEMA);
    }
    COP_TRY(status, cop_array_reader_text(reader, "meta", "teacher", &out->teacher, err));
    COP_TRY(status, cop_array_reader_text(reader, "meta", "teacher_hash", &out->teacher_hash, err));
    COP_TRY(status, cop_array_reader_text(reader, "meta", "data", &out->data, err));
    COP_TRY(status, cop_array_reader_text(reader, "meta", "key", &out->key_text, err));
    COP_TRY(status, cop_array_reader_text(reader, "meta", "precision", &out->precision, err));
    COP_TRY(status, cop_array_reader_i64(reader, "meta", "samples", &out->samples, err));
    COP_TRY(status, cop_array_reader_i64(reader, "meta", "sequence", &out->sequence, err));

done:
    return status;
}

// 32 hexadecimal digits; false for anything else.
static bool parse_hash(cop_hash *out, const char *text)
{
    uint64_t half[2] = {0};
    if (strlen(text) != COP_HASH_TEXT_BYTES - 1) {
        return false;
    }
    for (int i = 0; i < COP_HASH_TEXT_BYTES - 1; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = strchr(digits, text[i]);
        if (digit == NULL) {
            return false;
        }
        half[i / 16] = half[i / 16] << 4 | (uint64_t)(digit - digits);
    }
    *out = (cop_hash){.high = half[0], .low = half[1]};
    return true;
}

// Sizes as the file states them, each within the bounds of any architecture.
static cop_status read_sizes(const cop_array_reader *reader, const char *path, int64_t *sizes,
                             cop_error *err)
{
    static const int64_t max[COP_SCORES_GROUPS] = {COP_ARCH_HEADS_MAX, COP_ARCH_HEADS_MAX,
                                                   COP_ARCH_FFN_MAX, COP_ARCH_HIDDEN_MAX};
    cop_status status = COP_OK;
    int64_t layers = 0;

    for (int g = 0; g < COP_SCORES_GROUPS; g++) {
        char name[COP_SCORES_NAME_BYTES];
        int64_t shape[COP_ARRAY_RANK_MAX] = {0};
        int rank = 0;
        cop_dtype dtype = COP_F64;
        (void)snprintf(name, sizeof name, "%s/%s", cop_scores_groups[g].name,
                       cop_aggregate_name(0));
        COP_TRY(status, cop_array_reader_shape(reader, name, &dtype, &rank, shape, err));
        const bool is_channel = g == COP_SCORES_GROUPS - 1;
        const int64_t rows = is_channel ? layers : shape[0];
        sizes[g] = is_channel ? shape[0] : shape[1];
        layers = g == 0 ? rows : layers;
        if (rank != (is_channel ? 1 : 2) || rows != layers || rows < 1 ||
            rows > COP_ARCH_LAYERS_MAX || sizes[g] < 1 || sizes[g] > max[g]) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: /%s has rank %d and shape [%lld, %lld] (allowed: %s)", path, name,
                            rank, (long long)shape[0], (long long)shape[1],
                            cop_scores_groups[g].dimensions);
        }
    }
    sizes[COP_SCORES_GROUPS] = layers;

done:
    return status;
}

static cop_status read_groups(const cop_array_reader *reader, cop_importance *importance,
                              cop_error *err)
{
    cop_status status = COP_OK;
    for (int g = 0; g < COP_SCORES_GROUPS; g++) {
        int64_t shape[2];
        const int rank = cop_scores_shape(importance, g, shape);
        for (int i = 0; i < COP_AGGREGATES; i++) {
            char name[COP_SCORES_NAME_BYTES];
            (void)snprintf(name, sizeof name, "%s/%s", cop_scores_groups[g].name,
                           cop_aggregate_name(i));
            COP_TRY(status, cop_array_reader_get(
                                reader, name, COP_F64, rank, shape,
                                cop_scores_data(importance, g) + i * shape[0] * shape[1], err));
        }
    }
    COP_TRY(status, cop_array_reader_get(reader, "layer/block_influence", COP_F64, 1,
                                         &importance->layers, importance->block_influence, err));
    if (importance->perplexity != NULL) {
        COP_TRY(status, cop_array_reader_get(reader, "layer/perplexity", COP_F64, 1,
                                             &importance->layers, importance->perplexity, err));
        COP_TRY(status, cop_array_reader_f64(reader, "layer/perplexity", "teacher",
                                             &importance->teacher_perplexity, err));
    }

done:
    return status;
}

// Ranking needs numbers: a NaN is allowed only as padding of a narrower layer, at the end of a row.
static cop_status check_scores(const cop_importance *importance, const char *path, cop_error *err)
{
    for (int g = 0; g < COP_SCORES_GROUPS; g++) {
        int64_t shape[2];
        const bool is_channel = cop_scores_shape(importance, g, shape) == 1;
        const int64_t units = is_channel ? shape[0] : shape[1];
        const int64_t rows = COP_AGGREGATES * shape[0] * shape[1] / units;
        const double *data = cop_scores_data(importance, g);
        for (int64_t row = 0; row < rows; row++) {
            bool is_padding = false;
            for (int64_t i = 0; i < units; i++) {
                const double score = data[row * units + i];
                const bool is_nan = isnan(score) != 0;
                if (isinf(score) || (is_nan && (i == 0 || is_channel)) || (!is_nan && is_padding)) {
                    return COP_FAIL(err, COP_ERR_FORMAT,
                                    "%s: score %lld of row %lld in /%s is %g (allowed: finite "
                                    "numbers, then NaN as padding)",
                                    path, (long long)i, (long long)row, cop_scores_groups[g].name,
                                    score);
                }
                is_padding = is_nan;
            }
        }
    }
    for (int64_t i = 0; i < importance->layers; i++) {
        const double perplexity = importance->perplexity == NULL ? 1.0 : importance->perplexity[i];
        if (!isfinite(importance->block_influence[i]) || isnan(perplexity)) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: layer %lld scores %g and %g (allowed: numbers)", path,
                            (long long)i, importance->block_influence[i], perplexity);
        }
    }
    return COP_OK;
}

static cop_status check_teacher(const cop_importance *importance, const cop_scores_origin *from,
                                const char *path, const cop_checkpoint *teacher, cop_error *err)
{
    cop_hash weights = {0};
    char text[COP_HASH_TEXT_BYTES];
    const cop_arch *arch = cop_checkpoint_arch(teacher);
    const cop_status status = cop_checkpoint_hash(teacher, &weights, err);

    if (status != COP_OK) {
        return status;
    }
    if (strcmp(cop_hash_text(text, weights), from->teacher_hash) != 0) {
        return COP_FAIL(
            err, COP_ERR_CONFIG,
            "%s: scores of another teacher: %s with weights %.8s (allowed: scores of %s "
            "with weights %.8s; run coppice score on it)",
            path, from->teacher, from->teacher_hash, cop_checkpoint_path(teacher), text);
    }
    if (!cop_importance_fits(importance, arch)) {
        char arch_text[COP_ARCH_TEXT_BYTES];
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: scores of %lld layers, %lld channels, %lld/%lld heads, %lld neurons "
                        "(allowed: those of %s)",
                        path, (long long)importance->layers, (long long)importance->hidden,
                        (long long)importance->heads, (long long)importance->kv_heads,
                        (long long)importance->ffn, cop_arch_text(arch_text, arch));
    }
    return COP_OK;
}

cop_status cop_scores_read(cop_importance **out, cop_scores_origin *origin, const char *path,
                           const cop_checkpoint *teacher, cop_error *err)
{
    cop_status status = COP_OK;
    cop_array_reader *reader = NULL;
    cop_importance *importance = NULL;
    int64_t sizes[COP_SCORES_GROUPS + 1] = {0};

    COP_TRY(status, cop_array_reader_open(&reader, path, err));
    COP_TRY(status, read_origin(origin, reader, path, err));
    if (!parse_hash(&origin->key, origin->key_text)) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT, "%s: key in /meta is %s (allowed: 32 hexadecimal digits)",
                     path, origin->key_text);
        goto done;
    }
    COP_TRY(status, read_sizes(reader, path, sizes, err));
    COP_TRY(status, cop_importance_create(&importance, sizes[COP_SCORES_GROUPS], sizes[0], sizes[1],
                                          sizes[2], sizes[3],
                                          cop_array_reader_has(reader, "layer/perplexity"), err));
    COP_TRY(status, read_groups(reader, importance, err));
    COP_TRY(status, check_scores(importance, path, err));
    if (teacher != NULL) {
        COP_TRY(status, check_teacher(importance, origin, path, teacher, err));
    }
    *out = importance;
    importance = NULL;

done:
    cop_importance_destroy(importance);
    cop_array_reader_destroy(reader);
    return status;
}

cop_status cop_importance_read(cop_importance **out, const char *path,
                               const cop_checkpoint *teacher, cop_hash *key, cop_error *err)
{
    cop_scores_origin from = {0};

    *out = NULL;
    const cop_status status = cop_scores_read(out, &from, path, teacher, err);
    if (status == COP_OK && key != NULL) {
        *key = from.key;
    }
    cop_scores_origin_release(&from);
    return status;
}
