// HW-GPT-Bench, scale s, as a search problem: perplexity by the published predictor, parameters by formula.
//
// Axes: embed {192, 384, 768}, layers {10, 11, 12}, bias {0, 1}, then for each of 12 layers mlp ratio {2, 3, 4}
// and heads {4, 8, 12}; axes of absent layers are 0 in a canonical genome.

#ifndef COP_TESTS_SEARCH_HWGPT_H
#define COP_TESTS_SEARCH_HWGPT_H

#include "tests/search/problems.h"

// False when the data are absent.
bool hwgpt_init(problem *self);
// Objectives: perplexity, parameters.
void hwgpt_evaluate(const hwgpt_net *net, const int32_t *genome, double objective[2]);

#endif
