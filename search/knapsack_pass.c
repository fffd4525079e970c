#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/knapsack_internal.h"

enum { MOST = COP_KNAPSACK_RESOURCES_MAX, COMPARISONS_MAX = 64, KEYS_MAX = 2 * MOST };

typedef struct state {
    double score;
    double bound; // no completion scores less
    int64_t cost[MOST];
    int64_t order;  // what dominance sorts by
    int32_t parent; // among the states of the layer before
    int32_t option;
} state;

// Where a state came from: all that is kept of earlier layers.
typedef struct link {
    int32_t parent;
    int32_t option;
} link;

typedef struct pass {
    const cop_knapsack_table *table;
    int64_t solutions;
    int64_t width;
    double limit;
    double dropped;
    int64_t states;
    state *now; // [now_count] of the layer before
    int64_t now_count;
    state *next; // [next_room]
    int64_t next_count;
    int64_t next_room;
    link **links; // [layers] of a layer's states
    double *heap; // [solutions], best scores seen by the sweep
} pass;

// How much a state asks of what is to come, by resource and side; smaller leaves more possible. Beyond the
// clamp the bound can no longer be missed, and states are alike.
typedef struct keys {
    int count;
    int resource[KEYS_MAX];
    bool is_minimum[KEYS_MAX];
    int64_t clamp[KEYS_MAX];
} keys;

static keys keys_of(const cop_knapsack_table *t, int layer)
{
    keys out = {0};
    for (int r = 0; r < t->resources; r++) {
        const int64_t most = t->suffix_most[((int64_t)layer + 1) * t->resources + r];
        if (t->high[r] < t->suffix_most[r]) {
            out.resource[out.count] = r;
            out.clamp[out.count++] = t->high[r] - most;
        }
        if (t->low[r] > 0) {
            out.resource[out.count] = r;
            out.is_minimum[out.count] = true;
            out.clamp[out.count++] = t->low[r];
        }
    }
    return out;
}

static int64_t key(const keys *k, int i, const state *s)
{
    const int64_t cost = s->cost[k->resource[i]];
    if (k->is_minimum[i]) {
        return -(cost < k->clamp[i] ? cost : k->clamp[i]);
    }
    return cost > k->clamp[i] ? cost : k->clamp[i];
}

static int by_origin(const state *a, const state *b)
{
    if (a->parent != b->parent) {
        return a->parent < b->parent ? -1 : 1;
    }
    return (a->option > b->option) - (a->option < b->option);
}

static int by_order(const void *left, const void *right)
{
    const state *a = left;
    const state *b = right;
    if (a->order != b->order) {
        return a->order < b->order ? -1 : 1;
    }
    if (a->score != b->score) {
        return a->score < b->score ? -1 : 1;
    }
    return by_origin(a, b);
}

static int by_bound(const void *left, const void *right)
{
    const state *a = left;
    const state *b = right;
    if (a->bound != b->bound) {
        return a->bound < b->bound ? -1 : 1;
    }
    return by_origin(a, b);
}

// Replaces the largest of a max-heap.
static void heap_replace(double *heap, int64_t count, double value)
{
    int64_t at = 0;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child + 1 < count && heap[child + 1] > heap[child]) {
            child++;
        }
        if (child >= count || heap[child] <= value) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

// With one key: in its order, a state is worth keeping when fewer than `solutions` before it score
// no worse.
static void sweep(pass *p, const keys *k)
{
    for (int64_t i = 0; i < p->next_count; i++) {
        p->next[i].order = k->count == 0 ? 0 : key(k, 0, &p->next[i]);
    }
    qsort(p->next, (size_t)p->next_count, sizeof *p->next, by_order);
    for (int64_t i = 0; i < p->solutions; i++) {
        p->heap[i] = (double)INFINITY;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < p->next_count; i++) {
        if (p->next[i].score < p->heap[0]) {
            heap_replace(p->heap, p->solutions, p->next[i].score);
            p->next[kept++] = p->next[i];
        }
    }
    p->next_count = kept;
}

static bool dominates(const keys *k, const state *a, const state *b)
{
    for (int i = 0; i < k->count; i++) {
        if (key(k, i, a) > key(k, i, b)) {
            return false;
        }
    }
    return true; // its score is no worse by the order of the sort
}

// With several keys: by rising score, against the states kept so far. Not all of them: keeping a
// dominated state costs time only. The ones that dominated most recently come first.
static void compare(pass *p, const keys *k)
{
    for (int64_t i = 0; i < p->next_count; i++) {
        p->next[i].order = 0;
    }
    qsort(p->next, (size_t)p->next_count, sizeof *p->next, by_order);
    int64_t kept = 0;
    for (int64_t i = 0; i < p->next_count; i++) {
        int64_t better = 0;
        const int64_t compared =
            kept < COMPARISONS_MAX + p->solutions ? kept : COMPARISONS_MAX + p->solutions;
        for (int64_t n = 0; n < compared && better < p->solutions; n++) {
            if (dominates(k, &p->next[n], &p->next[i])) {
                const state swapped = p->next[n];
                p->next[n] = p->next[n / 2];
                p->next[n / 2] = swapped;
                better++;
            }
        }
        if (better < p->solutions) {
            const state added = p->next[i];
            // A new one takes a place among those compared, where it may prove useful.
            const int64_t at =
                kept < COMPARISONS_MAX ? kept : COMPARISONS_MAX / 2 + i % (COMPARISONS_MAX / 2);
            p->next[kept] = p->next[at];
            p->next[at] = added;
            kept++;
        }
    }
    p->next_count = kept;
}

// Drops dominated states, then those of the worst bound beyond `width`.
static void compact(pass *p, const keys *k)
{
    if (k->count <= 1) {
        sweep(p, k);
    } else {
        compare(p, k);
    }
    if (p->next_count > p->width) {
        qsort(p->next, (size_t)p->next_count, sizeof *p->next, by_bound);
        p->dropped = fmin(p->dropped, p->next[p->width].bound);
        p->next_count = p->width;
    }
}

// The best bound of a state before `layer`; stops as soon as it exceeds the limit.
static double bound_of(const pass *p, const state *s, int layer)
{
    const cop_knapsack_table *t = p->table;
    const double *suffix = t->suffix + (int64_t)layer * t->multipliers;
    double best = -(double)INFINITY;
    for (int m = 0; m < t->multipliers && best <= p->limit; m++) {
        double bound = s->score + suffix[m];
        for (int r = 0; r < t->resources; r++) {
            bound += t->multiplier[m][r] * (double)s->cost[r];
        }
        best = bound > best ? bound : best;
    }
    return best;
}

// The state behind `from` by an option; false when no completion is feasible or good enough.
static bool extend(state *to, const pass *p, const state *from, int64_t parent, int layer,
                   int option)
{
    const cop_knapsack_table *t = p->table;
    const int64_t j = t->first[layer] + option;
    *to = (state){.score = from->score + t->score[j], .parent = (int32_t)parent, .option = option};
    for (int r = 0; r < t->resources; r++) {
        to->cost[r] = from->cost[r] + t->cost[j * t->resources + r];
        if (to->cost[r] > t->high[r] ||
            to->cost[r] < t->low[r] - t->suffix_most[((int64_t)layer + 1) * t->resources + r]) {
            return false;
        }
    }
    to->bound = fmax(from->bound, bound_of(p, to, layer + 1));
    return to->bound <= p->limit;
}

static cop_status make_room(pass *p, const keys *k, cop_error *err)
{
    const int64_t enough = 4 * p->width + 4096;
    if (p->next_room >= enough) {
        compact(p, k);
        return COP_OK;
    }
    const int64_t room = p->next_room == 0 ? 4096 : 2 * p->next_room;
    state *grown = cop_realloc(p->next, (size_t)room, sizeof *grown);
    if (grown == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory for %lld states",
                        (long long)room);
    }
    p->next = grown;
    p->next_room = room;
    return COP_OK;
}

static cop_status run_layer(pass *p, int layer, cop_error *err)
{
    const keys k = keys_of(p->table, layer);
    p->next_count = 0;
    for (int64_t i = 0; i < p->now_count; i++) {
        for (int option = 0; option < p->table->options[layer]; option++) {
            if (p->next_count == p->next_room) {
                const cop_status status = make_room(p, &k, err);
                if (status != COP_OK) {
                    return status;
                }
            }
            p->states++;
            if (extend(&p->next[p->next_count], p, &p->now[i], i, layer, option)) {
                p->next_count++;
            }
        }
    }
    compact(p, &k);
    p->links[layer] = cop_alloc((size_t)p->next_count + 1, sizeof **p->links);
    state *now = cop_realloc(p->now, (size_t)p->next_count + 1, sizeof *now);
    p->now = now != NULL ? now : p->now;
    if (p->links[layer] == NULL || now == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory for %lld states",
                        (long long)p->next_count);
    }
    for (int64_t i = 0; i < p->next_count; i++) {
        p->links[layer][i] = (link){p->next[i].parent, p->next[i].option};
        p->now[i] = p->next[i];
        p->now[i].order = i; // its place among the links
    }
    p->now_count = p->next_count;
    return COP_OK;
}

static cop_status collect(cop_knapsack_found *out, pass *p, cop_error *err)
{
    const int layers = p->table->layers;
    const int64_t count = p->now_count < p->solutions ? p->now_count : p->solutions;
    out->choice = cop_alloc((size_t)count * (size_t)layers + 1, sizeof *out->choice);
    out->score = cop_alloc((size_t)count + 1, sizeof *out->score);
    if (out->choice == NULL || out->score == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory");
    }
    // The last states are whole assignments; sorted by score, their places in `order` stay.
    for (int64_t i = 0; i < p->now_count; i++) {
        p->now[i].bound = p->now[i].score;
    }
    qsort(p->now, (size_t)p->now_count, sizeof *p->now, by_bound);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = p->now[i].order;
        out->score[i] = p->now[i].score;
        for (int l = layers; l-- > 0;) {
            out->choice[i * layers + l] = p->links[l][at].option;
            at = p->links[l][at].parent;
        }
    }
    out->count = count;
    return COP_OK;
}

cop_status cop_knapsack_pass(cop_knapsack_found *out, const cop_knapsack_table *table,
                             int64_t solutions, int64_t width, double limit, cop_error *err)
{
    cop_status status = COP_OK;
    pass p = {.table = table,
              .solutions = solutions,
              .width = width,
              .limit = limit,
              .dropped = (double)INFINITY};
    *out = (cop_knapsack_found){0};
    p.now = cop_alloc(1, sizeof *p.now);
    p.links = cop_alloc((size_t)table->layers, sizeof(link *));
    p.heap = cop_alloc((size_t)solutions, sizeof *p.heap);
    if (p.now == NULL || p.links == NULL || p.heap == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory");
        goto done;
    }
    p.now_count = 1;
    p.now[0].bound = -(double)INFINITY;
    for (int l = 0; l < table->layers; l++) {
        COP_TRY(status, run_layer(&p, l, err));
    }
    COP_TRY(status, collect(out, &p, err));
    out->dropped = p.dropped;
    out->states = p.states;
done:
    for (int l = 0; p.links != NULL && l < table->layers; l++) {
        cop_free(p.links[l]);
    }
    cop_free(p.links);
    cop_free(p.now);
    cop_free(p.next);
    cop_free(p.heap);
    if (status != COP_OK) {
        cop_knapsack_found_release(out);
    }
    return status;
}

void cop_knapsack_found_release(cop_knapsack_found *found)
{
    cop_free(found->choice);
    cop_free(found->score);
    *found = (cop_knapsack_found){0};
}
