// Token files: tokenized text on disk.
//
// Two formats are read, told apart by their names and headers:
// - nanoGPT: `<name>.bin`, raw little-endian uint16 or uint32 ids, with a side file `<name>.json`:
//     {"format": "coppice-tokens-1", "dtype": "uint16", "tokens": n, "vocab": V,
//      "tokenizer": "byte", "source": [...], "hash": "…"}
// - Megatron: `<name>.bin` + `<name>.idx` (magic "MMIDIDX\0\0", version 1; dtype code, document
//   count, sizes, pointers). Documents are read as one stream.
// The byte tokenizer has a vocabulary of 256: one id per byte.

#ifndef COP_MODEL_TOKENS_H
#define COP_MODEL_TOKENS_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/status.h"

typedef struct cop_tokens cop_tokens;

// Opens a token file for a model with `vocab` ids. COP_ERR_FORMAT: side file missing or lying, length not
// a multiple of the id size, another vocabulary (the vocabulary named in the side file must equal
// `vocab`; a Megatron file names none, so each id is checked), or an id out of range, with its
// position and value. vocab 0: take the file's word. One sequential pass over the file.
COP_MUST_CHECK cop_status cop_tokens_open(cop_tokens **out, const char *path, int64_t vocab,
                                          cop_error *err);
void cop_tokens_destroy(cop_tokens *tokens);
int64_t cop_tokens_count(const cop_tokens *tokens);
int64_t cop_tokens_vocab(const cop_tokens *tokens);
const char *cop_tokens_path(const cop_tokens *tokens);
// Path of the side file of `path`: "x.json" for "x.bin". Owned by the caller (cop_free), or NULL
// when memory is exhausted.
char *cop_tokens_side_path(const char *path);
cop_hash cop_tokens_hash(const cop_tokens *tokens); // of the ids, whatever their width on disk
// Copies ids [first, first + count) to `out`; the range must lie inside.
void cop_tokens_read(const cop_tokens *tokens, int64_t first, int64_t count, int32_t *out);

// Writing, in pieces; both files appear at commit, the side file last. ids must be < vocab.
typedef struct cop_tokens_writer cop_tokens_writer;
COP_MUST_CHECK cop_status cop_tokens_writer_create(cop_tokens_writer **out, const char *path,
                                                   int64_t vocab, const char *tokenizer,
                                                   cop_error *err);
COP_MUST_CHECK cop_status cop_tokens_writer_put(cop_tokens_writer *writer, const int32_t *ids,
                                                int64_t count, cop_error *err);
COP_MUST_CHECK cop_status cop_tokens_writer_source(cop_tokens_writer *writer, const char *name,
                                                   cop_error *err);
COP_MUST_CHECK cop_status cop_tokens_writer_commit(cop_tokens_writer *writer, cop_error *err);
void cop_tokens_writer_destroy(cop_tokens_writer *writer);

// --- Batches ------------------------------------------------------------------------------------

// Deterministic windows of T inputs and their T next-token targets.
// Training: the file is cut into floor((count - 1) / T) windows; epoch e visits them in an order drawn
// from (seed, COP_RNG_BATCH, e). Sequence number s (0, 1, 2 …; step * batch + row) therefore always
// names the same text: all candidates see the same batches, and a resumed run continues exactly.
// Held-out text is sampled the same way, with COP_HELD_OUT_SEED: the first N sequences are then drawn
// from the whole file, not from its beginning, and everybody who judges on N judges on the same.
// Not shuffled: windows in file order.
enum { COP_HELD_OUT_SEED = 0 };

typedef struct cop_sampler cop_sampler;

COP_MUST_CHECK cop_status cop_sampler_create(cop_sampler **out, const cop_tokens *tokens,
                                             int64_t sequence, uint64_t seed, bool is_shuffled,
                                             cop_error *err); // tokens borrowed
void cop_sampler_destroy(cop_sampler *sampler);
int64_t cop_sampler_windows(const cop_sampler *sampler);  // per epoch, at least 1
int64_t cop_sampler_sequence(const cop_sampler *sampler); // T
// Fills inputs [count, T] and targets [count, T] for sequence numbers first … first + count - 1.
// `targets` may be NULL. COP_ERR_NOMEM when a new epoch's order cannot be made.
COP_MUST_CHECK cop_status cop_sampler_fill(cop_sampler *sampler, int64_t first, int64_t count,
                                           int32_t *inputs, int32_t *targets, cop_error *err);
// Hash of (file content, T, seed, shuffled): names caches made from these batches.
cop_hash cop_sampler_hash(const cop_sampler *sampler);

#endif
