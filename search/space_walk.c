// Walks over the grid and keeps the books of the budget without visiting what a bound decides for a whole
// subtree at once.
//
// All costs grow with each axis, so the smallest and the largest values of what is still open bound the
// costs of a subtree. When every bound holds, or is violated, for all of it, its points are counted by
// multiplication. Within a row (all axes but hidden fixed), bisection finds where each bound begins or
// ceases to hold. Rounded ratios are the exception to the order: their widths lie in limits that do
// grow, and only points that these leave undecided are computed one by one.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/space_internal.h"

enum { CUTS_MAX = 2 + 2 * (COP_BOUNDS + 1) };

// Where along a row a bound changes: sure before `sure`, sure again from `open`, undecided between them.
typedef struct change {
    int64_t sure;
    int64_t open;
} change;

typedef struct walk {
    const cop_space *space;
    cop_space_report *report;
    cop_space_books books;
    cop_space_visit visit; // NULL: count only
    void *context;
    cop_error *err;
    bool *is_found;              // owned: [hidden], by rank: feasible points of the row
    int64_t *valid_in_row;       // owned: [ffn]: points whose FFN is not above the teacher's
    int64_t valid_in_plane;      // their sum
    int64_t ffn_least, ffn_most; // limits of all FFN widths that are valid
    // Sizes of all pairs of heads, and of the pairs of one position of heads.
    cop_space_pair pairs_least, pairs_most;
} walk;

// --- Limits -------------------------------------------------------------------------------------

static int64_t value_at(const cop_space *space, cop_space_axis axis, int64_t rank)
{
    return space->value[axis][space->sorted[axis][rank]];
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// Widths above the teacher's are no architectures: limits may leave them out.
static int64_t least_ffn(const walk *w, int64_t ffn, int64_t hidden)
{
    return smaller(cop_space_ffn_least(w->space, ffn, hidden), w->space->block.ffn);
}

static int64_t most_ffn(const walk *w, int64_t ffn, int64_t hidden)
{
    return smaller(cop_space_ffn_most(w->space, ffn, hidden), w->space->block.ffn);
}

static void pair_limits(const cop_space *space, int64_t first, int64_t end, cop_space_pair *least,
                        cop_space_pair *most)
{
    *least = (cop_space_pair){.heads = INT64_MAX, .kv_heads = INT64_MAX};
    *most = (cop_space_pair){0};
    for (int64_t i = first; i < end; i++) {
        least->heads = smaller(least->heads, space->pair[i].heads);
        least->kv_heads = smaller(least->kv_heads, space->pair[i].kv_heads);
        most->heads = larger(most->heads, space->pair[i].heads);
        most->kv_heads = larger(most->kv_heads, space->pair[i].kv_heads);
    }
}

// --- A subtree ----------------------------------------------------------------------------------

static bool settle(walk *w, const cop_space_point *least, const cop_space_point *most,
                   bool is_exact, int64_t points, int64_t valid)
{
    const cop_space_parts low = cop_space_measure(w->space, least);
    const cop_space_parts high = cop_space_measure(w->space, most);
    return cop_space_settle(&w->books, &low, &high, is_exact, points, valid);
}

// --- One row ------------------------------------------------------------------------------------

typedef struct row {
    cop_space_point point; // ffn and hidden are those of the point at hand
    int64_t ffn;           // its position
    change bound[COP_BOUNDS];
    change width; // where FFN gets above the teacher's
} row;

static cop_space_point row_point(const walk *w, const row *r, int64_t rank)
{
    cop_space_point point = r->point;
    const int64_t at = w->space->sorted[COP_SPACE_HIDDEN][rank];
    point.hidden = w->space->value[COP_SPACE_HIDDEN][at];
    point.ffn = cop_space_ffn(w->space, r->ffn, at);
    return point;
}

// Value of a bound at the lower or the upper limit of a point.
static double limit_value(const walk *w, const row *r, int bound, int64_t rank, bool is_upper)
{
    const int64_t at = w->space->sorted[COP_SPACE_HIDDEN][rank];
    cop_space_point point = r->point;
    point.hidden = w->space->value[COP_SPACE_HIDDEN][at];
    point.ffn = is_upper ? most_ffn(w, r->ffn, at) : least_ffn(w, r->ffn, at);
    const cop_space_parts parts = cop_space_measure(w->space, &point);
    return cop_space_bound_value(w->space, &w->space->bound[bound], &parts);
}

// The first rank from which a bound's state at this limit is the one of large values.
static int64_t find_bound(const walk *w, const row *r, int bound, bool is_upper)
{
    const cop_space_bound *limits = &w->space->bound[bound];
    int64_t low = 0;
    int64_t high = w->space->count[COP_SPACE_HIDDEN];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const bool holds =
            cop_space_bound_holds(limits, limit_value(w, r, bound, middle, is_upper));
        if (holds == limits->is_min) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static int64_t find_width(const walk *w, int64_t ffn, bool is_upper)
{
    const cop_space *space = w->space;
    int64_t low = 0;
    int64_t high = space->count[COP_SPACE_HIDDEN];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t at = space->sorted[COP_SPACE_HIDDEN][middle];
        const int64_t width =
            is_upper ? cop_space_ffn_most(space, ffn, at) : cop_space_ffn_least(space, ffn, at);
        if (width > space->block.ffn) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static int compare_cuts(const void *left, const void *right)
{
    const int64_t a = *(const int64_t *)left;
    const int64_t b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static int find_cuts(const walk *w, row *r, int64_t cuts[CUTS_MAX])
{
    const bool is_exact = w->space->ratio == NULL;
    int count = 0;

    cuts[count++] = 0;
    cuts[count++] = w->space->count[COP_SPACE_HIDDEN];
    r->width.sure = find_width(w, r->ffn, true);
    r->width.open = is_exact ? r->width.sure : find_width(w, r->ffn, false);
    for (int i = 0; i < w->space->bounds; i++) {
        r->bound[i].sure = find_bound(w, r, i, true);
        r->bound[i].open = is_exact ? r->bound[i].sure : find_bound(w, r, i, false);
        cuts[count++] = r->bound[i].sure;
        cuts[count++] = r->bound[i].open;
    }
    cuts[count++] = r->width.sure;
    cuts[count++] = r->width.open;
    qsort(cuts, (size_t)count, sizeof *cuts, compare_cuts);
    return count;
}

// Nothing is known of it but by computing it.
static void check_point(walk *w, const row *r, int64_t rank)
{
    const cop_space *space = w->space;
    const cop_space_point point = row_point(w, r, rank);
    int violated = 0;
    int last = -1;

    if (point.ffn > space->block.ffn) {
        w->report->invalid++;
        return;
    }
    const cop_space_parts parts = cop_space_measure(space, &point);
    for (int i = 0; i < space->bounds; i++) {
        const double value = cop_space_bound_value(space, &space->bound[i], &parts);
        if (cop_space_bound_holds(&space->bound[i], value)) {
            continue;
        }
        violated++;
        last = i;
        w->report->bound[i].excluded++;
        cop_space_note_nearest(&w->books, i, value);
    }
    if (violated == 1) {
        w->report->bound[last].only++;
    }
    w->is_found[rank] = violated == 0;
}

// The nearest value among points that all violate a bound: from the near end as far as any could be nearer.
static void search_nearest(walk *w, const row *r, int bound, int64_t first, int64_t end)
{
    const bool is_min = w->space->bound[bound].is_min;
    const int64_t step = is_min ? -1 : 1;

    for (int64_t rank = is_min ? end - 1 : first; rank >= first && rank < end; rank += step) {
        const double nearest = w->report->bound[bound].nearest;
        const double best = limit_value(w, r, bound, rank, is_min);
        if (is_min ? best <= nearest : best >= nearest) {
            return;
        }
        const cop_space_point point = row_point(w, r, rank);
        const cop_space_parts parts = cop_space_measure(w->space, &point);
        cop_space_note_nearest(&w->books, bound,
                               cop_space_bound_value(w->space, &w->space->bound[bound], &parts));
    }
}

// Points between two cuts: all of one kind, or undecided.
static void walk_segment(walk *w, const row *r, int64_t first, int64_t end)
{
    const cop_space *space = w->space;
    bool is_open = first >= r->width.sure && first < r->width.open;
    int violated = 0;
    int last = -1;

    for (int i = 0; i < space->bounds && !is_open; i++) {
        is_open = first >= r->bound[i].sure && first < r->bound[i].open;
    }
    if (is_open) {
        for (int64_t rank = first; rank < end; rank++) {
            check_point(w, r, rank);
        }
        return;
    }
    if (first >= r->width.open) {
        w->report->invalid += end - first;
        return;
    }
    for (int i = 0; i < space->bounds; i++) {
        if ((first < r->bound[i].sure) == space->bound[i].is_min) {
            violated++;
            last = i;
            w->report->bound[i].excluded += end - first;
            search_nearest(w, r, i, first, end);
        }
    }
    if (violated == 1) {
        w->report->bound[last].only += end - first;
    }
    if (violated == 0) {
        memset(&w->is_found[first], 1, (size_t)(end - first) * sizeof *w->is_found);
    }
}

// Visits the feasible points of a row in the order of the grid; rounded ratios may meet, and the first of
// them stands for all.
static cop_status visit_row(walk *w, const row *r, int64_t first)
{
    const cop_space *space = w->space;
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];
    cop_status status = COP_OK;

    for (int64_t at = 0; at < hiddens && status == COP_OK; at++) {
        const int64_t rank = space->rank[COP_SPACE_HIDDEN][at];
        if (!w->is_found[rank]) {
            continue;
        }
        const cop_space_point point = row_point(w, r, rank);
        if (cop_space_first_equal(space, r->ffn, at) != r->ffn) {
            w->report->duplicates++;
            continue;
        }
        w->report->feasible++;
        if (w->visit != NULL) {
            cop_candidate candidate;
            cop_space_fill(space, &point, r->ffn, first + at, &candidate);
            status = w->visit(w->context, &candidate, w->err);
        }
    }
    return status;
}

static cop_status walk_row(walk *w, cop_space_point point, int64_t ffn, int64_t first)
{
    const cop_space *space = w->space;
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];
    const int64_t narrow = space->sorted[COP_SPACE_HIDDEN][0];
    const int64_t wide = space->sorted[COP_SPACE_HIDDEN][hiddens - 1];
    row r = {.point = point, .ffn = ffn};
    cop_space_point least = point;
    cop_space_point most = point;
    int64_t cuts[CUTS_MAX];

    least.hidden = space->value[COP_SPACE_HIDDEN][narrow];
    least.ffn = least_ffn(w, ffn, narrow);
    most.hidden = space->value[COP_SPACE_HIDDEN][wide];
    most.ffn = most_ffn(w, ffn, wide);
    if (settle(w, &least, &most, space->ratio == NULL, hiddens, w->valid_in_row[ffn])) {
        return COP_OK;
    }
    memset(w->is_found, 0, (size_t)hiddens * sizeof *w->is_found);
    const int count = find_cuts(w, &r, cuts);
    for (int i = 0; i + 1 < count; i++) {
        if (cuts[i] < cuts[i + 1]) {
            walk_segment(w, &r, cuts[i], cuts[i + 1]);
        }
    }
    return memchr(w->is_found, 1, (size_t)hiddens * sizeof *w->is_found) == NULL
               ? COP_OK
               : visit_row(w, &r, first);
}

// --- Above rows ---------------------------------------------------------------------------------

// The limits of a subtree in which ffn and hidden are open.
static void open_plane(const walk *w, cop_space_point *least, cop_space_point *most)
{
    least->hidden = value_at(w->space, COP_SPACE_HIDDEN, 0);
    least->ffn = w->ffn_least;
    most->hidden = value_at(w->space, COP_SPACE_HIDDEN, w->space->count[COP_SPACE_HIDDEN] - 1);
    most->ffn = w->ffn_most;
}

// All ffn and hidden values at given layers, heads and kv_heads; `first` is the first point's index.
static cop_status walk_plane(walk *w, int64_t layers, const cop_space_pair *pair, int64_t first)
{
    const cop_space *space = w->space;
    const int64_t ffns = space->count[COP_SPACE_FFN];
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];
    const cop_space_point point = {
        .layers = layers, .heads = pair->heads, .kv_heads = pair->kv_heads};
    cop_space_point least = point;
    cop_space_point most = point;
    cop_status status = COP_OK;

    open_plane(w, &least, &most);
    if (settle(w, &least, &most, space->ratio == NULL, ffns * hiddens, w->valid_in_plane)) {
        return COP_OK;
    }
    for (int64_t f = 0; f < ffns && status == COP_OK; f++) {
        status = walk_row(w, point, f, first + f * hiddens);
    }
    return status;
}

// All heads at given layers; those of one position of heads are tried as a subtree of their own.
static cop_status walk_layers(walk *w, int64_t layers, int64_t first)
{
    const cop_space *space = w->space;
    const int64_t plane = space->count[COP_SPACE_FFN] * space->count[COP_SPACE_HIDDEN];
    cop_space_point least = {
        .layers = layers, .heads = w->pairs_least.heads, .kv_heads = w->pairs_least.kv_heads};
    cop_space_point most = {
        .layers = layers, .heads = w->pairs_most.heads, .kv_heads = w->pairs_most.kv_heads};
    cop_status status = COP_OK;

    open_plane(w, &least, &most);
    if (settle(w, &least, &most, false, space->pairs * plane, space->pairs * w->valid_in_plane)) {
        return COP_OK;
    }
    for (int64_t i = 0; i < space->pairs && status == COP_OK; i++) {
        const cop_space_pair *pair = &space->pair[i];
        const int64_t end = space->pair_first[pair->heads_at + 1];
        if (i == space->pair_first[pair->heads_at]) {
            cop_space_pair low;
            cop_space_pair high;
            pair_limits(space, i, end, &low, &high);
            least.heads = low.heads;
            least.kv_heads = low.kv_heads;
            most.heads = high.heads;
            most.kv_heads = high.kv_heads;
            if (settle(w, &least, &most, false, (end - i) * plane, (end - i) * w->valid_in_plane)) {
                i = end - 1;
                continue;
            }
        }
        const int64_t at = pair->heads_at * space->count[COP_SPACE_KV_HEADS] + pair->kv_heads_at;
        status = walk_plane(w, layers, pair, first + at * plane);
    }
    return status;
}

// What depends on ffn and hidden alone.
static void measure_plane(walk *w)
{
    const cop_space *space = w->space;
    const int64_t hiddens = space->count[COP_SPACE_HIDDEN];
    const int64_t ffns = space->count[COP_SPACE_FFN];

    for (int64_t f = 0; f < ffns; f++) {
        const int64_t sure = find_width(w, f, true);
        const int64_t open = space->ratio == NULL ? sure : find_width(w, f, false);
        w->valid_in_row[f] = sure;
        for (int64_t rank = sure; rank < open; rank++) {
            const int64_t at = space->sorted[COP_SPACE_HIDDEN][rank];
            w->valid_in_row[f] += cop_space_ffn(space, f, at) <= space->block.ffn ? 1 : 0;
        }
        w->valid_in_plane += w->valid_in_row[f];
    }
    w->ffn_least =
        least_ffn(w, space->sorted[COP_SPACE_FFN][0], space->sorted[COP_SPACE_HIDDEN][0]);
    w->ffn_most = most_ffn(w, space->sorted[COP_SPACE_FFN][ffns - 1],
                           space->sorted[COP_SPACE_HIDDEN][hiddens - 1]);
}

static cop_status fail_with_size(const cop_space *space, cop_error *err)
{
    return COP_FAIL(
        err, COP_ERR_CONFIG,
        "%s: space: the grid has about 10^%.1f points, too many to list "
        "(search.strategy random, stratified, nsga2, surrogate and knapsack need no list)",
        space->path, cop_space_log10_size(space));
}

cop_status cop_space_walk(const cop_space *space, cop_space_report *report, cop_space_visit visit,
                          void *context, cop_error *err)
{
    cop_status status = COP_OK;
    walk w = {.space = space, .report = report, .visit = visit, .context = context, .err = err};
    const int64_t heads = space->count[COP_SPACE_HEADS] * space->count[COP_SPACE_KV_HEADS];
    const int64_t plane = space->count[COP_SPACE_FFN] * space->count[COP_SPACE_HIDDEN];

    cop_space_bounds(space, report);
    if (!cop_space_is_listed(space)) {
        report->feasible = INT64_MAX;
        return visit == NULL ? COP_OK : fail_with_size(space, err);
    }
    if (space->has_layer_pairs || space->has_layer_ffn) {
        return cop_space_walk_layered(space, report, visit, context, err);
    }
    w.books = (cop_space_books){
        .space = space, .report = report, .lists = visit != NULL || space->ratio != NULL};
    w.is_found = cop_alloc((size_t)space->count[COP_SPACE_HIDDEN], sizeof *w.is_found);
    w.valid_in_row = cop_alloc((size_t)space->count[COP_SPACE_FFN], sizeof *w.valid_in_row);
    if (w.is_found == NULL || w.valid_in_row == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the walk over the space",
                          space->path);
        goto done;
    }
    measure_plane(&w);
    pair_limits(space, 0, space->pairs, &w.pairs_least, &w.pairs_most);
    report->invalid = space->count[COP_SPACE_LAYERS] * (heads - space->pairs) * plane;
    for (int64_t l = 0; l < space->count[COP_SPACE_LAYERS]; l++) {
        COP_TRY(status, walk_layers(&w, space->value[COP_SPACE_LAYERS][l], l * heads * plane));
    }

done:
    cop_free(w.is_found);
    cop_free(w.valid_in_row);
    return status;
}
