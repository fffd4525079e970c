// The space of a study: enumeration of the grid, and budgets applied by exact formulas before
// anything runs. Subtrees that a bound excludes as a whole are counted, not visited; memory depends on the
// axes, not on the size of the grid.

#ifndef COP_SEARCH_SPACE_H
#define COP_SEARCH_SPACE_H

#include "search/study_file.h"

typedef struct cop_space cop_space;

// Values are checked against the teacher: sizes not above the teacher's, heads a multiple of kv_heads, …
// Values that the teacher cannot reach are errors with their place in the file.
COP_MUST_CHECK cop_status cop_space_create(cop_space **out, const cop_study_file *study,
                                           const cop_arch *teacher, cop_error *err);
void cop_space_destroy(cop_space *space);

// Grid points, before duplicates and budgets; INT64_MAX when there are more than 2^53.
int64_t cop_space_size(const cop_space *space);
// Can its points be listed and counted? Up to 2^53 of them can, and where layers choose by themselves up to
// 2^24: there a bound decides few subtrees.
bool cop_space_is_listed(const cop_space *space);
double cop_space_log10_size(const cop_space *space);
// All digits of the size. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_space_append_size(const cop_space *space, cop_text *out,
                                                cop_error *err);
// Grid point `index`, 0 … size - 1, in the documented order: layers slowest, then heads, kv_heads, ffn,
// hidden fastest; where layers choose by themselves, the blocks follow, that of the last layer fastest. false
// when the combination is no architecture (heads not a multiple of kv_heads), or the grid has more than 2^53 points.
// `blocks` [COP_ARCH_LAYERS_MAX] is borrowed by the candidate; NULL is enough for spaces without such axes.
bool cop_space_at(const cop_space *space, int64_t index, cop_layer_arch *blocks,
                  cop_candidate *out);

// Eight of the budget itself, four of each workload.
enum { COP_BOUNDS = 8 + 4 * COP_STUDY_WORKLOADS_MAX };

// What the budget did: per bound, how many grid points it alone excludes and how many it excludes at all.
typedef struct cop_space_report {
    int64_t size;
    int64_t invalid;    // no architecture
    int64_t duplicates; // feasible, but equal to an earlier point (rounded ffn_ratio)
    int64_t feasible;
    int bounds;

    struct {
        char text[96];    // "params >= 7.8e9", "chat.memory_bytes <= 2.4e10"
        int64_t excluded; // points violating it
        int64_t only;     // points violating nothing else
        double nearest;   // the value nearest to the bound among the excluded
    } bound[COP_BOUNDS];
} cop_space_report;

// The report of a walk that has not begun: size and texts of the bounds.
void cop_space_bounds(const cop_space *space, cop_space_report *report);

// Called for each feasible candidate, whose blocks live as long as the call; a failure ends the walk.
typedef cop_status (*cop_space_visit)(void *context, const cop_candidate *candidate,
                                      cop_error *err);

// Visits all feasible candidates in grid order, and fills the report; `visit` NULL: the report alone, which is
// faster. latency_ms is not applied here. Finding nothing is no failure of this function.
// A grid that cannot be listed: with `visit` COP_ERR_CONFIG, naming the strategies that need no list; without it
// COP_OK, and `feasible` is INT64_MAX, for not counted.
COP_MUST_CHECK cop_status cop_space_walk(const cop_space *space, cop_space_report *report,
                                         cop_space_visit visit, void *context, cop_error *err);

// COP_ERR_CONFIG saying how many points each bound excludes when nothing is feasible.
COP_MUST_CHECK cop_status cop_space_check_report(const cop_space *space,
                                                 const cop_space_report *report, cop_error *err);

// All feasible candidates, in grid order; owned by the caller (cop_free), their blocks included. latency_ms is not applied here.
// An empty result is COP_ERR_CONFIG saying how many points each bound excludes.
COP_MUST_CHECK cop_status cop_space_feasible(cop_candidate **out, int64_t *count,
                                             cop_space_report *report, const cop_space *space,
                                             cop_error *err);

#endif
