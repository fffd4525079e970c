// Hugging Face model directories: config.json, model.safetensors or shards with an index,
// tokenizer files carried over. Reading maps files and checks every header before use; writing is
// atomic (a temporary directory beside the target, renamed at the end).

#ifndef COP_MODEL_CHECKPOINT_H
#define COP_MODEL_CHECKPOINT_H

#include "base/dtype.h"
#include "base/hash.h"
#include "model/arch.h"

typedef struct cop_checkpoint cop_checkpoint; // a directory being read
typedef struct cop_checkpoint_writer cop_checkpoint_writer;

// Takes tensors one by one; `index` is the canonical index (model/arch.h) in the architecture of
// whoever defines the sink. `data` is dense row-major, borrowed for the call.
typedef struct cop_tensor_sink {
    void *context;
    cop_status (*put)(void *context, int64_t index, cop_dtype dtype, const void *data,
                      cop_error *err);
    // The same in pieces, rows from the first to the last without a gap; NULL: whole tensors only.
    cop_status (*put_rows)(void *context, int64_t index, cop_dtype dtype, int64_t first_row,
                           int64_t rows, const void *data, cop_error *err);
} cop_tensor_sink;

// Opens a directory; checks config.json, every safetensors header (sizes, overlaps, ranges), and
// that each tensor of the architecture is present with its shape and a float dtype. Tensors the
// architecture does not know are refused, except rotary inverse frequencies and, when tied, a
// stored lm_head. The file contents are mapped, not read.
COP_MUST_CHECK cop_status cop_checkpoint_open(cop_checkpoint **out, const char *directory,
                                              cop_error *err);
void cop_checkpoint_destroy(cop_checkpoint *checkpoint);

const cop_arch *cop_checkpoint_arch(const cop_checkpoint *checkpoint);
const char *cop_checkpoint_path(const cop_checkpoint *checkpoint);
cop_dtype cop_checkpoint_dtype(const cop_checkpoint *checkpoint); // of the embedding as stored

// Borrowed view of a tensor as stored (may be unaligned to its element size: copy, or read).
const void *cop_checkpoint_view(const cop_checkpoint *checkpoint, int64_t index, cop_dtype *dtype);

// Reads a whole tensor, converted to `dtype` (f32, f64 or bf16), into `data`. Pages of the file are
// released afterwards, so that reading a checkpoint does not grow the resident set by its size.
COP_MUST_CHECK cop_status cop_checkpoint_read(const cop_checkpoint *checkpoint, int64_t index,
                                              cop_dtype dtype, void *data, cop_error *err);

// Where a tensor lies: for reading it to a device without the mapping. A tensor of the architecture
// is one run of bytes of one file, row-major in its shape: no family joins, transposes or splits
// tensors, and names are resolved when the checkpoint is opened.
typedef struct cop_tensor_location {
    int file;         // borrowed until the next call for this checkpoint
    const char *path; // borrowed; for messages
    uint64_t offset;  // from the start of the file; may be any
    uint64_t bytes;
    cop_dtype dtype; // as stored
} cop_tensor_location;

// One file is kept open, the one of the last call. COP_ERR_IO when it is gone or was replaced. One thread
// at a time.
COP_MUST_CHECK cop_status cop_checkpoint_locate(const cop_checkpoint *checkpoint, int64_t index,
                                                cop_tensor_location *out, cop_error *err);

// Tells the system that bytes [offset, offset + bytes) of a viewed tensor are not needed any more.
void cop_checkpoint_forget(const cop_checkpoint *checkpoint, int64_t index, uint64_t offset,
                           uint64_t bytes);

// Hash of architecture and all weights (content, independent of sharding). Reads everything once;
// cached in memory.
COP_MUST_CHECK cop_status cop_checkpoint_hash(const cop_checkpoint *checkpoint, cop_hash *out,
                                              cop_error *err);

typedef struct cop_checkpoint_options {
    cop_dtype dtype;      // stored element type: f32, bf16 or f16
    uint64_t shard_bytes; // start a new shard above this; 0: 5 GB
    const char *base; // directory whose config keys and tokenizer files are carried over, or NULL
    bool force;       // replace an existing output
    const char *provenance; // text for the "coppice" key of the safetensors metadata, or NULL
} cop_checkpoint_options;

// Starts writing to `<directory>.tmp.<pid>`. Refuses an existing `directory` without force, before
// anything else happens. Tensors are put in any order, each exactly once; memory stays bounded by
// the largest tensor. Logs a warning for a shape that cop_arch_is_portable() denies.
COP_MUST_CHECK cop_status cop_checkpoint_writer_create(cop_checkpoint_writer **out,
                                                       const char *directory, const cop_arch *arch,
                                                       const cop_checkpoint_options *options,
                                                       cop_error *err);
COP_MUST_CHECK cop_status cop_checkpoint_writer_put(cop_checkpoint_writer *writer, int64_t index,
                                                    cop_dtype dtype, const void *data,
                                                    cop_error *err);
cop_tensor_sink cop_checkpoint_writer_sink(cop_checkpoint_writer *writer);
// Writes another file into the directory (e.g. "training_state.json"); borrowed data.
COP_MUST_CHECK cop_status cop_checkpoint_writer_file(cop_checkpoint_writer *writer,
                                                     const char *name, const void *data,
                                                     size_t bytes, cop_error *err);
// Path of the temporary directory, for files written by others (optimizer.safetensors).
const char *cop_checkpoint_writer_path(const cop_checkpoint_writer *writer);
// Fails when a tensor is missing; fsyncs and renames.
COP_MUST_CHECK cop_status cop_checkpoint_writer_commit(cop_checkpoint_writer *writer,
                                                       cop_error *err);
void cop_checkpoint_writer_destroy(cop_checkpoint_writer *writer); // without commit: removes it

#endif
