#include "prune/select.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "prune/importance_internal.h"
#include "prune/rank.h"
#include "prune/select_check.h"

struct cop_selection {
    cop_arch arch;
    cop_carry carry;
    int32_t layer[COP_ARCH_LAYERS_MAX];     // teacher's layer of each kept one
    int32_t *units;                         // owned: all lists below
    int32_t *hidden;                        // [hidden]
    int32_t *heads[COP_ARCH_LAYERS_MAX];    // [heads]
    int32_t *kv_heads[COP_ARCH_LAYERS_MAX]; // [kv_heads]
    int32_t *ffn[COP_ARCH_LAYERS_MAX];      // [ffn]
    int32_t *partners[COP_ARCH_LAYERS_MAX]; // [heads]
};

// What random orders are drawn for: index = axis * COP_ARCH_LAYERS_MAX + teacher's layer.
typedef enum random_axis {
    RANDOM_LAYERS = 0,
    RANDOM_HIDDEN,
    RANDOM_KV_HEADS,
    RANDOM_HEADS,
    RANDOM_FFN,
    RANDOM_AXES
} random_axis;

// What the steps of one selection share.
typedef struct selecting {
    cop_selection *selection;
    const cop_arch *teacher;
    const cop_importance *importance; // NULL: random order
    const cop_select_options *options;
    cop_ranker ranker;
    int32_t *order; // [widest axis]
} selecting;

static cop_status rank(selecting *run, random_axis axis, int64_t layer, int64_t part,
                       const double *scores, int64_t count, cop_error *err)
{
    // Heads are drawn group by group; the group's number lies above all axes.
    const int64_t index = (part * RANDOM_AXES + (int64_t)axis) * COP_ARCH_LAYERS_MAX + layer;
    return cop_rank(&run->ranker, run->order, scores, count, run->options->order,
                    run->options->seed, (uint64_t)index, err);
}

// --- Layers -------------------------------------------------------------------------------------

static const double *layer_scores(const selecting *run)
{
    if (run->importance == NULL) {
        return NULL;
    }
    return run->options->depth_metric == COP_DEPTH_PERPLEXITY
               ? cop_importance_perplexity(run->importance)
               : cop_importance_block_influence(run->importance);
}

static bool is_fixed(const selecting *run, int64_t layer)
{
    const bool is_end = layer == 0 || layer == run->teacher->layers - 1;
    return (is_end && run->options->keep_first_and_last) ||
           cop_layer_set_has(&run->options->keep_layers, layer);
}

// Keeps the first of the ranking; layers to keep are moved to its front, layers to drop to its end.
static cop_status choose_scattered(selecting *run, cop_error *err)
{
    enum { FIXED, FREE, DROPPED, CLASSES };

    const int64_t layers = run->teacher->layers;
    const int64_t kept = run->selection->arch.layers;
    int32_t *out = run->selection->layer;
    int64_t count = 0;

    const cop_status status = rank(run, RANDOM_LAYERS, 0, 0, layer_scores(run), layers, err);
    if (status != COP_OK) {
        return status;
    }
    for (int kind = FIXED; kind < CLASSES; kind++) {
        for (int64_t i = 0; i < layers && count < kept; i++) {
            const int32_t layer = run->order[i];
            const int of_layer = is_fixed(run, layer)                                   ? FIXED
                                 : cop_layer_set_has(&run->options->drop_layers, layer) ? DROPPED
                                                                                        : FREE;
            if (of_layer == kind) {
                out[count++] = layer;
            }
        }
    }
    cop_rank_sort_kept(out, kept);
    return COP_OK;
}

// How many layers to drop a run of `dropped` layers has; -1 when it has one to keep.
static int64_t wanted_in_run(const selecting *run, int64_t start, int64_t dropped)
{
    int64_t count = 0;
    for (int64_t i = start; i < start + dropped; i++) {
        if (is_fixed(run, i)) {
            return -1;
        }
        count += cop_layer_set_has(&run->options->drop_layers, i) ? 1 : 0;
    }
    return count;
}

// Ranks the possible runs of dropped layers by the importance that goes with them; the run that the
// order would keep last is dropped.
static cop_status choose_contiguous(selecting *run, cop_error *err)
{
    const int64_t layers = run->teacher->layers;
    const int64_t kept = run->selection->arch.layers;
    const int64_t dropped = layers - kept;
    const int64_t first = run->options->keep_first_and_last ? 1 : 0;
    const int64_t starts = kept + 1 - 2 * first;
    const double *scores = layer_scores(run);
    double sums[COP_ARCH_LAYERS_MAX + 1] = {0};
    int64_t count = 0;
    int64_t start = -1;
    int64_t most = -1;

    for (int64_t s = 0; s < starts && scores != NULL; s++) {
        for (int64_t i = 0; i < dropped; i++) {
            sums[s] += scores[first + s + i];
        }
    }
    const cop_status status = rank(run, RANDOM_LAYERS, 0, 0, sums, starts, err);
    if (status != COP_OK) {
        return status;
    }
    for (int64_t i = starts - 1; i >= 0; i--) {
        const int64_t wanted = wanted_in_run(run, first + run->order[i], dropped);
        if (wanted > most) {
            most = wanted;
            start = first + run->order[i];
        }
    }
    if (start < 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "target: layers is %lld, and no run of %lld neighbours leaves out the "
                        "layers to keep (allowed: more layers, or scattered depth)",
                        (long long)kept, (long long)dropped);
    }
    for (int64_t layer = 0; layer < layers; layer++) {
        if (layer < start || layer >= start + dropped) {
            run->selection->layer[count++] = (int32_t)layer;
        }
    }
    return COP_OK;
}

static cop_status choose_layers(selecting *run, cop_error *err)
{
    const int64_t layers = run->teacher->layers;
    if (run->selection->arch.layers == layers) {
        for (int64_t layer = 0; layer < layers; layer++) {
            run->selection->layer[layer] = (int32_t)layer;
        }
        return COP_OK;
    }
    return run->options->depth_shape == COP_DEPTH_CONTIGUOUS ? choose_contiguous(run, err)
                                                             : choose_scattered(run, err);
}

// --- Widths -------------------------------------------------------------------------------------

static cop_status choose_units(selecting *run, random_axis axis, int64_t layer,
                               const double *scores, int64_t count, int32_t *out, int64_t kept,
                               cop_error *err)
{
    const cop_status status = rank(run, axis, layer, 0, scores, count, err);
    if (status == COP_OK) {
        cop_rank_sort_kept(run->order, kept);
        memcpy(out, run->order, (size_t)kept * sizeof *out);
    }
    return status;
}

static int32_t find(const int32_t *values, int64_t count, int32_t value)
{
    for (int64_t i = 0; i < count; i++) {
        if (values[i] == value) {
            return (int32_t)i;
        }
    }
    return -1;
}

// Heads of one KV group: `out` [kept] receives indices inside the teacher's group, ascending, and
// `partners` (NULL: no carry-over) the pruned head of each, or -1.
static cop_status choose_group(selecting *run, int64_t layer, int64_t group, const double *scores,
                               int64_t heads, int64_t kept, int32_t *out, int32_t *partners,
                               cop_error *err)
{
    const cop_status status = rank(run, RANDOM_HEADS, layer, group, scores, heads, err);
    if (status != COP_OK) {
        return status;
    }
    memcpy(out, run->order, (size_t)kept * sizeof *out);
    cop_rank_sort_kept(out, kept);
    if (partners != NULL) {
        for (int64_t i = 0; i < kept; i++) {
            partners[i] = -1;
        }
        // Ranks count from 1: head i in [2K - L + 1, K] is paired with head 2K - i + 1 > K.
        for (int64_t i = 2 * kept - heads + 1; i <= kept; i++) {
            const int32_t keeper = run->order[i - 1];
            partners[find(out, kept, keeper)] = run->order[2 * kept - i];
        }
    }
    return COP_OK;
}

static cop_status choose_attention(selecting *run, int64_t at, cop_error *err)
{
    cop_status status = COP_OK;
    cop_selection *selection = run->selection;
    const int aggregate = run->options->aggregate;
    const int64_t layer = selection->layer[at];
    const cop_layer_arch *from = &run->teacher->layer[layer];
    const cop_layer_arch *to = &selection->arch.layer[at];
    const int64_t heads = from->heads / from->kv_heads;
    const int64_t kept = to->heads / to->kv_heads;
    const cop_importance *importance = run->importance;
    const double *head_scores =
        importance == NULL ? NULL : cop_importance_heads(importance, aggregate, layer);
    const double *group_scores =
        importance == NULL ? NULL : cop_importance_kv_groups(importance, aggregate, layer);

    COP_TRY(status, choose_units(run, RANDOM_KV_HEADS, layer, group_scores, from->kv_heads,
                                 selection->kv_heads[at], to->kv_heads, err));
    for (int64_t g = 0; g < to->kv_heads; g++) {
        const int64_t group = selection->kv_heads[at][g];
        int32_t *out = selection->heads[at] + g * kept;
        int32_t *partners =
            selection->carry == COP_CARRY_OFF ? NULL : selection->partners[at] + g * kept;
        COP_TRY(status, choose_group(run, layer, group,
                                     head_scores == NULL ? NULL : head_scores + group * heads,
                                     heads, kept, out, partners, err));
        for (int64_t i = 0; i < kept; i++) {
            out[i] += (int32_t)(group * heads);
            if (partners != NULL && partners[i] >= 0) {
                partners[i] += (int32_t)(group * heads);
            }
        }
    }

done:
    return status;
}

static cop_status choose_widths(selecting *run, cop_error *err)
{
    cop_status status = COP_OK;
    cop_selection *selection = run->selection;
    const int aggregate = run->options->aggregate;
    const cop_importance *importance = run->importance;

    COP_TRY(status,
            choose_units(run, RANDOM_HIDDEN, 0,
                         importance == NULL ? NULL : cop_importance_channels(importance, aggregate),
                         run->teacher->hidden, selection->hidden, selection->arch.hidden, err));
    for (int64_t at = 0; at < selection->arch.layers; at++) {
        const int64_t layer = selection->layer[at];
        const double *neurons =
            importance == NULL ? NULL : cop_importance_neurons(importance, aggregate, layer);
        COP_TRY(status, choose_attention(run, at, err));
        COP_TRY(status,
                choose_units(run, RANDOM_FFN, layer, neurons, run->teacher->layer[layer].ffn,
                             selection->ffn[at], selection->arch.layer[at].ffn, err));
    }

done:
    return status;
}

// --- Life cycle ---------------------------------------------------------------------------------

static cop_status allocate(cop_selection *selection, cop_error *err)
{
    const cop_arch *arch = &selection->arch;
    size_t count = (size_t)arch->hidden;
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        count += (size_t)(2 * layer->heads + layer->kv_heads + layer->ffn);
    }
    selection->units = cop_alloc(count, sizeof *selection->units);
    if (selection->units == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "selection: no memory for %zu units", count);
    }
    int32_t *next = selection->units;
    selection->hidden = next;
    next += arch->hidden;
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        selection->heads[i] = next;
        next += layer->heads;
        selection->partners[i] = next;
        next += layer->heads;
        selection->kv_heads[i] = next;
        next += layer->kv_heads;
        selection->ffn[i] = next;
        next += layer->ffn;
    }
    return COP_OK;
}

static int64_t widest_axis(const cop_arch *arch)
{
    const cop_layer_arch widest = cop_importance_widest(arch);
    int64_t units = COP_ARCH_LAYERS_MAX + 1;
    units = arch->hidden > units ? arch->hidden : units;
    units = widest.heads > units ? widest.heads : units;
    return widest.ffn > units ? widest.ffn : units;
}

cop_status cop_selection_create(cop_selection **out, const cop_arch *teacher,
                                const cop_arch *target, const cop_importance *importance,
                                const cop_select_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    selecting run = {.teacher = teacher, .importance = importance, .options = options};

    *out = NULL;
    COP_TRY(status, cop_select_check(teacher, target, importance, options, err));
    if (options->order == COP_ORDER_RANDOM) {
        run.importance = NULL;
    }
    run.selection = cop_alloc(1, sizeof *run.selection);
    run.order = cop_alloc((size_t)widest_axis(teacher), sizeof *run.order);
    if (run.selection == NULL || run.order == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "selection: no memory");
        goto done;
    }
    run.selection->arch = *target;
    run.selection->carry = options->carry;
    COP_TRY(status, allocate(run.selection, err));
    COP_TRY(status, cop_ranker_init(&run.ranker, widest_axis(teacher), err));
    COP_TRY(status, choose_layers(&run, err));
    // Which layer of the teacher a target's layer comes from is known only now.
    COP_TRY(status, cop_select_check_layers(teacher, target, run.selection->layer, options, err));
    COP_TRY(status, choose_widths(&run, err));

    *out = run.selection;
    run.selection = NULL;

done:
    cop_ranker_release(&run.ranker);
    cop_free(run.order);
    cop_selection_destroy(run.selection);
    return status;
}

void cop_selection_destroy(cop_selection *selection)
{
    if (selection != NULL) {
        cop_free(selection->units);
        cop_free(selection);
    }
}

const cop_arch *cop_selection_arch(const cop_selection *selection)
{
    return &selection->arch;
}

int64_t cop_selection_layer(const cop_selection *selection, int64_t layer)
{
    return selection->layer[layer];
}

const int32_t *cop_selection_hidden(const cop_selection *selection)
{
    return selection->hidden;
}

const int32_t *cop_selection_heads(const cop_selection *selection, int64_t layer)
{
    return selection->heads[layer];
}

const int32_t *cop_selection_kv_heads(const cop_selection *selection, int64_t layer)
{
    return selection->kv_heads[layer];
}

const int32_t *cop_selection_ffn(const cop_selection *selection, int64_t layer)
{
    return selection->ffn[layer];
}

cop_carry cop_selection_carry(const cop_selection *selection)
{
    return selection->carry;
}

const int32_t *cop_selection_partners(const cop_selection *selection, int64_t layer)
{
    return selection->carry == COP_CARRY_OFF ? NULL : selection->partners[layer];
}
