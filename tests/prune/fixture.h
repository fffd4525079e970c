// Teachers, texts and scores for the tests of prune/. Every helper fails the test when something goes
// wrong.

#ifndef COP_TESTS_PRUNE_FIXTURE_H
#define COP_TESTS_PRUNE_FIXTURE_H

#include "prune/importance_internal.h"
#include "prune/slice.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

// Fails the running test with the message of `err` unless the status is COP_OK.
void must(cop_status status, const cop_error *err);

// |value - expected| <= tolerance * max(1, |expected|); both are shown on failure.
void assert_close(double value, double expected, double tolerance);

// 4 layers, 16 channels, 6 heads of 6 in 2 KV groups, 20 neurons, 29 ids.
cop_arch teacher_arch(cop_family family);
// All biases, tied head.
cop_arch biased_arch(void);

// A model directory of random weights; an older one is replaced. Its checkpoint, opened.
cop_checkpoint *teacher_open(const char *directory, const cop_arch *arch, cop_dtype dtype,
                             uint64_t seed);

// A token file of random ids; an older one is replaced.
cop_tokens *text_open(const char *path, int64_t count, int64_t vocab, uint64_t seed);
cop_tokens *text_open_ids(const char *path, const int32_t *ids, int64_t count, int64_t vocab);

// Random scores of a teacher, without a pass.
cop_importance *random_scores(const cop_arch *arch, uint64_t seed);

#endif
