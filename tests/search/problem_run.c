#include "tests/search/problem_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "search/hypervolume.h"
#include "search/indicator.h"

static double cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

cop_status problem_run(const problem *self, const cop_strategy_type *type,
                       const cop_strategy_options *options, int64_t room, problem_point *points,
                       int64_t *count, double *seconds, cop_error *err)
{
    cop_status status = COP_OK;
    cop_strategy *strategy = NULL;
    int32_t *genomes = cop_alloc((size_t)(room * self->domain.axes), sizeof *genomes);
    cop_trial *trials = cop_alloc((size_t)room, sizeof *trials);

    *count = 0;
    *seconds = 0;
    if (genomes == NULL || trials == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "problem: out of memory"));
    }
    COP_TRY(status, cop_strategy_create(&strategy, type, &self->domain, options, err));
    while (*count < room) {
        int64_t asked = 0;
        double start = cpu_seconds();
        COP_TRY(status, cop_strategy_ask(strategy, genomes, room - *count, &asked, err));
        *seconds += cpu_seconds() - start;
        if (asked == 0) {
            break;
        }
        for (int64_t i = 0; i < asked; i++) {
            problem_point *p = &points[*count + i];
            const int32_t *genome = &genomes[i * self->domain.axes];
            problem_evaluate(self, genome, p->objective, &p->violation);
            trials[i] = (cop_trial){.genome = genome,
                                    .objective = {p->objective[0], p->objective[1]},
                                    .violation = p->violation};
        }
        start = cpu_seconds();
        COP_TRY(status, cop_strategy_tell(strategy, trials, asked, err));
        *seconds += cpu_seconds() - start;
        *count += asked;
    }

done:
    cop_strategy_destroy(strategy);
    cop_free(genomes);
    cop_free(trials);
    return status;
}

static int compare_points(const void *a, const void *b)
{
    const problem_point *x = a;
    const problem_point *y = b;
    for (int k = 0; k < 2; k++) {
        if (x->objective[k] != y->objective[k]) {
            return x->objective[k] < y->objective[k] ? -1 : 1;
        }
    }
    return 0;
}

int64_t problem_front(problem_point *points, int64_t count)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!(points[i].violation > 0)) {
            points[kept++] = points[i];
        }
    }
    count = kept;
    kept = 0;
    qsort(points, (size_t)count, sizeof *points, compare_points);
    for (int64_t i = 0; i < count; i++) {
        if (kept == 0 || points[i].objective[1] < points[kept - 1].objective[1]) {
            points[kept++] = points[i];
        }
    }
    return kept;
}

int64_t problem_thin(problem_point *front, int64_t count, int64_t limit)
{
    while (count > limit && count > 2) {
        int64_t worst = 1;
        double least = (double)INFINITY;
        for (int64_t i = 1; i + 1 < count; i++) {
            double gap = 0;
            for (int k = 0; k < 2; k++) {
                const double range = fabs(front[count - 1].objective[k] - front[0].objective[k]);
                gap += fabs(front[i + 1].objective[k] - front[i - 1].objective[k]) / range;
            }
            if (gap < least) {
                least = gap;
                worst = i;
            }
        }
        memmove(&front[worst], &front[worst + 1], (size_t)(count - worst - 1) * sizeof *front);
        count--;
    }
    return count;
}

// Both measures want plain arrays. Freed by the caller; none for no points.
static double *values_of(const problem_point *front, int64_t count)
{
    double *values = cop_alloc(2 * (size_t)count + 1, sizeof *values);
    for (int64_t i = 0; values != NULL && i < count; i++) {
        values[2 * i] = front[i].objective[0];
        values[2 * i + 1] = front[i].objective[1];
    }
    return values;
}

double problem_hypervolume(const problem *self, const problem_point *front, int64_t count)
{
    double volume = (double)NAN;
    double *values = values_of(front, count);
    if (values == NULL || cop_hypervolume_normalized(&volume, values, count, 2, self->low,
                                                     self->high, 1.1, NULL) != COP_OK) {
        volume = (double)NAN;
    }
    cop_free(values);
    return volume;
}

double problem_reference_hypervolume(const problem *self)
{
    problem_point front[PROBLEM_FRONT_MAX];
    for (int64_t i = 0; i < self->front_count; i++) {
        front[i] = (problem_point){{self->front[i][0], self->front[i][1]}, 0};
    }
    return problem_hypervolume(self, front, self->front_count);
}

double problem_igd(const problem *self, const problem_point *front, int64_t count,
                   bool is_normalized)
{
    double scaled[PROBLEM_FRONT_MAX][2];
    double igd = (double)NAN;
    double *values = values_of(front, count);
    for (int k = 0; k < 2; k++) {
        const double range = is_normalized ? self->high[k] - self->low[k] : 1;
        for (int64_t i = 0; i < self->front_count; i++) {
            scaled[i][k] = self->front[i][k] / range;
        }
        for (int64_t i = 0; values != NULL && i < count; i++) {
            values[2 * i + k] /= range;
        }
    }
    if (values == NULL ||
        cop_indicator_igd(&igd, values, count, scaled[0], self->front_count, 2, NULL) != COP_OK) {
        igd = (double)NAN;
    }
    cop_free(values);
    return igd;
}
