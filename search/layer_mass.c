#include "search/layer_mass.h"

#include "base/alloc.h"
#include "search/importance_mass.h"
#include "search/space_internal.h"

struct cop_layer_mass {
    int64_t layers; // of the teacher
    cop_layer_arch block;
    int64_t hidden;
    double weight[COP_ARCH_LAYERS_MAX]; // of the teacher's layers; sum 1
    // Shares by number of kept units.
    double *channels; // [hidden + 1], owned
    double *heads;    // [layers, heads + 1], owned
    double *kv_heads; // [layers, kv_heads + 1], owned
    double *neurons;  // [layers, ffn + 1], owned
    int32_t *from;    // [layers + 1, layers], owned: teacher's layer by depth and place
};

static void set_weights(cop_layer_mass *m, const double *influence)
{
    double sum = 0;
    for (int64_t l = 0; l < m->layers; l++) {
        m->weight[l] = influence[l] > 0 ? influence[l] : 0;
        sum += m->weight[l];
    }
    for (int64_t l = 0; l < m->layers; l++) {
        m->weight[l] = sum > 0 ? m->weight[l] / sum : 1.0 / (double)m->layers;
    }
}

static cop_status set_depth(cop_layer_mass *m, int64_t depth, const cop_importance *importance,
                            const cop_space *space, const cop_select_options *select,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_select_options options = *select;
    cop_arch target = space->teacher;
    cop_selection *selection = NULL;

    options.carry = COP_CARRY_OFF; // does not change which layers stay, and asks for more of widths
    target.layers = depth;
    COP_TRY(status,
            cop_selection_create(&selection, &space->teacher, &target, importance, &options, err));
    for (int64_t i = 0; i < depth; i++) {
        m->from[depth * m->layers + i] = (int32_t)cop_selection_layer(selection, i);
    }

done:
    cop_selection_destroy(selection);
    return status;
}

static int64_t widest(const cop_layer_mass *m)
{
    int64_t most = m->hidden > m->block.ffn ? m->hidden : m->block.ffn;
    return m->block.heads > most ? m->block.heads : most;
}

static cop_status fill(cop_layer_mass *m, const cop_importance *importance, int aggregate,
                       cop_error *err)
{
    const cop_layer_arch *b = &m->block;
    double *scratch = cop_alloc((size_t)widest(m), sizeof *scratch);

    if (scratch == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "importance mass: out of memory");
    }
    set_weights(m, cop_importance_block_influence(importance));
    cop_importance_add_shares(m->channels, cop_importance_channels(importance, aggregate),
                              m->hidden, 1, scratch);
    for (int64_t l = 0; l < m->layers; l++) {
        cop_importance_add_shares(m->heads + l * (b->heads + 1),
                                  cop_importance_heads(importance, aggregate, l), b->heads, 1,
                                  scratch);
        cop_importance_add_shares(m->kv_heads + l * (b->kv_heads + 1),
                                  cop_importance_kv_groups(importance, aggregate, l), b->kv_heads,
                                  1, scratch);
        cop_importance_add_shares(m->neurons + l * (b->ffn + 1),
                                  cop_importance_neurons(importance, aggregate, l), b->ffn, 1,
                                  scratch);
    }
    cop_free(scratch);
    return COP_OK;
}

cop_status cop_layer_mass_create(cop_layer_mass **out, const cop_importance *importance,
                                 const cop_space *space, const cop_select_options *select,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    cop_layer_mass *m = cop_alloc(1, sizeof *m);

    *out = NULL;
    if (m == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "importance mass: out of memory");
    }
    m->layers = space->teacher.layers;
    m->block = space->block;
    m->hidden = space->teacher.hidden;
    const size_t layers = (size_t)m->layers;
    m->channels = cop_alloc((size_t)m->hidden + 1, sizeof *m->channels);
    m->heads = cop_alloc(layers * ((size_t)m->block.heads + 1), sizeof *m->heads);
    m->kv_heads = cop_alloc(layers * ((size_t)m->block.kv_heads + 1), sizeof *m->kv_heads);
    m->neurons = cop_alloc(layers * ((size_t)m->block.ffn + 1), sizeof *m->neurons);
    m->from = cop_alloc((layers + 1) * layers, sizeof *m->from);
    if (m->channels == NULL || m->heads == NULL || m->kv_heads == NULL || m->neurons == NULL ||
        m->from == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "importance mass: out of memory"));
    }
    COP_TRY(status, fill(m, importance, select->aggregate, err));
    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        COP_TRY(status,
                set_depth(m, space->value[COP_SPACE_LAYERS][i], importance, space, select, err));
    }
    *out = m;
    m = NULL;

done:
    cop_layer_mass_destroy(m);
    return status;
}

void cop_layer_mass_destroy(cop_layer_mass *mass)
{
    if (mass != NULL) {
        cop_free(mass->channels);
        cop_free(mass->heads);
        cop_free(mass->kv_heads);
        cop_free(mass->neurons);
        cop_free(mass->from);
        cop_free(mass);
    }
}

// --- Scores -------------------------------------------------------------------------------------

static int64_t source(const cop_layer_mass *m, int64_t layers, int64_t layer)
{
    return m->from[layers * m->layers + layer];
}

static double lose_shared(const void *context, int64_t layers, int64_t hidden)
{
    const cop_layer_mass *m = context;
    bool is_kept[COP_ARCH_LAYERS_MAX] = {false};
    double lost = 1 - m->channels[hidden];
    for (int64_t i = 0; i < layers; i++) {
        is_kept[source(m, layers, i)] = true;
    }
    for (int64_t l = 0; l < m->layers; l++) {
        lost += is_kept[l] ? 0 : m->weight[l];
    }
    return lost;
}

static double lose_attention(const void *context, int64_t layers, int64_t layer, int64_t heads,
                             int64_t kv_heads)
{
    const cop_layer_mass *m = context;
    const int64_t l = source(m, layers, layer);
    const double of_heads = 1 - m->heads[l * (m->block.heads + 1) + heads];
    const double of_groups = 1 - m->kv_heads[l * (m->block.kv_heads + 1) + kv_heads];
    return m->weight[l] * (of_heads + of_groups) / 4;
}

static double lose_mlp(const void *context, int64_t layers, int64_t layer, int64_t ffn)
{
    const cop_layer_mass *m = context;
    const int64_t l = source(m, layers, layer);
    return m->weight[l] * (1 - m->neurons[l * (m->block.ffn + 1) + ffn]) / 2;
}

cop_space_scores cop_layer_mass_scores(const cop_layer_mass *mass)
{
    return (cop_space_scores){
        .context = mass, .shared = lose_shared, .attention = lose_attention, .mlp = lose_mlp};
}
