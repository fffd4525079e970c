// What the tests of the pool of external evaluators share: pools of the mock program.

#ifndef COP_TESTS_SEARCH_EVALUATOR_FIXTURE_H
#define COP_TESTS_SEARCH_EVALUATOR_FIXTURE_H

#include <stddef.h>

#include "base/text.h"
#include "search/evaluator.h"

#define VALUES "{\"layers\":4,\"ffn\":0.5}" // of sum 4.5

extern cop_text notes; // what the pool at hand logged

// One process in this mode of the mock, which may end for ever. The command is written to `command`.
cop_evaluator_options options_for(char *command, size_t bytes, const char *mode);
// Each fails the test when it fails.
cop_evaluator *create(const cop_evaluator_options *options);
cop_evaluator *create_mode(const char *mode);
void submit(cop_evaluator *pool, int64_t ticket, const char *id);
cop_evaluator_answer take(cop_evaluator *pool);
// Takes the answer to this ticket, which must be the sum of VALUES.
void take_sum(cop_evaluator *pool, int64_t ticket);

// Before and after each test: no child, no open file, and no memory is left by it.
int look_around(void **state);
int leaves_nothing_behind(void **state);

#endif
