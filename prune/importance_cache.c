#include "base/array_file.h"
#include "base/file.h"
#include "prune/importance_file.h"

static bool is_equal(cop_hash a, cop_hash b)
{
    return a.high == b.high && a.low == b.low;
}

// Whether the file at `path` answers the request: it has its key, or the key of the same request with
// perplexity as well.
static cop_status is_answer(bool *out, cop_hash stored, const cop_checkpoint *teacher,
                            const cop_tokens *tokens, const cop_importance_settings *settings,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_importance_settings fuller = *settings;
    cop_hash key = {0};

    COP_TRY(status, cop_importance_key(&key, teacher, tokens, settings, err));
    *out = is_equal(stored, key);
    fuller.with_perplexity = true;
    COP_TRY(status, cop_importance_key(&key, teacher, tokens, &fuller, err));
    *out = *out || is_equal(stored, key);

done:
    return status;
}

// `*out` stays NULL when there is no file, or an unusable one that may be replaced.
cop_status cop_importance_find(cop_importance **out, const char *path,
                               const cop_checkpoint *teacher, const cop_tokens *tokens,
                               const cop_importance_settings *settings, bool force, cop_error *err)
{
    cop_status status = COP_OK;
    cop_importance *importance = NULL;
    cop_scores_origin from = {0};
    bool is_wanted = false;

    *out = NULL;
    COP_TRY(status, cop_importance_check(tokens, settings, err));
    if (!cop_file_exists(path)) {
        return COP_OK;
    }
    status = cop_scores_read(&importance, &from, path, NULL, err);
    if (status != COP_OK) {
        status = force && status != COP_ERR_NOMEM ? COP_OK : status;
        goto done;
    }
    COP_TRY(status, is_answer(&is_wanted, from.key, teacher, tokens, settings, err));
    if (is_wanted) {
        *out = importance;
        importance = NULL;
    } else if (!force) {
        status =
            COP_FAIL(err, COP_ERR_CONFIG,
                     "%s: holds scores of %s on %s, %lld sequences of %lld tokens in %s "
                     "(allowed: those of %s on %s, %lld of %lld in %s, a new path, or --force)",
                     path, from.teacher, from.data, (long long)from.samples,
                     (long long)from.sequence, from.precision, cop_checkpoint_path(teacher),
                     cop_tokens_path(tokens), (long long)cop_importance_samples(tokens, settings),
                     (long long)settings->sequence, cop_precision_name(settings->precision));
    }

done:
    cop_importance_destroy(importance);
    cop_scores_origin_release(&from);
    return status;
}

// Fails at once where the file could not be written after the long pass.
static cop_status check_writable(const char *path, cop_error *err)
{
    cop_array_writer *writer = NULL;
    const cop_status status = cop_array_writer_create(&writer, path, err);
    cop_array_writer_destroy(writer);
    return status;
}

cop_status cop_importance_obtain(cop_importance **out, const char *path,
                                 const cop_checkpoint *teacher, const cop_tokens *tokens,
                                 const cop_importance_settings *settings, cop_backend *backend,
                                 bool force, bool *was_cached, cop_error *err)
{
    cop_status status = COP_OK;
    cop_importance *importance = NULL;
    cop_network *network = NULL;
    cop_hash key = {0};

    *out = NULL;
    COP_TRY(status, cop_importance_find(&importance, path, teacher, tokens, settings, force, err));
    if (was_cached != NULL) {
        *was_cached = importance != NULL;
    }
    if (importance == NULL) {
        const cop_network_options options = {
            .precision = settings->precision,
            .batch = cop_importance_batch(settings),
            .sequence = settings->sequence,
        };
        COP_TRY(status, check_writable(path, err));
        COP_TRY(status, cop_importance_key(&key, teacher, tokens, settings, err));
        COP_TRY(status,
                cop_network_create(&network, cop_checkpoint_arch(teacher), &options, backend, err));
        COP_TRY(status, cop_network_load(network, teacher, err));
        COP_TRY(status, cop_importance_measure(&importance, network, tokens, settings, err));
        COP_TRY(status,
                cop_importance_write(importance, path, key, teacher, tokens, settings, err));
    }
    *out = importance;
    importance = NULL;

done:
    cop_network_destroy(network);
    cop_importance_destroy(importance);
    return status;
}
