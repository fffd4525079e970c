// Which units stay, by tables of scores.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/prune/fixture.h"

static cop_arch target_arch(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads,
                            int64_t ffn)
{
    cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    arch.layers = layers;
    arch.hidden = hidden;
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = heads, .kv_heads = kv_heads, .ffn = ffn};
    }
    return arch;
}

static cop_selection *must_select(const cop_arch *target, const cop_importance *scores,
                                  const cop_select_options *options)
{
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    cop_selection *selection = NULL;
    cop_error err = {0};
    must(cop_selection_create(&selection, &teacher, target, scores, options, &err), &err);
    return selection;
}

static void expect(const int32_t *found, const int32_t *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(found[i], want[i]);
    }
}

static void copy_scores(const double *to_const, const double *from, size_t count)
{
    double *to = NULL;
    memcpy(&to, &to_const, sizeof to); // the test owns the scores that the getters lend
    memcpy(to, from, count * sizeof *to);
}

// --- Tests --------------------------------------------------------------------------------------

static void pruning_nothing_is_the_identity(void **state)
{
    (void)state;
    const cop_arch target = target_arch(4, 16, 6, 2, 20);
    cop_importance *scores = random_scores(&target, 1);
    for (int order = 0; order < 3; order++) {
        for (int carry = 0; carry < 3; carry++) {
            const cop_select_options options = {
                .order = (cop_order)order, .aggregate = 4, .carry = (cop_carry)carry, .seed = 3};
            cop_selection *selection = must_select(&target, scores, &options);
            for (int64_t layer = 0; layer < 4; layer++) {
                assert_int_equal(cop_selection_layer(selection, layer), layer);
                for (int32_t i = 0; i < 20; i++) {
                    assert_int_equal(cop_selection_ffn(selection, layer)[i], i);
                }
                for (int32_t i = 0; i < 6; i++) {
                    assert_int_equal(cop_selection_heads(selection, layer)[i], i);
                    if (carry != COP_CARRY_OFF) {
                        assert_int_equal(cop_selection_partners(selection, layer)[i], -1);
                    }
                }
                expect(cop_selection_kv_heads(selection, layer), (int32_t[]){0, 1}, 2);
            }
            for (int32_t i = 0; i < 16; i++) {
                assert_int_equal(cop_selection_hidden(selection)[i], i);
            }
            cop_selection_destroy(selection);
        }
    }
    cop_importance_destroy(scores);
}

static void ranks_channels_and_breaks_ties_to_the_lower_index(void **state)
{
    (void)state;
    static const double channels[16] = {5, 1, 1, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 1};
    const cop_arch target = target_arch(4, 5, 6, 2, 20);

    const struct {
        cop_order order;
        int32_t want[5];
    } rows[] = {
        {COP_ORDER_IMPORTANT, {0, 1, 2, 3, 14}},
        {COP_ORDER_REVERSED, {10, 11, 12, 13, 15}}, // the ranking backwards: high indices first
    };

    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    cop_importance *scores = random_scores(&teacher, 1);
    copy_scores(cop_importance_channels(scores, 1), channels, 16);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_select_options options = {.order = rows[i].order, .aggregate = 1};
        cop_selection *selection = must_select(&target, scores, &options);
        expect(cop_selection_hidden(selection), rows[i].want, 5);
        cop_selection_destroy(selection);
    }
    cop_importance_destroy(scores);
}

static void ranks_heads_inside_their_kv_group(void **state)
{
    (void)state;
    // Group 0 holds the three most important heads; still each group keeps as many.
    static const double heads[6] = {7, 9, 8, 1, 3, 2};
    static const double groups[2] = {1, 2};
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);

    const struct {
        int64_t heads;
        int64_t kv_heads;
        cop_order order;
        int32_t want_heads[4];
        int32_t want_groups[2];
    } rows[] = {
        {4, 2, COP_ORDER_IMPORTANT, {1, 2, 4, 5}, {0, 1}},
        {2, 2, COP_ORDER_IMPORTANT, {1, 4}, {0, 1}},
        {2, 2, COP_ORDER_REVERSED, {0, 3}, {0, 1}},
        {3, 1, COP_ORDER_IMPORTANT, {3, 4, 5}, {1}},
        {2, 1, COP_ORDER_IMPORTANT, {4, 5}, {1}},
        {1, 1, COP_ORDER_REVERSED, {0}, {0}},
    };

    cop_importance *scores = random_scores(&teacher, 1);
    for (int64_t layer = 0; layer < 4; layer++) {
        copy_scores(cop_importance_heads(scores, 1, layer), heads, 6);
        copy_scores(cop_importance_kv_groups(scores, 1, layer), groups, 2);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch target = target_arch(4, 16, rows[i].heads, rows[i].kv_heads, 20);
        const cop_select_options options = {.order = rows[i].order, .aggregate = 1};
        cop_selection *selection = must_select(&target, scores, &options);
        expect(cop_selection_heads(selection, 2), rows[i].want_heads, rows[i].heads);
        expect(cop_selection_kv_heads(selection, 2), rows[i].want_groups, rows[i].kv_heads);
        cop_selection_destroy(selection);
    }
    cop_importance_destroy(scores);
}

static void ranks_neurons_per_layer_by_the_chosen_aggregation(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    const cop_arch target = target_arch(4, 16, 6, 2, 1);
    cop_importance *scores = random_scores(&teacher, 1);
    for (int aggregate = 0; aggregate < COP_AGGREGATES; aggregate++) {
        for (int64_t layer = 0; layer < 4; layer++) {
            double neurons[20] = {0};
            neurons[aggregate + 9 * (layer % 2)] = 1.0;
            copy_scores(cop_importance_neurons(scores, aggregate, layer), neurons, 20);
        }
    }
    for (int aggregate = 0; aggregate < COP_AGGREGATES; aggregate++) {
        const cop_select_options options = {.aggregate = aggregate};
        cop_selection *selection = must_select(&target, scores, &options);
        for (int64_t layer = 0; layer < 4; layer++) {
            assert_int_equal(cop_selection_ffn(selection, layer)[0], aggregate + 9 * (layer % 2));
        }
        cop_selection_destroy(selection);
    }
    cop_importance_destroy(scores);
}

static void chooses_layers_by_metric_and_shape(void **state)
{
    (void)state;
    static const double influence[4] = {0.1, 0.4, 0.2, 0.3};
    static const double perplexity[4] = {9.0, 5.0, HUGE_VAL, 5.0};
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);

    const struct {
        int64_t kept;
        cop_select_options options;
        int32_t want[3];
    } rows[] = {
        {2, {.depth_metric = COP_DEPTH_BLOCK_INFLUENCE}, {1, 3}},
        {2, {.depth_metric = COP_DEPTH_PERPLEXITY}, {0, 2}},
        {3, {.depth_metric = COP_DEPTH_PERPLEXITY}, {0, 1, 2}}, // 1 and 3 tie: the lower one stays
        {3, {.order = COP_ORDER_REVERSED}, {0, 2, 3}},
        {3, {.keep_first_and_last = true}, {0, 1, 3}},
        {2, {.keep_first_and_last = true}, {0, 3}},
        // Runs of two: 0.5, 0.6, 0.5. The least are 0-1 and 2-3, and of a tie the later is dropped.
        {2, {.depth_shape = COP_DEPTH_CONTIGUOUS}, {0, 1}},
        {2, {.depth_shape = COP_DEPTH_CONTIGUOUS, .order = COP_ORDER_REVERSED}, {0, 3}},
        {2, {.depth_shape = COP_DEPTH_CONTIGUOUS, .keep_first_and_last = true}, {0, 3}},
        {3, {.depth_shape = COP_DEPTH_CONTIGUOUS}, {1, 2, 3}},
        {1, {.depth_shape = COP_DEPTH_CONTIGUOUS}, {3}}, // 0-2 holds 0.7, 1-3 holds 0.9
    };

    cop_importance *scores = random_scores(&teacher, 1);
    copy_scores(cop_importance_block_influence(scores), influence, 4);
    copy_scores(cop_importance_perplexity(scores), perplexity, 4);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch target = target_arch(rows[i].kept, 16, 6, 2, 20);
        cop_selection *selection = must_select(&target, scores, &rows[i].options);
        for (int64_t layer = 0; layer < rows[i].kept; layer++) {
            assert_int_equal(cop_selection_layer(selection, layer), rows[i].want[layer]);
        }
        cop_selection_destroy(selection);
    }
    cop_importance_destroy(scores);
}

static bool is_subset(const int32_t *small, int64_t small_count, const int32_t *large,
                      int64_t large_count)
{
    int64_t found = 0;
    for (int64_t i = 0; i < large_count; i++) {
        found += found < small_count && large[i] == small[found];
    }
    return found == small_count;
}

static void random_order_needs_no_scores_and_depends_on_the_seed_alone(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    const cop_arch large = target_arch(3, 12, 4, 2, 13);
    const cop_arch small = target_arch(2, 9, 2, 1, 7);
    const cop_select_options options = {.order = COP_ORDER_RANDOM, .seed = 5};
    const cop_select_options other = {.order = COP_ORDER_RANDOM, .seed = 6};
    cop_importance *scores = random_scores(&teacher, 1);
    cop_selection *first = must_select(&large, NULL, &options);
    cop_selection *again = must_select(&large, scores, &options);
    cop_selection *third = must_select(&large, NULL, &other);
    cop_selection *fewer = must_select(&small, NULL, &options);

    assert_memory_equal(cop_selection_hidden(first), cop_selection_hidden(again),
                        12 * sizeof(int32_t));
    assert_memory_not_equal(cop_selection_hidden(first), cop_selection_hidden(third),
                            12 * sizeof(int32_t));
    for (int64_t layer = 0; layer < 3; layer++) {
        assert_int_equal(cop_selection_layer(first, layer), cop_selection_layer(again, layer));
        assert_memory_equal(cop_selection_ffn(first, layer), cop_selection_ffn(again, layer),
                            13 * sizeof(int32_t));
        assert_memory_equal(cop_selection_heads(first, layer), cop_selection_heads(again, layer),
                            4 * sizeof(int32_t));
    }
    // A smaller cut keeps a part of what a larger one keeps.
    assert_true(is_subset(cop_selection_hidden(fewer), 9, cop_selection_hidden(first), 12));
    cop_selection_destroy(fewer);
    cop_selection_destroy(third);
    cop_selection_destroy(again);
    cop_selection_destroy(first);
    cop_importance_destroy(scores);
}

// L = 3 heads of a group, K = 2 kept: ranks i in [2K - L + 1, K] = [2, 2], so the second best alone is
// paired, with rank 2K - i + 1 = 3. The printed range would begin at i = 1, whose partner, rank 4,
// does not exist.
static void pairs_kept_heads_with_pruned_ones(void **state)
{
    (void)state;
    static const double heads[6] = {1, 3, 2, 6, 5, 4};
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    const cop_arch target = target_arch(4, 16, 4, 2, 20);
    cop_importance *scores = random_scores(&teacher, 1);
    for (int64_t layer = 0; layer < 4; layer++) {
        copy_scores(cop_importance_heads(scores, 1, layer), heads, 6);
    }
    const cop_select_options options = {.aggregate = 1, .carry = COP_CARRY_PRUNED_MINUS_KEPT};
    cop_selection *selection = must_select(&target, scores, &options);
    // Group 0 ranks 1, 2, 0; group 1 ranks 3, 4, 5.
    expect(cop_selection_heads(selection, 0), (int32_t[]){1, 2, 3, 4}, 4);
    expect(cop_selection_partners(selection, 0), (int32_t[]){-1, 0, -1, 5}, 4);
    assert_int_equal(cop_selection_carry(selection), COP_CARRY_PRUNED_MINUS_KEPT);
    cop_selection_destroy(selection);

    const cop_select_options off = {.aggregate = 1};
    selection = must_select(&target, scores, &off);
    assert_null(cop_selection_partners(selection, 0));
    cop_selection_destroy(selection);
    cop_importance_destroy(scores);
}

// K = L / 2: every kept head is paired, the best with the last, the K-th with the K+1-th.
static void pairs_all_heads_when_half_are_kept(void **state)
{
    (void)state;
    static const double heads[4] = {1, 4, 3, 2};
    cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    cop_arch target = teacher;
    cop_selection *selection = NULL;
    cop_error err = {0};
    for (int64_t i = 0; i < 4; i++) {
        teacher.layer[i] = (cop_layer_arch){.heads = 4, .kv_heads = 1, .ffn = 20};
        target.layer[i] = (cop_layer_arch){.heads = 2, .kv_heads = 1, .ffn = 20};
    }
    cop_importance *scores = random_scores(&teacher, 1);
    copy_scores(cop_importance_heads(scores, 1, 0), heads, 4);
    const cop_select_options options = {.aggregate = 1, .carry = COP_CARRY_KEPT_MINUS_PRUNED};
    must(cop_selection_create(&selection, &teacher, &target, scores, &options, &err), &err);
    expect(cop_selection_heads(selection, 0), (int32_t[]){1, 2}, 2);
    expect(cop_selection_partners(selection, 0), (int32_t[]){0, 3}, 2);
    cop_selection_destroy(selection);
    cop_importance_destroy(scores);
}

static void layers_of_different_sizes_are_mapped_in_order(void **state)
{
    (void)state;
    cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    cop_selection *selection = NULL;
    cop_error err = {0};
    teacher.layer[2].ffn = 9;
    cop_importance *scores = random_scores(&teacher, 1);
    static const double influence[4] = {0.4, 0.1, 0.3, 0.2};
    copy_scores(cop_importance_block_influence(scores), influence, 4);
    cop_arch target = target_arch(2, 16, 6, 2, 9);
    target.layer[0].ffn = 12;
    const cop_select_options options = COP_SELECT_OPTIONS_DEFAULT;
    must(cop_selection_create(&selection, &teacher, &target, scores, &options, &err), &err);
    assert_int_equal(cop_selection_layer(selection, 1), 2);
    for (int32_t i = 0; i < 9; i++) {
        assert_int_equal(cop_selection_ffn(selection, 1)[i], i);
    }
    cop_selection_destroy(selection);

    target.layer[1].ffn = 10;
    assert_int_equal(cop_selection_create(&selection, &teacher, &target, scores, &options, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "target: layer 1 (teacher's 2): ffn is 10 (allowed: 1..9)");
    assert_null(selection);
    cop_importance_destroy(scores);
}

static void names_the_axis_that_cannot_be_reached(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);

    const struct {
        int64_t layers, hidden, heads, kv_heads, ffn;
        cop_select_options options;
        const char *want;
    } rows[] = {
        {5, 16, 6, 2, 20, {0}, "target: layers is 5 (allowed: 1..4)"},
        {0, 16, 6, 2, 20, {0}, "target: layers is 0 (allowed: 1..4)"},
        {4, 17, 6, 2, 20, {0}, "target: hidden is 17 (allowed: 1..16)"},
        {4, 16, 6, 2, 21, {0}, "target: ffn is 21 (allowed: 1..20)"},
        {4, 16, 6, 3, 20, {0}, "target: kv_heads is 3 (allowed: 1..2)"},
        {4, 16, 6, 0, 20, {0}, "target: kv_heads is 0 (allowed: 1..2)"},
        {4,
         16,
         3,
         2,
         20,
         {0},
         "target: heads is 3 with 2 KV groups (allowed: multiples of 2 in 2..6, as the teacher has "
         "3 "
         "heads in each group)"},
        {4,
         16,
         6,
         1,
         20,
         {0},
         "target: heads is 6 with 1 KV groups (allowed: multiples of 1 in 1..3, as the teacher has "
         "3 "
         "heads in each group)"},
        {4,
         16,
         2,
         2,
         20,
         {.carry = COP_CARRY_KEPT_MINUS_PRUNED},
         "target: heads is 2 with 2 KV groups and carry-over (allowed: 4..6, half of each group at "
         "least, or carry off)"},
        {4, 16, 6, 2, 20, {.aggregate = 9}, "selection: aggregate is 9 (allowed: 0..8)"},
        {1,
         16,
         6,
         2,
         20,
         {.keep_first_and_last = true},
         "target: layers is 1 (allowed: 2..4 when the first and the last layer stay)"},
    };

    cop_importance *scores = random_scores(&teacher, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch target = target_arch(rows[i].layers, rows[i].hidden, rows[i].heads,
                                            rows[i].kv_heads, rows[i].ffn);
        cop_selection *selection = NULL;
        cop_error err = {0};
        assert_int_equal(
            cop_selection_create(&selection, &teacher, &target, scores, &rows[i].options, &err),
            COP_ERR_CONFIG);
        assert_string_equal(err.message, rows[i].want);
        assert_null(selection);
    }
    cop_importance_destroy(scores);
}

static void expect_refusal(const cop_arch *teacher, const cop_arch *target,
                           const cop_importance *scores, const cop_select_options *options,
                           cop_status status, const char *want)
{
    cop_selection *selection = NULL;
    cop_error err = {0};
    assert_int_equal(cop_selection_create(&selection, teacher, target, scores, options, &err),
                     status);
    assert_string_equal(err.message, want);
    assert_null(selection);
}

static void refuses_what_pruning_cannot_change(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    const cop_select_options options = COP_SELECT_OPTIONS_DEFAULT;
    const cop_select_options by_perplexity = {.depth_metric = COP_DEPTH_PERPLEXITY};
    cop_importance *scores = random_scores(&teacher, 1);
    cop_arch target = teacher;

    target.vocab = 30;
    expect_refusal(&teacher, &target, scores, &options, COP_ERR_CONFIG,
                   "target: vocab is 30 (allowed: 29, as the teacher)");
    target = teacher;
    target.head_dim = 4;
    expect_refusal(&teacher, &target, scores, &options, COP_ERR_CONFIG,
                   "target: head_dim is 4 (allowed: 6, as the teacher)");
    target = teacher_arch(COP_FAMILY_NEMOTRON);
    expect_refusal(&teacher, &target, scores, &options, COP_ERR_CONFIG,
                   "target: family is nemotron (allowed: llama, as the teacher)");
    target = teacher;
    expect_refusal(&teacher, &target, NULL, &options, COP_ERR_CONFIG,
                   "selection: no importance scores (allowed: scores, or random order)");
    target.layers = 3;
    scores->perplexity = NULL;
    expect_refusal(&teacher, &target, scores, &by_perplexity, COP_ERR_CONFIG,
                   "selection: depth metric is perplexity, which was not measured (allowed: "
                   "block_influence, or scores made with perplexity)");
    scores->hidden = 15;
    expect_refusal(&teacher, &target, scores, &options, COP_ERR_SHAPE,
                   "importance: scores of 15 channels (allowed: 16, as the teacher)");
    cop_importance_destroy(scores);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    const cop_arch target = target_arch(3, 12, 4, 2, 13);
    for (int order = 0; order < 3; order++) {
        const cop_select_options options = {.order = (cop_order)order};
        cop_importance *scores = random_scores(&teacher, 1);
        const size_t live = cop_alloc_live_blocks();
        cop_status status = COP_ERR_NOMEM;
        size_t n = 0;
        for (; status == COP_ERR_NOMEM && n < 200; n++) {
            cop_selection *selection = NULL;
            cop_alloc_fail_after(n);
            status = cop_selection_create(&selection, &teacher, &target, scores, &options, NULL);
            cop_alloc_fail_after(SIZE_MAX);
            assert_int_equal(selection != NULL, status == COP_OK);
            cop_selection_destroy(selection);
            assert_int_equal(cop_alloc_live_blocks(), live);
        }
        assert_int_equal(status, COP_OK);
        assert_true(n > 3);
        cop_importance_destroy(scores);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pruning_nothing_is_the_identity),
        cmocka_unit_test(ranks_channels_and_breaks_ties_to_the_lower_index),
        cmocka_unit_test(ranks_heads_inside_their_kv_group),
        cmocka_unit_test(ranks_neurons_per_layer_by_the_chosen_aggregation),
        cmocka_unit_test(chooses_layers_by_metric_and_shape),
        cmocka_unit_test(random_order_needs_no_scores_and_depends_on_the_seed_alone),
        cmocka_unit_test(pairs_kept_heads_with_pruned_ones),
        cmocka_unit_test(pairs_all_heads_when_half_are_kept),
        cmocka_unit_test(layers_of_different_sizes_are_mapped_in_order),
        cmocka_unit_test(names_the_axis_that_cannot_be_reached),
        cmocka_unit_test(refuses_what_pruning_cannot_change),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
