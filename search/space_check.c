// What a study asks of a teacher, compared with what the teacher is.

#include "search/space_internal.h"

const cop_axis_values *cop_space_values(const cop_study_file *study, cop_space_axis axis)
{
    if (study->layer_axis[axis].node != NULL) {
        return &study->layer_axis[axis];
    }
    return axis == COP_SPACE_KV_HEADS && study->kv_groups.node != NULL ? &study->kv_groups
                                                                       : &study->axis[axis];
}

const char *cop_space_key(const cop_space *space, cop_space_axis axis)
{
    if (axis == COP_SPACE_KV_HEADS && space->is_grouped) {
        return "kv_groups";
    }
    return axis == COP_SPACE_FFN && space->ratio != NULL ? "ffn_ratio" : cop_space_axis_name(axis);
}

const cop_config_node *cop_space_place(const cop_axis_values *axis, int64_t index)
{
    return cop_config_node_kind(axis->node) == COP_CONFIG_LIST
               ? cop_config_node_item(axis->node, (size_t)index)
               : axis->node;
}

cop_status cop_space_check_heads(const cop_space *space, const cop_study_file *study,
                                 cop_error *err)
{
    const int64_t group = space->block.heads / space->block.kv_heads;

    for (int side = 0; side < 2; side++) {
        const cop_space_axis axis = side == 0 ? COP_SPACE_HEADS : COP_SPACE_KV_HEADS;
        const cop_space_axis other = side == 0 ? COP_SPACE_KV_HEADS : COP_SPACE_HEADS;
        for (int64_t i = 0; i < space->count[axis]; i++) {
            const int64_t value = space->value[axis][i];
            bool fits = false;
            for (int64_t k = 0; k < space->count[other] && !fits; k++) {
                cop_space_pair pair;
                fits = side == 0 ? cop_space_pair_at(space, i, k, &pair)
                                 : cop_space_pair_at(space, k, i, &pair);
            }
            if (fits) {
                continue;
            }
            const cop_axis_values *values = cop_space_values(study, axis);
            const cop_config_node *node = values->node == NULL
                                              ? cop_space_values(study, other)->node
                                          : values->divisor > 0 ? values->node
                                                                : cop_space_place(values, i);
            return cop_config_fail(node, err,
                                   "%s %lld fits no value of %s (allowed: heads a multiple of "
                                   "%s, at most %lld per KV head as in the teacher)",
                                   cop_space_key(space, axis), (long long)value,
                                   cop_space_key(space, other),
                                   cop_space_key(space, COP_SPACE_KV_HEADS), (long long)group);
        }
    }
    return COP_OK;
}

// Heads chosen by layer go with KV heads that are chosen so, too, or that have one value; and the reverse.
cop_status cop_space_check_layered(const cop_space *space, const cop_study_file *study,
                                   cop_error *err)
{
    for (int side = 0; side < 2; side++) {
        const cop_space_axis axis = side == 0 ? COP_SPACE_HEADS : COP_SPACE_KV_HEADS;
        const cop_space_axis other = side == 0 ? COP_SPACE_KV_HEADS : COP_SPACE_HEADS;
        if (study->layer_axis[axis].node != NULL && study->layer_axis[other].node == NULL &&
            space->count[other] > 1) {
            return cop_config_fail(study->layer_axis[axis].node, err,
                                   "stands beside several values of space.%s (allowed: one value, "
                                   "or space.%s@layer)",
                                   cop_space_key(space, other), cop_space_axis_name(other));
        }
    }
    return COP_OK;
}

// --- Pins and lists of layers -------------------------------------------------------------------

// A key below `space` that is known to be there.
static const cop_config_node *node_of(const cop_study_file *study, const char *key)
{
    return cop_config_node_find(cop_config_node_find(cop_config_root(study->document), "space"),
                                key);
}

static bool is_fixed(const cop_space *space, const cop_select_options *select, int64_t layer)
{
    const bool is_end = layer == 0 || layer == space->teacher.layers - 1;
    return (is_end && select->keep_first_and_last) ||
           cop_layer_set_has(&select->keep_layers, layer);
}

// Can this many layers stay, with the layers to keep among them?
static bool can_keep(const cop_space *space, const cop_select_options *select, int64_t layers)
{
    const int64_t all = space->teacher.layers;
    int64_t fixed = 0;
    int64_t run = 0; // of layers that may go
    int64_t longest = 0;
    for (int64_t i = 0; i < all; i++) {
        const bool stays = is_fixed(space, select, i);
        fixed += stays ? 1 : 0;
        run = stays ? 0 : run + 1;
        longest = run > longest ? run : longest;
    }
    return fixed <= layers &&
           (select->depth_shape != COP_DEPTH_CONTIGUOUS || all - layers <= longest);
}

static cop_status check_layers(const cop_space *space, const cop_study_file *study, cop_error *err)
{
    const cop_select_options *select = &study->select;
    const int64_t last = space->teacher.layers - 1;
    const cop_layer_set *const lists[] = {&select->keep_layers, &select->drop_layers};
    static const char *const keys[] = {"keep_layers", "drop_layers"};

    for (int i = 0; i < 2; i++) {
        if (cop_layer_set_last(lists[i]) > last) {
            return cop_config_fail(node_of(study, keys[i]), err,
                                   "layer %lld (allowed: 0..%lld, the teacher's)",
                                   (long long)cop_layer_set_last(lists[i]), (long long)last);
        }
    }
    for (int64_t i = 0; i <= last; i++) {
        if (cop_layer_set_has(lists[0], i) && cop_layer_set_has(lists[1], i)) {
            return cop_config_fail(node_of(study, keys[1]), err,
                                   "layer %lld stands in space.keep_layers, too (allowed: one of "
                                   "the two)",
                                   (long long)i);
        }
    }
    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        const int64_t layers = space->value[COP_SPACE_LAYERS][i];
        if (cop_layer_set_count(lists[0]) > 0 && !can_keep(space, select, layers)) {
            return cop_config_fail(node_of(study, keys[0]), err,
                                   "cannot all stay among %lld layers%s (allowed: fewer of them, "
                                   "or more layers in space.layers)",
                                   (long long)layers,
                                   select->depth_shape == COP_DEPTH_CONTIGUOUS
                                       ? " when one run of neighbours goes"
                                       : "");
        }
    }
    return COP_OK;
}

cop_status cop_space_check_teacher(const cop_space *space, const cop_study_file *study,
                                   cop_error *err)
{
    if (study->head_dim != 0 && study->head_dim != space->teacher.head_dim) {
        return cop_config_fail(node_of(study, "head_dim"), err,
                               "is %lld (allowed: %lld, the teacher's: heads are dropped whole, "
                               "their size cannot be cut)",
                               (long long)study->head_dim, (long long)space->teacher.head_dim);
    }
    return check_layers(space, study, err);
}
