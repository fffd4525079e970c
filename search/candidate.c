#include "search/candidate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

const char *cop_space_axis_name(cop_space_axis axis)
{
    switch (axis) {
    case COP_SPACE_LAYERS: return "layers";
    case COP_SPACE_HEADS: return "heads";
    case COP_SPACE_KV_HEADS: return "kv_heads";
    case COP_SPACE_FFN: return "ffn";
    case COP_SPACE_HIDDEN: return "hidden";
    case COP_SPACE_AXIS_COUNT: break;
    }
    return "?";
}

static bool are_alike(const cop_layer_arch *blocks, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        if (blocks[i].heads != blocks[0].heads || blocks[i].kv_heads != blocks[0].kv_heads ||
            blocks[i].ffn != blocks[0].ffn) {
            return false;
        }
    }
    return true;
}

void cop_candidate_name(cop_candidate *candidate, const cop_layer_arch *blocks)
{
    const int64_t layers = candidate->layers;
    int64_t sizes[3 * COP_ARCH_LAYERS_MAX] = {0};
    int64_t sum[3] = {0};

    for (int64_t i = 0; i < layers; i++) {
        sizes[3 * i] = blocks[i].heads;
        sizes[3 * i + 1] = blocks[i].kv_heads;
        sizes[3 * i + 2] = blocks[i].ffn;
        for (int k = 0; k < 3; k++) {
            sum[k] += sizes[3 * i + k];
        }
    }
    candidate->heads = (sum[0] + layers / 2) / layers;
    candidate->kv_heads = (sum[1] + layers / 2) / layers;
    candidate->ffn = (sum[2] + layers / 2) / layers;
    candidate->layer = are_alike(blocks, layers) ? NULL : blocks;
    if (candidate->layer == NULL) {
        (void)snprintf(candidate->id, sizeof candidate->id,
                       "L%" PRId64 "-C%" PRId64 "-H%" PRId64 "-K%" PRId64 "-F%" PRId64, layers,
                       candidate->hidden, candidate->heads, candidate->kv_heads, candidate->ffn);
        return;
    }
    char text[COP_HASH_TEXT_BYTES];
    const cop_hash hash = cop_hash_bytes(sizes, (size_t)(3 * layers) * sizeof *sizes);
    (void)snprintf(candidate->id, sizeof candidate->id, "L%" PRId64 "-C%" PRId64 "-%.16s", layers,
                   candidate->hidden, cop_hash_text(text, hash));
}

void cop_candidate_append_blocks(const cop_candidate *candidate, cop_text *out)
{
    for (int64_t i = 0; candidate->layer != NULL && i < candidate->layers; i++) {
        const cop_layer_arch *block = &candidate->layer[i];
        cop_text_appendf(out, "%s%" PRId64 "/%" PRId64 "/%" PRId64, i > 0 ? " " : "", block->heads,
                         block->kv_heads, block->ffn);
    }
}

// A number of 1 … most and the character behind it.
static bool parse_size(const char **at, int64_t most, char behind, int64_t *out)
{
    char *end = NULL;
    if (**at < '1' || **at > '9') {
        return false;
    }
    *out = strtoll(*at, &end, 10);
    *at = end;
    if (*out > most || **at != behind) {
        return false;
    }
    *at += behind != '\0' ? 1 : 0;
    return true;
}

bool cop_candidate_parse_blocks(cop_layer_arch *out, int64_t layers, const char *text)
{
    const char *at = text;
    for (int64_t i = 0; i < layers; i++) {
        const char behind = i + 1 < layers ? ' ' : '\0';
        if (!parse_size(&at, COP_ARCH_HEADS_MAX, '/', &out[i].heads) ||
            !parse_size(&at, COP_ARCH_HEADS_MAX, '/', &out[i].kv_heads) ||
            !parse_size(&at, COP_ARCH_FFN_MAX, behind, &out[i].ffn)) {
            return false;
        }
    }
    return true;
}

cop_arch cop_candidate_arch(const cop_candidate *candidate, const cop_arch *teacher)
{
    cop_arch arch = *teacher;

    arch.layers = candidate->layers;
    arch.hidden = candidate->hidden;
    arch.head_dim = candidate->head_dim;
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = candidate->layer != NULL ? candidate->layer[i]
                                                 : (cop_layer_arch){.heads = candidate->heads,
                                                                    .kv_heads = candidate->kv_heads,
                                                                    .ffn = candidate->ffn};
    }
    for (int64_t i = arch.layers; i < teacher->layers; i++) {
        arch.layer[i] = (cop_layer_arch){0};
    }
    return arch;
}
