// Made-up candidates and measurements for tests of the store, the ranking and the report.

#ifndef COP_TESTS_SEARCH_SYNTHETIC_H
#define COP_TESTS_SEARCH_SYNTHETIC_H

#include "search/store.h"

// A candidate with these sizes; costs by rough formulas, `index` its place in the grid.
cop_candidate synthetic_candidate(int64_t index, int64_t layers, int64_t hidden, int64_t ffn);

// A finished stage whose sequence s has KL values[s] (and cross-entropy one above it). Owned by the
// caller: cop_evaluation_release(&record.evaluation).
cop_stage_record synthetic_record(int stage, int64_t tokens, const double *values,
                                  int64_t sequences);

// `values` = mean + the sequence's own difficulty (the same for all candidates) + noise.
void synthetic_losses(double *values, int64_t sequences, double mean, double noise, uint64_t index);

// Opens <directory> as owner after removing what is there; a failure fails the test.
cop_store *synthetic_store(const char *directory);

// Adds a candidate and one finished stage.
void synthetic_add(cop_store *store, const cop_candidate *candidate, int stage, int64_t tokens,
                   const double *values, int64_t sequences);

// A whole study of 30 candidates: stage 0 and three rungs, promotions, curves, one failure, one running
// candidate when `is_running`, and facts.
void synthetic_study(const char *directory, bool is_running);

#endif
