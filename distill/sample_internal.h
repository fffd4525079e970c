// What the files of the teacher's samples share: drawing them for a window of sequences, and their
// packed form in cache files. Nobody outside distill/ includes this.

#ifndef COP_DISTILL_SAMPLE_INTERNAL_H
#define COP_DISTILL_SAMPLE_INTERNAL_H

#include "distill/teacher_internal.h"

// Samples of n tokens in host memory, or on the device.
typedef struct cop_sample_rows {
    int32_t *ids;   // [n, S]; unused ones -1
    float *weights; // [n, S]
    float *entropy; // [n]
} cop_sample_rows;

// --- Drawing ------------------------------------------------------------------------------------

typedef struct cop_sample_maker {
    cop_teacher_model *teacher; // borrowed
    cop_sampler *sampler;       // borrowed
    uint64_t seed;
    int32_t *tokens;     // [batch, T] host
    void *memory;        // one device block: what follows lies in it
    cop_sample_rows dev; // of a window
    void *scratch;
} cop_sample_maker;

// Bytes of device memory that drawing takes beside the teacher.
uint64_t cop_sample_maker_bytes(const cop_arch *arch, const cop_teacher_options *options,
                                cop_backend *backend);
// Initialize with `= {0}`; release after failure too.
COP_MUST_CHECK cop_status cop_sample_maker_init(cop_sample_maker *maker, cop_teacher_model *teacher,
                                                cop_sampler *sampler, uint64_t seed,
                                                cop_error *err);
void cop_sample_maker_release(cop_sample_maker *maker);
// Runs the teacher on the window that starts at `first` (cop_teacher_run_window) and copies its samples
// to host memory `to`, of batch * T rows. Waits for the device.
COP_MUST_CHECK cop_status cop_sample_maker_run(cop_sample_maker *maker, int64_t first,
                                               cop_sample_rows to, cop_error *err);

// Host memory for `rows` rows; released with cop_sample_rows_release() after failure too.
COP_MUST_CHECK cop_status cop_sample_rows_init(cop_sample_rows *rows, int64_t count, int64_t draws,
                                               cop_error *err);
void cop_sample_rows_release(cop_sample_rows *rows);

// --- Cache files --------------------------------------------------------------------------------

// One file while it is filled.
typedef struct cop_sample_pack {
    cop_sample_maker maker;
    cop_sample_rows window; // host, of batch sequences
    int64_t sequences;      // of the file
    int64_t filled;
    int32_t *draws;  // owned, room for sequences * T * S
    int64_t *starts; // owned [sequences + 1]
    float *entropy;  // owned [sequences, T]
} cop_sample_pack;

COP_MUST_CHECK cop_status cop_sample_pack_open(cop_sample_pack *pack, cop_teacher_model *teacher,
                                               cop_sampler *sampler, uint64_t seed, cop_error *err);
void cop_sample_pack_release(cop_sample_pack *pack);
// A file of `sequences` begins.
COP_MUST_CHECK cop_status cop_sample_pack_start(cop_sample_pack *pack, int64_t sequences,
                                                cop_error *err);
// Draws for the window that starts at `window` and appends sequences [from, end) of it.
COP_MUST_CHECK cop_status cop_sample_pack_window(cop_sample_pack *pack, int64_t window,
                                                 int64_t from, int64_t end, cop_error *err);
COP_MUST_CHECK cop_status cop_sample_pack_write(cop_sample_pack *pack, cop_array_writer *writer,
                                                cop_error *err);

// COP_ERR_FORMAT unless the datasets have the shapes that this range and each other ask for.
COP_MUST_CHECK cop_status cop_sample_file_check(const cop_cache_files *files,
                                                const cop_cache_range *range,
                                                const cop_array_reader *reader, cop_error *err);

// A file that has been checked, while it is read. All borrowed.
typedef struct cop_sample_file {
    const cop_cache_files *files;
    const cop_cache_range *range;
    const cop_array_reader *reader;
    const int64_t *starts; // the dataset
    int32_t *room;         // for the draws of a window at most
} cop_sample_file;

// Reads sequences [from, from + count) of a file, at most a window, into `to`.
COP_MUST_CHECK cop_status cop_sample_file_read(const cop_sample_file *file, int64_t from,
                                               int64_t count, cop_sample_rows to, cop_error *err);

#endif
