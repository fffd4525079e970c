// Search problems with a known answer, for tests and benchmarks of strategies: the analytic problems of
// the literature on a grid, and a published surrogate of a transformer search space.
//
// Sources: Zitzler, Deb, Thiele, "Comparison of multiobjective evolutionary algorithms", 2000 (ZDT); Osyczka,
// Kundu, "A new method to solve generalized multicriteria optimization problems", 1995 (OSY); Tanaka et al.,
// "GA-based decision support system for multicriteria optimization", 1995 (TNK); Binh, Korn, "MOBES", 1997
// (BNH); HW-GPT-Bench (Sukthanker et al., 2024), scale s: its perplexity predictor over all 1.9e12 architectures.

#ifndef COP_TESTS_SEARCH_PROBLEMS_H
#define COP_TESTS_SEARCH_PROBLEMS_H

#include "search/domain.h"

enum { PROBLEM_VARIABLES_MAX = 30, PROBLEM_FRONT_MAX = 1100, HWGPT_AXES = 27 };

typedef enum problem_kind {
    PROBLEM_ZDT1,
    PROBLEM_ZDT2,
    PROBLEM_ZDT3,
    PROBLEM_OSY,
    PROBLEM_TNK,
    PROBLEM_BNH,
    PROBLEM_HWGPT,
    PROBLEM_KINDS
} problem_kind;

typedef struct hwgpt_net hwgpt_net;

typedef struct problem {
    problem_kind kind;
    cop_domain domain; // its context is this object
    int32_t levels[PROBLEM_VARIABLES_MAX];
    bool is_ordered[PROBLEM_VARIABLES_MAX];
    hwgpt_net *net; // owned; HWGPT only
    // Points of the reference front, two objectives each, and the ranges that normalise the objectives: those
    // of the front, or of the published table.
    double front[PROBLEM_FRONT_MAX][2];
    int64_t front_count;
    double low[2];
    double high[2];
} problem;

const char *problem_name(problem_kind kind); // "zdt1", …, "hwgpt"

// The problem on a grid: 30 axes of 1001 levels for ZDT, 10001 levels for each variable of the constrained
// ones. False when the published data it needs are absent; its front is empty then.
bool problem_init(problem *self, problem_kind kind);
void problem_release(problem *self);

// Objectives and the sum of positive normalised constraints of one point.
void problem_evaluate(const problem *self, const int32_t *genome, double objective[2],
                      double *violation);

// An analytic problem at real variables.
void problem_evaluate_real(problem_kind kind, const double *x, int variables, double objective[2],
                           double *violation);

// A file of COP_REFERENCE_DATA/<name> with `columns` numbers a line; lines that start with # are skipped. The number
// of lines read, at most `limit`; 0 when there is none.
int64_t problem_read_table(const char *name, int columns, double *values, int64_t limit);

#endif
