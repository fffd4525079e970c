#include "tests/cuda/product.h"

#include <stdio.h>

#include "tests/cuda/backend.h"
#include "tests/kernels/rig.h"

enum { VARIANTS = 32 };

static void compare(cop_backend *reference, cop_backend *backend, const int64_t *size, int variant,
                    int order_count)
{
    const int64_t m = size[0];
    const int64_t n = size[1];
    const int64_t k = size[2];
    const bool transpose_a = (variant & 1) != 0;
    const bool transpose_b = (variant & 2) != 0;
    const cop_dtype in = (variant & 4) != 0 ? COP_BF16 : COP_F32;
    const cop_dtype out = (variant & 8) != 0 ? in : COP_F32;
    char what[96];
    rig self;
    rig_init(&self, COP_OP_MATMUL, COP_F32, in == COP_BF16 ? 1U : 0U, variant % 3);
    cop_matmul_args *args = &self.args.matmul;
    args->transpose_a = transpose_a;
    args->transpose_b = transpose_b;
    args->alpha = 0.5F;
    args->beta = (variant & 16) != 0 ? 0.25F : 0.0F;
    args->a = rig_matrix(&self, in, transpose_a ? k : m, transpose_a ? m : k, RIG_NORMAL);
    args->b = rig_matrix(&self, in, transpose_b ? n : k, transpose_b ? k : n, RIG_NORMAL);
    args->c = rig_matrix(&self, out, m, n, RIG_NORMAL);
    rig_output_matrix(&self, "c", args->c);
    rig_expect(&self, reference);
    for (int order = 0; order < order_count; order++) {
        (void)snprintf(what, sizeof what, "%s, [%d, %d, %d], variant %d",
                       cop_test_cuda_orders[order], (int)m, (int)n, (int)k, variant);
        cop_test_cuda_use_order(cop_test_cuda_orders[order]);
        rig_check(&self, backend, what);
    }
    rig_release(&self);
}

void product_check(cop_backend *backend, int size_count, int order_count)
{
    static const int64_t sizes[PRODUCT_SIZES][3] = {{33, 31, 17}, {1, 33, 7},  {1, 1, 1},
                                                    {65, 2, 40},  {3, 70, 64}, {5, 6, 0}};
    cop_backend *reference = rig_backend("reference");
    for (int s = 0; s < size_count; s++) {
        for (int variant = 0; variant < VARIANTS; variant++) {
            compare(reference, backend, sizes[s], variant, order_count);
        }
    }
    cop_backend_destroy(reference);
}
