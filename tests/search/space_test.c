// The space: the published searches come out exactly, costs are those of the cost model, and what
// cannot be is refused with its place.

#include "search/space.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/arch_json.h"
#include "search/space_internal.h"
#include "tests/search/space_fixture.h"
#include "tests/support.h"

#define STUDIES COP_SOURCE_DIR "/configs/studies/"

// --- The published searches ---------------------------------------------------------------------

typedef struct published {
    int layers, heads, ffn, hidden;
    int64_t params;
    int64_t params_non_embedding; // 0: not in the table
} published;

// arXiv 2407.14679, table 19, in grid order; counts by the formula of the paper's models.
static const published minitron_8b[] = {
    {29, 32, 12800, 5120, 7943567360, 5322127360}, {29, 32, 16128, 4608, 8038665216, 5679369216},
    {29, 48, 13824, 4608, 7970245632, 5610949632}, {30, 32, 12800, 5120, 8127088640, 5505648640},
    {30, 32, 16128, 4608, 8234505216, 5875209216}, {30, 48, 13824, 4608, 8163726336, 5804430336},
    {30, 48, 16384, 4096, 7885791232, 5788639232}, {31, 32, 12800, 5120, 8310609920, 5689169920},
    {31, 32, 16128, 4608, 8430345216, 6071049216}, {31, 48, 13824, 4608, 8357207040, 5997911040},
    {31, 48, 16384, 4096, 8078745600, 5981593600}, {32, 32, 12800, 5120, 8494131200, 5872691200},
    {32, 32, 13824, 4608, 7946707968, 5587411968}, {32, 48, 11520, 4608, 7871210496, 5511914496},
    {32, 48, 16384, 4096, 8271699968, 6174547968},
};

// The 18 points within 5 % of four billion, as many as table 9 says.
static const published minitron_4b[] = {
    {29, 24, 9216, 3072, 3945105408, 0},  {29, 32, 7680, 3072, 3853879296, 0},
    {29, 32, 9216, 3072, 4127557632, 0},  {29, 48, 10240, 2560, 3895761920, 0},
    {30, 24, 9216, 3072, 4026906624, 0},  {30, 32, 7680, 3072, 3932534784, 0},
    {30, 48, 10240, 2560, 3984901120, 0}, {31, 24, 7680, 3072, 3816155136, 0},
    {31, 24, 9216, 3072, 4108707840, 0},  {31, 32, 7680, 3072, 4011190272, 0},
    {31, 48, 8960, 2560, 3870878720, 0},  {31, 48, 10240, 2560, 4074040320, 0},
    {32, 24, 7680, 3072, 3888519168, 0},  {32, 24, 9216, 3072, 4190509056, 0},
    {32, 32, 7680, 3072, 4089845760, 0},  {32, 32, 10240, 2560, 3827635200, 0},
    {32, 48, 8960, 2560, 3953464320, 0},  {32, 48, 10240, 2560, 4163179520, 0},
};

static void check_published(const char *path, int64_t size, const published *rows, int64_t count)
{
    space_fixture f = {0};
    cop_error err = {0};
    assert_int_equal(cop_study_file_read(&f.study, path, false, &err), COP_OK);
    assert_int_equal(cop_arch_read(&f.teacher, f.study.teacher, &err), COP_OK);
    assert_int_equal(cop_space_create(&f.space, &f.study, &f.teacher, &err), COP_OK);
    assert_int_equal(cop_space_feasible(&f.found, &f.count, &f.report, f.space, &err), COP_OK);

    assert_int_equal(f.report.size, size);
    assert_int_equal(f.report.feasible, count);
    assert_int_equal(f.count, count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(f.found[i].layers, rows[i].layers);
        assert_int_equal(f.found[i].heads, rows[i].heads);
        assert_int_equal(f.found[i].kv_heads, 8);
        assert_int_equal(f.found[i].head_dim, 128);
        assert_int_equal(f.found[i].ffn, rows[i].ffn);
        assert_int_equal(f.found[i].hidden, rows[i].hidden);
        assert_int_equal(f.found[i].cost.params, rows[i].params);
        if (rows[i].params_non_embedding > 0) {
            assert_int_equal(f.found[i].cost.params_non_embedding, rows[i].params_non_embedding);
        }
    }
    space_release(&f);
}

static void minitron_8b_has_exactly_the_fifteen_rows_of_table_19(void **state)
{
    (void)state;
    check_published(STUDIES "minitron-8b.yaml", 160, minitron_8b, 15);
}

static void minitron_4b_has_exactly_the_eighteen_points(void **state)
{
    (void)state;
    check_published(STUDIES "minitron-4b.yaml", 240, minitron_4b, 18);
}

// --- Properties ---------------------------------------------------------------------------------

static void costs_are_those_of_the_cost_model(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_rng *rng = NULL;
    space_fixture f;
    assert_int_equal(
        space_scan(&f, space_teacher(4),
                   "space: {layers: {from: 1, to: 4, step: 1}, heads: {from: 2, to: 8, "
                   "step: 2}, kv_heads: [1, 2, 3, 4], ffn: {divisor: 1, max_cut: 0.9}, "
                   "hidden: {divisor: 1, max_cut: 0.9}}\n"
                   "budget: {memory_bytes: {batch: 3, sequence: 77, weights: f32, kv: "
                   "bf16}, flops_per_token: {sequence: 55}}\n",
                   &err),
        COP_OK);
    assert_int_equal(cop_rng_create(&rng, 1, COP_RNG_TEST, 0, &err), COP_OK);

    for (int variant = 0; variant < 32; variant++) {
        f.space->teacher.is_gated = (variant & 1) != 0;
        f.space->teacher.is_tied = (variant & 2) != 0;
        f.space->teacher.attention_bias = (variant & 4) != 0;
        f.space->teacher.mlp_bias = (variant & 8) != 0;
        f.space->teacher.norm = (variant & 16) != 0 ? COP_NORM_RMS : COP_NORM_LAYER_1P;
        for (int i = 0; i < 200; i++) {
            cop_candidate c;
            const int64_t size = cop_space_size(f.space);
            if (!cop_space_at(f.space, (int64_t)cop_rng_below(rng, (uint64_t)size), NULL, &c)) {
                continue;
            }
            const cop_arch arch = cop_candidate_arch(&c, &f.space->teacher);
            const cop_cost wanted = cop_cost_of(&arch, 3, 77, COP_F32, COP_BF16);
            const cop_cost flops = cop_cost_of(&arch, 1, 55, COP_F32, COP_BF16);
            assert_int_equal(c.cost.params, wanted.params);
            assert_int_equal(c.cost.params_non_embedding, wanted.params_non_embedding);
            assert_int_equal(c.cost.matmul_params, wanted.matmul_params);
            assert_int_equal(c.cost.weights_bytes, wanted.weights_bytes);
            assert_int_equal(c.cost.kv_cache_bytes, wanted.kv_cache_bytes);
            assert_int_equal(c.cost.total_bytes, wanted.total_bytes);
            assert_true(c.cost.flops_per_token == flops.flops_per_token);
        }
    }
    cop_rng_destroy(rng);
    space_release(&f);
}

static void the_scan_finds_what_a_walk_over_all_points_finds(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    assert_int_equal(
        space_scan(&f, space_teacher(4),
                   "space: {layers: [4, 2, 3], heads: [8, 4, 6], kv_heads: [4, 2, 3], "
                   "ffn_ratio: {from: 0.5, to: 2.5, step: 0.03}, hidden: [40, 64, 52]}\n"
                   "budget: {params: {min: 60000, max: 90000}, flops_per_token: {max: "
                   "2e5, sequence: 64}}\n",
                   &err),
        COP_OK);

    int64_t next = 0;
    int64_t invalid = 0;
    int64_t duplicates = 0;
    for (int64_t i = 0; i < cop_space_size(f.space); i++) {
        cop_candidate c;
        bool is_new = true;
        if (!cop_space_at(f.space, i, NULL, &c)) {
            invalid++;
            continue;
        }
        if (c.cost.params < 60000 || c.cost.params > 90000 || c.cost.flops_per_token > 2e5) {
            continue;
        }
        for (int64_t k = 0; k < next && is_new; k++) {
            is_new = strcmp(f.found[k].id, c.id) != 0;
        }
        if (!is_new) {
            duplicates++;
            continue;
        }
        assert_true(next < f.count);
        assert_string_equal(f.found[next].id, c.id);
        assert_int_equal(f.found[next].grid_index, i);
        next++;
    }
    assert_int_equal(next, f.count);
    assert_int_equal(f.report.invalid, invalid);
    assert_int_equal(f.report.duplicates, duplicates);
    assert_true(invalid > 0 && duplicates > 0);
    space_release(&f);
}

static void absent_axes_keep_the_teachers_values(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    assert_int_equal(space_scan(&f, space_teacher(4), "", &err), COP_OK);
    assert_int_equal(f.report.size, 1);
    assert_string_equal(f.found[0].id, "L4-C64-H8-K4-F128");
    assert_true(isnan(f.found[0].ffn_ratio));

    const cop_arch arch = cop_candidate_arch(&f.found[0], &f.teacher);
    assert_memory_equal(&arch, &f.teacher, sizeof arch);
    space_release(&f);
}

static void a_divisor_lists_multiples_down_to_the_cut(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    assert_int_equal(
        space_scan(&f, space_teacher(4), "space: {hidden: {divisor: 16, max_cut: 0.5}}\n", &err),
        COP_OK);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.found[0].hidden, 32);
    assert_int_equal(f.found[1].hidden, 48);
    assert_int_equal(f.found[2].hidden, 64);
    space_release(&f);
}

static void a_ratio_that_is_not_whole_is_rounded_to_a_multiple_of_eight(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    assert_int_equal(
        space_scan(&f, space_teacher(4), "space: {ffn_ratio: [1.05, 1.5, 0.02]}\n", &err), COP_OK);
    assert_int_equal(f.found[0].ffn, 64); // 67.2
    assert_int_equal(f.found[1].ffn, 96);
    assert_int_equal(f.found[2].ffn, 8); // 1.28
    space_release(&f);
}

// --- What is refused ----------------------------------------------------------------------------

static void impossible_values_are_refused_with_their_place(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"space: {layers: [4, 5]}\n",
         "s.yaml:2:21: space.layers[1]: value 5 (allowed: at most 4, the teacher's layers)"},
        {"space: {hidden: {from: 32, to: 96, step: 32}}\n",
         "s.yaml:2:17: space.hidden: value 96 (allowed: at most 64, the teacher's hidden)"},
        {"space: {hidden: {divisor: 50, max_cut: 0.1}}\n",
         "s.yaml:2:17: space.hidden: no multiple of 50 lies in 58..64 (0.1 of the teacher's 64 may "
         "be cut)"},
        {"space: {heads: [8, 6]}\n", "s.yaml:2:20: space.heads[1]: heads 6 fits no value of "
                                     "kv_heads (allowed: heads a multiple "
                                     "of kv_heads, at most 2 per KV head as in the teacher)"},
        {"space: {kv_heads: [4, 3]}\n",
         "s.yaml:2:23: space.kv_heads[1]: kv_heads 3 fits no value of heads (allowed: heads a "
         "multiple of kv_heads, at most 2 per KV head as in the teacher)"},
        {"space: {kv_heads: [2]}\n", "s.yaml:2:19: space.kv_heads: heads 8 fits no value of "
                                     "kv_heads (allowed: heads a multiple "
                                     "of kv_heads, at most 2 per KV head as in the teacher)"},
        {"space: {ffn_ratio: [2, 2.5]}\n",
         "s.yaml:2:24: space.ffn_ratio[1]: value 2.5 makes ffn 160 at the smallest hidden, 64 "
         "(allowed: at most 128, the teacher's ffn)"},
        {"space: {layers: [2, 4]}\nbudget: {params: {max: 1e4}}\n",
         "s.yaml: budget: none of 2 grid points is feasible: params <= 10000 excludes 2, alone 2 "
         "(nearest 131392)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        space_fixture f;
        cop_error err = {0};
        const cop_status status = space_scan(&f, space_teacher(4), cases[i].text, &err);
        assert_int_equal(status, COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
        space_release(&f);
    }
}

static void a_cache_too_large_to_count_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f = {.teacher = space_teacher(4)};
    const char *text = "teacher: t\n"
                       "budget: {memory_bytes: {batch: 65536, sequence: 1073741824}}\n";
    f.teacher.head_dim = COP_ARCH_HEAD_DIM_MAX;
    assert_int_equal(cop_study_file_parse(&f.study, "s.yaml", text, strlen(text), false, &err),
                     COP_OK);
    assert_int_equal(cop_space_create(&f.space, &f.study, &f.teacher, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "s.yaml: budget.memory_bytes: the KV cache of 65536 sequences of "
                        "1073741824 tokens has 3.68935e+19 bytes (allowed: up to 4.61169e+18)");
    space_release(&f);
}

static void the_report_says_what_each_bound_excludes(void **state)
{
    (void)state;
    cop_error err = {0};
    space_fixture f;
    // Parameters at 1..4 layers: 82,112, 131,392, 180,672 and 229,952.
    assert_int_equal(
        space_scan(&f, space_teacher(4),
                   "space: {layers: [1, 2, 3, 4]}\n"
                   "budget: {params: {min: 100000, max: 160000}, params_non_embedding: "
                   "{max: 120000}}\n",
                   &err),
        COP_OK);
    assert_int_equal(f.report.bounds, 3);
    assert_string_equal(f.report.bound[0].text, "params >= 100000");
    assert_int_equal(f.report.bound[0].excluded, 1);
    assert_int_equal(f.report.bound[0].only, 1);
    assert_string_equal(f.report.bound[1].text, "params <= 160000");
    assert_int_equal(f.report.bound[1].excluded + f.report.bound[0].excluded + f.report.feasible,
                     4);
    assert_true(f.report.bound[1].nearest > 160000);
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
        status =
            space_scan(&f, space_teacher(4), "space: {layers: [1, 2], ffn_ratio: [1, 2]}\n", &err);
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
        cmocka_unit_test(minitron_8b_has_exactly_the_fifteen_rows_of_table_19),
        cmocka_unit_test(minitron_4b_has_exactly_the_eighteen_points),
        cmocka_unit_test(costs_are_those_of_the_cost_model),
        cmocka_unit_test(the_scan_finds_what_a_walk_over_all_points_finds),
        cmocka_unit_test(absent_axes_keep_the_teachers_values),
        cmocka_unit_test(a_divisor_lists_multiples_down_to_the_cut),
        cmocka_unit_test(a_ratio_that_is_not_whole_is_rounded_to_a_multiple_of_eight),
        cmocka_unit_test(impossible_values_are_refused_with_their_place),
        cmocka_unit_test(a_cache_too_large_to_count_is_refused),
        cmocka_unit_test(the_report_says_what_each_bound_excludes),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
