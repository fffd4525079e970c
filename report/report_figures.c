// Figures of a report beside ranks: the importance that candidates keep, the hypervolume of the front.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/arch_json.h"
#include "report/report.h"
#include "search/facts.h"

static cop_status nomem(const cop_report *report, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", report->directory);
}

// --- Importance -----------------------------------------------------------------------------------

// The scores that the study used; NULL: they are gone, or others lie in their place.
static cop_importance *open_importance(const cop_report *report, const char *path)
{
    const char *wanted = cop_snapshot_fact(report->snapshot, "importance_hash");
    cop_importance *importance = NULL;
    char text[COP_HASH_TEXT_BYTES];
    cop_hash key = {0};

    if (path == NULL || wanted == NULL || !cop_file_exists(path) ||
        cop_importance_read(&importance, path, NULL, &key, NULL) != COP_OK) {
        return NULL;
    }
    if (strcmp(cop_hash_text(text, key), wanted) != 0) {
        cop_importance_destroy(importance);
        return NULL;
    }
    return importance;
}

static cop_importance *find_importance(const cop_report *report)
{
    char *own = cop_file_join(report->directory, "importance.h5");
    cop_importance *importance =
        open_importance(report, cop_snapshot_fact(report->snapshot, COP_FACT_IMPORTANCE));
    if (importance == NULL) {
        importance = open_importance(report, own);
    }
    cop_free(own);
    return importance;
}

static cop_status fill_mass(cop_report *report, const cop_importance *importance,
                            const cop_arch *teacher, int aggregate, cop_error *err)
{
    const int64_t count = report->snapshot->count;
    cop_status status = COP_OK;
    cop_importance_mass *mass = NULL;

    COP_TRY(status, cop_importance_mass_create(&mass, importance, teacher, aggregate, err));
    report->mass = cop_alloc((size_t)count + 1, sizeof *report->mass);
    if (report->mass == NULL) {
        status = nomem(report, err);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        cop_importance_mass_of(mass, &report->snapshot->candidate[i].candidate, report->mass[i]);
    }

done:
    cop_importance_mass_destroy(mass);
    return status;
}

cop_status cop_report_find_mass(cop_report *report, cop_error *err)
{
    const char *path = cop_snapshot_fact(report->snapshot, COP_FACT_TEACHER);
    const char *name = cop_snapshot_fact(report->snapshot, COP_FACT_SETTING "prune.aggregation");
    const int aggregate = name == NULL ? -1 : cop_aggregate_find(name);
    cop_importance *importance = find_importance(report);
    cop_arch *teacher = cop_alloc(1, sizeof *teacher);
    cop_status status = COP_OK;

    if (teacher == NULL) {
        status = nomem(report, err);
    } else if (importance != NULL && path != NULL && aggregate >= 0 &&
               cop_arch_read(teacher, path, NULL) == COP_OK &&
               cop_importance_fits(importance, teacher)) {
        status = fill_mass(report, importance, teacher, aggregate, err);
    }
    cop_free(teacher);
    cop_importance_destroy(importance);
    return status;
}

// --- Hypervolume ----------------------------------------------------------------------------------

typedef struct place {
    int64_t batch;
    int64_t slot;
    int64_t index;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a;
    const place *y = b;
    const int64_t p[] = {x->batch, x->slot, x->index};
    const int64_t q[] = {y->batch, y->slot, y->index};
    for (int i = 0; i < 3; i++) {
        if (p[i] != q[i]) {
            return p[i] < q[i] ? -1 : 1;
        }
    }
    return 0;
}

// number[i]: the how manieth candidate i was proposed; a grid is proposed in its own order.
static cop_status number_candidates(int64_t *number, const cop_report *report, cop_error *err)
{
    const cop_snapshot *snapshot = report->snapshot;
    place *places = cop_alloc((size_t)snapshot->count + 1, sizeof *places);

    if (places == NULL) {
        return nomem(report, err);
    }
    for (int64_t i = 0; i < snapshot->count; i++) {
        places[i] = (place){snapshot->candidate[i].batch, snapshot->candidate[i].slot, i};
    }
    qsort(places, (size_t)snapshot->count, sizeof *places, compare_places);
    for (int64_t i = 0; i < snapshot->count; i++) {
        number[places[i].index] = i;
    }
    cop_free(places);
    return COP_OK;
}

static cop_status make_volume(cop_report_volume *out, const cop_report *report,
                              const int64_t *number, int stage, bool with_history, cop_error *err)
{
    const cop_ranking *ranking = &report->stage[stage].ranking;
    cop_report_point *point = cop_alloc((size_t)ranking->count + 1, sizeof *point);

    if (point == NULL) {
        return nomem(report, err);
    }
    for (int64_t i = 0; i < ranking->count; i++) {
        const cop_ranked *entry = &ranking->entry[i];
        const cop_candidate *c = &report->snapshot->candidate[entry->index].candidate;
        point[i].number = number[entry->index];
        for (int k = 0; k < report->objectives; k++) {
            point[i].objective[k] = cop_objective_value(c, report->objective[k], entry->loss.value);
        }
    }
    const cop_status status = cop_report_volume_make(out, point, ranking->count, report->objectives,
                                                     report->snapshot->count, with_history, err);
    out->stage = stage;
    cop_free(point);
    return status;
}

cop_status cop_report_find_volume(cop_report *report, cop_error *err)
{
    const char *fidelity =
        report->batches == 0
            ? NULL
            : cop_snapshot_fact(report->snapshot, COP_FACT_SETTING "search.fidelity");
    int64_t told = 0;
    cop_status status = COP_OK;
    int64_t *number = cop_alloc((size_t)report->snapshot->count + 1, sizeof *number);

    report->volume.value = (double)NAN;
    report->history.value = (double)NAN;
    if (number == NULL) {
        return nomem(report, err);
    }
    if (fidelity != NULL &&
        (!cop_text_to_i64(fidelity, &told) || told < 0 || told >= COP_REPORT_STAGES_MAX)) {
        told = 0;
    }
    COP_TRY(status, number_candidates(number, report, err));
    COP_TRY(status, make_volume(&report->history, report, number, (int)told, true, err));
    if (report->deepest >= 0) {
        COP_TRY(status, make_volume(&report->volume, report, number, report->deepest, false, err));
    }

done:
    cop_free(number);
    return status;
}
