// What the files of the teacher share: the model behind the handle, passes over whole windows of
// sequences, and the cache files. Nobody outside distill/ includes this.

#ifndef COP_DISTILL_TEACHER_INTERNAL_H
#define COP_DISTILL_TEACHER_INTERNAL_H

#include "base/array_file.h"
#include "distill/teacher_cache.h"

struct cop_teacher_model {
    const cop_checkpoint *checkpoint; // borrowed
    cop_backend *backend;             // borrowed
    cop_teacher_options options;
    cop_dtype dtype;      // of head and states
    void *head;           // [V, Ct] device
    cop_network *network; // NULL until it is needed
};

// Element type of matmul operands at a precision.
cop_dtype cop_precision_dtype(cop_precision precision);

// Elements of one sequence's states: T * Ct.
int64_t cop_teacher_row(const cop_teacher_model *teacher);

// Final hidden states of the window of `options.batch` sequences that starts at `first`, a multiple
// of it. The teacher only ever runs on whole aligned windows: a matrix product may round differently with
// another number of rows, and cached states must equal computed ones bit for bit.
// `ids` is scratch of [batch, T]; the view lives until the network runs again.
COP_MUST_CHECK cop_status cop_teacher_run_window(cop_teacher_model *teacher, cop_sampler *sampler,
                                                 int64_t first, int32_t *ids, cop_matrix *hidden,
                                                 cop_error *err);

// --- Cache files --------------------------------------------------------------------------------

// The files hold states or, with draws > 0, samples (distill/sample_internal.h).

enum { COP_CACHE_FORMAT = 1 };

// Sequences [first, first + count) in one finished file.
typedef struct cop_cache_range {
    int64_t first;
    int64_t count;
    char *path; // owned
} cop_cache_range;

typedef struct cop_cache_files {
    char *directory; // owned
    char teacher[COP_HASH_TEXT_BYTES];
    char batches[COP_HASH_TEXT_BYTES];
    char key[COP_HASH_TEXT_BYTES];
    cop_precision precision;
    cop_dtype dtype;
    int64_t sequence;       // T
    int64_t width;          // Ct
    int64_t vocab;          // V
    int64_t draws;          // S; 0: states
    uint64_t seed;          // of the draws
    cop_cache_range *range; // owned, sorted by first
    int64_t ranges;
} cop_cache_files;

// Names the cache of these batches in `directory`, which is made when missing, and lists the files
// that are there. Initialize with zeros, but for draws and seed; release after failure too.
COP_MUST_CHECK cop_status cop_cache_files_open(cop_cache_files *files,
                                               const cop_teacher_model *teacher,
                                               const cop_sampler *sampler, const char *directory,
                                               cop_error *err);
void cop_cache_files_release(cop_cache_files *files);
// The file with sequence `index`, or -1.
int64_t cop_cache_files_find(const cop_cache_files *files, int64_t index);
// First sequence >= `from` that a file holds; INT64_MAX: none.
int64_t cop_cache_files_next(const cop_cache_files *files, int64_t from);
// Sequences of [0, count) that no file holds.
int64_t cop_cache_files_missing(const cop_cache_files *files, int64_t count);

// Computes what is missing of [0, count), in files of bounded size, so that an interruption loses one.
COP_MUST_CHECK cop_status cop_cache_files_fill(cop_cache_files *files, cop_teacher_model *teacher,
                                               cop_sampler *sampler, int64_t count, cop_error *err);

// Opens file `index` after checking that its attributes and shape are those of this cache.
COP_MUST_CHECK cop_status cop_cache_files_read(const cop_cache_files *files, int64_t index,
                                               cop_array_reader **out, cop_error *err);

#endif
