#include "prune/importance.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "prune/importance_internal.h"

static const char *const aggregate_names[COP_AGGREGATES] = {
    "l2_l2",    "l2_mean", "l2_var",   "mean_l2", "mean_mean",
    "mean_var", "var_l2",  "var_mean", "var_var",
};

// Changes when the meaning of a score changes, so that older caches are not taken for new ones.
enum { KEY_VERSION = 1, PASS_TOKENS = 4096, SAMPLES_MAX = 1 << 24, SEQUENCE_MAX = 1 << 24 };

const char *cop_aggregate_name(int index)
{
    return aggregate_names[index];
}

int cop_aggregate_find(const char *name)
{
    for (int i = 0; i < COP_AGGREGATES; i++) {
        if (strcmp(name, aggregate_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

int64_t cop_importance_samples(const cop_tokens *tokens, const cop_importance_settings *settings)
{
    const int64_t windows = (cop_tokens_count(tokens) - 1) / settings->sequence;
    return settings->samples < windows ? settings->samples : windows;
}

int64_t cop_importance_batch(const cop_importance_settings *settings)
{
    if (settings->batch > 0) {
        return settings->batch;
    }
    const int64_t fitting = settings->sequence < PASS_TOKENS ? PASS_TOKENS / settings->sequence : 1;
    return fitting < settings->samples ? fitting : settings->samples;
}

cop_status cop_importance_check(const cop_tokens *tokens, const cop_importance_settings *settings,
                                cop_error *err)
{
    const struct {
        const char *name;
        int64_t value;
        int64_t min;
        int64_t max;
    } rows[] = {
        {"samples", settings->samples, 1, SAMPLES_MAX},
        {"sequence", settings->sequence, 1, SEQUENCE_MAX},
        {"batch", settings->batch, 0, SAMPLES_MAX},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value < rows[i].min || rows[i].value > rows[i].max) {
            return COP_FAIL(err, COP_ERR_CONFIG, "importance: %s is %lld (allowed: %lld..%lld)",
                            rows[i].name, (long long)rows[i].value, (long long)rows[i].min,
                            (long long)rows[i].max);
        }
    }
    if (cop_tokens_count(tokens) <= settings->sequence) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: %lld tokens are too few for one calibration sequence of %lld and the "
                        "token behind it (allowed: sequences of 1..%lld)",
                        cop_tokens_path(tokens), (long long)cop_tokens_count(tokens),
                        (long long)settings->sequence, (long long)cop_tokens_count(tokens) - 1);
    }
    return COP_OK;
}

cop_layer_arch cop_importance_widest(const cop_arch *arch)
{
    cop_layer_arch widest = {0};
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        widest.heads = layer->heads > widest.heads ? layer->heads : widest.heads;
        widest.kv_heads = layer->kv_heads > widest.kv_heads ? layer->kv_heads : widest.kv_heads;
        widest.ffn = layer->ffn > widest.ffn ? layer->ffn : widest.ffn;
    }
    return widest;
}

cop_status cop_importance_create(cop_importance **out, int64_t layers, int64_t heads,
                                 int64_t kv_heads, int64_t ffn, int64_t hidden,
                                 bool with_perplexity, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t per_aggregate = layers * (heads + kv_heads + ffn) + hidden;
    const int64_t count = COP_AGGREGATES * per_aggregate + 2 * layers;
    cop_importance *importance = NULL;
    double *next = NULL;

    *out = NULL;
    importance = cop_alloc(1, sizeof *importance);
    if (importance != NULL) {
        importance->storage = cop_alloc((size_t)count, sizeof(double));
    }
    if (importance == NULL || importance->storage == NULL) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "importance: no memory for %lld scores", (long long)count);
        goto done;
    }
    importance->layers = layers;
    importance->heads = heads;
    importance->kv_heads = kv_heads;
    importance->ffn = ffn;
    importance->hidden = hidden;
    importance->teacher_perplexity = (double)NAN;
    next = importance->storage;
    for (int64_t i = 0; i < count; i++) {
        next[i] = (double)NAN;
    }
    importance->head = next;
    next += COP_AGGREGATES * layers * heads;
    importance->kv_group = next;
    next += COP_AGGREGATES * layers * kv_heads;
    importance->neuron = next;
    next += COP_AGGREGATES * layers * ffn;
    importance->channel = next;
    next += COP_AGGREGATES * hidden;
    importance->block_influence = next;
    importance->perplexity = with_perplexity ? next + layers : NULL;

    *out = importance;
    importance = NULL;

done:
    cop_importance_destroy(importance);
    return status;
}

void cop_importance_destroy(cop_importance *importance)
{
    if (importance != NULL) {
        cop_free(importance->storage);
        cop_free(importance);
    }
}

cop_status cop_importance_key(cop_hash *out, const cop_checkpoint *teacher,
                              const cop_tokens *tokens, const cop_importance_settings *settings,
                              cop_error *err)
{
    cop_status status = COP_OK;
    cop_hasher *hasher = NULL;
    cop_hash weights = {0};
    const cop_hash data = cop_tokens_hash(tokens);

    COP_TRY(status, cop_importance_check(tokens, settings, err));
    COP_TRY(status, cop_checkpoint_hash(teacher, &weights, err));
    COP_TRY(status, cop_hasher_create(&hasher, err));
    cop_hasher_add_text(hasher, "coppice importance");
    cop_hasher_add_i64(hasher, KEY_VERSION);
    cop_hasher_add_i64(hasher, (int64_t)weights.high);
    cop_hasher_add_i64(hasher, (int64_t)weights.low);
    cop_hasher_add_i64(hasher, (int64_t)data.high);
    cop_hasher_add_i64(hasher, (int64_t)data.low);
    // The sequences that are really used: a request for more than the file has is the same work.
    cop_hasher_add_i64(hasher, cop_importance_samples(tokens, settings));
    cop_hasher_add_i64(hasher, settings->sequence);
    cop_hasher_add_i64(hasher, settings->with_perplexity ? 1 : 0);
    cop_hasher_add_text(hasher, cop_precision_name(settings->precision));
    *out = cop_hasher_value(hasher);

done:
    cop_hasher_destroy(hasher);
    return status;
}

bool cop_importance_fits(const cop_importance *importance, const cop_arch *arch)
{
    const cop_layer_arch widest = cop_importance_widest(arch);
    return importance->layers == arch->layers && importance->hidden == arch->hidden &&
           importance->heads == widest.heads && importance->kv_heads == widest.kv_heads &&
           importance->ffn == widest.ffn;
}

int64_t cop_importance_layers(const cop_importance *importance)
{
    return importance->layers;
}

const double *cop_importance_heads(const cop_importance *importance, int aggregate, int64_t layer)
{
    return importance->head + (aggregate * importance->layers + layer) * importance->heads;
}

const double *cop_importance_kv_groups(const cop_importance *importance, int aggregate,
                                       int64_t layer)
{
    return importance->kv_group + (aggregate * importance->layers + layer) * importance->kv_heads;
}

const double *cop_importance_neurons(const cop_importance *importance, int aggregate, int64_t layer)
{
    return importance->neuron + (aggregate * importance->layers + layer) * importance->ffn;
}

const double *cop_importance_channels(const cop_importance *importance, int aggregate)
{
    return importance->channel + aggregate * importance->hidden;
}

const double *cop_importance_block_influence(const cop_importance *importance)
{
    return importance->block_influence;
}

const double *cop_importance_perplexity(const cop_importance *importance)
{
    return importance->perplexity;
}

double cop_importance_teacher_perplexity(const cop_importance *importance)
{
    return importance->teacher_perplexity;
}
