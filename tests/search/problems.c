#include "tests/search/problems.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/search/hwgpt.h"

typedef struct analytic {
    const char *name;
    const char *front;
    int variables;
    int32_t levels;
    double low[6];
    double high[6];
} analytic;

static const double pi = 3.14159265358979323846;

static const analytic analytics[PROBLEM_KINDS] = {
    [PROBLEM_ZDT1] = {"zdt1", "moea_pf/pf/ZDT1.pf", 30, 1001, {0}, {0}},
    [PROBLEM_ZDT2] = {"zdt2", "moea_pf/pf/ZDT2.pf", 30, 1001, {0}, {0}},
    [PROBLEM_ZDT3] = {"zdt3", "moea_pf/pf/ZDT3.pf", 30, 1001, {0}, {0}},
    [PROBLEM_OSY] =
        {"osy", "moea_pf/pf/Osyczka2.pf", 6, 10001, {0, 0, 1, 0, 1, 0}, {10, 10, 5, 6, 5, 10}},
    // Zero is excluded: the first level is one step above it.
    [PROBLEM_TNK] = {"tnk",
                     "moea_pf/pf/Tanaka.pf",
                     2,
                     10001,
                     {3.14159265358979323846 / 10001, 3.14159265358979323846 / 10001},
                     {3.14159265358979323846, 3.14159265358979323846}},
    [PROBLEM_BNH] = {"bnh", "moea_pf/pf/Binh2.pf", 2, 10001, {0, 0}, {5, 3}},
    [PROBLEM_HWGPT] = {"hwgpt", NULL, HWGPT_AXES, 0, {0}, {0}},
};

const char *problem_name(problem_kind kind)
{
    return analytics[kind].name;
}

int64_t problem_read_table(const char *name, int columns, double *values, int64_t limit)
{
    char path[512];
    char line[1024];
    int64_t count = 0;

    (void)snprintf(path, sizeof path, "%s/%s", COP_REFERENCE_DATA, name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    while (count < limit && fgets(line, sizeof line, file) != NULL) {
        int found = 0;
        char *at = line;
        for (char *end = line; line[0] != '#' && found < columns; found++, at = end) {
            values[count * columns + found] = strtod(at, &end);
            if (end == at) {
                break;
            }
        }
        count += found == columns ? 1 : 0;
    }
    (void)fclose(file);
    return count;
}

static double positive(double value)
{
    return value > 0 ? value : 0;
}

static void evaluate_zdt(problem_kind kind, const double *x, int variables, double objective[2])
{
    double sum = 0;
    for (int i = 1; i < variables; i++) {
        sum += x[i];
    }
    const double g = 1 + 9 * sum / (variables - 1);
    const double ratio = x[0] / g;
    objective[0] = x[0];
    if (kind == PROBLEM_ZDT1) {
        objective[1] = g * (1 - sqrt(ratio));
    } else if (kind == PROBLEM_ZDT2) {
        objective[1] = g * (1 - ratio * ratio);
    } else {
        objective[1] = g * (1 - sqrt(ratio) - ratio * sin(10 * pi * x[0]));
    }
}

static void evaluate_osy(const double *x, double objective[2], double *violation)
{
    objective[0] = -(25 * (x[0] - 2) * (x[0] - 2) + (x[1] - 2) * (x[1] - 2) +
                     (x[2] - 1) * (x[2] - 1) + (x[3] - 4) * (x[3] - 4) + (x[4] - 1) * (x[4] - 1));
    objective[1] = 0;
    for (int i = 0; i < 6; i++) {
        objective[1] += x[i] * x[i];
    }
    *violation = positive(-(x[0] + x[1] - 2) / 2) + positive(-(6 - x[0] - x[1]) / 6) +
                 positive(-(2 - x[1] + x[0]) / 2) + positive(-(2 - x[0] + 3 * x[1]) / 2) +
                 positive(-(4 - (x[2] - 3) * (x[2] - 3) - x[3]) / 4) +
                 positive(-((x[4] - 3) * (x[4] - 3) + x[5] - 4) / 4);
}

static void evaluate_tnk(const double *x, double objective[2], double *violation)
{
    objective[0] = x[0];
    objective[1] = x[1];
    *violation = positive(-(x[0] * x[0] + x[1] * x[1] - 1 - 0.1 * cos(16 * atan(x[0] / x[1])))) +
                 positive(2 * ((x[0] - 0.5) * (x[0] - 0.5) + (x[1] - 0.5) * (x[1] - 0.5)) - 1);
}

static void evaluate_bnh(const double *x, double objective[2], double *violation)
{
    objective[0] = 4 * x[0] * x[0] + 4 * x[1] * x[1];
    objective[1] = (x[0] - 5) * (x[0] - 5) + (x[1] - 5) * (x[1] - 5);
    *violation = positive(((x[0] - 5) * (x[0] - 5) + x[1] * x[1] - 25) / 25) +
                 positive(-((x[0] - 8) * (x[0] - 8) + (x[1] + 3) * (x[1] + 3) - 7.7) / 7.7);
}

void problem_evaluate_real(problem_kind kind, const double *x, int variables, double objective[2],
                           double *violation)
{
    *violation = 0;
    switch (kind) {
    case PROBLEM_OSY: evaluate_osy(x, objective, violation); break;
    case PROBLEM_TNK: evaluate_tnk(x, objective, violation); break;
    case PROBLEM_BNH: evaluate_bnh(x, objective, violation); break;
    case PROBLEM_ZDT1:
    case PROBLEM_ZDT2:
    case PROBLEM_ZDT3: evaluate_zdt(kind, x, variables, objective); break;
    case PROBLEM_HWGPT:
    case PROBLEM_KINDS: break;
    }
}

// The number that a level of an analytic problem stands for.
static double variable_at(const problem *self, int axis, int32_t level)
{
    const analytic *a = &analytics[self->kind];
    const double low = a->variables > 6 ? 0 : a->low[axis];
    const double high = a->variables > 6 ? 1 : a->high[axis];
    return low + (high - low) * level / (a->levels - 1);
}

static double value(const void *context, int axis, int32_t level)
{
    return variable_at(context, axis, level);
}

void problem_evaluate(const problem *self, const int32_t *genome, double objective[2],
                      double *violation)
{
    double x[PROBLEM_VARIABLES_MAX];
    *violation = 0;
    if (self->kind == PROBLEM_HWGPT) {
        hwgpt_evaluate(self->net, genome, objective);
        return;
    }
    for (int i = 0; i < self->domain.axes; i++) {
        x[i] = variable_at(self, i, genome[i]);
    }
    problem_evaluate_real(self->kind, x, self->domain.axes, objective, violation);
}

static bool init_analytic(problem *self)
{
    const analytic *a = &analytics[self->kind];
    self->domain.value = value;
    for (int i = 0; i < a->variables; i++) {
        self->levels[i] = a->levels;
        self->is_ordered[i] = true;
    }
    self->front_count = problem_read_table(a->front, 2, &self->front[0][0], PROBLEM_FRONT_MAX);
    for (int k = 0; k < 2; k++) {
        self->low[k] = (double)INFINITY;
        self->high[k] = -(double)INFINITY;
        for (int64_t i = 0; i < self->front_count; i++) {
            self->low[k] = fmin(self->low[k], self->front[i][k]);
            self->high[k] = fmax(self->high[k], self->front[i][k]);
        }
    }
    return self->front_count > 0;
}

bool problem_init(problem *self, problem_kind kind)
{
    *self = (problem){.kind = kind};
    self->domain = (cop_domain){.axes = analytics[kind].variables,
                                .levels = self->levels,
                                .is_ordered = self->is_ordered,
                                .context = self};
    return kind == PROBLEM_HWGPT ? hwgpt_init(self) : init_analytic(self);
}

void problem_release(problem *self)
{
    free(self->net);
    *self = (problem){0};
}
