// A space of a teacher as a sum over layers: scores that others give, costs in closed form.

#include <math.h>

#include "base/alloc.h"
#include "search/space_domain_internal.h"

// What all layers share.
typedef struct common {
    int64_t layers;
    int64_t hidden;
    cop_layer_arch block; // sizes that each layer chooses are 0
} common;

static int64_t position(const cop_space_domain *domain, cop_space_axis kind, const int32_t *genome)
{
    const int at = domain->at[kind];
    return at < 0 ? 0 : domain->space->sorted[kind][genome[at]];
}

// false: no architecture.
static bool take_common(const cop_space_domain *domain, const int32_t *genome, common *out)
{
    const cop_space *space = domain->space;
    const int64_t hidden = position(domain, COP_SPACE_HIDDEN, genome);

    *out = (common){.layers =
                        space->value[COP_SPACE_LAYERS][position(domain, COP_SPACE_LAYERS, genome)],
                    .hidden = space->value[COP_SPACE_HIDDEN][hidden]};
    if (!space->has_layer_ffn) {
        out->block.ffn = cop_space_ffn(space, position(domain, COP_SPACE_FFN, genome), hidden);
        if (out->block.ffn > space->block.ffn) {
            return false;
        }
    }
    if (!space->has_layer_pairs) {
        cop_space_pair pair;
        if (!cop_space_pair_at(space, position(domain, COP_SPACE_HEADS, genome),
                               position(domain, COP_SPACE_KV_HEADS, genome), &pair)) {
            return false;
        }
        out->block.heads = pair.heads;
        out->block.kv_heads = pair.kv_heads;
    }
    return true;
}

static void fill_common(const cop_space_domain *domain, const common *c, cop_additive *out)
{
    const cop_space *space = domain->space;
    const cop_space_scores *scores = &domain->scores;
    const cop_space_parts base = cop_space_base(space, c->hidden);
    const cop_space_parts block = cop_space_block(space, c->hidden, &c->block);
    const cop_space_parts all = cop_space_add(&base, &block, c->layers);

    for (int r = 0; r < domain->additivity.resources; r++) {
        out->cost[r] = cop_space_bound_sum(space, &domain->sum[r], &all);
    }
    out->score = scores->shared(scores->context, c->layers, c->hidden);
    for (int64_t i = 0; i < c->layers; i++) {
        if (!space->has_layer_pairs) {
            out->score +=
                scores->attention(scores->context, c->layers, i, c->block.heads, c->block.kv_heads);
        }
        if (!space->has_layer_ffn) {
            out->score += scores->mlp(scores->context, c->layers, i, c->block.ffn);
        }
    }
}

// A level of a layer's own axis: what it adds to a block without it. Parts are linear in each size.
static void fill_level(const cop_space_domain *domain, const common *c, const domain_axis *axis,
                       int32_t level, double *score, int64_t *cost)
{
    const cop_space *space = domain->space;
    const cop_space_scores *scores = &domain->scores;
    const cop_layer_arch nothing = {0};
    cop_layer_arch own = {0};

    if (axis->kind == COP_SPACE_HEADS) {
        const cop_space_pair *pair = &space->pair[domain->pair_sorted[level]];
        own.heads = pair->heads;
        own.kv_heads = pair->kv_heads;
        *score =
            scores->attention(scores->context, c->layers, axis->layer, own.heads, own.kv_heads);
    } else {
        own.ffn = space->value[COP_SPACE_FFN][space->sorted[COP_SPACE_FFN][level]];
        *score = scores->mlp(scores->context, c->layers, axis->layer, own.ffn);
    }
    const cop_space_parts with = cop_space_block(space, c->hidden, &own);
    const cop_space_parts without = cop_space_block(space, c->hidden, &nothing);
    const cop_space_parts added = cop_space_add(&with, &without, -1);
    for (int r = 0; r < domain->additivity.resources; r++) {
        cost[r] = cop_space_bound_sum(space, &domain->sum[r], &added);
    }
}

static bool fill(const void *context, const int32_t *genome, cop_additive *out)
{
    const cop_space_domain *domain = context;
    const int resources = domain->additivity.resources;
    int64_t at = 0;
    common c;

    if (!take_common(domain, genome, &c)) {
        return false;
    }
    fill_common(domain, &c, out);
    for (int i = 0; i < domain->view.axes; i++) {
        const domain_axis *axis = &domain->axis[i];
        if (domain->is_shared[i]) {
            continue;
        }
        out->matters[i] = axis->layer < c.layers;
        for (int32_t level = 0; out->matters[i] && level < domain->levels[i]; level++) {
            fill_level(domain, &c, axis, level, &out->level_score[at + level],
                       &out->level_cost[(at + level) * resources]);
        }
        at += domain->levels[i];
    }
    return true;
}

// --- Bounds -------------------------------------------------------------------------------------

// The resource that a bound is about; a new one when there is none.
static int find_sum(cop_space_domain *domain, const cop_space_bound *bound)
{
    const bool has_use =
        bound->metric == COP_SPACE_MEMORY_BYTES || bound->metric == COP_SPACE_FLOPS_PER_TOKEN;
    for (int r = 0; r < domain->additivity.resources; r++) {
        if (domain->sum[r].metric == bound->metric &&
            (!has_use || domain->sum[r].use == bound->use)) {
            return r;
        }
    }
    const int added = domain->additivity.resources++;
    domain->sum[added] = *bound;
    domain->sum_min[added] = 0;
    domain->sum_max[added] = INT64_MAX;
    return added;
}

static void list_sums(cop_space_domain *domain)
{
    const cop_space *space = domain->space;
    (void)find_sum(domain, &(cop_space_bound){.metric = COP_SPACE_PARAMS});
    for (int i = 0; i < space->bounds; i++) {
        const cop_space_bound *bound = &space->bound[i];
        const int r = find_sum(domain, bound);
        if (bound->is_min) {
            domain->sum_min[r] = (int64_t)ceil(bound->limit);
        } else {
            domain->sum_max[r] = (int64_t)floor(bound->limit);
        }
    }
}

cop_status cop_space_domain_add(cop_space_domain *domain, const cop_space_scores *scores,
                                cop_error *err)
{
    _Static_assert(COP_BOUNDS / 2 + 1 <= COP_DOMAIN_RESOURCES_MAX, "all bounds have room");
    domain->scores = *scores;
    domain->is_shared = cop_alloc((size_t)domain->view.axes, sizeof *domain->is_shared);
    if (domain->is_shared == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the space", domain->space->path);
    }
    for (int i = 0; i < domain->view.axes; i++) {
        domain->is_shared[i] = domain->axis[i].layer < 0;
    }
    list_sums(domain);
    domain->additivity.is_shared = domain->is_shared;
    domain->additivity.min = domain->sum_min;
    domain->additivity.max = domain->sum_max;
    domain->additivity.fill = fill;
    domain->view.additivity = &domain->additivity;
    return COP_OK;
}
