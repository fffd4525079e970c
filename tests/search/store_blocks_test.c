// Candidates whose layers differ, in the study database: their blocks come back, and damage is noticed.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/snapshot.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

static const cop_layer_arch blocks[] = {{8, 4, 128}, {4, 2, 64}, {8, 4, 96}};

static cop_candidate uneven_candidate(void)
{
    cop_candidate c = synthetic_candidate(1, 3, 64, 128);
    cop_candidate_name(&c, blocks);
    assert_non_null(c.layer);
    return c;
}

// A study of one plain candidate and one whose layers differ.
static cop_store *make_store(const char *directory)
{
    cop_store *store = synthetic_store(directory);
    const cop_candidate c[2] = {synthetic_candidate(0, 4, 256, 1024), uneven_candidate()};
    cop_error err = {0};
    must_succeed(cop_store_add(store, c, 2, &err), &err);
    must_succeed(cop_store_add(store, c, 2, &err), &err); // a second time: nothing happens
    return store;
}

static void blocks_come_back_with_their_candidate(void **state)
{
    (void)state;
    cop_store *store = make_store("blocks");
    const cop_candidate wanted = uneven_candidate();
    cop_snapshot s = {0};
    cop_error err = {0};

    must_succeed(cop_snapshot_read(&s, store, &err), &err);
    assert_int_equal(s.count, 2);
    assert_null(s.candidate[0].candidate.layer);
    assert_string_equal(s.candidate[1].candidate.id, wanted.id);
    assert_non_null(s.candidate[1].candidate.layer);
    assert_memory_equal(s.candidate[1].candidate.layer, blocks, sizeof blocks);
    cop_snapshot_release(&s);
    cop_store_destroy(store);
}

static void damaged_blocks_are_noticed(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "8/4/128 4/2/64", "8/4/128 4/2/64 8/4/88", "x"};
    const cop_candidate c = uneven_candidate();
    char key[128];
    (void)snprintf(key, sizeof key, "blocks.%s", c.id);

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cop_store *store = make_store("damaged");
        cop_snapshot s = {0};
        cop_error err = {0};
        must_succeed(cop_store_set(store, key, texts[i], &err), &err);
        assert_int_equal(cop_snapshot_read(&s, store, &err), COP_ERR_FORMAT);
        assert_non_null(
            strstr(err.message, "study database is damaged: the blocks of candidate 'L3-"));
        cop_store_destroy(store);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_store *store = make_store("memory");
    cop_error err = {0};
    cop_snapshot s = {0};
    must_succeed(cop_snapshot_read(&s, store, &err), &err); // statements are prepared once
    cop_snapshot_release(&s);

    const cop_candidate c = uneven_candidate();
    const size_t live = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status != COP_OK && n < 1000; n++) {
        cop_alloc_fail_after(n);
        status = cop_store_add(store, &c, 1, &err);
        if (status == COP_OK) {
            status = cop_snapshot_read(&s, store, &err);
        }
        cop_alloc_fail_after(SIZE_MAX);
        assert_true(status == COP_OK || status == COP_ERR_NOMEM);
        cop_snapshot_release(&s);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
    assert_int_equal(status, COP_OK);
    cop_store_destroy(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_back_with_their_candidate),
        cmocka_unit_test(damaged_blocks_are_noticed),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
