// The product that runs where there is no cuBLASLt, and its oracle on a device: against the
// reference.

#include "tests/cuda/backend.h"
#include "tests/cuda/plain.h"
#include "tests/cuda/product.h"
#include "tests/support.h"

static void the_plain_product_agrees_with_the_reference(void **state)
{
    static cop_ops ops;
    cop_backend *plain = NULL;
    cop_error err = {0};
    (void)state;
    assert_int_equal(cop_test_cuda_backend(&plain, &err), COP_OK);
    ops = *plain->ops;
    ops.matmul = cop_test_matmul_plain;
    plain->ops = &ops;
    product_check(plain, PRODUCT_SIZES, cop_test_cuda_orders_count);
    cop_backend_destroy(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_product_agrees_with_the_reference),
    };
    return cmocka_run_group_tests_name("matmul_plain", tests, NULL, NULL);
}
