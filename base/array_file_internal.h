// What the writing and the reading half share.

#ifndef COP_BASE_ARRAY_FILE_INTERNAL_H
#define COP_BASE_ARRAY_FILE_INTERNAL_H

#include <hdf5.h>

#include "base/array_file.h"

// The attribute that marks uint16 elements as bfloat16.
#define COP_ARRAY_DTYPE_KEY  "dtype"
#define COP_ARRAY_DTYPE_BF16 "bf16"

// The type of elements in memory; H5I_INVALID_HID for those that are not stored.
hid_t cop_array_memory_type(cop_dtype dtype);

// The innermost reason of the last HDF5 failure, as one short text.
const char *cop_array_reason(char *out, size_t bytes);

#endif
