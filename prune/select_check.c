#include "prune/select_check.h"

#include "prune/importance_internal.h"

static cop_status check_range(const char *name, int64_t value, int64_t min, int64_t max,
                              cop_error *err)
{
    if (value < min || value > max) {
        return COP_FAIL(err, COP_ERR_CONFIG, "target: %s is %lld (allowed: %lld..%lld)", name,
                        (long long)value, (long long)min, (long long)max);
    }
    return COP_OK;
}

static bool is_same_rope(const cop_rope_settings *a, const cop_rope_settings *b)
{
    return a->theta == b->theta && a->partial == b->partial && a->scaling == b->scaling &&
           a->factor == b->factor && a->low_frequency_factor == b->low_frequency_factor &&
           a->high_frequency_factor == b->high_frequency_factor &&
           a->original_context == b->original_context;
}

// What pruning cannot change.
static cop_status check_kind(const cop_arch *teacher, const cop_arch *target, cop_error *err)
{
    const struct {
        const char *name;
        int64_t teacher;
        int64_t target;
    } rows[] = {
        {"vocab", teacher->vocab, target->vocab},
        {"head_dim", teacher->head_dim, target->head_dim},
        {"norm kind", teacher->norm, target->norm},
        {"activation", teacher->activation, target->activation},
        {"gated MLP", teacher->is_gated, target->is_gated},
        {"tied embeddings", teacher->is_tied, target->is_tied},
        {"attention bias", teacher->attention_bias, target->attention_bias},
        {"MLP bias", teacher->mlp_bias, target->mlp_bias},
    };

    if (teacher->family != target->family) {
        return COP_FAIL(err, COP_ERR_CONFIG, "target: family is %s (allowed: %s, as the teacher)",
                        cop_family_name(target->family), cop_family_name(teacher->family));
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].teacher != rows[i].target) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "target: %s is %lld (allowed: %lld, as the teacher)", rows[i].name,
                            (long long)rows[i].target, (long long)rows[i].teacher);
        }
    }
    if (teacher->norm_eps != target->norm_eps) {
        return COP_FAIL(err, COP_ERR_CONFIG, "target: norm eps is %g (allowed: %g, as the teacher)",
                        target->norm_eps, teacher->norm_eps);
    }
    if (!is_same_rope(&teacher->rope, &target->rope)) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "target: rope theta is %g with share %g and another scaling (allowed: the "
                        "teacher's, theta %g with share %g)",
                        target->rope.theta, target->rope.partial, teacher->rope.theta,
                        teacher->rope.partial);
    }
    return COP_OK;
}

static cop_status check_scores(const cop_arch *teacher, const cop_importance *importance,
                               cop_error *err)
{
    const cop_layer_arch widest = cop_importance_widest(teacher);

    const struct {
        const char *name;
        int64_t value;
        int64_t wanted;
    } rows[] = {
        {"layers", importance->layers, teacher->layers},
        {"channels", importance->hidden, teacher->hidden},
        {"heads", importance->heads, widest.heads},
        {"KV groups", importance->kv_heads, widest.kv_heads},
        {"neurons", importance->ffn, widest.ffn},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value != rows[i].wanted) {
            return COP_FAIL(err, COP_ERR_SHAPE,
                            "importance: scores of %lld %s (allowed: %lld, as the teacher)",
                            (long long)rows[i].value, rows[i].name, (long long)rows[i].wanted);
        }
    }
    return COP_OK;
}

// Layers to keep and to drop: of the teacher, not in both lists, and no more to keep than layers.
static cop_status check_lists(const cop_arch *teacher, const cop_arch *target,
                              const cop_select_options *options, cop_error *err)
{
    const cop_layer_set *const lists[] = {&options->keep_layers, &options->drop_layers};
    cop_layer_set kept = options->keep_layers;

    for (int i = 0; i < 2; i++) {
        const int64_t last = cop_layer_set_last(lists[i]);
        if (last >= teacher->layers) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "selection: layer to %s is %lld (allowed: 0..%lld, the teacher's)",
                            i == 0 ? "keep" : "drop", (long long)last,
                            (long long)(teacher->layers - 1));
        }
    }
    for (int64_t i = 0; i < teacher->layers; i++) {
        if (cop_layer_set_has(lists[0], i) && cop_layer_set_has(lists[1], i)) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "selection: layer %lld is to be kept and to be dropped (allowed: one "
                            "of the two)",
                            (long long)i);
        }
    }
    if (options->keep_first_and_last) {
        cop_layer_set_add(&kept, 0);
        cop_layer_set_add(&kept, teacher->layers - 1);
    }
    const int64_t count = cop_layer_set_count(&kept);
    if (count > target->layers) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "target: layers is %lld (allowed: %lld..%lld, as %lld layers are to be "
                        "kept)",
                        (long long)target->layers, (long long)count, (long long)teacher->layers,
                        (long long)count);
    }
    return COP_OK;
}

static cop_status check_options(const cop_arch *teacher, const cop_arch *target,
                                const cop_importance *importance, const cop_select_options *options,
                                cop_error *err)
{
    if (options->aggregate < 0 || options->aggregate >= COP_AGGREGATES) {
        return COP_FAIL(err, COP_ERR_CONFIG, "selection: aggregate is %d (allowed: 0..%d)",
                        options->aggregate, COP_AGGREGATES - 1);
    }
    if (options->keep_first_and_last && target->layers < 2 && teacher->layers > 1) {
        return COP_FAIL(
            err, COP_ERR_CONFIG,
            "target: layers is %lld (allowed: 2..%lld when the first and the last layer "
            "stay)",
            (long long)target->layers, (long long)teacher->layers);
    }
    if (check_lists(teacher, target, options, err) != COP_OK) {
        return COP_ERR_CONFIG;
    }
    if (options->order == COP_ORDER_RANDOM) {
        return COP_OK;
    }
    if (importance == NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "selection: no importance scores (allowed: scores, or random order)");
    }
    if (options->depth_metric == COP_DEPTH_PERPLEXITY && importance->perplexity == NULL &&
        target->layers < teacher->layers) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "selection: depth metric is perplexity, which was not measured (allowed: "
                        "block_influence, or scores made with perplexity)");
    }
    return check_scores(teacher, importance, err);
}

cop_status cop_select_check(const cop_arch *teacher, const cop_arch *target,
                            const cop_importance *importance, const cop_select_options *options,
                            cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_kind(teacher, target, err));
    COP_TRY(status, check_range("layers", target->layers, 1, teacher->layers, err));
    COP_TRY(status, check_range("hidden", target->hidden, 1, teacher->hidden, err));
    COP_TRY(status, check_options(teacher, target, importance, options, err));
    if (cop_arch_is_uniform(teacher)) {
        COP_TRY(status, cop_select_check_layers(teacher, target, NULL, options, err));
    }
    COP_TRY(status, cop_arch_check(target, "target", err));

done:
    return status;
}

static cop_status check_layer(const cop_layer_arch *from, const cop_layer_arch *to,
                              const char *where, const cop_select_options *options, cop_error *err)
{
    const int64_t ratio = from->heads / from->kv_heads;
    if (to->kv_heads < 1 || to->kv_heads > from->kv_heads) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: kv_heads is %lld (allowed: 1..%lld)", where,
                        (long long)to->kv_heads, (long long)from->kv_heads);
    }
    if (to->heads < 1 || to->heads % to->kv_heads != 0 || to->heads / to->kv_heads > ratio) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "%s: heads is %lld with %lld KV groups (allowed: multiples of %lld in "
                        "%lld..%lld, as the teacher has %lld heads in each group)",
                        where, (long long)to->heads, (long long)to->kv_heads,
                        (long long)to->kv_heads, (long long)to->kv_heads,
                        (long long)(to->kv_heads * ratio), (long long)ratio);
    }
    if (to->ffn < 1 || to->ffn > from->ffn) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: ffn is %lld (allowed: 1..%lld)", where,
                        (long long)to->ffn, (long long)from->ffn);
    }
    if (options->carry != COP_CARRY_OFF && 2 * (to->heads / to->kv_heads) < ratio) {
        return COP_FAIL(
            err, COP_ERR_CONFIG,
            "%s: heads is %lld with %lld KV groups and carry-over (allowed: %lld..%lld, "
            "half of each group at least, or carry off)",
            where, (long long)to->heads, (long long)to->kv_heads,
            (long long)((ratio + 1) / 2 * to->kv_heads), (long long)(ratio * to->kv_heads));
    }
    return COP_OK;
}

cop_status cop_select_check_layers(const cop_arch *teacher, const cop_arch *target,
                                   const int32_t *layers, const cop_select_options *options,
                                   cop_error *err)
{
    const bool is_uniform = cop_arch_is_uniform(target) && cop_arch_is_uniform(teacher);
    for (int64_t i = 0; i < target->layers; i++) {
        const int64_t from = layers == NULL ? i : layers[i];
        char where[64] = "target";
        if (!is_uniform) {
            (void)snprintf(where, sizeof where, "target: layer %lld (teacher's %lld)", (long long)i,
                           (long long)from);
        }
        const cop_status status =
            check_layer(&teacher->layer[from], &target->layer[i], where, options, err);
        if (status != COP_OK) {
            return status;
        }
    }
    return COP_OK;
}
