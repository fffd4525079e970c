#include "model/split.h"

#include <math.h>

#include "tests/support.h"

static void holds_out_the_share_in_blocks_all_over_the_text(void **state)
{
    (void)state;

    static const struct {
        double share;
        int64_t total;
        int64_t block;
        int blocks;
    } rows[] = {
        {0.1, 10000000, 31250, 32},     // 32 blocks
        {0.05, 1000000000, 65536, 763}, // the longest blocks: as many as it takes
        {0.05, 10000, 256, 2},          // the shortest
        {0.5, 1000000, 15625, 32},      {0.02, 300000, 256, 23},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_split split = cop_split_of(rows[i].share, rows[i].total);
        int64_t held_out = 0;
        int64_t first = -1;
        int64_t last = 0;
        int blocks = 0;
        assert_int_equal(split.block, rows[i].block);
        for (int64_t at = 0; at < rows[i].total;) {
            bool is_held_out = false;
            int64_t run = cop_split_run(&split, at, &is_held_out);
            assert_true(run >= 1);
            run = run < rows[i].total - at ? run : rows[i].total - at;
            if (is_held_out) {
                first = first < 0 ? at : first;
                last = at + run;
                held_out += run;
                blocks++;
            }
            at += run;
        }
        assert_int_equal(blocks, rows[i].blocks);
        // Within half a block of the share, and as far from the start as from the end.
        const double want = rows[i].share * (double)rows[i].total;
        assert_true(fabs((double)held_out - want) <= (double)split.block / 2 + 1);
        const double period = (double)split.block / rows[i].share;
        assert_true((double)first <= period && (double)(rows[i].total - last) <= period);
    }
}

// Streaming by pieces of any size must split as one pass does.
static void sends_each_place_where_its_position_says(void **state)
{
    (void)state;
    const cop_split split = {.share = 0.3, .block = 7};
    for (int64_t at = 0; at < 2000; at++) {
        bool first = false;
        const int64_t run = cop_split_run(&split, at, &first);
        for (int64_t i = 1; i < run; i++) {
            bool next = false;
            assert_int_equal(cop_split_run(&split, at + i, &next), run - i);
            assert_int_equal(next, first);
        }
        bool behind = false;
        assert_true(cop_split_run(&split, at + run, &behind) >= 1);
        assert_int_equal(behind, !first);
    }
}

static void holds_nothing_out_of_a_share_of_nothing(void **state)
{
    (void)state;
    const cop_split split = cop_split_of(0.0, 1000);
    bool is_held_out = true;
    assert_true(cop_split_run(&split, 5, &is_held_out) > 1000);
    assert_false(is_held_out);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_out_the_share_in_blocks_all_over_the_text),
        cmocka_unit_test(sends_each_place_where_its_position_says),
        cmocka_unit_test(holds_nothing_out_of_a_share_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
