// A stand-in for cuBLASLt itself, so that the code around it runs on the host: products in double
// precision, three candidates for each, of which the second is the fastest and the third fails.

#ifndef COP_TESTS_CUDA_CUBLASLT_HOST_H
#define COP_TESTS_CUDA_CUBLASLT_HOST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The size [n] for which it offers no candidate.
enum { COP_TEST_LT_REFUSED_COLUMNS = 13 };

typedef struct cop_test_lt_record {
    int heuristics;           // plans asked for
    int products;             // enqueued, those of timing included
    int candidate;            // of the last product
    uint32_t alignments[4];   // of a, b, c, d in the library's order, last asked for
    uint32_t reductions;      // mask of allowed schemes, last asked for
    uint64_t workspace_bytes; // last asked for
    int live;                 // descriptors, layouts, preferences and handles
} cop_test_lt_record;

extern cop_test_lt_record cop_test_lt;

#ifdef __cplusplus
}
#endif

#endif
