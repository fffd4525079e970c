// importance.h5: its groups, who made it, and reading it whole. Shared by writing, reading and cache.

#ifndef COP_PRUNE_IMPORTANCE_FILE_H
#define COP_PRUNE_IMPORTANCE_FILE_H

#include "prune/importance_internal.h"

enum { COP_SCORES_SCHEMA = 1, COP_SCORES_GROUPS = 4, COP_SCORES_NAME_BYTES = 64 };

// One group of the file: /<name>/<aggregation>. The last one, channel, has rank 1.
typedef struct cop_scores_group {
    const char *name;
    const char *dimensions;
    const char *unit;
    const char *definition;
} cop_scores_group;

extern const cop_scores_group cop_scores_groups[COP_SCORES_GROUPS];

// Scores [9, shape[0], shape[1]] of group `index`; the rank of one aggregation's dataset and its shape
// (shape[1] = 1 for rank 1).
double *cop_scores_data(const cop_importance *importance, int index);
int cop_scores_shape(const cop_importance *importance, int index, int64_t *shape);

// Who made a file. `= {0}` to begin with; texts are owned.
typedef struct cop_scores_origin {
    char *teacher;
    char *teacher_hash;
    char *data;
    char *precision;
    char *key_text;
    cop_hash key;
    int64_t samples;
    int64_t sequence;
} cop_scores_origin;

void cop_scores_origin_release(cop_scores_origin *origin);

// Reads and checks the whole file; `teacher` NULL: it may be anybody's.
COP_MUST_CHECK cop_status cop_scores_read(cop_importance **out, cop_scores_origin *origin,
                                          const char *path, const cop_checkpoint *teacher,
                                          cop_error *err);

#endif
