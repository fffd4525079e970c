// A model directory for tests: a tiny Llama whose weights are known everywhere.

#ifndef COP_TESTS_MODEL_SAMPLE_H
#define COP_TESTS_MODEL_SAMPLE_H

#include "model/checkpoint.h"

enum { SAMPLE_ELEMENTS_MAX = 1024 }; // of a tensor

// 2 layers, hidden 8, 4 / 2 heads of 6, ffn 20, vocabulary 12: 21 tensors.
cop_arch sample_arch(void);

// Fills `out` with the values of a tensor, which bf16 holds exactly; returns their number.
int64_t sample_fill(float *out, const cop_arch *arch, int64_t tensor);

// Writes a model of this architecture with those values.
cop_status sample_write(const char *directory, const cop_arch *arch,
                        const cop_checkpoint_options *options, cop_error *err);

// Writes and opens the sample; a failure fails the test.
void sample_write_good(const char *directory, cop_dtype dtype, uint64_t shard_bytes);
cop_checkpoint *sample_open(const char *directory);

// Fails the test unless every tensor has its values, read as f32, f64 and bf16.
void sample_check(const cop_checkpoint *checkpoint);

// Files in a directory, hidden ones aside.
int sample_count_files(const char *directory);

#endif
