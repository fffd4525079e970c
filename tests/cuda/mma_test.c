// The emulation of tensor cores against products and layouts written down from the PTX ISA.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "tests/cuda/mma_kernels.h"
#include "tests/support.h"

static const char *const orders[] = {"forward", "reverse", "random:1", "random:20"};

static void use_order(size_t i)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): read at launches, by this thread
    (void)setenv("COP_CUDA_ORDER", orders[i], 1);
}

// Small multiples of a quarter: exact in bf16, and so are their products and sums in f32.
static double value_at(int i)
{
    return (double)(i * 37 % 41 - 20) / 4.0;
}

static void a_product_of_fragments_is_the_product_of_the_matrices(void **state)
{
    (void)state;
    uint16_t a[16 * 16];
    uint16_t b[16 * 8];
    for (int i = 0; i < 16 * 16; i++) {
        const double value = value_at(i);
        cop_dtype_convert(&a[i], COP_BF16, &value, COP_F64, 1);
    }
    for (int i = 0; i < 16 * 8; i++) {
        const double value = value_at(i * 3 + 5);
        cop_dtype_convert(&b[i], COP_BF16, &value, COP_F64, 1);
    }
    for (size_t order = 0; order < sizeof orders / sizeof orders[0]; order++) {
        float c[16 * 8];
        for (int i = 0; i < 16 * 8; i++) {
            c[i] = (float)i;
        }
        use_order(order);
        test_mma(c, a, b);
        for (int row = 0; row < 16; row++) {
            for (int col = 0; col < 8; col++) {
                double sum = row * 8 + col;
                for (int k = 0; k < 16; k++) {
                    sum += value_at(row * 16 + k) * value_at((k * 8 + col) * 3 + 5);
                }
                assert_true(fabs(sum - (double)c[row * 8 + col]) == 0.0);
            }
        }
    }
}

// Word i of lane l holds elements 2 (l % 4) and the next of row l / 4 of matrix i, whose rows are
// 8 i to 8 i + 7; transposed, of column l / 4.
static void a_lane_gets_its_elements_of_four_matrices(void **state)
{
    (void)state;
    uint16_t rows[32 * 8];
    for (int i = 0; i < 32 * 8; i++) {
        rows[i] = (uint16_t)(1000 + i);
    }
    for (size_t order = 0; order < sizeof orders / sizeof orders[0]; order++) {
        uint32_t words[32 * 4];
        uint32_t transposed[32 * 4];
        use_order(order);
        test_ldmatrix(words, rows, false);
        test_ldmatrix(transposed, rows, true);
        for (unsigned lane = 0; lane < 32; lane++) {
            for (unsigned i = 0; i < 4; i++) {
                const unsigned first = 2 * (lane % 4);
                const unsigned line = lane / 4;
                const uint16_t *matrix = rows + (size_t)i * 64;
                assert_int_equal(words[lane * 4 + i] & 0xFFFFU, matrix[line * 8 + first]);
                assert_int_equal(words[lane * 4 + i] >> 16, matrix[line * 8 + first + 1]);
                assert_int_equal(transposed[lane * 4 + i] & 0xFFFFU, matrix[first * 8 + line]);
                assert_int_equal(transposed[lane * 4 + i] >> 16, matrix[(first + 1) * 8 + line]);
            }
        }
    }
}

static void asynchronous_copies_arrive_when_their_group_is_waited_for(void **state)
{
    (void)state;
    unsigned char from[48];
    unsigned char seen[3][3][16];
    unsigned char nothing[16];
    const unsigned char zeros[16] = {0};
    memset(nothing, 0xFF, sizeof nothing);
    for (int i = 0; i < 48; i++) {
        from[i] = (unsigned char)(i + 1);
    }
    test_cp_async(&seen[0][0][0], from);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(seen[0][i], nothing, 16);
    }
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(seen[1][i], from + (size_t)i * 16, 16);
        assert_memory_equal(seen[2][i], from + (size_t)i * 16, 16);
    }
    assert_memory_equal(seen[1][2], nothing, 16);
    assert_memory_equal(seen[2][2], zeros, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_of_fragments_is_the_product_of_the_matrices),
        cmocka_unit_test(a_lane_gets_its_elements_of_four_matrices),
        cmocka_unit_test(asynchronous_copies_arrive_when_their_group_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
