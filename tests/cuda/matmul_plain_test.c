// The product that runs where there is no cuBLASLt, and its oracle on a device: against the
// reference at sizes around its tile, in all layouts, element types and strides.

#include <stdio.h>

#include "tests/cuda/backend.h"
#include "tests/cuda/plain.h"
#include "tests/kernels/rig.h"

static cop_ops plain_ops;

static void compare(cop_backend *reference, cop_backend *plain, const int64_t *size, int variant)
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
    for (int order = 0; order < cop_test_cuda_orders_count; order++) {
        (void)snprintf(what, sizeof what, "plain, %s, [%d, %d, %d], variant %d",
                       cop_test_cuda_orders[order], (int)m, (int)n, (int)k, variant);
        cop_test_cuda_use_order(cop_test_cuda_orders[order]);
        rig_check(&self, plain, what);
    }
    rig_release(&self);
}

static void the_plain_product_agrees_with_the_reference(void **state)
{
    static const int64_t sizes[][3] = {{1, 1, 1},    {1, 33, 7},  {31, 32, 33}, {33, 31, 1},
                                       {32, 32, 32}, {65, 2, 40}, {3, 70, 64},  {5, 6, 0}};
    (void)state;
    cop_backend *reference = rig_backend("reference");
    cop_backend *plain = NULL;
    cop_error err = {0};
    assert_int_equal(cop_test_cuda_backend(&plain, &err), COP_OK);
    plain_ops = *plain->ops;
    plain_ops.matmul = cop_test_matmul_plain;
    plain->ops = &plain_ops;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int variant = 0; variant < 32; variant++) {
            compare(reference, plain, sizes[s], variant);
        }
    }
    cop_backend_destroy(plain);
    cop_backend_destroy(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_product_agrees_with_the_reference),
    };
    return cmocka_run_group_tests_name("matmul_plain", tests, NULL, NULL);
}
