// The safetensors file format: 8 bytes little-endian header length, a JSON header
// {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, …,
// "__metadata__": {"key": "text"}}, then the data. Offsets are relative to the end of the header;
// tensors must cover the data exactly, without gaps or overlaps.

#ifndef COP_MODEL_SAFETENSORS_H
#define COP_MODEL_SAFETENSORS_H

#include "base/dtype.h"
#include "base/status.h"

typedef struct cop_safetensors cop_safetensors; // an open file, mapped

typedef struct cop_safetensors_entry {
    const char *name; // borrowed
    cop_dtype dtype;
    int rank; // 0 … 8
    int64_t shape[8];
    const void *data; // borrowed from the mapping; may be unaligned
    uint64_t bytes;
} cop_safetensors_entry;

// Opens and checks a file. Header at most 100 MB, at most 100,000 tensors. Every lie (length past the
// end, offsets outside or overlapping, bytes that do not match dtype and shape, duplicate or
// invalid names, products that overflow) is COP_ERR_FORMAT with file and tensor name.
COP_MUST_CHECK cop_status cop_safetensors_open(cop_safetensors **out, const char *path,
                                               cop_error *err);
// The same over borrowed memory; `name` stands for the file. For tests and fuzzing.
COP_MUST_CHECK cop_status cop_safetensors_parse(cop_safetensors **out, const char *name,
                                                const void *data, size_t bytes, cop_error *err);
void cop_safetensors_destroy(cop_safetensors *file);

int64_t cop_safetensors_count(const cop_safetensors *file);
cop_safetensors_entry cop_safetensors_at(const cop_safetensors *file, int64_t index);
int64_t cop_safetensors_find(const cop_safetensors *file, const char *name);        // -1: none
const char *cop_safetensors_metadata(const cop_safetensors *file, const char *key); // or NULL
// Tells the system the tensor's pages are not needed any more.
void cop_safetensors_forget(const cop_safetensors *file, int64_t index);
// The same for bytes [offset, offset + bytes) of the tensor: a large one is read in pieces.
void cop_safetensors_forget_range(const cop_safetensors *file, int64_t index, uint64_t offset,
                                  uint64_t bytes);

// Opens the file once more, for pread(): owned, close(). COP_ERR_IO when `path` is not the file that
// was opened.
COP_MUST_CHECK cop_status cop_safetensors_reopen(const cop_safetensors *file, int *out,
                                                 const char *path, cop_error *err);
// Byte of the file at which the tensor's data begin.
uint64_t cop_safetensors_offset(const cop_safetensors *file, int64_t index);

// Writing: all entries are declared first (their `data` is ignored). The data follows in the order of
// declaration, in pieces of any size (put), or piece by piece at any place (put_at); not both. The
// file appears at commit, which fails when bytes are missing.
typedef struct cop_safetensors_writer cop_safetensors_writer;
COP_MUST_CHECK cop_status
cop_safetensors_writer_create(cop_safetensors_writer **out, const char *path,
                              const cop_safetensors_entry *entries, int64_t count,
                              const char *const *metadata, // key, value, …, NULL
                              cop_error *err);
COP_MUST_CHECK cop_status cop_safetensors_writer_put(cop_safetensors_writer *writer,
                                                     const void *data, uint64_t bytes,
                                                     cop_error *err);
// Writes bytes [offset, offset + bytes) of the tensor declared as number `index`. Each byte must be
// written exactly once.
COP_MUST_CHECK cop_status cop_safetensors_writer_put_at(cop_safetensors_writer *writer,
                                                        int64_t index, uint64_t offset,
                                                        const void *data, uint64_t bytes,
                                                        cop_error *err);
COP_MUST_CHECK cop_status cop_safetensors_writer_commit(cop_safetensors_writer *writer,
                                                        cop_error *err);
void cop_safetensors_writer_destroy(cop_safetensors_writer *writer);

#endif
