// Spaces whose layers choose by themselves: the walk agrees with every point of the grid, costs are those of
// the cost model, names and genomes are canonical, and sizes beyond any list are told exactly.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/space_domain.h"
#include "tests/search/space_fixture.h"
#include "tests/support.h"

static cop_arch biased(int64_t layers)
{
    cop_arch arch = space_teacher(layers);
    arch.attention_bias = true;
    arch.mlp_bias = true;
    return arch;
}

// --- The walk -----------------------------------------------------------------------------------

static void must_have_costs_of_its_architecture(const space_fixture *f, const cop_candidate *c)
{
    const cop_arch arch = cop_candidate_arch(c, &f->teacher);
    const cop_cost cost = cop_cost_of(&arch, 1, 4096, COP_BF16, COP_BF16);
    assert_int_equal(c->cost.params, cost.params);
    assert_int_equal(c->cost.params_non_embedding, cost.params_non_embedding);
    assert_int_equal(c->cost.total_bytes, cost.total_bytes);
    assert_true(c->cost.flops_per_token == cost.flops_per_token);
}

static bool is_listed(const cop_candidate *candidates, int64_t count, const char *id)
{
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(candidates[i].id, id) == 0) {
            return true;
        }
    }
    return false;
}

// Applies the bounds of params and memory to every point and compares with the walk.
static void compare(const char *text, int64_t size)
{
    cop_error err = {0};
    space_fixture f;
    cop_candidate *found = NULL;
    cop_space_report report = {0};
    cop_space_report counted = {0};
    int64_t count = 0;
    int64_t next = 0;
    int64_t invalid = 0;
    int64_t duplicates = 0;
    int64_t excluded[2] = {0};
    int64_t only[2] = {0};
    double nearest[2] = {HUGE_VAL, 0.0};

    assert_int_equal(space_open_domain(&f, biased(4), text, NULL, &err), COP_OK);
    assert_int_equal(cop_space_size(f.space), size);
    assert_int_equal(cop_space_feasible(&found, &count, &report, f.space, &err), COP_OK);
    for (int64_t i = 0; i < size; i++) {
        cop_candidate c;
        if (!cop_space_at(f.space, i, f.blocks, &c)) {
            invalid++;
            continue;
        }
        must_have_costs_of_its_architecture(&f, &c);
        const bool is_large = (double)c.cost.params > f.study.params.max;
        const bool is_small = (double)c.cost.total_bytes < f.study.memory_bytes.min;
        excluded[0] += is_large ? 1 : 0;
        excluded[1] += is_small ? 1 : 0;
        only[0] += is_large && !is_small ? 1 : 0;
        only[1] += is_small && !is_large ? 1 : 0;
        nearest[0] = is_large ? fmin(nearest[0], (double)c.cost.params) : nearest[0];
        nearest[1] = is_small ? fmax(nearest[1], (double)c.cost.total_bytes) : nearest[1];
        if (is_large || is_small) {
            continue;
        }
        if (is_listed(found, next, c.id)) {
            duplicates++;
            continue;
        }
        assert_true(next < count);
        assert_string_equal(found[next].id, c.id);
        assert_int_equal(found[next].grid_index, i);
        must_have_costs_of_its_architecture(&f, &found[next]);
        next++;
    }
    assert_int_equal(next, count);
    assert_int_equal(report.feasible, count);
    assert_int_equal(report.invalid, invalid);
    assert_int_equal(report.duplicates, duplicates);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(report.bound[i].excluded, excluded[i]);
        assert_int_equal(report.bound[i].only, only[i]);
        assert_true(excluded[i] == 0 ? isnan(report.bound[i].nearest)
                                     : report.bound[i].nearest == nearest[i]);
    }
    assert_int_equal(cop_space_walk(f.space, &counted, NULL, NULL, &err), COP_OK);
    assert_memory_equal(&counted, &report, sizeof report);
    cop_free(found);
    space_release(&f);
}

static void the_walk_finds_what_every_point_says(void **state)
{
    (void)state;
    compare("space: {layers: [4, 2], ffn@layer: [128, 32, 64], hidden: [48, 64]}\n"
            "budget: {params: {max: 180000}, memory_bytes: {min: 1.2e6}}\n",
            2 * (81 + 9));
    compare("space: {layers: [3, 1], heads@layer: [8, 4, 2], kv_heads@layer: [2, 4], "
            "ffn@layer: [64, 128]}\n"
            "budget: {params: {max: 150000}, memory_bytes: {min: 1.4e6}}\n",
            8 * 8 * 8 + 8);
    compare("space: {layers: [2, 4], heads@layer: [8, 4], hidden: [64, 40], "
            "ffn_ratio: [2, 1.05, 1.02, 3]}\n"
            "budget: {params: {max: 190000}, memory_bytes: {min: 1e6}}\n",
            8 * (4 + 16));
    compare("space: {layers: [3, 2], heads: [8, 6], kv_heads: [4, 3], ffn@layer: [64, 128]}\n"
            "budget: {params: {max: 150000}, memory_bytes: {min: 1.3e6}}\n",
            4 * (8 + 4));
}

// --- Names --------------------------------------------------------------------------------------

static void equal_blocks_have_the_plain_name(void **state)
{
    (void)state;
    const cop_layer_arch alike[] = {{8, 4, 128}, {8, 4, 128}};
    const cop_layer_arch differ[] = {{8, 4, 128}, {4, 2, 64}};
    const cop_layer_arch turned[] = {{4, 2, 64}, {8, 4, 128}};
    cop_candidate c = {.layers = 2, .hidden = 64};
    cop_candidate d = c;
    cop_candidate e = c;

    cop_candidate_name(&c, alike);
    assert_string_equal(c.id, "L2-C64-H8-K4-F128");
    assert_null(c.layer);
    cop_candidate_name(&d, differ);
    cop_candidate_name(&e, turned);
    assert_int_equal(strlen(d.id), strlen("L2-C64-") + 16);
    assert_memory_equal(d.id, "L2-C64-", 7);
    assert_string_not_equal(d.id, e.id);
    assert_ptr_equal(d.layer, differ);
    assert_int_equal(d.heads, 6);
    assert_int_equal(d.ffn, 96);
}

static void blocks_are_written_and_read(void **state)
{
    (void)state;
    const cop_layer_arch blocks[] = {{8, 4, 128}, {4, 2, 64}};
    cop_layer_arch read[2];
    cop_text text = {0};
    cop_candidate c = {.layers = 2, .hidden = 64};

    cop_candidate_append_blocks(&c, &text);
    assert_string_equal(cop_text_view(&text), "");
    cop_candidate_name(&c, blocks);
    cop_candidate_append_blocks(&c, &text);
    assert_string_equal(cop_text_view(&text), "8/4/128 4/2/64");
    assert_true(cop_candidate_parse_blocks(read, 2, cop_text_view(&text)));
    assert_memory_equal(read, blocks, sizeof read);
    cop_text_release(&text);

    static const char *const wrong[] = {"",
                                        "8/4/128",
                                        "8/4/128 4/2/64 1/1/1",
                                        "8/4/128 4/2/64 ",
                                        "8/4/128  4/2/64",
                                        "8/4/128 4/0/64",
                                        "8/4/128 4/2",
                                        "8/4/128 4/2/-64",
                                        "8/4/128 4/2/99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(cop_candidate_parse_blocks(read, 2, wrong[i]));
    }
}

// --- The domain ---------------------------------------------------------------------------------

static void genomes_and_candidates_stand_for_one_another(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    int64_t distinct = 0;
    int64_t feasible = 0;
    cop_candidate *found = NULL;
    cop_space_report report = {0};
    int64_t count = 0;
    int32_t genome[16] = {0};
    int axis = 0;
    int layer = 0;

    assert_int_equal(
        space_open_domain(&f, biased(4),
                          "space: {layers: [3, 1], heads@layer: [8, 4], ffn@layer: [128, 64], "
                          "hidden: [64, 48]}\nbudget: {params: {max: 120000}}\n",
                          NULL, &err),
        COP_OK);
    const cop_domain *view = cop_space_domain_view(f.domain);
    assert_int_equal(view->axes, 2 + 3 * 2);
    assert_string_equal(cop_space_domain_axis_name(f.domain, 1, &layer), "hidden");
    assert_int_equal(layer, -1);
    assert_string_equal(cop_space_domain_axis_name(f.domain, 5, &layer), "ffn");
    assert_int_equal(layer, 1);
    assert_int_equal(cop_space_feasible(&found, &count, &report, f.space, &err), COP_OK);
    do {
        int32_t canonical[16];
        int32_t back[16];
        cop_layer_arch blocks[COP_ARCH_LAYERS_MAX];
        cop_candidate c;
        cop_candidate grid;
        const size_t bytes = (size_t)view->axes * sizeof *canonical;
        assert_true(cop_space_domain_candidate(f.domain, genome, blocks, &c));
        must_have_costs_of_its_architecture(&f, &c);
        assert_true(cop_space_at(f.space, c.grid_index, f.blocks, &grid));
        assert_string_equal(grid.id, c.id);
        memcpy(canonical, genome, bytes);
        view->canonicalize(view->context, canonical);
        assert_true(cop_space_domain_genome(f.domain, &c, back));
        assert_memory_equal(back, canonical, bytes);
        const bool holds = view->violation(view->context, genome) == 0.0;
        assert_true(holds == is_listed(found, count, c.id));
        if (memcmp(canonical, genome, bytes) == 0) {
            distinct++;
            feasible += holds ? 1 : 0;
        }
        for (axis = view->axes - 1; axis >= 0 && ++genome[axis] == view->levels[axis]; axis--) {
            genome[axis] = 0;
        }
    } while (axis >= 0);
    assert_int_equal(distinct, cop_space_size(f.space));
    assert_int_equal(feasible, count);
    cop_free(found);
    space_release(&f);
}

static void a_space_beyond_any_list_has_size_and_candidates(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    cop_text digits = {0};
    cop_space_report report = {0};
    cop_candidate *found = NULL;
    int64_t count = 0;
    cop_candidate c;
    int32_t genome[COP_DOMAIN_AXES_MAX] = {0};
    int32_t back[COP_DOMAIN_AXES_MAX] = {0};

    // (4 pairs of heads x 5 widths)^40 + (…)^39, at two hidden sizes.
    assert_int_equal(space_open_domain(&f, biased(40),
                                       "space: {layers: [40, 39], heads@layer: [8, 4, 2], "
                                       "kv_heads@layer: [4, 2], hidden: [64, 32],\n"
                                       "  ffn@layer: [128, 96, 64, 48, 32]}\n"
                                       "budget: {params: {max: 1e6}}\n",
                                       NULL, &err),
                     COP_OK);
    assert_int_equal(cop_space_size(f.space), INT64_MAX);
    assert_int_equal(cop_space_append_size(f.space, &digits, &err), COP_OK);
    // 2 * 21 * 20^39 = 42 * 2^39 * 10^39
    assert_string_equal(cop_text_view(&digits),
                        "23089744183296000000000000000000000000000000000000000");
    assert_true(fabs(cop_space_log10_size(f.space) - 52.363419121293) < 1e-9);
    cop_text_release(&digits);

    assert_false(cop_space_is_listed(f.space));
    assert_int_equal(cop_space_walk(f.space, &report, NULL, NULL, &err), COP_OK);
    assert_int_equal(report.feasible, INT64_MAX);
    assert_int_equal(cop_space_check_report(f.space, &report, &err), COP_OK);
    assert_int_equal(cop_space_feasible(&found, &count, &report, f.space, &err), COP_ERR_CONFIG);
    assert_string_equal(
        err.message,
        "s.yaml: space: the grid has about 10^52.4 points, too many to list "
        "(search.strategy random, stratified, nsga2, surrogate and knapsack need no list)");
    assert_int_equal(report.bounds, 1);
    assert_false(cop_space_at(f.space, 0, f.blocks, &c));

    const cop_domain *view = cop_space_domain_view(f.domain);
    assert_int_equal(view->axes, 2 + 40 * 2);
    for (int i = 0; i < view->axes; i++) {
        genome[i] = i % view->levels[i];
    }
    genome[0] = 1;
    assert_true(cop_space_domain_candidate(f.domain, genome, f.blocks, &c));
    must_have_costs_of_its_architecture(&f, &c);
    assert_int_equal(c.grid_index, INT64_MAX);
    assert_true(cop_space_domain_genome(f.domain, &c, back));
    assert_memory_equal(back, genome, (size_t)view->axes * sizeof *back);
    space_release(&f);
}

// --- Refusals -----------------------------------------------------------------------------------

static void what_cannot_be_is_refused_with_its_place(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"space: {ffn@layer: [64], ffn: 64}\n",
         "s.yaml:2:20: space.ffn@layer: stands beside space.ffn (allowed: one of the two)"},
        {"space: {ffn@layer: [64], ffn_ratio: 1}\n",
         "s.yaml:2:20: space.ffn@layer: stands beside space.ffn_ratio (allowed: one of the two)"},
        {"space: {heads@layer: [8], heads: 8}\n",
         "s.yaml:2:22: space.heads@layer: stands beside space.heads (allowed: one of the two)"},
        {"space: {kv_heads@layer: [4], kv_groups: 2}\n",
         "s.yaml:2:25: space.kv_heads@layer: stands beside space.kv_groups (allowed: one of the "
         "two)"},
        {"space: {heads@layer: [8, 4], kv_heads: [4, 2]}\n",
         "s.yaml:2:22: space.heads@layer: stands beside several values of space.kv_heads (allowed: "
         "one value, or space.kv_heads@layer)"},
        {"space: {heads: [4, 2], kv_heads@layer: [2, 1]}\n",
         "s.yaml:2:40: space.kv_heads@layer: stands beside several values of space.heads (allowed: "
         "one value, or space.heads@layer)"},
        {"space: {ffn@layer: [64, 129]}\n",
         "s.yaml:2:25: space.ffn@layer[1]: value 129 (allowed: at most 128, the teacher's ffn)"},
        {"space: {heads@layer: [8, 5]}\n",
         "s.yaml:2:26: space.heads@layer[1]: heads 5 fits no value of kv_heads (allowed: heads a "
         "multiple of kv_heads, at most 2 per KV head as in the teacher)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        space_fixture f;
        cop_error err = {0};
        assert_int_equal(space_open_domain(&f, biased(4), cases[i].text, NULL, &err),
                         COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
        space_release(&f);
    }
}

static cop_status list_all(space_fixture *f, cop_error *err)
{
    cop_status status = COP_OK;
    cop_candidate *found = NULL;
    cop_space_report report = {0};
    cop_text digits = {0};
    int64_t count = 0;

    COP_TRY(status,
            space_open_domain(f, biased(4),
                              "space: {layers: [3, 2], heads@layer: [8, 4], ffn@layer: [64, 128], "
                              "hidden: [64, 32]}\n",
                              NULL, err));
    COP_TRY(status, cop_space_feasible(&found, &count, &report, f->space, err));
    COP_TRY(status, cop_space_append_size(f->space, &digits, err));

done:
    cop_text_release(&digits);
    cop_free(found);
    return status;
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
        status = list_all(&f, &err);
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
        cmocka_unit_test(the_walk_finds_what_every_point_says),
        cmocka_unit_test(equal_blocks_have_the_plain_name),
        cmocka_unit_test(blocks_are_written_and_read),
        cmocka_unit_test(genomes_and_candidates_stand_for_one_another),
        cmocka_unit_test(a_space_beyond_any_list_has_size_and_candidates),
        cmocka_unit_test(what_cannot_be_is_refused_with_its_place),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
