// Values of study.yaml that only the space of a teacher has: lists of layers.

#include "search/study_internal.h"

cop_status cop_study_layers_read(cop_layer_set *out, const cop_study_row *row,
                                 const cop_config_node *node, cop_error *err)
{
    cop_status status = COP_OK;

    *out = (cop_layer_set){0};
    if (cop_config_node_kind(node) != COP_CONFIG_LIST) {
        return cop_config_fail(node, err, "is no list of layers (allowed: e.g. [0, 1, 31])");
    }
    for (size_t i = 0; i < cop_config_node_count(node); i++) {
        const cop_config_node *item = cop_config_node_item(node, i);
        int64_t layer = 0;
        COP_TRY(status, cop_config_i64(&layer, item, (int64_t)row->min, (int64_t)row->max, err));
        if (cop_layer_set_has(out, layer)) {
            status = cop_config_fail(item, err, "is %lld a second time (allowed: each once)",
                                     (long long)layer);
            goto done;
        }
        cop_layer_set_add(out, layer);
    }

done:
    return status;
}

void cop_study_layers_append(cop_text *out, const cop_layer_set *layers)
{
    const char *separator = "";
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        if (cop_layer_set_has(layers, i)) {
            cop_text_appendf(out, "%s%lld", separator, (long long)i);
            separator = ", ";
        }
    }
}
