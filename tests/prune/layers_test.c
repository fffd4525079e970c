// Lists of layers that stay or go before all others.

#include <string.h>

#include "tests/prune/fixture.h"

static cop_arch target_arch(int64_t layers)
{
    cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    arch.layers = layers;
    return arch;
}

static cop_layer_set set_of(const int *layers, int count)
{
    cop_layer_set set = {0};
    for (int i = 0; i < count; i++) {
        cop_layer_set_add(&set, layers[i]);
    }
    return set;
}

static cop_importance *scores_of_layers(void)
{
    static const double influence[4] = {0.1, 0.4, 0.2, 0.3};
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);
    cop_importance *scores = random_scores(&teacher, 1);
    const double *lent = cop_importance_block_influence(scores);
    double *to = NULL;
    memcpy(&to, &lent, sizeof to); // the test owns the scores that the getters lend
    memcpy(to, influence, sizeof influence);
    return scores;
}

static void a_set_holds_what_was_added(void **state)
{
    (void)state;
    cop_layer_set set = {0};
    assert_int_equal(cop_layer_set_count(&set), 0);
    assert_int_equal(cop_layer_set_last(&set), -1);
    cop_layer_set_add(&set, 0);
    cop_layer_set_add(&set, 63);
    cop_layer_set_add(&set, 64);
    cop_layer_set_add(&set, 64);
    assert_int_equal(cop_layer_set_count(&set), 3);
    assert_int_equal(cop_layer_set_last(&set), 64);
    assert_true(cop_layer_set_has(&set, 63));
    assert_false(cop_layer_set_has(&set, 62));
    cop_layer_set_add(&set, COP_ARCH_LAYERS_MAX - 1);
    assert_int_equal(cop_layer_set_last(&set), COP_ARCH_LAYERS_MAX - 1);
}

// Block influence: 0.1, 0.4, 0.2, 0.3.
static void lists_come_before_importance(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);

    const struct {
        int64_t kept;
        cop_depth_shape shape;
        cop_order order;
        bool keep_ends;
        int keep[3], keeps;
        int drop[3], drops;
        int32_t want[3];
    } rows[] = {
        {2, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, false, {0}, 1, {0}, 0, {0, 1}},
        {2, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, false, {0, 2}, 2, {0}, 0, {0, 2}},
        {3, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, false, {0}, 0, {1}, 1, {0, 2, 3}},
        {2, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, false, {0}, 0, {1, 3}, 2, {0, 2}},
        {3,
         COP_DEPTH_SCATTERED,
         COP_ORDER_IMPORTANT,
         false,
         {0},
         0,
         {1, 3},
         2,
         {0, 1, 2}}, // 3 counts less than 1
        {1, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, false, {0}, 0, {1}, 1, {3}},
        {1, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, false, {0}, 1, {1}, 1, {0}},
        {3, COP_DEPTH_SCATTERED, COP_ORDER_IMPORTANT, true, {2}, 1, {0}, 0, {0, 2, 3}},
        {2, COP_DEPTH_SCATTERED, COP_ORDER_REVERSED, false, {1}, 1, {0}, 0, {0, 1}},
        // Runs of two: 0.5, 0.6, 0.5.
        {2, COP_DEPTH_CONTIGUOUS, COP_ORDER_IMPORTANT, false, {0}, 1, {0}, 0, {0, 1}},
        {2, COP_DEPTH_CONTIGUOUS, COP_ORDER_IMPORTANT, false, {3}, 1, {0}, 0, {2, 3}},
        {2, COP_DEPTH_CONTIGUOUS, COP_ORDER_IMPORTANT, false, {0}, 0, {1, 2}, 2, {0, 3}},
        {2, COP_DEPTH_CONTIGUOUS, COP_ORDER_IMPORTANT, false, {0}, 0, {1}, 1, {2, 3}},
        {3, COP_DEPTH_CONTIGUOUS, COP_ORDER_IMPORTANT, false, {0}, 0, {3}, 1, {0, 1, 2}},
    };

    cop_importance *scores = scores_of_layers();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch target = target_arch(rows[i].kept);
        const cop_select_options options = {.order = rows[i].order,
                                            .depth_shape = rows[i].shape,
                                            .keep_first_and_last = rows[i].keep_ends,
                                            .keep_layers = set_of(rows[i].keep, rows[i].keeps),
                                            .drop_layers = set_of(rows[i].drop, rows[i].drops)};
        cop_selection *selection = NULL;
        cop_error err = {0};
        must(cop_selection_create(&selection, &teacher, &target, scores, &options, &err), &err);
        for (int64_t layer = 0; layer < rows[i].kept; layer++) {
            assert_int_equal(cop_selection_layer(selection, layer), rows[i].want[layer]);
        }
        cop_selection_destroy(selection);
    }
    cop_importance_destroy(scores);
}

static void lists_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const cop_arch teacher = teacher_arch(COP_FAMILY_LLAMA);

    const struct {
        int64_t kept;
        cop_depth_shape shape;
        int keep[3], keeps;
        int drop[3], drops;
        const char *want;
    } rows[] = {
        {2,
         COP_DEPTH_SCATTERED,
         {0, 4},
         2,
         {0},
         0,
         "selection: layer to keep is 4 (allowed: 0..3, the teacher's)"},
        {2,
         COP_DEPTH_SCATTERED,
         {0},
         0,
         {200},
         1,
         "selection: layer to drop is 200 (allowed: 0..3, the teacher's)"},
        {2,
         COP_DEPTH_SCATTERED,
         {0, 1},
         2,
         {3, 1},
         2,
         "selection: layer 1 is to be kept and to be dropped (allowed: one of the two)"},
        {2,
         COP_DEPTH_SCATTERED,
         {0, 1, 2},
         3,
         {0},
         0,
         "target: layers is 2 (allowed: 3..4, as 3 layers are to be kept)"},
        {2,
         COP_DEPTH_CONTIGUOUS,
         {1, 2},
         2,
         {0},
         0,
         "target: layers is 2, and no run of 2 neighbours leaves out the layers to keep (allowed: "
         "more layers, or scattered depth)"},
    };

    cop_importance *scores = scores_of_layers();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch target = target_arch(rows[i].kept);
        const cop_select_options options = {.depth_shape = rows[i].shape,
                                            .keep_layers = set_of(rows[i].keep, rows[i].keeps),
                                            .drop_layers = set_of(rows[i].drop, rows[i].drops)};
        cop_selection *selection = NULL;
        cop_error err = {0};
        assert_int_equal(
            cop_selection_create(&selection, &teacher, &target, scores, &options, &err),
            COP_ERR_CONFIG);
        assert_string_equal(err.message, rows[i].want);
        assert_null(selection);
    }
    cop_importance_destroy(scores);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_holds_what_was_added),
        cmocka_unit_test(lists_come_before_importance),
        cmocka_unit_test(lists_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
