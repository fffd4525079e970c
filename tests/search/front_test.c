// Fronts are what the definition says, for every number of objectives and every kind of tie.

#include "search/front.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/order.h"
#include "tests/search/reference.h"
#include "tests/support.h"

enum { N = 90, MANY = 33000 }; // MANY: more than 16-bit places

static cop_rng *rng_of(uint64_t index)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    assert_int_equal(cop_rng_create(&rng, 1, COP_RNG_TEST, index, &err), COP_OK);
    return rng;
}

// Random points; with few levels many are equal or tied.
static void draw(double *values, int64_t count, int d, uint64_t levels, cop_rng *rng)
{
    const uint64_t middle = levels / 2;
    for (int64_t i = 0; i < count * d; i++) {
        values[i] = (double)cop_rng_below(rng, levels) - (double)middle;
        values[i] = values[i] == 0 && cop_rng_below(rng, 2) == 0 ? -0.0 : values[i];
    }
    for (int special = 0; special < 4 && count > 0; special++) {
        const double value[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 1e308};
        values[cop_rng_below(rng, (uint64_t)(count * d))] = value[special];
    }
}

static double worst_if_nan(double x)
{
    return isnan(x) ? (double)INFINITY : x;
}

static bool dominates(const double *a, const double *b, int d)
{
    bool is_better = false;
    for (int k = 0; k < d; k++) {
        if (worst_if_nan(a[k]) > worst_if_nan(b[k])) {
            return false;
        }
        is_better = is_better || worst_if_nan(a[k]) < worst_if_nan(b[k]);
    }
    return is_better;
}

// By the definition: takes away what nothing left dominates, again and again.
static void peel(int64_t *rank, const double *values, int64_t count, int d)
{
    int64_t left = count;
    for (int64_t i = 0; i < count; i++) {
        rank[i] = -1;
    }
    for (int64_t front = 0; left > 0; front++) {
        for (int64_t i = 0; i < count; i++) {
            bool is_dominated = rank[i] >= 0 && rank[i] != front;
            for (int64_t j = 0; j < count && !is_dominated; j++) {
                is_dominated = (rank[j] < 0 || rank[j] == front) &&
                               dominates(values + j * d, values + i * d, d);
            }
            if (!is_dominated) {
                rank[i] = front;
                left--;
            }
        }
    }
}

static void ranks_are_what_the_definition_says(void **state)
{
    (void)state;
    static double values[N * COP_FRONT_OBJECTIVES_MAX];
    cop_rng *rng = rng_of(1);
    for (int round = 0; round < 600; round++) {
        const int d = 1 + round % COP_FRONT_OBJECTIVES_MAX;
        const int64_t count = (int64_t)cop_rng_below(rng, N + 1);
        int64_t rank[N];
        int64_t want[N];
        draw(values, count, d, round % 3 == 0 ? 3 : round % 3 == 1 ? 12 : 1000000, rng);
        peel(want, values, count, d);
        assert_int_equal(cop_front_rank(rank, values, count, d, NULL), COP_OK);
        assert_memory_equal(rank, want, (size_t)count * sizeof *rank);
    }
    cop_rng_destroy(rng);
}

static void check_order(const cop_front_point *a, const cop_front_point *b, int d)
{
    int k = 0;
    while (k < d && worst_if_nan(a->value[k]) == worst_if_nan(b->value[k])) {
        k++;
    }
    assert_true(a->front <= b->front);
    if (a->front == b->front && k < d) {
        assert_true(worst_if_nan(a->value[k]) < worst_if_nan(b->value[k]));
    } else if (a->front == b->front) {
        assert_true(a->index < b->index);
    }
}

static void sorts_by_front_then_value_then_index(void **state)
{
    (void)state;
    static double values[N * COP_FRONT_OBJECTIVES_MAX];
    static cop_front_point points[N];
    static cop_front_point scratch[N];
    static int64_t work[N];
    cop_rng *rng = rng_of(2);
    for (int round = 0; round < 300; round++) {
        const int d = 1 + round % COP_FRONT_OBJECTIVES_MAX;
        const int64_t count = (int64_t)cop_rng_below(rng, N + 1);
        int64_t index[N];
        int64_t want[N];
        draw(values, count, d, round % 2 == 0 ? 3 : 50, rng);
        peel(want, values, count, d);
        for (int64_t i = 0; i < count; i++) {
            index[i] = i;
        }
        cop_rng_shuffle(rng, index, (size_t)count);
        for (int64_t i = 0; i < count; i++) {
            points[i].index = index[i];
            for (int k = 0; k < COP_FRONT_OBJECTIVES_MAX; k++) { // garbage beyond the objectives
                points[i].value[k] = k < d ? values[index[i] * d + k] : (double)NAN;
            }
        }
        cop_front_sort(points, count, d, scratch, work);
        for (int64_t i = 0; i < count; i++) {
            assert_int_equal(points[i].front, want[points[i].index]);
            assert_memory_equal(points[i].value, values + points[i].index * d,
                                (size_t)d * sizeof(double));
            if (i > 0) {
                check_order(&points[i - 1], &points[i], d);
            }
        }
    }
    cop_rng_destroy(rng);
}

static void does_not_depend_on_the_order_of_points(void **state)
{
    (void)state;
    static double values[2000 * 4];
    static double shuffled[2000 * 4];
    static int64_t rank[2000];
    static int64_t other[2000];
    static int64_t order[2000];
    cop_rng *rng = rng_of(3);
    for (int d = 2; d <= 4; d++) {
        draw(values, 2000, d, 200, rng);
        for (int64_t i = 0; i < 2000; i++) {
            order[i] = i;
        }
        cop_rng_shuffle(rng, order, 2000);
        for (int64_t i = 0; i < 2000; i++) {
            memcpy(shuffled + i * d, values + order[i] * d, (size_t)d * sizeof *values);
        }
        assert_int_equal(cop_front_rank(rank, values, 2000, d, NULL), COP_OK);
        assert_int_equal(cop_front_rank(other, shuffled, 2000, d, NULL), COP_OK);
        for (int64_t i = 0; i < 2000; i++) {
            assert_int_equal(other[i], rank[order[i]]);
        }
    }
    cop_rng_destroy(rng);
}

static void ranks_more_points_than_sixteen_bits_count(void **state)
{
    (void)state;
    static double values[MANY * 3];
    static int64_t rank[MANY];
    static int64_t few[300];
    cop_rng *rng = rng_of(4);
    for (int64_t i = 0; i < MANY; i++) { // pairs of equals; later ones dominate
        for (int k = 0; k < 3; k++) {
            values[3 * i + k] = (double)((MANY - 1 - i) / 2);
        }
    }
    assert_int_equal(cop_front_rank(rank, values, MANY, 3, NULL), COP_OK);
    for (int64_t i = 0; i < MANY; i++) {
        assert_int_equal(rank[i], (MANY - 1 - i) / 2);
    }
    draw(values, 300, 3, 1000, rng);
    for (int64_t i = 300; i < MANY; i++) {
        memcpy(values + 3 * i, values + 3 * (i % 300), 3 * sizeof *values);
    }
    assert_int_equal(cop_front_rank(few, values, 300, 3, NULL), COP_OK);
    assert_int_equal(cop_front_rank(rank, values, MANY, 3, NULL), COP_OK);
    for (int64_t i = 0; i < MANY; i++) {
        assert_int_equal(rank[i], few[i % 300]);
    }
    cop_rng_destroy(rng);
}

static void crowding_is_the_distance_between_neighbours(void **state)
{
    (void)state;
    const double inf = (double)INFINITY;

    const struct {
        int64_t count;
        int objectives;
        double values[12];
        double want[6];
    } cases[] = {
        {4, 2, {0, 4, 1, 2, 3, 1, 4, 0}, {inf, 0.75 + 0.75, 0.75 + 0.5, inf}},
        {2, 2, {0, 1, 1, 0}, {inf, inf}},
        {1, 3, {5, 5, 5}, {inf}},
        {3, 1, {2, 0, 1}, {inf, inf, 1}},
        {3, 2, {7, 7, 7, 7, 7, 7}, {0, 0, 0}},                  // no objective tells
        {4, 2, {0, 7, 1, 7, 3, 7, 4, 7}, {inf, .75, .75, inf}}, // the first alone does
        {4, 1, {0, 0, 1, 1}, {inf, 1, 1, inf}},                 // equals by index
        {5, 1, {-inf, 0, 1, 2, inf}, {inf, .5, 1, .5, inf}},
        {4, 1, {0, 1, (double)NAN, inf}, {inf, 1, 0, inf}},
        {4, 1, {-1.5e308, -0.5e308, 0.5e308, 1.5e308}, {inf, 2.0 / 3, 2.0 / 3, inf}},
    };

    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double distance[6];
        assert_int_equal(cop_front_crowding(distance, cases[c].values, NULL, cases[c].count,
                                            cases[c].objectives, NULL),
                         COP_OK);
        for (int64_t i = 0; i < cases[c].count; i++) {
            if (isinf(cases[c].want[i])) {
                assert_true(isinf(distance[i]) && distance[i] > 0);
            } else {
                assert_float_equal((float)distance[i], (float)cases[c].want[i], 1e-6f);
            }
        }
    }
}

static void each_front_is_crowded_by_itself(void **state)
{
    (void)state;
    double values[N * 3];
    double distance[N];
    double part[N * 3];
    double want[N];
    int64_t rank[N];
    cop_rng *rng = rng_of(5);
    for (int round = 0; round < 50; round++) {
        draw(values, N, 3, round % 2 == 0 ? 6 : 1000, rng);
        assert_int_equal(cop_front_rank(rank, values, N, 3, NULL), COP_OK);
        assert_int_equal(cop_front_crowding(distance, values, rank, N, 3, NULL), COP_OK);
        for (int64_t front = 0; front < N; front++) {
            int64_t count = 0;
            for (int64_t i = 0; i < N; i++) {
                if (rank[i] == front) {
                    memcpy(part + 3 * count++, values + 3 * i, 3 * sizeof *values);
                }
            }
            assert_int_equal(cop_front_crowding(want, part, NULL, count, 3, NULL), COP_OK);
            for (int64_t i = 0, at = 0; i < N; i++) {
                assert_true(rank[i] != front || distance[i] == want[at++]);
            }
        }
    }
    cop_rng_destroy(rng);
}

static void fronts_of_a_published_table_come_out_exactly(void **state)
{
    (void)state;
    static double values[REFERENCE_ROWS_MAX * 4];
    static int64_t rank[REFERENCE_ROWS_MAX];
    static char line[8192];
    FILE *file = reference_open("hwgpt/fronts_s.txt");
    int lines = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        int d = 1;
        int64_t count = 0;
        char *rows = strchr(line, ':');
        assert_non_null(rows);
        for (char *at = line; at < rows; at++) {
            d += *at == ',' ? 1 : 0;
        }
        char *name = line;
        for (int k = 0; k < d; k++) {
            const size_t length = strcspn(name, ",:");
            count = reference_column(values + k, d, name, length);
            name += length + 1;
        }
        assert_int_equal(count, 10000);
        assert_int_equal(cop_front_rank(rank, values, count, d, NULL), COP_OK);
        char *at = rows + 1;
        for (int64_t row = 0; row < count; row++) {
            if (rank[row] == 0) {
                assert_int_equal(strtoll(at, &at, 10), row);
            }
        }
        assert_int_equal(strspn(at, " \r\n"), strlen(at));
        lines++;
    }
    assert_int_equal(lines, 12);
    (void)fclose(file);
}

static void what_is_out_of_range_is_refused(void **state)
{
    (void)state;
    const double values[9] = {0};
    const int64_t bad[1] = {1};
    double distance[1];
    int64_t rank[1];
    cop_error err = {0};
    assert_int_equal(cop_front_rank(rank, values, 1, 0, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "front: objectives: 0 (allowed: 1..8)");
    assert_int_equal(cop_front_rank(rank, values, 1, 9, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "front: objectives: 9 (allowed: 1..8)");
    assert_int_equal(cop_front_rank(rank, values, -1, 2, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "front: points: -1 (allowed: 0..2147483647)");
    assert_int_equal(cop_front_crowding(distance, values, NULL, 1, 9, &err), COP_ERR_CONFIG);
    assert_int_equal(cop_front_crowding(distance, values, bad, 1, 2, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "crowding: rank[0]: 1 (allowed: 0..0)");
    assert_int_equal(cop_front_rank(NULL, NULL, 0, 3, &err), COP_OK);
    assert_int_equal(cop_front_crowding(NULL, NULL, NULL, 0, 3, &err), COP_OK);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const double values[] = {0, 1, 2, 2, 1, 0, 1, 1, 1};
    double distance[3];
    int64_t rank[3];
    const size_t live = cop_alloc_live_blocks();
    for (int which = 0; which < 2; which++) {
        cop_status status = COP_ERR_NOMEM;
        for (size_t n = 0; status == COP_ERR_NOMEM && n < 20; n++) {
            cop_error err = {0};
            cop_alloc_fail_after(n);
            status = which == 0 ? cop_front_rank(rank, values, 3, 3, &err)
                                : cop_front_crowding(distance, values, NULL, 3, 3, &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_int_equal(cop_alloc_live_blocks(), live);
            assert_true(status == COP_OK || strstr(err.message, "of 3 points: out of memory"));
        }
        assert_int_equal(status, COP_OK);
    }
}

static void the_order_is_stable(void **state)
{
    (void)state;
    static cop_order items[1000];
    static cop_order scratch[1000];
    cop_rng *rng = rng_of(6);
    for (int64_t count = 0; count <= 1000; count += count < 70 ? 1 : 93) {
        for (int64_t i = 0; i < count; i++) {
            items[i] = (cop_order){(int64_t)cop_rng_below(rng, 1 + (uint64_t)count / 2) - 10, i};
        }
        cop_order_sort(items, scratch, count);
        for (int64_t i = 1; i < count; i++) {
            assert_true(items[i - 1].key < items[i].key ||
                        (items[i - 1].key == items[i].key && items[i - 1].index < items[i].index));
        }
    }
    cop_rng_destroy(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_stable),
        cmocka_unit_test(ranks_are_what_the_definition_says),
        cmocka_unit_test(sorts_by_front_then_value_then_index),
        cmocka_unit_test(does_not_depend_on_the_order_of_points),
        cmocka_unit_test(ranks_more_points_than_sixteen_bits_count),
        cmocka_unit_test(crowding_is_the_distance_between_neighbours),
        cmocka_unit_test(each_front_is_crowded_by_itself),
        cmocka_unit_test(fronts_of_a_published_table_come_out_exactly),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
