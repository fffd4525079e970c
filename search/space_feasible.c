// What the walk finds, as a list, and what is said when it finds nothing.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "search/space_internal.h"

typedef struct list {
    const char *path; // of the study file
    cop_candidate *found;
    int64_t count;
    int64_t capacity;
} list;

static const char *metric_name(cop_space_metric metric)
{
    static const char *const names[] = {"params", "params_non_embedding", "memory_bytes",
                                        "flops_per_token"};
    return names[metric];
}

void cop_space_report_start(cop_space_report *report, const cop_space *space)
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

static cop_status keep(void *context, const cop_candidate *candidate, cop_error *err)
{
    list *l = context;

    if (l->count == l->capacity) {
        const int64_t capacity = l->capacity == 0 ? 64 : 2 * l->capacity;
        cop_candidate *found = cop_realloc(l->found, (size_t)capacity, sizeof *found);
        if (found == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM,
                            "%s: out of memory for %" PRId64
                            " feasible candidates (allowed: a tighter budget, or a smaller grid)",
                            l->path, capacity);
        }
        l->found = found;
        l->capacity = capacity;
    }
    l->found[l->count++] = *candidate;
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
    *out = l.found;
    *count = l.count;
    l.found = NULL;

done:
    cop_free(l.found);
    return status;
}
