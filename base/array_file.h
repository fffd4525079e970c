// Finished arrays in HDF5. A file is complete or absent: it is written under a temporary name,
// closed, fsynced and renamed. Readable with h5py and h5dump. One thread at a time.

#ifndef COP_BASE_ARRAY_FILE_H
#define COP_BASE_ARRAY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

enum { COP_ARRAY_RANK_MAX = 4 };

typedef struct cop_array_writer cop_array_writer;
typedef struct cop_array_reader cop_array_reader;

// Starts `<path>.tmp.<pid>`.
COP_MUST_CHECK cop_status cop_array_writer_create(cop_array_writer **out, const char *path,
                                                  cop_error *err);
// Writes a whole dataset; groups in `name` ("head/l2_mean") are made as needed. Stored as f32, f64,
// i32, i64 or, for bf16, as uint16 with the attribute dtype = "bf16".
COP_MUST_CHECK cop_status cop_array_writer_put(cop_array_writer *writer, const char *name,
                                               cop_dtype dtype, int rank, const int64_t *shape,
                                               const void *data, cop_error *err);
// Makes a dataset to be filled row block by row block (first dimension), contiguous on disk.
COP_MUST_CHECK cop_status cop_array_writer_make(cop_array_writer *writer, const char *name,
                                                cop_dtype dtype, int rank, const int64_t *shape,
                                                cop_error *err);
COP_MUST_CHECK cop_status cop_array_writer_put_rows(cop_array_writer *writer, const char *name,
                                                    int64_t first_row, int64_t rows,
                                                    const void *data, cop_error *err);
// Attributes of a group or dataset ("" or "/" = root); a missing group is made.
COP_MUST_CHECK cop_status cop_array_writer_text(cop_array_writer *writer, const char *object,
                                                const char *key, const char *value, cop_error *err);
COP_MUST_CHECK cop_status cop_array_writer_i64(cop_array_writer *writer, const char *object,
                                               const char *key, int64_t value, cop_error *err);
COP_MUST_CHECK cop_status cop_array_writer_f64(cop_array_writer *writer, const char *object,
                                               const char *key, double value, cop_error *err);
// Closes, fsyncs, renames. Destroy without commit removes the temporary file.
COP_MUST_CHECK cop_status cop_array_writer_commit(cop_array_writer *writer, cop_error *err);
void cop_array_writer_destroy(cop_array_writer *writer);

COP_MUST_CHECK cop_status cop_array_reader_open(cop_array_reader **out, const char *path,
                                                cop_error *err);
void cop_array_reader_destroy(cop_array_reader *reader);
bool cop_array_reader_has(const cop_array_reader *reader, const char *name);
// Type and shape of a dataset. `shape` has COP_ARRAY_RANK_MAX elements.
COP_MUST_CHECK cop_status cop_array_reader_shape(const cop_array_reader *reader, const char *name,
                                                 cop_dtype *dtype, int *rank, int64_t *shape,
                                                 cop_error *err);
// Reads a dataset whose shape must equal `shape`, converting to `dtype` (f32 <-> f64; bf16 exact).
COP_MUST_CHECK cop_status cop_array_reader_get(const cop_array_reader *reader, const char *name,
                                               cop_dtype dtype, int rank, const int64_t *shape,
                                               void *data, cop_error *err);
COP_MUST_CHECK cop_status cop_array_reader_get_rows(const cop_array_reader *reader,
                                                    const char *name, cop_dtype dtype,
                                                    int64_t first_row, int64_t rows, void *data,
                                                    cop_error *err);
// Byte of the file at which the elements of a dataset begin, one after the other as they are in memory:
// for reading them with pread(), by threads that must not call HDF5. COP_ERR_UNSUPPORTED when they are
// stored otherwise (in chunks, filtered, in another byte order), COP_ERR_FORMAT when they are not
// `dtype`.
COP_MUST_CHECK cop_status cop_array_reader_locate(const cop_array_reader *reader, const char *name,
                                                  cop_dtype dtype, uint64_t *offset,
                                                  cop_error *err);
// Attributes. The text is owned by the caller (cop_free).
COP_MUST_CHECK cop_status cop_array_reader_text(const cop_array_reader *reader, const char *object,
                                                const char *key, char **out, cop_error *err);
COP_MUST_CHECK cop_status cop_array_reader_i64(const cop_array_reader *reader, const char *object,
                                               const char *key, int64_t *out, cop_error *err);
COP_MUST_CHECK cop_status cop_array_reader_f64(const cop_array_reader *reader, const char *object,
                                               const char *key, double *out, cop_error *err);

#endif
