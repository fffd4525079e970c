// The walk over a space whose layers choose their blocks by themselves: depth first, layer by layer, with
// the same cuts of subtrees whose points all hold or all violate each bound.

#include "base/alloc.h"
#include "search/space_internal.h"

typedef struct layered {
    const cop_space *space;
    cop_space_report *report;
    cop_space_books books;
    cop_space_visit visit; // NULL: count only
    void *context;
    cop_error *err;
    int64_t options;
    int64_t layers;
    int64_t hidden;             // the value
    int64_t ffn;                // position of the ratio
    bool is_first;              // of the ratios that round to this width
    bool is_exact;              // `least` and `most` are choices of a layer
    cop_layer_arch least, most; // limits of the blocks
    cop_layer_arch block[COP_ARCH_LAYERS_MAX];
} layered;

static int64_t power(int64_t base, int64_t exponent)
{
    int64_t out = 1;
    for (int64_t i = 0; i < exponent; i++) {
        out *= base;
    }
    return out;
}

// Limits of a layer's choices, and whether choices lie at the limits.
static void set_limits(layered *w)
{
    const cop_space *space = w->space;
    const int64_t ffns = space->count[COP_SPACE_FFN];
    bool has_least = false;
    bool has_most = false;

    if (space->has_layer_ffn) {
        w->least.ffn = space->value[COP_SPACE_FFN][space->sorted[COP_SPACE_FFN][0]];
        w->most.ffn = space->value[COP_SPACE_FFN][space->sorted[COP_SPACE_FFN][ffns - 1]];
    }
    for (int64_t i = 0; space->has_layer_pairs && i < space->pairs; i++) {
        const cop_space_pair *pair = &space->pair[i];
        if (i == 0 || pair->heads < w->least.heads) {
            w->least.heads = pair->heads;
        }
        if (i == 0 || pair->kv_heads < w->least.kv_heads) {
            w->least.kv_heads = pair->kv_heads;
        }
        if (pair->heads > w->most.heads) {
            w->most.heads = pair->heads;
        }
        if (pair->kv_heads > w->most.kv_heads) {
            w->most.kv_heads = pair->kv_heads;
        }
    }
    for (int64_t i = 0; space->has_layer_pairs && i < space->pairs; i++) {
        const cop_space_pair *pair = &space->pair[i];
        has_least =
            has_least || (pair->heads == w->least.heads && pair->kv_heads == w->least.kv_heads);
        has_most = has_most || (pair->heads == w->most.heads && pair->kv_heads == w->most.kv_heads);
    }
    w->is_exact = !space->has_layer_pairs || (has_least && has_most);
}

static cop_status visit_point(layered *w, int64_t index)
{
    if (!w->is_first) {
        w->report->duplicates++;
        return COP_OK;
    }
    w->report->feasible++;
    if (w->visit == NULL) {
        return COP_OK;
    }
    cop_candidate candidate;
    cop_space_fill_blocks(w->space, w->layers, w->hidden, w->ffn, w->block, index, &candidate);
    return w->visit(w->context, &candidate, w->err);
}

// Layers 0 … at - 1 have chosen, which makes `parts`; `index`: of the subtree's first point.
static cop_status walk_layer(layered *w, int64_t at, const cop_space_parts *parts, int64_t index)
{
    const int64_t rest = w->layers - at;
    const int64_t points = power(w->options, rest);
    const cop_space_parts least = cop_space_block(w->space, w->hidden, &w->least);
    const cop_space_parts most = cop_space_block(w->space, w->hidden, &w->most);
    const cop_space_parts low = cop_space_add(parts, &least, rest);
    const cop_space_parts high = cop_space_add(parts, &most, rest);
    cop_status status = COP_OK;

    if (cop_space_settle(&w->books, &low, &high, w->is_exact || rest == 0, points, points)) {
        return COP_OK;
    }
    if (rest == 0) {
        return visit_point(w, index);
    }
    for (int64_t option = 0; option < w->options && status == COP_OK; option++) {
        w->block[at] = w->least; // sizes that all layers share
        cop_space_option(w->space, option, &w->block[at]);
        const cop_space_parts block = cop_space_block(w->space, w->hidden, &w->block[at]);
        const cop_space_parts sum = cop_space_add(parts, &block, 1);
        status = walk_layer(w, at + 1, &sum, index + option * (points / w->options));
    }
    return status;
}

// What all layers share, by its number: heads slowest, hidden fastest. false: no architecture.
static bool take_shared(const cop_space *space, int64_t number, int64_t *hidden, int64_t *ffn,
                        cop_layer_arch *block)
{
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];
    const int64_t ffns = space->has_layer_ffn ? 1 : space->count[COP_SPACE_FFN];
    const int64_t at = number % hiddens;
    int64_t rest = number / hiddens;

    *ffn = rest % ffns;
    rest /= ffns;
    *hidden = space->value[COP_SPACE_HIDDEN][at];
    *block = (cop_layer_arch){0};
    if (!space->has_layer_ffn) {
        block->ffn = cop_space_ffn(space, *ffn, at);
    }
    if (!space->has_layer_pairs) {
        cop_space_pair pair;
        const int64_t kv_heads = space->count[COP_SPACE_KV_HEADS];
        if (!cop_space_pair_at(space, rest / kv_heads, rest % kv_heads, &pair)) {
            return false;
        }
        block->heads = pair.heads;
        block->kv_heads = pair.kv_heads;
    }
    return block->ffn <= space->block.ffn;
}

cop_status cop_space_walk_layered(const cop_space *space, cop_space_report *report,
                                  cop_space_visit visit, void *context, cop_error *err)
{
    const int64_t shared = cop_space_shared(space);
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];
    cop_status status = COP_OK;
    int64_t first = 0;
    layered *w = cop_alloc(1, sizeof *w);

    if (w == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the walk over the space",
                        space->path);
    }
    w->space = space;
    w->report = report;
    w->books = (cop_space_books){
        .space = space, .report = report, .lists = visit != NULL || space->ratio != NULL};
    w->visit = visit;
    w->context = context;
    w->err = err;
    w->options = cop_space_options(space);
    for (int64_t l = 0; l < space->count[COP_SPACE_LAYERS]; l++) {
        w->layers = space->value[COP_SPACE_LAYERS][l];
        const int64_t points = power(w->options, w->layers);
        for (int64_t number = 0; number < shared; number++, first += points) {
            if (!take_shared(space, number, &w->hidden, &w->ffn, &w->least)) {
                report->invalid += points;
                continue;
            }
            w->most = w->least;
            set_limits(w);
            w->is_first = cop_space_first_equal(space, w->ffn, number % hiddens) == w->ffn;
            const cop_space_parts base = cop_space_base(space, w->hidden);
            COP_TRY(status, walk_layer(w, 0, &base, first));
        }
    }

done:
    cop_free(w);
    return status;
}

int64_t cop_space_index_layered(const cop_space *space, int64_t layers, int64_t heads,
                                int64_t kv_heads, int64_t ffn, int64_t hidden)
{
    const int64_t options = cop_space_options(space);
    const int64_t kv_count = space->has_layer_pairs ? 1 : space->count[COP_SPACE_KV_HEADS];
    const int64_t ffn_count = space->has_layer_ffn ? 1 : space->count[COP_SPACE_FFN];
    int64_t index = 0;

    for (int64_t l = 0; l < layers; l++) {
        index += cop_space_shared(space) * power(options, space->value[COP_SPACE_LAYERS][l]);
    }
    const int64_t number =
        ((heads * kv_count + kv_heads) * ffn_count + ffn) * space->count[COP_SPACE_HIDDEN] + hidden;
    return index + number * power(options, space->value[COP_SPACE_LAYERS][layers]);
}

bool cop_space_at_layered(const cop_space *space, int64_t index, cop_layer_arch *blocks,
                          cop_candidate *out)
{
    const int64_t shared = cop_space_shared(space);
    const int64_t options = cop_space_options(space);
    int64_t rest = index;
    int64_t l = 0;
    int64_t hidden = 0;
    int64_t ffn = 0;
    cop_layer_arch block;

    while (rest >= shared * power(options, space->value[COP_SPACE_LAYERS][l])) {
        rest -= shared * power(options, space->value[COP_SPACE_LAYERS][l++]);
    }
    const int64_t layers = space->value[COP_SPACE_LAYERS][l];
    if (!take_shared(space, rest / power(options, layers), &hidden, &ffn, &block)) {
        return false;
    }
    for (int64_t i = layers - 1; i >= 0; i--) {
        blocks[i] = block;
        cop_space_option(space, rest % options, &blocks[i]);
        rest /= options;
    }
    cop_space_fill_blocks(space, layers, hidden, ffn, blocks, index, out);
    return true;
}
