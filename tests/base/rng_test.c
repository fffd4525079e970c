#include "base/rng.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/support.h"

static cop_rng *make(uint64_t seed, cop_rng_stream stream, uint64_t index)
{
    cop_rng *rng = NULL;
    assert_int_equal(cop_rng_create(&rng, seed, stream, index, NULL), COP_OK);
    return rng;
}

static uint64_t first_draw(uint64_t seed, cop_rng_stream stream, uint64_t index)
{
    cop_rng *rng = make(seed, stream, index);
    const uint64_t value = cop_rng_below(rng, UINT64_MAX);
    cop_rng_destroy(rng);
    return value;
}

static void the_same_names_give_the_same_numbers(void **state)
{
    (void)state;
    assert_int_equal(first_draw(1, COP_RNG_TEST, 5), first_draw(1, COP_RNG_TEST, 5));
    const uint64_t draws[] = {first_draw(1, COP_RNG_TEST, 5), first_draw(2, COP_RNG_TEST, 5),
                              first_draw(1, COP_RNG_INIT, 5), first_draw(1, COP_RNG_TEST, 6),
                              first_draw(UINT64_MAX, COP_RNG_TEST, 5)};
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_true(draws[i] != draws[j]);
        }
    }
}

// Numbers of a study must not change with a new version of this program or of GSL.
static void numbers_are_pinned(void **state)
{
    (void)state;
    cop_rng *rng = make(1, COP_RNG_TEST, 0);
    const double uniform = cop_rng_uniform(rng);
    const uint64_t below = cop_rng_below(rng, 1000);
    const double normal = cop_rng_normal(rng);
    cop_rng_destroy(rng);
    assert_true(uniform == 0.61756416037678719);
    assert_int_equal(below, 617);
    assert_true(fabs(normal + 0.71442272687123265) <
                1e-15); // exp() and log() may differ in the last bit
}

static void moments_are_right(void **state)
{
    (void)state;

    enum { DRAWS = 200000 };

    cop_rng *rng = make(7, COP_RNG_TEST, 0);
    double sums[4] = {0};
    for (int i = 0; i < DRAWS; i++) {
        const double u = cop_rng_uniform(rng);
        const double x = cop_rng_normal(rng);
        assert_true(u >= 0.0 && u < 1.0);
        sums[0] += u;
        sums[1] += u * u;
        sums[2] += x;
        sums[3] += x * x;
    }
    cop_rng_destroy(rng);
    // Five standard errors of each mean.
    assert_true(fabs(sums[0] / DRAWS - 0.5) < 5 * 0.289 / sqrt(DRAWS));
    assert_true(fabs(sums[1] / DRAWS - 1.0 / 3.0) < 5 * 0.298 / sqrt(DRAWS));
    assert_true(fabs(sums[2] / DRAWS) < 5 / sqrt(DRAWS));
    assert_true(fabs(sums[3] / DRAWS - 1.0) < 5 * 1.415 / sqrt(DRAWS));
}

static void bounded_numbers_are_unbiased(void **state)
{
    (void)state;

    enum { DRAWS = 90000 };

    static const uint64_t limits[] = {1, 2, 3, 7, 9};
    for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
        int counts[9] = {0};
        cop_rng *rng = make(3, COP_RNG_TEST, l);
        for (int i = 0; i < DRAWS; i++) {
            const uint64_t value = cop_rng_below(rng, limits[l]);
            assert_true(value < limits[l]);
            counts[value]++;
        }
        cop_rng_destroy(rng);
        const double p = 1.0 / (double)limits[l];
        for (uint64_t v = 0; v < limits[l]; v++) { // five standard deviations
            assert_true(fabs(counts[v] - DRAWS * p) <= 5 * sqrt(DRAWS * p * (1 - p)));
        }
    }
    // Two thirds of all 64-bit values: without rejection the lower half of the range would be
    // twice as likely as the upper.
    const uint64_t limit = UINT64_MAX / 3 * 2;
    int low = 0;
    cop_rng *rng = make(3, COP_RNG_TEST, 99);
    for (int i = 0; i < DRAWS; i++) {
        low += cop_rng_below(rng, limit) < limit / 2;
    }
    cop_rng_destroy(rng);
    assert_true(fabs(low - DRAWS / 2.0) <= 5 * sqrt(DRAWS) / 2);
}

static void shuffling_permutes(void **state)
{
    (void)state;

    enum { COUNT = 100 };

    int64_t values[COUNT];
    bool is_seen[COUNT] = {false};
    int moved = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        values[i] = i;
    }
    cop_rng *rng = make(1, COP_RNG_TEST, 0);
    cop_rng_shuffle(rng, values, COUNT);
    cop_rng_shuffle(rng, NULL, 0);
    cop_rng_destroy(rng);
    for (int64_t i = 0; i < COUNT; i++) {
        assert_in_range(values[i], 0, COUNT - 1);
        assert_false(is_seen[values[i]]);
        is_seen[values[i]] = true;
        moved += values[i] != i;
    }
    assert_true(moved > COUNT / 2);
}

static void survives_a_failed_allocation(void **state)
{
    (void)state;
    cop_rng *rng = NULL;
    cop_error err = {0};
    cop_alloc_fail_after(0);
    const cop_status status = cop_rng_create(&rng, 1, COP_RNG_TEST, 0, &err);
    cop_alloc_fail_after(SIZE_MAX);
    assert_int_equal(status, COP_ERR_NOMEM);
    assert_string_equal(err.message, "random numbers: out of memory");
    assert_null(rng);
    cop_rng_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_names_give_the_same_numbers),
        cmocka_unit_test(numbers_are_pinned),
        cmocka_unit_test(moments_are_right),
        cmocka_unit_test(bounded_numbers_are_unbiased),
        cmocka_unit_test(shuffling_permutes),
        cmocka_unit_test(survives_a_failed_allocation),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
