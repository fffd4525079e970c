// The space of a study with an evaluator of its own: any axes, any metrics. Its axes form a domain
// (search/domain.h); a point is written as the JSON object that the evaluator is asked with.
//
// An axis named <name>@<j> belongs to layer j, counted from 1: where the space has an axis `layers`, it
// matters only while `layers` is at least j. Points that differ in such axes alone are the same point, and
// are evaluated once; the axis then has its first value.

#ifndef COP_SEARCH_FREE_SPACE_H
#define COP_SEARCH_FREE_SPACE_H

#include "base/config.h"
#include "base/text.h"
#include "search/domain.h"

enum {
    COP_FREE_NAME_BYTES = 64, // of axes and metrics
    COP_FREE_BOUNDS_MAX = 32,
    COP_FREE_LEVELS_MAX = 1 << 30,
    COP_FREE_ID_BYTES = 64
};

// Values of one axis: numbers of a list, numbers of a range, or words.
typedef struct cop_free_axis {
    char name[COP_FREE_NAME_BYTES];
    int64_t levels;
    double *value; // [levels], owned; NULL for a range or words
    char **word;   // [levels], each owned; NULL for numbers
    double from;   // of a range: from + level * step
    double step;
    int64_t layer; // j of <name>@<j>, 0: none
} cop_free_axis;

// A bound on a metric; known to hold or not once the point is evaluated.
typedef struct cop_free_bound {
    char metric[COP_FREE_NAME_BYTES];
    double min; // -inf when absent
    double max; // +inf when absent
} cop_free_bound;

typedef struct cop_free_space {
    int axes;
    cop_free_axis *axis; // owned
    int32_t *levels;     // [axes], owned
    bool *is_ordered;    // [axes], owned
    int layers_axis;     // index of the axis `layers` when others belong to layers, else -1
    int objectives;
    char objective[COP_FRONT_OBJECTIVES_MAX][COP_FREE_NAME_BYTES];
    int bounds;
    cop_free_bound bound[COP_FREE_BOUNDS_MAX];
    // Names that every answer must hold: objectives and bounds. Borrowed from the above.
    const char *required[COP_FRONT_OBJECTIVES_MAX + COP_FREE_BOUNDS_MAX];
    int required_count;
} cop_free_space;

// Reads `space`, `objectives` and `budget` (NULL: none) of a study with an evaluator. Errors carry
// file:line:column. Owned by the caller: cop_free_space_destroy().
COP_MUST_CHECK cop_status cop_free_space_read(cop_free_space **out, const cop_config_node *root,
                                              cop_error *err);
void cop_free_space_destroy(cop_free_space *space);

// A domain over the space, which must outlive it. Nothing is known by formula.
cop_domain cop_free_space_domain(const cop_free_space *space);

double cop_free_space_value(const cop_free_space *space, int axis,
                            int32_t level); // words: the level
// Points of the grid, before equal ones are joined; +infinity when beyond a double.
double cop_free_space_size(const cop_free_space *space);

// Appends {"axis": value, …} in the order of the study file. Numbers read back to the same double.
void cop_free_space_values(cop_text *out, const cop_free_space *space, const int32_t *genome);
// The genome of such an object; false when it is no point of this space.
bool cop_free_space_parse(const cop_free_space *space, const char *values, int32_t *genome);
// A short name: "a=1,b=2" where that is plain and fits, else "p-" and a hash. Equal points, equal ids.
COP_MUST_CHECK cop_status cop_free_space_id(char out[COP_FREE_ID_BYTES],
                                            const cop_free_space *space, const int32_t *genome,
                                            cop_error *err);

// What the space, the objectives or the bounds are, in one line: equal text, equal meaning.
void cop_free_space_describe(cop_text *axes, cop_text *objectives, cop_text *bounds,
                             const cop_free_space *space);

// By how much metric values exceed the bounds: each relative to its bound (absolute where that is below 1),
// summed; 0: feasible. `metric` gives the value of a name, NaN: missing, which counts as +infinity.
double cop_free_space_violation(const cop_free_space *space,
                                double (*metric)(const void *context, const char *name),
                                const void *context);

#endif
