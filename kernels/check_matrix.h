// The pieces that the checks of operators are made of: one matrix, one size, one list of ids.

#ifndef COP_KERNELS_CHECK_MATRIX_H
#define COP_KERNELS_CHECK_MATRIX_H

#include "kernels/check.h"

// What a matrix holds decides which element types a fast backend takes.
typedef enum cop_check_content {
    COP_CHECK_ACTIVATION, // and working weights
    COP_CHECK_PARAMETER,  // statistics, gains, biases and their gradients, master weights
    COP_CHECK_GRADIENT    // of matrices, and optimizer state: f32 or bf16
} cop_check_content;

typedef struct cop_checker {
    const char *op;
    cop_check_types types;
    cop_check_stage stage;
    cop_error *err;
} cop_checker;

enum { COP_CHECK_ANY_ROWS = -1 };

bool cop_check_is_present(const cop_checker *check, cop_matrix m);
// Checks a matrix that must be there. rows = ANY_ROWS leaves them free.
COP_MUST_CHECK cop_status cop_check_matrix(const cop_checker *check, const char *name, cop_matrix m,
                                           int64_t rows, int64_t cols, cop_check_content what);
// As check_matrix for f32 parameters without gaps between rows.
COP_MUST_CHECK cop_status cop_check_dense(const cop_checker *check, const char *name, cop_matrix m,
                                          int64_t rows, int64_t cols);
// As check_matrix for one that may be absent.
COP_MUST_CHECK cop_status cop_check_optional(const cop_checker *check, const char *name,
                                             cop_matrix m, int64_t rows, int64_t cols,
                                             cop_check_content what);
COP_MUST_CHECK cop_status cop_check_absent(const cop_checker *check, const char *name, cop_matrix m,
                                           const char *why);
COP_MUST_CHECK cop_status cop_check_i64(const cop_checker *check, const char *name, int64_t value,
                                        int64_t least);
// `part` must be a multiple of `unit`, which is at least 1.
COP_MUST_CHECK cop_status cop_check_multiple(const cop_checker *check, const char *name,
                                             int64_t part, int64_t unit);
COP_MUST_CHECK cop_status cop_check_kind(const cop_checker *check, int kind, int count);
// Ids in [least, limit); NULL is an error unless there are none.
COP_MUST_CHECK cop_status cop_check_ids(const cop_checker *check, const char *name,
                                        const int32_t *ids, int64_t count, int64_t least,
                                        int64_t limit);
COP_MUST_CHECK cop_status cop_check_pointer(const cop_checker *check, const char *name,
                                            const void *pointer);

// kernels/check_loss.c: as the rest of kernels/check.c, by their own size.
COP_MUST_CHECK cop_status cop_check_head_loss(const cop_checker *check,
                                              const cop_head_loss_args *args);
COP_MUST_CHECK cop_status cop_check_sample_targets(const cop_checker *check,
                                                   const cop_sample_targets_args *args);

#endif
