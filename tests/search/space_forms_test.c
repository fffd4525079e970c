// What a study may write about its space beside plain lists: limits of axes, KV groups, pinned head sizes,
// lists of layers, and workloads in its budget.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/space.h"
#include "tests/search/space_fixture.h"
#include "tests/support.h"

static void limits_leave_values_out(void **state)
{
    (void)state;

    static const struct {
        const char *axis;
        int64_t count;
        int64_t first, last;
    } rows[] = {
        {"{divisor: 8, max_cut: 0.5, min: 45}", 3, 48, 64},
        {"{divisor: 8, max_cut: 0.5, max: 50}", 3, 32, 48},
        {"{divisor: 8, min: 20, max: 40}", 3, 24, 40},
        {"{from: 8, to: 64, step: 8, min: 17, max: 33}", 2, 24, 32},
        {"{values: [64, 8, 32], min: 9}", 2, 64, 32},
        {"{values: [64, 8, 32]}", 3, 64, 32},
        {"48", 1, 48, 48},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        space_fixture f;
        cop_error err = {0};
        char text[128];
        (void)snprintf(text, sizeof text, "space: {hidden: %s}\n", rows[i].axis);
        assert_int_equal(space_scan(&f, space_teacher(4), text, &err), COP_OK);
        assert_int_equal(f.count, rows[i].count);
        assert_int_equal(f.found[0].hidden, rows[i].first);
        assert_int_equal(f.found[f.count - 1].hidden, rows[i].last);
        space_release(&f);
    }

    space_fixture f;
    cop_error err = {0};
    assert_int_equal(space_scan(&f, space_teacher(4),
                                "space: {ffn_ratio: {from: 0.5, to: 2, step: 0.5, max: 1.2}}\n",
                                &err),
                     COP_OK);
    assert_int_equal(f.count, 2);
    assert_int_equal(f.found[1].ffn, 64);
    space_release(&f);
}

static void groups_give_kv_heads(void **state)
{
    (void)state;
    space_fixture f;
    cop_error err = {0};
    // 8 heads in groups of 2 and 1 have 4 and 8 KV heads, of which the teacher has 4; 6 heads have 3 and 6.
    assert_int_equal(
        space_scan(&f, space_teacher(4), "space: {heads: [8, 6, 4], kv_groups: [2, 1]}\n", &err),
        COP_OK);
    assert_int_equal(f.report.size, 6);
    assert_int_equal(f.report.invalid, 2);
    assert_int_equal(f.count, 4);
    assert_string_equal(f.found[0].id, "L4-C64-H8-K4-F128");
    assert_string_equal(f.found[1].id, "L4-C64-H6-K3-F128");
    assert_string_equal(f.found[2].id, "L4-C64-H4-K2-F128");
    assert_string_equal(f.found[3].id, "L4-C64-H4-K4-F128");
    space_release(&f);
}

static void layers_to_keep_and_drop_reach_the_selection(void **state)
{
    (void)state;
    space_fixture f;
    cop_error err = {0};
    assert_int_equal(
        space_scan(&f, space_teacher(4),
                   "space: {layers: [2, 3], keep_layers: [0, 3], drop_layers: [2], head_dim: 16}\n",
                   &err),
        COP_OK);
    assert_int_equal(cop_layer_set_count(&f.study.select.keep_layers), 2);
    assert_true(cop_layer_set_has(&f.study.select.keep_layers, 3));
    assert_true(cop_layer_set_has(&f.study.select.drop_layers, 2));
    space_release(&f);
}

static void every_workload_must_hold(void **state)
{
    (void)state;
    space_fixture f;
    cop_error err = {0};
    // Weights at 1 … 4 layers: 82,112 to 229,952 parameters of 2 bytes; a token's cache takes 256 bytes a layer.
    assert_int_equal(
        space_scan(&f, space_teacher(4),
                   "space: {layers: [1, 2, 3, 4]}\n"
                   "budget:\n"
                   "  params: {max: 200000}\n"
                   "  workloads:\n"
                   "    chat: {batch: 2, sequence: 128, memory_bytes: {max: 400000}}\n"
                   "    bulk-1: {weights: f32, sequence: 1, memory_bytes: {min: 4e5},\n"
                   "             flops_per_token: {min: 1}, latency_ms: {max: 3}}\n",
                   &err),
        COP_OK);
    assert_int_equal(f.report.bounds, 4);
    assert_string_equal(f.report.bound[0].text, "params <= 200000");
    assert_string_equal(f.report.bound[1].text, "chat.memory_bytes <= 400000");
    assert_string_equal(f.report.bound[2].text, "bulk-1.memory_bytes >= 400000");
    assert_string_equal(f.report.bound[3].text, "bulk-1.flops_per_token >= 1");
    assert_int_equal(f.report.bound[0].excluded, 1);
    assert_int_equal(f.report.bound[1].excluded, 2); // 361,344 + 196,608 bytes at 3 layers
    assert_int_equal(f.report.bound[2].excluded, 1); // 328,448 + 512 bytes at 1 layer
    assert_int_equal(f.count, 1);
    assert_int_equal(f.found[0].layers, 2);
    // Candidates are listed with the costs of the budget itself.
    const cop_arch arch = cop_candidate_arch(&f.found[0], &f.teacher);
    const cop_cost cost = cop_cost_of(&arch, 1, 4096, COP_BF16, COP_BF16);
    assert_int_equal(f.found[0].cost.total_bytes, cost.total_bytes);

    cop_latency_budget latency[COP_STUDY_LATENCIES_MAX];
    assert_int_equal(cop_study_latencies(&f.study, latency), 1);
    assert_string_equal(latency[0].name, "bulk-1");
    assert_true(latency[0].bound.max == 3.0 && latency[0].batch == 1 && latency[0].sequence == 1);
    space_release(&f);

    assert_int_equal(
        space_scan(&f, space_teacher(4),
                   "budget:\n"
                   "  latency_ms: {min: 1}\n"
                   "  workloads: {a: {latency_ms: {max: 2}}, b: {memory_bytes: {max: 1e9}}, "
                   "c: {latency_ms: {max: 4}, batch: 3}}\n",
                   &err),
        COP_OK);
    assert_int_equal(cop_study_latencies(&f.study, latency), 3);
    assert_string_equal(latency[0].name, "");
    assert_string_equal(latency[1].name, "a");
    assert_string_equal(latency[2].name, "c");
    assert_int_equal(latency[2].batch, 3);
    space_release(&f);
}

static void what_cannot_be_is_refused_with_its_place(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"space: {hidden: {from: 8, to: 64, step: 8, min: 65}}\n",
         "s.yaml:2:17: space.hidden: none of its 8 values lies in 65..inf"},
        {"space: {hidden: {divisor: 8}}\n",
         "s.yaml:2:17: space.hidden: the key max_cut is missing"},
        {"space: {hidden: {divisor: 32, min: 33, max: 63}}\n",
         "s.yaml:2:17: space.hidden: no multiple of 32 lies in 33..63 (1 of the teacher's 64 may "
         "be cut)"},
        {"space: {hidden: {values: [8], min: 3, max: 2}}\n",
         "s.yaml:2:36: space.hidden.min: is 3 (allowed: at most max, which is 2)"},
        {"space: {hidden: {values: 8}}\n",
         "s.yaml:2:26: space.hidden.values: is no list of values"},
        {"space: {hidden: {min: 8, max: 16}}\n",
         "s.yaml:2:17: space.hidden: the key from is missing"},
        {"space: {kv_heads: 4, kv_groups: 2}\n",
         "s.yaml:2:33: space.kv_groups: stands beside space.kv_heads (allowed: one of the two)"},
        {"space: {kv_groups: [2, 3]}\n",
         "s.yaml:2:24: space.kv_groups[1]: value 3 (allowed: at most 2, the teacher's kv_groups)"},
        {"space: {heads: [8, 5], kv_groups: 2}\n",
         "s.yaml:2:20: space.heads[1]: heads 5 fits no value of kv_groups (allowed: heads a "
         "multiple of kv_groups, at most 2 per KV head as in the teacher)"},
        {"space: {head_dim: 8}\n",
         "s.yaml:2:19: space.head_dim: is 8 (allowed: 16, the teacher's: heads are dropped whole, "
         "their size cannot be cut)"},
        {"space: {keep_layers: 3}\n",
         "s.yaml:2:22: space.keep_layers: is no list of layers (allowed: e.g. [0, 1, 31])"},
        {"space: {keep_layers: [3, 3]}\n",
         "s.yaml:2:26: space.keep_layers[1]: is 3 a second time (allowed: each once)"},
        {"space: {drop_layers: [1, 4]}\n",
         "s.yaml:2:22: space.drop_layers: layer 4 (allowed: 0..3, the teacher's)"},
        {"space: {keep_layers: [1], drop_layers: [1]}\n",
         "s.yaml:2:40: space.drop_layers: layer 1 stands in space.keep_layers, too (allowed: one "
         "of the two)"},
        {"space: {layers: [4, 2], keep_layers: [1, 2]}\nprune: {keep_first_and_last: true}\n",
         "s.yaml:2:38: space.keep_layers: cannot all stay among 2 layers (allowed: fewer of them, "
         "or more layers in space.layers)"},
        {"space: {layers: [4, 2], keep_layers: [1, 2]}\nprune: {depth_shape: contiguous}\n",
         "s.yaml:2:38: space.keep_layers: cannot all stay among 2 layers when one run of "
         "neighbours goes (allowed: fewer of them, or more layers in space.layers)"},
        {"budget: {workloads: [1]}\n",
         "s.yaml:2:21: budget.workloads: is no mapping of 1 to 8 names to workloads"},
        {"budget: {workloads: {a.b: {latency_ms: {max: 2}}}}\n",
         "s.yaml:2:27: budget.workloads.a.b: has no name for a workload (allowed: 1 to 23 letters, "
         "digits, _ and -)"},
        {"budget: {workloads: {a: {batch: 2}}}\n",
         "s.yaml:2:25: budget.workloads.a: bounds nothing (allowed: min or max of memory_bytes, "
         "flops_per_token or latency_ms)"},
        {"budget: {workloads: {a: {memory_bytes: {min: 3, max: 2}}}}\n",
         "s.yaml:2:46: budget.workloads.a.memory_bytes.min: is 3 (allowed: at most max, which is "
         "2)"},
        {"budget: {workloads: {a: {latency: {max: 2}}}}\n",
         "s.yaml:2:26: budget.workloads.a.latency: unknown key (did you mean latency_ms? allowed: "
         "batch, sequence, weights, kv, memory_bytes, flops_per_token, latency_ms)"},
        {"budget: {workloads: {a: {memory_bytes: {max: 10}}}}\n",
         "s.yaml: budget: none of 1 grid points is feasible: a.memory_bytes <= 10 excludes 1, "
         "alone 1 (nearest 4654208)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        space_fixture f;
        cop_error err = {0};
        assert_int_equal(space_scan(&f, space_teacher(4), cases[i].text, &err), COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
        space_release(&f);
    }
}

static void two_studies_that_differ_have_other_values(void **state)
{
    (void)state;

    static const char *const texts[] = {
        "",
        "space: {keep_layers: [1]}\n",
        "space: {keep_layers: [1, 2]}\n",
        "space: {drop_layers: [1]}\n",
        "space: {head_dim: 16}\n",
        "space: {hidden: {divisor: 8, max_cut: 0.5}}\n",
        "space: {hidden: {divisor: 8, max_cut: 0.5, min: 33}}\n",
        "budget: {workloads: {a: {latency_ms: {max: 2}}}}\n",
        "budget: {workloads: {a: {latency_ms: {max: 2}, batch: 3}}}\n",
        "budget: {workloads: {b: {latency_ms: {max: 2}}}}\n",
    };

    enum { COUNT = sizeof texts / sizeof texts[0] };

    cop_text values[COUNT] = {{0}};

    for (int i = 0; i < COUNT; i++) {
        space_fixture f;
        cop_error err = {0};
        assert_int_equal(space_scan(&f, space_teacher(4), texts[i], &err), COP_OK);
        for (size_t k = 0; k < cop_study_key_count(); k++) {
            if (cop_study_key_value(&f.study, k, &values[i])) {
                cop_text_append(&values[i], "\n");
            }
        }
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(cop_text_view(&values[i]), cop_text_view(&values[k]));
        }
        space_release(&f);
    }
    for (int i = 0; i < COUNT; i++) {
        cop_text_release(&values[i]);
    }
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
        status = space_scan(
            &f, space_teacher(4),
            "space: {layers: {values: [1, 2], min: 2}, heads: [8, 4], kv_groups: [1, 2], "
            "keep_layers: "
            "[1]}\nbudget: {workloads: {a: {memory_bytes: {max: 1e9}}}}\n",
            &err);
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
        cmocka_unit_test(limits_leave_values_out),
        cmocka_unit_test(groups_give_kv_heads),
        cmocka_unit_test(layers_to_keep_and_drop_reach_the_selection),
        cmocka_unit_test(every_workload_must_hold),
        cmocka_unit_test(what_cannot_be_is_refused_with_its_place),
        cmocka_unit_test(two_studies_that_differ_have_other_values),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
