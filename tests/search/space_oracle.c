#include "tests/search/space_oracle.h"

#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "search/space_internal.h"

typedef struct scan {
    const cop_space *space;
    cop_space_report *report;
    cop_candidate *found; // owned until handed over
    int64_t count;
    int64_t capacity;
} scan;

// Applies all bounds and keeps the books; true when the point meets them.
static bool check_budget(scan *s, const cop_space_parts *parts)
{
    const cop_space *space = s->space;
    int violated = 0;
    int last = -1;

    for (int i = 0; i < space->bounds; i++) {
        const cop_space_bound *bound = &space->bound[i];
        const double value = cop_space_bound_value(space, bound, parts);
        if (bound->is_min ? value >= bound->limit : value <= bound->limit) {
            continue;
        }
        violated++;
        last = i;
        s->report->bound[i].excluded++;
        double *nearest = &s->report->bound[i].nearest;
        if (!(fabs(value - bound->limit) >= fabs(*nearest - bound->limit))) {
            *nearest = value;
        }
    }
    if (violated == 1) {
        s->report->bound[last].only++;
    }
    return violated == 0;
}

// Rounded ratios may meet: the first of them stands for all.
static bool is_duplicate(const cop_space *space, int64_t ffn, int64_t hidden, int64_t width)
{
    for (int64_t i = 0; space->ratio != NULL && i < ffn; i++) {
        if (cop_space_ffn(space, i, hidden) == width) {
            return true;
        }
    }
    return false;
}

static cop_status keep(scan *s, const cop_space_point *point, int64_t index, cop_error *err)
{
    if (s->count == s->capacity) {
        const int64_t capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
        cop_candidate *found = cop_realloc(s->found, (size_t)capacity, sizeof *found);
        if (found == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM,
                            "%s: out of memory for %" PRId64
                            " feasible candidates (allowed: a tighter budget, or a smaller grid)",
                            s->space->path, capacity);
        }
        s->found = found;
        s->capacity = capacity;
    }
    cop_space_fill(s->space, point,
                   index / s->space->count[COP_SPACE_HIDDEN] % s->space->count[COP_SPACE_FFN],
                   index, &s->found[s->count++]);
    return COP_OK;
}

// All ffn and hidden values at given layers, heads and kv_heads; `first` is the first point's index.
static cop_status scan_plane(scan *s, cop_space_point point, bool is_pair, int64_t first,
                             cop_error *err)
{
    const cop_space *space = s->space;
    const int64_t ffns = space->count[COP_SPACE_FFN];
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];

    if (!is_pair) {
        s->report->invalid += ffns * hiddens;
        return COP_OK;
    }
    for (int64_t f = 0; f < ffns; f++) {
        for (int64_t c = 0; c < hiddens; c++) {
            point.ffn = cop_space_ffn(space, f, c);
            point.hidden = space->value[COP_SPACE_HIDDEN][c];
            if (point.ffn > space->block.ffn) {
                s->report->invalid++;
                continue;
            }
            const cop_space_parts parts = cop_space_measure(space, &point);
            if (!check_budget(s, &parts)) {
                continue;
            }
            if (is_duplicate(space, f, c, point.ffn)) {
                s->report->duplicates++;
                continue;
            }
            const cop_status status = keep(s, &point, first + f * hiddens + c, err);
            if (status != COP_OK) {
                return status;
            }
        }
    }
    return COP_OK;
}

cop_status space_oracle(cop_candidate **out, int64_t *count, cop_space_report *report,
                        const cop_space *space, cop_error *err)
{
    cop_status status = COP_OK;
    scan s = {.space = space, .report = report};
    const int64_t *layers = space->value[COP_SPACE_LAYERS];
    const int64_t plane = space->count[COP_SPACE_FFN] * space->count[COP_SPACE_HIDDEN];
    int64_t first = 0;

    *out = NULL;
    *count = 0;
    cop_space_bounds(space, report);
    for (int64_t l = 0; l < space->count[COP_SPACE_LAYERS]; l++) {
        for (int64_t h = 0; h < space->count[COP_SPACE_HEADS]; h++) {
            for (int64_t k = 0; k < space->count[COP_SPACE_KV_HEADS]; k++) {
                cop_space_pair pair;
                const bool is_pair = cop_space_pair_at(space, h, k, &pair);
                const cop_space_point point = {
                    .layers = layers[l], .heads = pair.heads, .kv_heads = pair.kv_heads};
                COP_TRY(status, scan_plane(&s, point, is_pair, first, err));
                first += plane;
            }
        }
    }
    report->feasible = s.count;
    *out = s.found;
    *count = s.count;
    s.found = NULL;

done:
    cop_free(s.found);
    return status;
}
