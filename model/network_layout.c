// Where parameters and activations of a network lie.

#include "model/network_internal.h"

static int64_t round_up(int64_t value, int64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

// Tensors that follow the one before them without a gap: one matmul reads the whole group.
static bool is_joined(const cop_arch *arch, cop_role role)
{
    switch (role) {
    case COP_ROLE_K:
    case COP_ROLE_V:
    case COP_ROLE_K_BIAS:
    case COP_ROLE_V_BIAS: return true;
    case COP_ROLE_UP:
    case COP_ROLE_UP_BIAS: return arch->is_gated;
    case COP_ROLE_EMBEDDING:
    case COP_ROLE_INPUT_NORM:
    case COP_ROLE_INPUT_NORM_BIAS:
    case COP_ROLE_Q:
    case COP_ROLE_Q_BIAS:
    case COP_ROLE_O:
    case COP_ROLE_O_BIAS:
    case COP_ROLE_POST_NORM:
    case COP_ROLE_POST_NORM_BIAS:
    case COP_ROLE_GATE:
    case COP_ROLE_GATE_BIAS:
    case COP_ROLE_DOWN:
    case COP_ROLE_DOWN_BIAS:
    case COP_ROLE_FINAL_NORM:
    case COP_ROLE_FINAL_NORM_BIAS:
    case COP_ROLE_HEAD:
    case COP_ROLE_COUNT:
    default: return false;
    }
}

// The parts of the parameter vector.
typedef enum section { SECTION_VOCABULARY = 0, SECTION_MATRICES, SECTION_VECTORS } section;

static section section_of(const cop_tensor_spec *spec)
{
    if (spec->role == COP_ROLE_EMBEDDING || spec->role == COP_ROLE_HEAD) {
        return SECTION_VOCABULARY;
    }
    return spec->rank == 2 ? SECTION_MATRICES : SECTION_VECTORS;
}

static int64_t place_section(cop_place *places, const cop_arch *arch, section which, int64_t start)
{
    const int64_t count = cop_arch_tensor_count(arch);
    int64_t end = start;
    for (int64_t i = 0; i < count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        if (section_of(&spec) != which) {
            continue;
        }
        if (!is_joined(arch, spec.role)) {
            end = round_up(end, COP_PLACE_ALIGNMENT);
        }
        const int64_t elements = spec.shape[0] * spec.shape[1];
        if (places != NULL && spec.rank == 1) {
            places[i] = (cop_place){.offset = end, .rows = 1, .cols = elements};
        } else if (places != NULL) {
            places[i] = (cop_place){.offset = end, .rows = spec.shape[0], .cols = spec.shape[1]};
        }
        end += elements;
    }
    return round_up(end, COP_PLACE_ALIGNMENT);
}

cop_place_ends cop_place_parameters(cop_place *places, const cop_arch *arch)
{
    cop_place_ends ends = {0};
    ends.vocabulary = place_section(places, arch, SECTION_VOCABULARY, 0);
    ends.matrices = place_section(places, arch, SECTION_MATRICES, ends.vocabulary);
    ends.all = place_section(places, arch, SECTION_VECTORS, ends.matrices);
    return ends;
}

static cop_place place_of(const cop_network *network, cop_role role, int64_t layer)
{
    const int64_t index = cop_arch_find(&network->arch, role, layer);
    return index < 0 ? (cop_place){0} : network->places[index];
}

// The place of `count` neighbours, beginning with `first`, as one. Said, not guessed from the sizes,
// whether they are vectors: a matrix may have a single row.
static cop_place join(cop_place first, const cop_place *others, int count, bool is_vector)
{
    cop_place whole = first;
    for (int i = 0; i < count; i++) {
        if (is_vector) {
            whole.cols += others[i].cols;
        } else {
            whole.rows += others[i].rows;
        }
    }
    return whole;
}

static void place_layer(cop_network *network, int64_t layer)
{
    cop_network_layer *at = &network->layers[layer];
    const bool is_gated = network->arch.is_gated;
    const cop_place qkv[2] = {place_of(network, COP_ROLE_K, layer),
                              place_of(network, COP_ROLE_V, layer)};
    const cop_place qkv_bias[2] = {place_of(network, COP_ROLE_K_BIAS, layer),
                                   place_of(network, COP_ROLE_V_BIAS, layer)};
    const cop_place up = place_of(network, COP_ROLE_UP, layer);
    const cop_place up_bias = place_of(network, COP_ROLE_UP_BIAS, layer);

    at->input_norm = place_of(network, COP_ROLE_INPUT_NORM, layer);
    at->input_norm_bias = place_of(network, COP_ROLE_INPUT_NORM_BIAS, layer);
    at->qkv = join(place_of(network, COP_ROLE_Q, layer), qkv, 2, false);
    at->qkv_bias = join(place_of(network, COP_ROLE_Q_BIAS, layer), qkv_bias, 2, true);
    at->o = place_of(network, COP_ROLE_O, layer);
    at->o_bias = place_of(network, COP_ROLE_O_BIAS, layer);
    at->post_norm = place_of(network, COP_ROLE_POST_NORM, layer);
    at->post_norm_bias = place_of(network, COP_ROLE_POST_NORM_BIAS, layer);
    at->wide = is_gated ? join(place_of(network, COP_ROLE_GATE, layer), &up, 1, false) : up;
    at->wide_bias =
        is_gated ? join(place_of(network, COP_ROLE_GATE_BIAS, layer), &up_bias, 1, true) : up_bias;
    at->down = place_of(network, COP_ROLE_DOWN, layer);
    at->down_bias = place_of(network, COP_ROLE_DOWN_BIAS, layer);
}

// --- Activations --------------------------------------------------------------------------------

typedef struct arena {
    int64_t bytes;
    int64_t tokens; // of the largest pass
} arena;

static cop_slot reserve(arena *memory, cop_dtype dtype, int64_t cols)
{
    const cop_slot slot = memory->bytes;
    memory->bytes +=
        round_up(memory->tokens * cols * (int64_t)cop_dtype_bytes(dtype), COP_SLOT_ALIGNMENT);
    return slot;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// The widest of all layers: what a slot that all of them share must hold.
typedef struct widths {
    int64_t heads;   // H
    int64_t heads_d; // H * D
    int64_t qkv;     // (H + 2K) * D
    int64_t ffn;     // F
} widths;

static widths widths_of(const cop_arch *arch, const cop_layer_arch *layer)
{
    return (widths){.heads = layer->heads,
                    .heads_d = layer->heads * arch->head_dim,
                    .qkv = (layer->heads + 2 * layer->kv_heads) * arch->head_dim,
                    .ffn = layer->ffn};
}

static widths widest(const cop_arch *arch)
{
    widths most = {0};
    for (int64_t i = 0; i < arch->layers; i++) {
        const widths here = widths_of(arch, &arch->layer[i]);
        most.heads = max_i64(most.heads, here.heads);
        most.heads_d = max_i64(most.heads_d, here.heads_d);
        most.qkv = max_i64(most.qkv, here.qkv);
        most.ffn = max_i64(most.ffn, here.ffn);
    }
    return most;
}

// Everything but x and `middle`, as one layer of the given widths needs it.
static void reserve_layer(const cop_network *network, arena *memory, cop_layer_slots *at,
                          widths size)
{
    const int64_t hidden = network->arch.hidden;
    const int64_t in_rows = network->arch.is_gated ? 2 : 1;
    at->input_normed = reserve(memory, network->compute, hidden);
    at->input_stats = reserve(memory, network->wide, 2);
    at->qkv_out = reserve(memory, network->compute, size.qkv);
    at->heads_out = reserve(memory, network->compute, size.heads_d);
    at->lse = reserve(memory, network->wide, size.heads);
    at->middle = reserve(memory, network->wide, hidden);
    at->post_normed = reserve(memory, network->compute, hidden);
    at->post_stats = reserve(memory, network->wide, 2);
    at->wide_out = reserve(memory, network->compute, in_rows * size.ffn);
    at->neurons = reserve(memory, network->compute, size.ffn);
}

// Without training nothing is kept: the residual stream is updated in place, the attention and the
// MLP of a layer use the same memory one after the other, and neurons take the place of `up`.
static void layout_inference(cop_network *network, arena *memory)
{
    const cop_arch *arch = &network->arch;
    const widths most = widest(arch);
    const cop_slot x = reserve(memory, network->wide, arch->hidden);
    const cop_slot normed = reserve(memory, network->compute, arch->hidden);
    const cop_slot start = memory->bytes;
    const cop_slot qkv_out = reserve(memory, network->compute, most.qkv);
    const cop_slot heads_out = reserve(memory, network->compute, most.heads_d);
    const int64_t end = memory->bytes;
    memory->bytes = start;
    const cop_slot wide_out =
        reserve(memory, network->compute, (arch->is_gated ? 2 : 1) * most.ffn);
    memory->bytes = max_i64(memory->bytes, end);
    for (int64_t i = 0; i < arch->layers; i++) {
        network->layers[i].slot = (cop_layer_slots){.x = x,
                                                    .input_normed = normed,
                                                    .input_stats = COP_NO_SLOT,
                                                    .qkv_out = qkv_out,
                                                    .heads_out = heads_out,
                                                    .lse = COP_NO_SLOT,
                                                    .middle = x,
                                                    .post_normed = normed,
                                                    .post_stats = COP_NO_SLOT,
                                                    .wide_out = wide_out,
                                                    .neurons = COP_NO_SLOT};
    }
    network->final_x = x;
    network->final_stats = COP_NO_SLOT;
}

// What a layer keeps when norm outputs and MLP activations are recomputed in `shared`.
static void reserve_selective(const cop_network *network, arena *memory, cop_layer_slots *at,
                              widths size)
{
    const int64_t in_rows = network->arch.is_gated ? 2 : 1;
    at->input_stats = reserve(memory, network->wide, 2);
    at->qkv_out = reserve(memory, network->compute, size.qkv);
    at->heads_out = reserve(memory, network->compute, size.heads_d);
    at->lse = reserve(memory, network->wide, size.heads);
    at->middle = reserve(memory, network->wide, network->arch.hidden);
    at->post_stats = reserve(memory, network->wide, 2);
    at->wide_out = reserve(memory, network->compute, in_rows * size.ffn);
}

static void layout_training(cop_network *network, arena *memory)
{
    const cop_arch *arch = &network->arch;
    const widths most = widest(arch);
    const cop_recompute recompute = network->options.recompute;
    cop_layer_slots shared = {0};
    if (recompute == COP_RECOMPUTE_BLOCK) {
        reserve_layer(network, memory, &shared, most);
    } else if (recompute == COP_RECOMPUTE_SELECTIVE) {
        shared.input_normed = reserve(memory, network->compute, arch->hidden);
        shared.post_normed = shared.input_normed;
        shared.neurons = reserve(memory, network->compute, most.ffn);
    }
    for (int64_t i = 0; i < arch->layers; i++) {
        cop_layer_slots *at = &network->layers[i].slot;
        const widths size = widths_of(arch, &arch->layer[i]);
        *at = shared;
        at->x = reserve(memory, network->wide, arch->hidden);
        if (recompute == COP_RECOMPUTE_SELECTIVE) {
            reserve_selective(network, memory, at, size);
        } else if (recompute == COP_RECOMPUTE_NONE) {
            reserve_layer(network, memory, at, size);
        }
    }
    network->final_x = reserve(memory, network->wide, arch->hidden);
    network->final_stats = reserve(memory, network->wide, 2);
    network->d_x = reserve(memory, network->wide, arch->hidden);
    network->d_x_narrow = network->compute == network->wide
                              ? COP_NO_SLOT
                              : reserve(memory, network->compute, arch->hidden);
    network->d_branch = reserve(memory, network->compute, arch->hidden);
    network->d_heads = reserve(memory, network->compute, most.heads_d);
    network->d_qkv = reserve(memory, network->compute, most.qkv);
}

void cop_network_layout(cop_network *network)
{
    const cop_arch *arch = &network->arch;
    for (int64_t i = 0; i < arch->layers; i++) {
        place_layer(network, i);
    }
    network->embedding = place_of(network, COP_ROLE_EMBEDDING, -1);
    network->head = arch->is_tied ? network->embedding : place_of(network, COP_ROLE_HEAD, -1);
    network->final_norm = place_of(network, COP_ROLE_FINAL_NORM, -1);
    network->final_norm_bias = place_of(network, COP_ROLE_FINAL_NORM_BIAS, -1);

    const int64_t pairs = cop_arch_rotary_pairs(arch);
    arena tables = {.tokens = network->options.sequence};
    network->cosine = reserve(&tables, network->wide, pairs);
    network->sine = reserve(&tables, network->wide, pairs);
    arena memory = {.bytes = tables.bytes,
                    .tokens = network->options.batch * network->options.sequence};
    network->ids = reserve(&memory, COP_I32, 1);
    network->branch = reserve(&memory, network->compute, arch->hidden);
    network->hidden = reserve(&memory, network->compute, arch->hidden);
    if (network->options.is_training) {
        layout_training(network, &memory);
    } else {
        layout_inference(network, &memory);
    }
    network->arena_bytes = (uint64_t)memory.bytes;
}
