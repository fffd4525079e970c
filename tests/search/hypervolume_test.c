// Hypervolumes are exact: against inclusion and exclusion and slicing, and against published values.

#include "search/hypervolume.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/search/reference.h"
#include "tests/support.h"

enum { FEW = 9, MANY = 5000, D = COP_HYPERVOLUME_OBJECTIVES_MAX };

static const double inf = (double)INFINITY;
static const double ones[D] = {1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1};

static cop_rng *rng_of(uint64_t index)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    assert_int_equal(cop_rng_create(&rng, 2, COP_RNG_TEST, index, &err), COP_OK);
    return rng;
}

static double volume_of(const double *values, int64_t count, int d, const double *reference)
{
    double volume = -1;
    cop_error err = {0};
    assert_int_equal(cop_hypervolume(&volume, values, count, d, reference, &err), COP_OK);
    return volume;
}

static void assert_close(double value, double want, double relative)
{
    if (!(fabs(value - want) <= relative * fabs(want))) {
        print_error("%.17g is not %.17g\n", value, want);
        fail();
    }
}

// The sum over all subsets of the volumes of their intersections, with alternating sign; exact with small
// whole numbers.
static double by_inclusion(const double *values, int64_t count, int d, const double *reference)
{
    double sum = 0;
    for (int64_t subset = 1; subset < INT64_C(1) << count; subset++) {
        double corner[D];
        double volume = -1;
        for (int k = 0; k < d; k++) {
            corner[k] = -inf;
        }
        for (int64_t i = 0; i < count; i++) {
            if ((subset >> i & 1) == 0) {
                continue;
            }
            volume = -volume;
            for (int k = 0; k < d; k++) {
                const double x = values[i * d + k];
                corner[k] = isnan(x) || x > corner[k] ? (isnan(x) ? reference[k] : x) : corner[k];
            }
        }
        for (int k = 0; k < d; k++) {
            volume *= corner[k] < reference[k] ? reference[k] - corner[k] : 0;
        }
        sum += volume;
    }
    return sum;
}

// Slices between neighbouring values of the last objective, each of one dimension less.
static double by_slices(const double *const *points, int64_t count, int d, const double *reference)
{
    const double *below[200];
    double sum = 0;
    if (d == 1) {
        double lowest = reference[0];
        for (int64_t i = 0; i < count; i++) {
            lowest = points[i][0] < lowest ? points[i][0] : lowest;
        }
        return reference[0] - lowest;
    }
    double from = -inf;
    for (;;) { // from the lowest value above `from` to the next one
        double low = reference[d - 1];
        double high = reference[d - 1];
        for (int64_t i = 0; i < count; i++) {
            const double x = points[i][d - 1];
            low = x > from && x < low ? x : low;
        }
        if (low >= reference[d - 1]) {
            return sum;
        }
        int64_t kept = 0;
        for (int64_t i = 0; i < count; i++) {
            const double x = points[i][d - 1];
            high = x > low && x < high ? x : high;
            if (x <= low) {
                below[kept++] = points[i];
            }
        }
        sum += (high - low) * by_slices(below, kept, d - 1, reference);
        from = low;
    }
}

// A front x1 + … + xd = 1, or with `is_scattered` points above it.
static void draw_simplex(double *values, int64_t count, int d, bool is_scattered, cop_rng *rng)
{
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int k = 0; k < d; k++) {
            values[i * d + k] = -log(1 - cop_rng_uniform(rng));
            sum += values[i * d + k];
        }
        for (int k = 0; k < d; k++) {
            values[i * d + k] =
                values[i * d + k] / sum + (is_scattered ? 0.1 * cop_rng_uniform(rng) : 0);
        }
    }
}

static void whole_numbers_come_out_exactly(void **state)
{
    (void)state;
    const double reference[D] = {6, 6, 6, 6, 6, 6, 6, 6};
    cop_rng *rng = rng_of(1);
    for (int round = 0; round < 1500; round++) {
        double values[FEW * D];
        const int d = 1 + round % D;
        const int64_t count = (int64_t)cop_rng_below(rng, FEW + 1);
        const uint64_t levels = round % 2 == 0 ? 4 : 9; // values on and outside the reference, ties
        for (int64_t i = 0; i < count * d; i++) {
            values[i] = (double)cop_rng_below(rng, levels) - 1;
        }
        if (count > 3 && round % 3 == 0) {
            memcpy(values, values + d, (size_t)d * sizeof *values);
            values[2 * d] = (double)NAN;
            values[3 * d] = inf;
        }
        assert_true(volume_of(values, count, d, reference) ==
                    by_inclusion(values, count, d, reference));
    }
    cop_rng_destroy(rng);
}

static void agrees_with_slicing(void **state)
{
    (void)state;
    static double values[200 * D];
    const double *points[200];
    const int sizes[D] = {200, 200, 120, 60, 24, 12, 9, 7};
    cop_rng *rng = rng_of(2);
    for (int round = 0; round < 48; round++) {
        const int d = 1 + round % D;
        const int64_t count = sizes[d - 1];
        draw_simplex(values, count, d, round >= 24, rng);
        for (int64_t i = 0; i < count * d && round % 3 == 0; i++) {
            values[i] = floor(values[i] * 16) / 16; // ties
        }
        for (int64_t i = 0; i < count; i++) {
            points[i] = values + i * d;
        }
        assert_close(volume_of(values, count, d, ones), by_slices(points, count, d, ones), 1e-12);
    }
    cop_rng_destroy(rng);
}

// Three objectives and a fourth that is the same for all: another algorithm, the same number.
static void three_objectives_are_four_with_a_constant(void **state)
{
    (void)state;
    static double three[MANY * 3];
    static double four[MANY * 4];
    const int64_t sizes[] = {1, 2, 61, 62, 63, 64, 65, 500, 4093, 4094, 4095, MANY};
    cop_rng *rng = rng_of(3);
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        draw_simplex(three, sizes[c], 3, c % 2 == 0, rng);
        for (int64_t i = 0; i < sizes[c]; i++) {
            memcpy(four + 4 * i, three + 3 * i, 3 * sizeof *three);
            four[4 * i + 3] = 0.6;
        }
        assert_close(volume_of(four, sizes[c], 4, ones), 0.5 * volume_of(three, sizes[c], 3, ones),
                     1e-12);
    }
    cop_rng_destroy(rng);
}

static void grows_with_points_and_ignores_their_order(void **state)
{
    (void)state;
    double values[40 * D];
    double shuffled[40 * D];
    int64_t order[40];
    cop_rng *rng = rng_of(4);
    for (int d = 1; d <= 6; d++) {
        draw_simplex(values, 40, d, true, rng);
        double before = 0;
        for (int64_t count = 1; count <= 40; count++) {
            const double volume = volume_of(values, count, d, ones);
            for (int64_t i = 0; i < count; i++) {
                order[i] = i;
            }
            cop_rng_shuffle(rng, order, (size_t)count);
            for (int64_t i = 0; i < count; i++) {
                memcpy(shuffled + i * d, values + order[i] * d, (size_t)d * sizeof *values);
            }
            assert_true(volume >= before * (1 - 1e-13));
            assert_close(volume_of(shuffled, count, d, ones), volume, 1e-12);
            before = volume;
        }
    }
    cop_rng_destroy(rng);
}

static void special_values_have_their_meaning(void **state)
{
    (void)state;
    for (int d = 1; d <= D; d++) {
        double values[2 * D];
        const double zero[D] = {0};
        assert_true(volume_of(NULL, 0, d, zero) == 0);
        for (int i = 0; i < 2 * D; i++) {
            values[i] = -1;
        }
        values[0] = -inf;
        assert_true(volume_of(values, 2, d, zero) == inf);
        values[d - 1] = d == 1 ? values[0] : 0; // on the reference: does not count, infinite or not
        assert_true(volume_of(values, 1, d, zero) == (d == 1 ? inf : 0));
        values[d - 1] = (double)NAN;
        assert_true(volume_of(values, 2, d, zero) == 1);
        for (int i = 0; i < 2 * D; i++) {
            values[i] = -1.7e308;
        }
        assert_true(volume_of(values, 2, d, zero) == (d == 1 ? 1.7e308 : inf));
    }
}

static void contributions_are_what_is_lost_without_a_point(void **state)
{
    (void)state;
    const double reference[D] = {6, 6, 6, 6, 6, 6, 6, 6};
    cop_rng *rng = rng_of(5);
    for (int round = 0; round < 600; round++) {
        double values[FEW * D];
        double others[FEW * D];
        double contribution[FEW];
        const int d = 1 + round % 7;
        const int64_t count = (int64_t)cop_rng_below(rng, FEW + 1);
        for (int64_t i = 0; i < count * d; i++) {
            values[i] = (double)cop_rng_below(rng, round % 2 == 0 ? 8 : 40) - (round % 2 ? 33 : 1);
        }
        assert_int_equal(
            cop_hypervolume_contributions(contribution, values, count, d, reference, NULL), COP_OK);
        const double all = by_inclusion(values, count, d, reference);
        for (int64_t i = 0; i < count; i++) {
            const size_t row = (size_t)d * sizeof *values;
            memcpy(others, values, (size_t)count * row);
            memmove(others + i * d, others + (i + 1) * d, (size_t)(count - 1 - i) * row);
            assert_true(contribution[i] == all - by_inclusion(others, count - 1, d, reference));
        }
    }
    cop_rng_destroy(rng);
}

static void an_infinite_point_contributes_all_unless_it_is_dominated(void **state)
{
    (void)state;
    for (int d = 2; d <= 4; d++) {
        double values[4 * 4];
        double contribution[4];
        const double zero[4] = {0};
        for (int i = 0; i < 16; i++) {
            values[i] = -2;
        }
        values[0] = -inf;
        values[1] = -1;
        values[d] = -inf; // dominates the first
        values[3 * d] = -1;
        assert_int_equal(cop_hypervolume_contributions(contribution, values, 4, d, zero, NULL),
                         COP_OK);
        assert_true(contribution[0] == 0 && contribution[1] == inf);
        assert_true(contribution[2] == 0 && contribution[3] == 0);
    }
}

static void a_normalised_volume_is_that_of_scaled_points(void **state)
{
    (void)state;
    const double values[] = {10, 300, 5, 20, 100, 5, 99, 99, 99};
    const double scaled[] = {0, 1, 0, 0.5, 0, 0};
    const double low[] = {10, 100, 5};
    const double high[] = {30, 300, 5}; // the third is only shifted
    double volume = 0;
    cop_error err = {0};
    assert_int_equal(cop_hypervolume_normalized(&volume, values, 3, 3, low, high, 1.1, &err),
                     COP_OK);
    assert_close(volume, volume_of(scaled, 2, 3, ones), 1e-12);
}

static void published_volumes_come_out(void **state)
{
    (void)state;
    static double values[MANY];
    char line[512];
    FILE *file = reference_open("golden_moocore_hv.txt");
    int lines = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        double reference[D];
        char *name = line;
        char *at = strchr(line, '|');
        if (line[0] == '#' || at == NULL) {
            continue;
        }
        name[strcspn(name, " ")] = '\0';
        const int64_t count = strtoll(at + 1, &at, 10);
        const int d = (int)strtol(strchr(at, '|') + 1, &at, 10);
        at = strchr(at, '|') + 1;
        for (int k = 0; k < d; k++) {
            reference[k] = strtod(at, &at);
        }
        assert_int_equal(reference_numbers(values, MANY, name), count * d);
        // The reference of these two is printed with fewer digits than it was computed with.
        const bool is_rounded = strstr(name, "Osyczka2") != NULL || strstr(name, "Tanaka") != NULL;
        assert_close(volume_of(values, count, d, reference), strtod(strchr(at, '|') + 1, NULL),
                     is_rounded ? 1e-9 : 1e-12);
        lines++;
    }
    assert_int_equal(lines, 24);
    (void)fclose(file);
}

// Each line: objectives, their bounds, and the normalised volume of the whole table.
static void volumes_of_a_published_table_come_out(void **state)
{
    (void)state;
    static double values[REFERENCE_ROWS_MAX * 4];
    static char line[4096];
    FILE *file = reference_open("hwgpt/truths_s.txt");
    int lines = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        double bounds[2][D];
        double volume = 0;
        int64_t count = 0;
        int d = 0;
        if (strncmp(line, "objectives=", 11) != 0) {
            continue;
        }
        for (const char *name = line + 11; *name != ' '; d++) {
            const size_t length = strcspn(name, ", ");
            count = reference_column(values + d, 4, name, length);
            name += length + (name[length] == ',' ? 1 : 0);
        }
        char *at = line;
        for (int side = 0; side < 2; side++) {
            at = strchr(at, '[');
            for (int k = 0; k < d; k++) {
                bounds[side][k] = strtod(at + 1, &at);
            }
        }
        for (int64_t i = 0; i < count; i++) { // rows of `d` numbers
            memmove(values + i * d, values + i * 4, (size_t)d * sizeof *values);
        }
        assert_int_equal(
            cop_hypervolume_normalized(&volume, values, count, d, bounds[0], bounds[1], 1.1, NULL),
            COP_OK);
        assert_close(volume, strtod(strstr(at, "HV=") + 3, NULL), 1e-12);
        lines++;
    }
    assert_int_equal(lines, 12);
    (void)fclose(file);
}

static void what_is_out_of_range_is_refused(void **state)
{
    (void)state;
    const double values[2] = {0, 0};
    double reference[2] = {1, (double)NAN};
    double out[2];
    cop_error err = {0};
    assert_int_equal(cop_hypervolume(out, values, 1, 9, ones, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "hypervolume: objectives: 9 (allowed: 1..8)");
    assert_int_equal(cop_hypervolume(out, values, 1, 0, ones, &err), COP_ERR_CONFIG);
    assert_int_equal(cop_hypervolume(out, values, -1, 2, ones, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "hypervolume: points: -1 (allowed: 0..2147483647)");
    assert_int_equal(cop_hypervolume(out, values, 1, 2, reference, &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "hypervolume: reference[1]: "));
    reference[1] = inf;
    assert_int_equal(cop_hypervolume_contributions(out, values, 1, 2, reference, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "hypervolume: reference[1]: inf (allowed: finite numbers)");
    assert_int_equal(cop_hypervolume_normalized(out, values, 1, 2, ones, values, 1.1, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "hypervolume: bounds of objective 0: 1.1..0 (allowed: finite "
                                     "range, the lower first)");
    assert_int_equal(cop_hypervolume_normalized(out, values, 1, 2, values, ones, inf, &err),
                     COP_ERR_CONFIG);
    double *many = cop_alloc(COP_HYPERVOLUME_POINTS_MAX + 1, 4 * sizeof *many);
    assert_non_null(many);
    assert_int_equal(cop_hypervolume(out, many, COP_HYPERVOLUME_POINTS_MAX + 1, 4, ones, &err),
                     COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "hypervolume of 4 objectives: points: 32767 (allowed: at most "
                                     "32766)");
    assert_close(volume_of(many, COP_HYPERVOLUME_POINTS_MAX, 4, ones), 1.1 * 1.1 * 1.1 * 1.1,
                 1e-12);
    cop_free(many);
}

static cop_status any_volume(int which, double *out, const double *values, int d, cop_error *err)
{
    const double zero[D] = {0};
    switch (which) {
    case 0: return cop_hypervolume(out, values, 5, d, ones, err);
    case 1: return cop_hypervolume_normalized(out, values, 5, d, zero, ones, 1.1, err);
    default: return cop_hypervolume_contributions(out, values, 5, d, ones, err);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    double values[5 * D];
    cop_rng *rng = rng_of(6);
    draw_simplex(values, 5, D, false, rng);
    cop_rng_destroy(rng);
    const size_t live = cop_alloc_live_blocks();
    for (int which = 0; which < 3 * 6; which++) {
        cop_status status = COP_ERR_NOMEM;
        for (size_t n = 0; status == COP_ERR_NOMEM && n < 500; n++) {
            double out[5];
            cop_error err = {0};
            cop_alloc_fail_after(n);
            status = any_volume(which % 3, out, values, 1 + which / 3, &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_int_equal(cop_alloc_live_blocks(), live);
            assert_true(status == COP_OK || strstr(err.message, "points: out of memory") != NULL);
        }
        assert_int_equal(status, COP_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_come_out_exactly),
        cmocka_unit_test(agrees_with_slicing),
        cmocka_unit_test(three_objectives_are_four_with_a_constant),
        cmocka_unit_test(grows_with_points_and_ignores_their_order),
        cmocka_unit_test(special_values_have_their_meaning),
        cmocka_unit_test(contributions_are_what_is_lost_without_a_point),
        cmocka_unit_test(an_infinite_point_contributes_all_unless_it_is_dominated),
        cmocka_unit_test(a_normalised_volume_is_that_of_scaled_points),
        cmocka_unit_test(published_volumes_come_out),
        cmocka_unit_test(volumes_of_a_published_table_come_out),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
