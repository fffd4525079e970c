// What the walk finds, as a list, and what is said when it finds nothing.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/space_internal.h"

typedef struct list {
    const char *path; // of the study file
    cop_candidate *found;
    int64_t count;
    int64_t capacity;
    cop_layer_arch *block; // of candidates whose blocks differ, one after the other
    int64_t blocks;
    int64_t block_capacity;
} list;

_Static_assert(sizeof(cop_candidate) % sizeof(int64_t) == 0, "blocks lie behind candidates");

static const char *metric_name(cop_space_metric metric)
{
    static const char *const names[] = {"params", "params_non_embedding", "memory_bytes",
                                        "flops_per_token"};
    return names[metric];
}

void cop_space_bounds(const cop_space *space, cop_space_report *report)
{
    *report = (cop_space_report){.size = space->size, .bounds = space->bounds};
    for (int i = 0; i < space->bounds; i++) {
        const cop_space_bound *bound = &space->bound[i];
        const char *name = space->use[bound->use].name;
        (void)snprintf(report->bound[i].text, sizeof report->bound[i].text, "%s%s%s %s %.15g", name,
                       name[0] == '\0' ? "" : ".", metric_name(bound->metric),
                       bound->is_min ? ">=" : "<=", bound->limit);
        report->bound[i].nearest = (double)NAN;
    }
}

// Doubles an array of `list` when it is full.
static cop_status make_room(void **array, int64_t used, int64_t *capacity, size_t bytes,
                            const list *l, cop_error *err)
{
    if (used <= *capacity) {
        return COP_OK;
    }
    const int64_t wanted = *capacity == 0 ? 64 : 2 * *capacity;
    const int64_t room = wanted < used ? used : wanted;
    void *larger = cop_realloc(*array, (size_t)room, bytes);
    if (larger == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "%s: out of memory for %" PRId64
                        " feasible candidates (allowed: a tighter budget, or a smaller grid)",
                        l->path, l->count + 1);
    }
    *array = larger;
    *capacity = room;
    return COP_OK;
}

static cop_status keep(void *context, const cop_candidate *candidate, cop_error *err)
{
    list *l = context;
    cop_status status = COP_OK;
    void *array = l->found;

    COP_TRY(status, make_room(&array, l->count + 1, &l->capacity, sizeof *l->found, l, err));
    l->found = array;
    l->found[l->count] = *candidate;
    if (candidate->layer != NULL) {
        array = l->block;
        COP_TRY(status, make_room(&array, l->blocks + candidate->layers, &l->block_capacity,
                                  sizeof *l->block, l, err));
        l->block = array;
        memcpy(&l->block[l->blocks], candidate->layer,
               (size_t)candidate->layers * sizeof *l->block);
        l->blocks += candidate->layers;
    }
    l->count++;

done:
    return status;
}

// Moves the blocks behind the candidates, so that one call frees both.
static cop_status join_blocks(list *l, cop_error *err)
{
    enum { UNIT = sizeof(int64_t) };

    const size_t candidates = (size_t)l->count * (sizeof *l->found / UNIT);
    const size_t blocks = (size_t)l->blocks * (sizeof *l->block / UNIT);
    cop_status status = COP_OK;

    if (l->blocks == 0) {
        return COP_OK;
    }
    void *whole = cop_realloc(l->found, candidates + blocks, UNIT);
    if (whole == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM,
                          "%s: out of memory for %" PRId64
                          " feasible candidates (allowed: a tighter budget, or a smaller grid)",
                          l->path, l->count);
        return status;
    }
    l->found = whole;
    cop_layer_arch *next = (cop_layer_arch *)(void *)((int64_t *)whole + candidates);
    memcpy(next, l->block, (size_t)l->blocks * sizeof *next);
    for (int64_t i = 0; i < l->count; i++) {
        if (l->found[i].layer != NULL) {
            l->found[i].layer = next;
            next += l->found[i].layers;
        }
    }
    return COP_OK;
}

cop_status cop_space_check_report(const cop_space *space, const cop_space_report *report,
                                  cop_error *err)
{
    cop_text text = {0};

    if (report->feasible > 0) {
        return COP_OK;
    }
    for (int i = 0; i < report->bounds; i++) {
        if (report->bound[i].excluded > 0) {
            cop_text_appendf(&text, "%s%s excludes %" PRId64 ", alone %" PRId64 " (nearest %.15g)",
                             text.length > 0 ? "; " : "", report->bound[i].text,
                             report->bound[i].excluded, report->bound[i].only,
                             report->bound[i].nearest);
        }
    }
    if (report->invalid > 0) {
        cop_text_appendf(&text, "%s%" PRId64 " are no architecture the teacher can be cut to",
                         text.length > 0 ? "; " : "", report->invalid);
    }
    const cop_status status =
        COP_FAIL(err, COP_ERR_CONFIG, "%s: budget: none of %" PRId64 " grid points is feasible: %s",
                 space->path, report->size, cop_text_view(&text));
    cop_text_release(&text);
    return status;
}

cop_status cop_space_feasible(cop_candidate **out, int64_t *count, cop_space_report *report,
                              const cop_space *space, cop_error *err)
{
    cop_status status = COP_OK;
    list l = {.path = space->path};

    *out = NULL;
    *count = 0;
    COP_TRY(status, cop_space_walk(space, report, keep, &l, err));
    COP_TRY(status, cop_space_check_report(space, report, err));
    COP_TRY(status, join_blocks(&l, err));
    *out = l.found;
    *count = l.count;
    l.found = NULL;

done:
    cop_free(l.block);
    cop_free(l.found);
    return status;
}
