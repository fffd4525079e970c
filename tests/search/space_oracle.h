// The plain walk over all points of a space: what the real one, which cuts subtrees, must agree with.

#ifndef COP_TESTS_SEARCH_SPACE_ORACLE_H
#define COP_TESTS_SEARCH_SPACE_ORACLE_H

#include "search/space.h"

// As cop_space_feasible(), but finding nothing is no failure.
COP_MUST_CHECK cop_status space_oracle(cop_candidate **out, int64_t *count,
                                       cop_space_report *report, const cop_space *space,
                                       cop_error *err);

#endif
