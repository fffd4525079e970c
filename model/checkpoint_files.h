// The small files of a model directory: config.json, and what is carried over from the model it came
// from.

#ifndef COP_MODEL_CHECKPOINT_FILES_H
#define COP_MODEL_CHECKPOINT_FILES_H

#include "base/dtype.h"
#include "model/arch.h"

// Writes `directory`/config.json over the keys of `base`/config.json; base may be NULL.
COP_MUST_CHECK cop_status cop_checkpoint_write_config(const char *directory, const cop_arch *arch,
                                                      cop_dtype dtype, const char *base,
                                                      cop_error *err);

// Copies the tokenizer files of `base`, as far as it has them, to `directory`. base may be NULL.
COP_MUST_CHECK cop_status cop_checkpoint_carry_over(const char *directory, const char *base,
                                                    cop_error *err);

#endif
