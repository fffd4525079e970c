// A space of a teacher as a domain: genomes and candidates stand for one another, and what strategies are
// told agrees with the walk over the grid.

#include "search/space_domain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/search/space_fixture.h"
#include "tests/support.h"

// The next genome in the order of an odometer; false after the last.
static bool advance(space_fixture *f)
{
    for (int i = f->view->axes - 1; i >= 0; i--) {
        if (++f->genome[i] < f->view->levels[i]) {
            return true;
        }
        f->genome[i] = 0;
    }
    return false;
}

#define ROUNDED                                                                                 \
    "space: {layers: [4, 2, 3], heads: [8, 4, 6], kv_heads: [4, 2, 3], ffn_ratio: {from: 0.5, " \
    "to: "                                                                                      \
    "2.5, step: 0.03}, hidden: [40, 64, 52]}\n"                                                 \
    "budget: {params: {min: 60000, max: 90000}, flops_per_token: {max: 2e5, sequence: 64}}\n"   \
    "objectives: [loss, flops_per_token, params]\n"

static bool is_listed(const cop_candidate *candidates, int64_t count, const char *id)
{
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(candidates[i].id, id) == 0) {
            return true;
        }
    }
    return false;
}

static void genomes_and_candidates_stand_for_one_another(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    cop_candidate *candidates = NULL;
    cop_space_report report = {0};
    int64_t count = 0;
    int64_t feasible = 0;
    int64_t invalid = 0;

    assert_int_equal(space_open_domain(&f, space_teacher(4), ROUNDED, NULL, &err), COP_OK);
    assert_int_equal(cop_space_feasible(&candidates, &count, &report, f.space, &err), COP_OK);
    do {
        int32_t canonical[COP_DOMAIN_AXES_MAX];
        int32_t back[COP_DOMAIN_AXES_MAX];
        cop_candidate c;
        cop_candidate grid;
        const size_t bytes = (size_t)f.view->axes * sizeof *canonical;
        const double violation = f.view->violation(f.view->context, f.genome);
        if (!cop_space_domain_candidate(f.domain, f.genome, NULL, &c)) {
            assert_true(isinf(violation));
            invalid++;
            continue;
        }
        assert_true(cop_space_at(f.space, c.grid_index, NULL, &grid));
        assert_string_equal(grid.id, c.id);
        memcpy(canonical, f.genome, bytes);
        f.view->canonicalize(f.view->context, canonical);
        assert_true(cop_space_domain_genome(f.domain, &c, back));
        assert_memory_equal(back, canonical, bytes);
        assert_true((violation == 0.0) == is_listed(candidates, count, c.id));
        feasible += violation == 0.0 && memcmp(canonical, f.genome, bytes) == 0 ? 1 : 0;
    } while (advance(&f));
    assert_int_equal(feasible, count);
    assert_int_equal(invalid, report.invalid);

    candidates[0].layers = 1;
    assert_false(cop_space_domain_genome(f.domain, &candidates[0], f.genome));
    cop_free(candidates);
    space_release(&f);
}

static void levels_rise_whatever_the_order_of_the_study(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    assert_int_equal(space_open_domain(&f, space_teacher(4), ROUNDED, NULL, &err), COP_OK);
    assert_int_equal(f.view->axes, 5);
    for (int axis = 0; axis < f.view->axes; axis++) {
        for (int32_t level = 1; level < f.view->levels[axis]; level++) {
            assert_true(f.view->value(f.view->context, axis, level) >
                        f.view->value(f.view->context, axis, level - 1));
        }
    }
    assert_string_equal(cop_space_domain_axis_name(f.domain, 3, NULL), "ffn_ratio");
    assert_string_equal(cop_space_domain_axis_name(f.domain, 4, NULL), "hidden");
    space_release(&f);
}

static void describe_depth(const void *context, const cop_candidate *candidate, double *features)
{
    features[0] = *(const double *)context * (double)candidate->layers;
}

static void figures_are_those_of_the_candidate(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    const double weight = 10.0;
    const cop_space_features extra = {.count = 1, .describe = describe_depth, .context = &weight};
    cop_candidate c;
    double feature[COP_SPACE_FEATURES + 1];
    double objective[4];
    double size = 0.0;
    double shape = 0.0;

    assert_int_equal(space_open_domain(&f, space_teacher(4), ROUNDED, &extra, &err), COP_OK);
    f.genome[0] = 2; // 4 layers
    f.genome[1] = 2; // 8 heads
    f.genome[2] = 2; // 4 KV heads
    assert_true(cop_space_domain_candidate(f.domain, f.genome, NULL, &c));
    assert_int_equal(f.view->features, COP_SPACE_FEATURES + 1);
    f.view->describe(f.view->context, f.genome, feature);
    assert_true(feature[0] == 4.0 && feature[1] == 40.0 && feature[2] == 8.0);
    assert_true(feature[6] == log((double)c.cost.params) && feature[COP_SPACE_FEATURES] == 40.0);
    f.view->strata(f.view->context, f.genome, &size, &shape);
    assert_true(size == (double)c.cost.params && shape == 0.1);
    f.view->known(f.view->context, f.genome, objective);
    assert_true(isnan(objective[0]) && objective[1] == c.cost.flops_per_token &&
                objective[2] == (double)c.cost.params);

    f.genome[1] = 1; // 6 heads: no multiple of 4
    assert_false(cop_space_domain_candidate(f.domain, f.genome, NULL, &c));
    f.view->describe(f.view->context, f.genome, feature);
    f.view->known(f.view->context, f.genome, objective);
    assert_true(isnan(feature[0]) && isnan(feature[COP_SPACE_FEATURES]));
    assert_true(isnan(objective[0]) && isinf(objective[1]));
    space_release(&f);
}

static void violation_is_relative_and_summed(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    cop_candidate c;
    assert_int_equal(space_open_domain(&f, space_teacher(4),
                                       "budget: {params: {max: 1e5}, memory_bytes: {min: 1e7}}\n",
                                       NULL, &err),
                     COP_OK);
    assert_true(cop_space_domain_candidate(f.domain, f.genome, NULL, &c));
    const double wanted =
        ((double)c.cost.params - 1e5) / 1e5 + (1e7 - (double)c.cost.total_bytes) / 1e7;
    assert_true(fabs(f.view->violation(f.view->context, f.genome) - wanted) < 1e-12);
    space_release(&f);
}

static void too_many_features_are_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    const cop_space_features extra = {.count = COP_DOMAIN_FEATURES_MAX, .describe = describe_depth};
    assert_int_equal(space_open_domain(&f, space_teacher(4), "", &extra, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml: space: 4096 further features (allowed: 0..4086)");
    space_release(&f);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const size_t live = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status != COP_OK && n < 1000; n++) {
        space_fixture f;
        cop_error err = {0};
        cop_alloc_fail_after(n);
        status = space_open_domain(&f, space_teacher(4),
                                   "space: {layers: [1, 2], ffn_ratio: [1, 2]}\n", NULL, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_true(status == COP_OK || status == COP_ERR_NOMEM);
        space_release(&f);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
    assert_int_equal(status, COP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(genomes_and_candidates_stand_for_one_another),
        cmocka_unit_test(levels_rise_whatever_the_order_of_the_study),
        cmocka_unit_test(figures_are_those_of_the_candidate),
        cmocka_unit_test(violation_is_relative_and_summed),
        cmocka_unit_test(too_many_features_are_refused),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
