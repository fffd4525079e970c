#include "base/dtype.h"

#include <math.h>
#include <string.h>

#include "tests/support.h"

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void names_and_sizes_belong_together(void **state)
{
    (void)state;

    const struct {
        cop_dtype dtype;
        size_t bytes;
        const char *name;
    } rows[] = {{COP_F32, 4, "f32"}, {COP_BF16, 2, "bf16"}, {COP_F64, 8, "f64"},
                {COP_F16, 2, "f16"}, {COP_I32, 4, "i32"},   {COP_I64, 8, "i64"},
                {COP_U8, 1, "u8"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(cop_dtype_bytes(rows[i].dtype), rows[i].bytes);
        assert_string_equal(cop_dtype_name(rows[i].dtype), rows[i].name);
    }
}

static void every_half_survives_the_way_through_f32_and_f64(void **state)
{
    (void)state;
    const cop_dtype halves[] = {COP_BF16, COP_F16};
    const cop_dtype wides[] = {COP_F32, COP_F64};
    for (size_t h = 0; h < 2; h++) {
        for (size_t w = 0; w < 2; w++) {
            for (uint32_t bits = 0; bits <= 0xffff; bits++) {
                const uint16_t half = (uint16_t)bits;
                uint16_t back = 0;
                double wide = 0.0; // room for either
                cop_dtype_convert(&wide, wides[w], &half, halves[h], 1);
                cop_dtype_convert(&back, halves[h], &wide, wides[w], 1);
                const uint32_t quiet = halves[h] == COP_BF16 ? 0x40u : 0x200u;
                const uint32_t infinity = halves[h] == COP_BF16 ? 0x7f80u : 0x7c00u;
                const bool is_nan = (bits & 0x7fffu) > infinity;
                assert_int_equal(back, is_nan ? (bits | quiet) : bits);
            }
        }
    }
}

static void rounds_to_nearest_even(void **state)
{
    (void)state;

    const struct {
        double value;
        cop_dtype dtype;
        uint16_t bits;
    } rows[] = {
        {1.0, COP_BF16, 0x3f80},
        {1.0 + 0x1p-8, COP_BF16, 0x3f80},           // a tie goes to the even one
        {1.0 + 3 * 0x1p-8, COP_BF16, 0x3f82},       // and here that is above
        {1.0 + 0x1p-8 + 0x1p-40, COP_BF16, 0x3f81}, // through f32 this would be a tie
        {1.0 + 0x1p-8 - 0x1p-40, COP_BF16, 0x3f80},
        {-1.0 - 0x1p-8 - 0x1p-40, COP_BF16, 0xbf81},
        {1e39, COP_BF16, 0x7f80},
        {-1e300, COP_BF16, 0xff80},
        {3.3895e38, COP_BF16, 0x7f7f},
        {0x1p-133, COP_BF16, 0x0001},
        {0x1p-134, COP_BF16, 0x0000},
        {0x1p-134 + 0x1p-180, COP_BF16, 0x0001},
        {-0.0, COP_BF16, 0x8000},
        {1.0 + 0x1p-11, COP_F16, 0x3c00},
        {1.0 + 0x1p-11 + 0x1p-40, COP_F16, 0x3c01},
        {65504.0, COP_F16, 0x7bff},
        {65519.999, COP_F16, 0x7bff},
        {65520.0, COP_F16, 0x7c00},
        {0x1p-24, COP_F16, 0x0001},
        {0x1p-25, COP_F16, 0x0000},
        {0x1p-25 + 0x1p-60, COP_F16, 0x0001},
        {0x1p-14 - 0x1p-26, COP_F16, 0x0400}, // rounds up into the normal numbers
        {-0x1p-24, COP_F16, 0x8001},
        {INFINITY, COP_F16, 0x7c00},
        {-INFINITY, COP_BF16, 0xff80},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint16_t bits = 0;
        cop_dtype_convert(&bits, rows[i].dtype, &rows[i].value, COP_F64, 1);
        assert_int_equal(bits, rows[i].bits);
    }
}

static void a_nan_stays_a_nan(void **state)
{
    (void)state;
    // A signalling NaN whose upper half alone would read as infinity.
    const float nans[] = {float_of(0x7f800001u), float_of(0xff800001u), NAN};
    for (size_t i = 0; i < 3; i++) {
        float back = 0.0F;
        uint16_t bits = 0;
        cop_dtype_convert(&bits, COP_BF16, &nans[i], COP_F32, 1);
        cop_dtype_convert(&back, COP_F32, &bits, COP_BF16, 1);
        assert_true(isnan(back));
        cop_dtype_convert(&bits, COP_F16, &nans[i], COP_F32, 1);
        cop_dtype_convert(&back, COP_F32, &bits, COP_F16, 1);
        assert_true(isnan(back));
        assert_true(isnan(cop_bf16_to_f32(cop_bf16_from_f32(nans[i]))));
    }
}

static void equal_types_are_copied(void **state)
{
    (void)state;
    const int64_t from[] = {INT64_MIN, 0, INT64_MAX};
    int64_t to[3] = {0};
    cop_dtype_convert(to, COP_I64, from, COP_I64, 3);
    assert_memory_equal(to, from, sizeof from);
    cop_dtype_convert(to, COP_I64, to, COP_I64, 3);
    assert_memory_equal(to, from, sizeof from);
    cop_dtype_convert(NULL, COP_F32, NULL, COP_BF16, 0);
}

static void f64_to_f32_rounds_once(void **state)
{
    (void)state;
    const double from[] = {1.0 + 0x1p-24, 1.0 + 3 * 0x1p-24, 0.1, -1e300};
    const float want[] = {1.0F, 1.0F + 0x1p-22F, 0.1F, -INFINITY};
    float to[4];
    cop_dtype_convert(to, COP_F32, from, COP_F64, 4);
    assert_memory_equal(to, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes_belong_together),
        cmocka_unit_test(every_half_survives_the_way_through_f32_and_f64),
        cmocka_unit_test(rounds_to_nearest_even),
        cmocka_unit_test(a_nan_stays_a_nan),
        cmocka_unit_test(equal_types_are_copied),
        cmocka_unit_test(f64_to_f32_rounds_once),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
