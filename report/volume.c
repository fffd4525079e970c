#include "report/volume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "report/json_build.h"
#include "search/hypervolume.h"

enum { OBJECTIVES_MAX = 4, FRONT_MAX = 4096 };

// What is not dominated so far.
typedef struct front_growth {
    double *front; // [kept, objectives], owned
    int64_t kept;
    int objectives;
} front_growth;

static int compare_points(const void *a, const void *b)
{
    const cop_report_point *x = a;
    const cop_report_point *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static bool is_no_better(const double *a, const double *b, int objectives)
{
    for (int k = 0; k < objectives; k++) {
        if (!(a[k] >= b[k])) {
            return false;
        }
    }
    return true;
}

static void add(front_growth *g, const double *point)
{
    const int d = g->objectives;
    int64_t kept = 0;
    for (int64_t i = 0; i < g->kept; i++) {
        if (is_no_better(point, g->front + i * d, d)) {
            return;
        }
    }
    for (int64_t i = 0; i < g->kept; i++) {
        if (!is_no_better(g->front + i * d, point, d)) {
            memmove(g->front + kept++ * d, g->front + i * d, (size_t)d * sizeof *g->front);
        }
    }
    memcpy(g->front + kept++ * d, point, (size_t)d * sizeof *g->front);
    g->kept = kept;
}

// Moves the points that count to the front and finds their range.
static int64_t find_range(cop_report_volume *out, cop_report_point *point, int64_t count,
                          int objectives)
{
    int64_t kept = 0;
    for (int k = 0; k < objectives; k++) {
        out->minimum[k] = (double)INFINITY;
        out->maximum[k] = -(double)INFINITY;
    }
    for (int64_t i = 0; i < count; i++) {
        bool is_usable = true;
        for (int k = 0; k < objectives; k++) {
            is_usable = is_usable && isfinite(point[i].objective[k]);
        }
        if (!is_usable) {
            continue;
        }
        point[kept++] = point[i];
        for (int k = 0; k < objectives; k++) {
            out->minimum[k] = fmin(out->minimum[k], point[i].objective[k]);
            out->maximum[k] = fmax(out->maximum[k], point[i].objective[k]);
        }
    }
    return kept;
}

// A volume that cannot be computed for its size is none.
static cop_status measure(double *value, const front_growth *g, const cop_report_volume *out,
                          cop_error *err)
{
    if (g->objectives > 3 && g->kept > FRONT_MAX) {
        *value = (double)NAN;
        return COP_OK;
    }
    return cop_hypervolume_normalized(value, g->front, g->kept, g->objectives, out->minimum,
                                      out->maximum, COP_REPORT_VOLUME_REFERENCE, err);
}

// Points of the history: after how many of `count` results the volume is looked at, the last after all.
static int64_t look_at(int64_t count, int points, int at)
{
    return (int64_t)((double)count * (double)(at + 1) / (double)points);
}

cop_status cop_report_volume_make(cop_report_volume *out, cop_report_point *point, int64_t count,
                                  int objectives, int64_t evaluations, bool with_history,
                                  cop_error *err)
{
    const int wanted = !with_history ? 1 : objectives > 3 ? 20 : COP_REPORT_HISTORY_MAX;
    front_growth g = {.objectives = objectives};
    cop_status status = COP_OK;
    int64_t done = 0;

    *out = (cop_report_volume){.value = (double)NAN};
    if (objectives > OBJECTIVES_MAX || count == 0) {
        return COP_OK;
    }
    g.front = cop_alloc((size_t)(count + 1) * (size_t)objectives, sizeof *g.front);
    if (g.front == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hypervolume: out of memory");
    }
    count = find_range(out, point, count, objectives);
    qsort(point, (size_t)count, sizeof *point, compare_points);
    const int points = count < wanted ? (int)count : wanted;
    for (int i = 0; i < points; i++) {
        for (const int64_t end = look_at(count, points, i); done < end; done++) {
            add(&g, point[done].objective);
        }
        COP_TRY(status, measure(&out->value, &g, out, err));
        if (with_history) {
            // Evaluations are all that were asked for up to there, infeasible and failed ones, too.
            out->evaluations[out->points] =
                i + 1 == points ? evaluations : point[done - 1].number + 1;
            out->history[out->points++] = out->value;
        }
    }

done:
    cop_free(g.front);
    return status;
}

static json_t *reals(const double *value, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        cop_build_add(list, cop_build_real(value[i]));
    }
    return list;
}

json_t *cop_report_json_volume(const cop_report_volume *volume, const cop_report_volume *growth,
                               int objectives)
{
    if (isnan(volume->value)) {
        return json_null();
    }
    json_t *object = json_object();
    json_t *history = json_array();
    for (int i = 0; i < growth->points; i++) {
        json_t *point = json_array();
        cop_build_add(point, json_integer(growth->evaluations[i]));
        cop_build_add(point, cop_build_real(growth->history[i]));
        cop_build_add(history, point);
    }
    cop_build_put(object, "stage", json_integer(volume->stage));
    cop_build_put(object, "value", cop_build_real(volume->value));
    cop_build_put(object, "reference", json_real(COP_REPORT_VOLUME_REFERENCE));
    cop_build_put(object, "minimum", reals(volume->minimum, objectives));
    cop_build_put(object, "maximum", reals(volume->maximum, objectives));
    cop_build_put(object, "definition",
                  json_string("each objective scaled to (value - minimum) / (maximum - minimum) of "
                              "the feasible results of the stage, in the order of objectives; "
                              "volume between the front and the reference point 1.1, 1.1, ..."));
    cop_build_put(object, "history_stage", json_integer(growth->stage));
    cop_build_put(object, "history", history);
    return object;
}
