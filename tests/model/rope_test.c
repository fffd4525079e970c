// Rotary tables: values computed by hand from the formulas, at the edges of the bands.

#include "model/rope.h"

#include <math.h>

#include "tests/support.h"

static cop_arch arch_of(int64_t head_dim, double theta)
{
    return (cop_arch){.head_dim = head_dim, .rope = {.theta = theta, .partial = 1.0}};
}

static void assert_near(double found, double expected)
{
    // A few roundings of f64.
    if (!(fabs(found - expected) <= 1e-14 * (1.0 + fabs(expected)))) {
        fail_msg("%.17g instead of %.17g", found, expected);
    }
}

static void plain_frequencies_fall_geometrically(void **state)
{
    (void)state;
    const cop_arch arch = arch_of(8, 10000.0);
    double found[4];
    cop_rope_frequencies(found, &arch);
    assert_near(found[0], 1.0);
    assert_near(found[1], 0.1);
    assert_near(found[2], 0.01);
    assert_near(found[3], 0.001);
}

static void partial_rotation_spreads_over_the_rotated_part_only(void **state)
{
    (void)state;
    cop_arch arch = arch_of(8, 10000.0);
    double found[2];
    arch.rope.partial = 0.5;
    assert_int_equal(cop_arch_rotary_pairs(&arch), 2);
    cop_rope_frequencies(found, &arch);
    assert_near(found[0], 1.0);
    assert_near(found[1], 0.01);
}

static void linear_scaling_divides_positions(void **state)
{
    (void)state;
    cop_arch arch = arch_of(4, 100.0);
    double found[2];
    arch.rope.scaling = COP_ROPE_LINEAR;
    arch.rope.factor = 4.0;
    cop_rope_frequencies(found, &arch);
    assert_near(found[0], 0.25);
    assert_near(found[1], 0.025);
}

static void llama3_scaling_keeps_short_and_stretches_long_wavelengths(void **state)
{
    (void)state;
    const double pi = acos(-1.0);
    // Frequencies 1, 1/10, 1/100, 1/1000: wavelengths of 2 pi times 1, 10, 100, 1000 positions.
    cop_arch arch = arch_of(8, 10000.0);
    double found[4];
    arch.rope.scaling = COP_ROPE_LLAMA3;
    arch.rope.factor = 8.0;
    arch.rope.low_frequency_factor = 1.0;
    arch.rope.high_frequency_factor = 4.0;
    arch.rope.original_context = 1024;
    cop_rope_frequencies(found, &arch);
    assert_near(found[0], 1.0);
    assert_near(found[1], 0.1);
    // 1024 / (200 pi) = 1.63 turns lie between 1 and 4: blended.
    const double share = (1024.0 / (200.0 * pi) - 1.0) / 3.0;
    assert_near(found[2], (1.0 - share) * 0.01 / 8.0 + share * 0.01);
    assert_near(found[3], 0.001 / 8.0);
}

static void tables_hold_cos_and_sin_of_position_times_frequency(void **state)
{
    (void)state;
    const double frequencies[] = {1.0, 0.25};
    double cosine[6];
    double sine[6];
    float cosine_f32[6];
    float sine_f32[6];
    cop_rope_tables(cosine, sine, COP_F64, frequencies, 2, 3);
    cop_rope_tables(cosine_f32, sine_f32, COP_F32, frequencies, 2, 3);
    assert_near(cosine[0], 1.0);
    assert_near(sine[1], 0.0);
    assert_near(cosine[4], cos(2.0));
    assert_near(sine[5], sin(0.5));
    for (int i = 0; i < 6; i++) {
        assert_true(cosine_f32[i] == (float)cosine[i]);
        assert_true(sine_f32[i] == (float)sine[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_frequencies_fall_geometrically),
        cmocka_unit_test(partial_rotation_spreads_over_the_rotated_part_only),
        cmocka_unit_test(linear_scaling_divides_positions),
        cmocka_unit_test(llama3_scaling_keeps_short_and_stretches_long_wavelengths),
        cmocka_unit_test(tables_hold_cos_and_sin_of_position_times_frequency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
