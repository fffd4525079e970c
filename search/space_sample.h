// Candidates that a study is planned with before it runs: all that are feasible, or some of them.

#ifndef COP_SEARCH_SPACE_SAMPLE_H
#define COP_SEARCH_SPACE_SAMPLE_H

#include "search/space.h"

// With a strategy, spaces of more feasible candidates are not listed but drawn from.
enum { COP_SPACE_LISTED_MAX = 200000, COP_SPACE_SAMPLE = 512 };

// All feasible candidates in grid order, or with a strategy and more than COP_SPACE_LISTED_MAX of them, or in a
// grid that cannot be listed, up to COP_SPACE_SAMPLE drawn by lot, the same at every call. Owned by the caller
// (cop_free), their blocks included. `report` is that of cop_space_walk(): it tells how many are
// feasible, INT64_MAX where they were not counted.
// COP_ERR_CONFIG: none is feasible, none was drawn, or the grid strategy cannot list this space. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_space_sample(cop_candidate **out, int64_t *count,
                                           cop_space_report *report, const cop_study_file *study,
                                           const cop_space *space, cop_error *err);

#endif
