// What the reader and the writer of safetensors share.

#ifndef COP_MODEL_SAFETENSORS_FORMAT_H
#define COP_MODEL_SAFETENSORS_FORMAT_H

#include "base/dtype.h"

// "F32", "BF16" …
const char *cop_safetensors_dtype_name(cop_dtype dtype);

#endif
