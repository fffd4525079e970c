#include "search/space_domain.h"

#include <math.h>

#include "base/alloc.h"
#include "search/space_internal.h"

struct cop_space_domain {
    const cop_space *space;
    cop_space_features extra;
    int32_t levels[COP_SPACE_AXIS_COUNT];
    cop_domain view;
};

// --- Genomes ------------------------------------------------------------------------------------

static int64_t position(const cop_space *space, cop_space_axis axis, const int32_t *genome)
{
    return space->sorted[axis][genome[axis]];
}

// Sizes and place in the grid of a genome; false: no architecture.
static bool take_point(const cop_space *space, const int32_t *genome, cop_space_point *out,
                       int64_t *index)
{
    const int64_t hidden = position(space, COP_SPACE_HIDDEN, genome);
    const int64_t ffn = position(space, COP_SPACE_FFN, genome);
    cop_space_pair pair;

    *index = 0;
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        *index = *index * space->count[i] + position(space, (cop_space_axis)i, genome);
    }
    const bool fits = cop_space_pair_at(space, position(space, COP_SPACE_HEADS, genome),
                                        position(space, COP_SPACE_KV_HEADS, genome), &pair);
    *out = (cop_space_point){
        .layers = space->value[COP_SPACE_LAYERS][position(space, COP_SPACE_LAYERS, genome)],
        .heads = pair.heads,
        .kv_heads = pair.kv_heads,
        .ffn = cop_space_ffn(space, ffn, hidden),
        .hidden = space->value[COP_SPACE_HIDDEN][hidden]};
    return fits && out->ffn <= space->block.ffn;
}

static void canonicalize(const void *context, int32_t *genome)
{
    const cop_space_domain *domain = context;
    const cop_space *space = domain->space;
    const int64_t ffn = position(space, COP_SPACE_FFN, genome);
    const int64_t hidden = position(space, COP_SPACE_HIDDEN, genome);
    const int64_t first = cop_space_first_equal(space, ffn, hidden);
    genome[COP_SPACE_FFN] = space->rank[COP_SPACE_FFN][first];
}

bool cop_space_domain_candidate(const cop_space_domain *domain, const int32_t *genome,
                                cop_candidate *out)
{
    cop_space_point point;
    int64_t index = 0;

    *out = (cop_candidate){0};
    if (!take_point(domain->space, genome, &point, &index)) {
        return false;
    }
    cop_space_fill(domain->space, &point, index, out);
    return true;
}

// The level of a value among those of an axis, or -1.
static int32_t level_of(const cop_space *space, cop_space_axis axis, int64_t value)
{
    int64_t low = 0;
    int64_t high = space->count[axis];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (space->value[axis][space->sorted[axis][middle]] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < space->count[axis] && space->value[axis][space->sorted[axis][low]] == value
               ? (int32_t)low
               : -1;
}

static int32_t level_of_ffn(const cop_space *space, int64_t hidden, int64_t width)
{
    if (space->ratio == NULL) {
        return level_of(space, COP_SPACE_FFN, width);
    }
    for (int64_t f = 0; f < space->count[COP_SPACE_FFN]; f++) {
        if (cop_space_ffn(space, f, hidden) == width) {
            return space->rank[COP_SPACE_FFN][f];
        }
    }
    return -1;
}

bool cop_space_domain_genome(const cop_space_domain *domain, const cop_candidate *candidate,
                             int32_t *genome)
{
    const cop_space *space = domain->space;

    genome[COP_SPACE_LAYERS] = level_of(space, COP_SPACE_LAYERS, candidate->layers);
    genome[COP_SPACE_HEADS] = level_of(space, COP_SPACE_HEADS, candidate->heads);
    genome[COP_SPACE_KV_HEADS] = level_of(space, COP_SPACE_KV_HEADS,
                                          space->is_grouped && candidate->kv_heads > 0
                                              ? candidate->heads / candidate->kv_heads
                                              : candidate->kv_heads);
    genome[COP_SPACE_HIDDEN] = level_of(space, COP_SPACE_HIDDEN, candidate->hidden);
    genome[COP_SPACE_FFN] = -1;
    if (genome[COP_SPACE_HIDDEN] >= 0) {
        genome[COP_SPACE_FFN] =
            level_of_ffn(space, position(space, COP_SPACE_HIDDEN, genome), candidate->ffn);
    }
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        if (genome[i] < 0) {
            return false;
        }
    }
    return true;
}

// --- What is known of a point -------------------------------------------------------------------

static double violation(const void *context, const int32_t *genome)
{
    const cop_space_domain *domain = context;
    cop_space_point point;
    int64_t index = 0;

    if (!take_point(domain->space, genome, &point, &index)) {
        return (double)INFINITY;
    }
    const cop_space_parts parts = cop_space_measure(domain->space, &point);
    return cop_space_violation(domain->space, &parts);
}

static double value(const void *context, int axis, int32_t level)
{
    const cop_space_domain *domain = context;
    const cop_space *space = domain->space;
    const int64_t at = space->sorted[axis][level];
    return axis == COP_SPACE_FFN && space->ratio != NULL ? space->ratio[at]
                                                         : (double)space->value[axis][at];
}

static void describe(const void *context, const int32_t *genome, double *features)
{
    const cop_space_domain *domain = context;
    cop_candidate candidate;

    if (!cop_space_domain_candidate(domain, genome, &candidate)) {
        for (int i = 0; i < domain->view.features; i++) {
            features[i] = (double)NAN;
        }
        return;
    }
    const double own[COP_SPACE_FEATURES] = {(double)candidate.layers,
                                            (double)candidate.hidden,
                                            (double)candidate.heads,
                                            (double)candidate.kv_heads,
                                            (double)candidate.ffn,
                                            (double)candidate.layers / (double)candidate.hidden,
                                            log((double)candidate.cost.params),
                                            log((double)candidate.cost.params_non_embedding),
                                            log((double)candidate.cost.total_bytes),
                                            log(candidate.cost.flops_per_token)};
    for (int i = 0; i < COP_SPACE_FEATURES; i++) {
        features[i] = own[i];
    }
    if (domain->extra.count > 0) {
        domain->extra.describe(domain->extra.context, &candidate, features + COP_SPACE_FEATURES);
    }
}

static void strata(const void *context, const int32_t *genome, double *size, double *shape)
{
    const cop_space_domain *domain = context;
    cop_space_point point;
    int64_t index = 0;

    *size = (double)NAN;
    *shape = (double)NAN;
    if (take_point(domain->space, genome, &point, &index)) {
        *size = (double)cop_space_measure(domain->space, &point).params;
        *shape = (double)point.layers / (double)point.hidden;
    }
}

static void known(const void *context, const int32_t *genome, double *objective)
{
    const cop_space_domain *domain = context;
    const cop_space *space = domain->space;
    cop_space_point point;
    int64_t index = 0;

    const bool is_one = take_point(space, genome, &point, &index);
    const cop_space_parts parts = is_one ? cop_space_measure(space, &point) : (cop_space_parts){0};
    const cop_cost cost = cop_space_cost(space, &parts);
    for (int i = 0; i < space->objectives; i++) {
        objective[i] = (double)NAN;
        switch (space->objective[i]) {
        case COP_OBJECTIVE_LOSS: break;
        case COP_OBJECTIVE_PARAMS: objective[i] = (double)cost.params; break;
        case COP_OBJECTIVE_MEMORY: objective[i] = (double)cost.total_bytes; break;
        case COP_OBJECTIVE_FLOPS: objective[i] = cost.flops_per_token; break;
        }
        if (!is_one && space->objective[i] != COP_OBJECTIVE_LOSS) {
            objective[i] = (double)INFINITY;
        }
    }
}

// --- Life cycle ---------------------------------------------------------------------------------

cop_status cop_space_domain_create(cop_space_domain **out, const cop_space *space,
                                   const cop_space_features *features, cop_error *err)
{
    const int extra = features == NULL ? 0 : features->count;
    cop_space_domain *domain = NULL;

    *out = NULL;
    if (extra < 0 || extra > COP_DOMAIN_FEATURES_MAX - COP_SPACE_FEATURES) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: space: %d further features (allowed: 0..%d)",
                        space->path, extra, COP_DOMAIN_FEATURES_MAX - COP_SPACE_FEATURES);
    }
    domain = cop_alloc(1, sizeof *domain);
    if (domain == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the space", space->path);
    }
    domain->space = space;
    domain->extra = extra > 0 ? *features : (cop_space_features){0};
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        domain->levels[i] = (int32_t)space->count[i];
    }
    domain->view = (cop_domain){.axes = COP_SPACE_AXIS_COUNT,
                                .levels = domain->levels,
                                .context = domain,
                                .canonicalize = canonicalize,
                                .violation = violation,
                                .value = value,
                                .features = COP_SPACE_FEATURES + extra,
                                .describe = describe,
                                .strata = strata,
                                .known = known};
    *out = domain;
    return COP_OK;
}

void cop_space_domain_destroy(cop_space_domain *domain)
{
    cop_free(domain);
}

const cop_domain *cop_space_domain_view(const cop_space_domain *domain)
{
    return &domain->view;
}

const char *cop_space_domain_axis_name(const cop_space_domain *domain, int axis)
{
    return cop_space_key(domain->space, (cop_space_axis)axis);
}
