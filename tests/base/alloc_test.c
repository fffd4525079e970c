#include "base/alloc.h"

#include <stdint.h>
#include <string.h>

#include "tests/support.h"

static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, (size_t)300 << 10, (size_t)5 << 20};

enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void blocks_are_aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        unsigned char *block = cop_alloc(sizes[i], 1);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % COP_ALLOC_ALIGNMENT, 0);
        for (size_t j = 0; j < sizes[i]; j++) {
            assert_int_equal(block[j], 0);
        }
        memset(block, 0xff, sizes[i]); // a block handed out again must be zeroed again
        cop_free(block);
    }
}

static void growing_and_shrinking_keeps_the_content(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        for (size_t j = 0; j < SIZES; j++) {
            const size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            unsigned char *block = cop_alloc(sizes[i], 1);
            assert_non_null(block);
            for (size_t k = 0; k < sizes[i]; k++) {
                block[k] = (unsigned char)(k * 7);
            }
            block = cop_realloc(block, sizes[j], 1);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % COP_ALLOC_ALIGNMENT, 0);
            for (size_t k = 0; k < kept; k++) {
                assert_int_equal(block[k], (unsigned char)(k * 7));
            }
            cop_free(block);
        }
    }
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    assert_null(cop_alloc(SIZE_MAX, 1));
    assert_null(cop_alloc(SIZE_MAX / 2, 4));
    assert_null(cop_alloc(3, SIZE_MAX / 2));
    char *block = cop_alloc(10, 1);
    assert_non_null(block);
    block[9] = 'x';
    assert_null(cop_realloc(block, SIZE_MAX / 2, 4));
    assert_int_equal(block[9], 'x');
    cop_free(block);
}

static void fails_on_demand(void **state)
{
    (void)state;
    cop_alloc_fail_after(2);
    void *first = cop_alloc(1, 1);
    char *second = cop_alloc_string("oak");
    assert_non_null(first);
    assert_string_equal(second, "oak");
    assert_null(cop_alloc(1, 1));
    assert_null(cop_realloc(first, 100, 1));
    assert_null(cop_alloc_string("ash"));
    cop_alloc_fail_after(SIZE_MAX);
    assert_int_equal(cop_alloc_live_blocks(), 2);
    cop_free(first);
    cop_free(second);
    cop_free(NULL);
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_zeroed),
        cmocka_unit_test(growing_and_shrinking_keeps_the_content),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(fails_on_demand),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
