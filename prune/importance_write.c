#include <stdio.h>

#include "base/array_file.h"
#include "base/version.h"
#include "prune/importance_file.h"

const cop_scores_group cop_scores_groups[COP_SCORES_GROUPS] = {
    {"head", "[layers, heads]", "activation",
     "L2 norm over head_dim of a head's attention output, before the output projection"},
    {"kv_group", "[layers, kv_heads]", "activation",
     "L2 norm over all query heads of a key/value group of their attention outputs, before the "
     "output projection"},
    {"neuron", "[layers, ffn]", "activation",
     "input of the down projection: after the activation, and the gate where there is one"},
    {"channel", "[hidden]", "activation",
     "outputs of the input norm and the post-attention norm of each layer, aggregated place by "
     "place, then summed over all places; the final norm takes no part"},
};

static const char *const aggregation_text =
    "dataset <batch>_<sequence>: activations s of a unit over the positions of a sequence, then "
    "the results over all sequences, each by l2 = sqrt(sum s^2), mean = (1/n) sum |s| or "
    "var = (1/n) sum (s - mean s)^2; higher = more important";

double *cop_scores_data(const cop_importance *importance, int index)
{
    double *const data[COP_SCORES_GROUPS] = {importance->head, importance->kv_group,
                                             importance->neuron, importance->channel};
    return data[index];
}

int cop_scores_shape(const cop_importance *importance, int index, int64_t *shape)
{
    const int64_t units[COP_SCORES_GROUPS] = {importance->heads, importance->kv_heads,
                                              importance->ffn, importance->hidden};
    const bool is_channel = index == COP_SCORES_GROUPS - 1;
    shape[0] = is_channel ? units[index] : importance->layers;
    shape[1] = is_channel ? 1 : units[index];
    return is_channel ? 1 : 2;
}

static cop_status write_groups(cop_array_writer *writer, const cop_importance *importance,
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
            COP_TRY(status, cop_array_writer_put(
                                writer, name, COP_F64, rank, shape,
                                cop_scores_data(importance, g) + i * shape[0] * shape[1], err));
        }
        COP_TRY(status, cop_array_writer_text(writer, cop_scores_groups[g].name, "unit",
                                              cop_scores_groups[g].unit, err));
        COP_TRY(status, cop_array_writer_text(writer, cop_scores_groups[g].name, "dimensions",
                                              cop_scores_groups[g].dimensions, err));
        COP_TRY(status, cop_array_writer_text(writer, cop_scores_groups[g].name, "definition",
                                              cop_scores_groups[g].definition, err));
    }

done:
    return status;
}

static cop_status write_layers(cop_array_writer *writer, const cop_importance *importance,
                               cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t layers = importance->layers;

    COP_TRY(status, cop_array_writer_put(writer, "layer/block_influence", COP_F64, 1, &layers,
                                         importance->block_influence, err));
    COP_TRY(status, cop_array_writer_text(writer, "layer/block_influence", "unit", "1", err));
    COP_TRY(status,
            cop_array_writer_text(writer, "layer/block_influence", "definition",
                                  "1 - mean over tokens of cos(block input, block output)", err));
    if (importance->perplexity != NULL) {
        COP_TRY(status, cop_array_writer_put(writer, "layer/perplexity", COP_F64, 1, &layers,
                                             importance->perplexity, err));
        COP_TRY(status,
                cop_array_writer_text(writer, "layer/perplexity", "unit", "perplexity", err));
        COP_TRY(status, cop_array_writer_text(writer, "layer/perplexity", "definition",
                                              "exp(mean cross-entropy) of the calibration tokens "
                                              "in the teacher without the layer",
                                              err));
        COP_TRY(status, cop_array_writer_f64(writer, "layer/perplexity", "teacher",
                                             importance->teacher_perplexity, err));
    }

done:
    return status;
}

static cop_status write_meta(cop_array_writer *writer, cop_hash key, const cop_checkpoint *teacher,
                             const cop_tokens *tokens, const cop_importance_settings *settings,
                             cop_error *err)
{
    cop_hash weights = {0};
    char weights_text[COP_HASH_TEXT_BYTES];
    char data_text[COP_HASH_TEXT_BYTES];
    char key_text[COP_HASH_TEXT_BYTES];
    cop_status status = cop_checkpoint_hash(teacher, &weights, err);
    const char *const texts[][2] = {
        {"program", "coppice"},
        {"version", cop_version()},
        {"teacher", cop_checkpoint_path(teacher)},
        {"teacher_hash", cop_hash_text(weights_text, weights)},
        {"data", cop_tokens_path(tokens)},
        {"data_hash", cop_hash_text(data_text, cop_tokens_hash(tokens))},
        {"precision", cop_precision_name(settings->precision)},
        {"key", cop_hash_text(key_text, key)},
        {"hash", "XXH3, 128 bits"},
        {"definitions", aggregation_text},
        {"source", "arXiv 2407.14679, section 2.2"},
    };

    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"schema", COP_SCORES_SCHEMA},
        {"samples", cop_importance_samples(tokens, settings)},
        {"samples_requested", settings->samples},
        {"sequence", settings->sequence},
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == COP_OK; i++) {
        status = cop_array_writer_text(writer, "meta", texts[i][0], texts[i][1], err);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == COP_OK; i++) {
        status = cop_array_writer_i64(writer, "meta", numbers[i].name, numbers[i].value, err);
    }
    return status;
}

cop_status cop_importance_write(const cop_importance *importance, const char *path, cop_hash key,
                                const cop_checkpoint *teacher, const cop_tokens *tokens,
                                const cop_importance_settings *settings, cop_error *err)
{
    cop_status status = COP_OK;
    cop_array_writer *writer = NULL;

    COP_TRY(status, cop_importance_check(tokens, settings, err));
    COP_TRY(status, cop_array_writer_create(&writer, path, err));
    COP_TRY(status, write_meta(writer, key, teacher, tokens, settings, err));
    COP_TRY(status, write_groups(writer, importance, err));
    COP_TRY(status, write_layers(writer, importance, err));
    COP_TRY(status, cop_array_writer_commit(writer, err));

done:
    cop_array_writer_destroy(writer);
    return status;
}
