// Windows of token files: which text a sequence number names.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/tokens.h"
#include "tests/support.h"

enum { COUNT = 103, T = 10, WINDOWS = 10 };

// Tokens 0, 1, 2 … COUNT - 1.
static cop_tokens *numbers(const char *path)
{
    int32_t ids[COUNT];
    cop_tokens_writer *writer = NULL;
    cop_tokens *tokens = NULL;
    cop_error err = {0};
    for (int i = 0; i < COUNT; i++) {
        ids[i] = i;
    }
    assert_int_equal(cop_tokens_writer_create(&writer, path, 200, "byte", &err), COP_OK);
    assert_int_equal(cop_tokens_writer_put(writer, ids, COUNT, &err), COP_OK);
    assert_int_equal(cop_tokens_writer_commit(writer, &err), COP_OK);
    cop_tokens_writer_destroy(writer);
    assert_int_equal(cop_tokens_open(&tokens, path, 200, &err), COP_OK);
    return tokens;
}

static cop_sampler *sampler_of(const cop_tokens *tokens, int64_t sequence, uint64_t seed,
                               bool is_shuffled)
{
    cop_sampler *sampler = NULL;
    cop_error err = {0};
    assert_int_equal(cop_sampler_create(&sampler, tokens, sequence, seed, is_shuffled, &err),
                     COP_OK);
    return sampler;
}

static void gives_held_out_windows_in_file_order(void **state)
{
    (void)state;
    cop_tokens *tokens = numbers("order.bin");
    cop_sampler *sampler = sampler_of(tokens, T, 1, false);
    int32_t inputs[2 * WINDOWS * T];
    int32_t targets[2 * WINDOWS * T];
    cop_error err = {0};

    assert_int_equal(cop_sampler_windows(sampler), WINDOWS);
    assert_int_equal(cop_sampler_sequence(sampler), T);
    assert_int_equal(cop_sampler_fill(sampler, 0, 2 * WINDOWS, inputs, targets, &err), COP_OK);
    for (int i = 0; i < 2 * WINDOWS * T; i++) {
        assert_int_equal(inputs[i], i % (WINDOWS * T)); // the second epoch is the first again
        assert_int_equal(targets[i], inputs[i] + 1);
    }
    cop_sampler_destroy(sampler);
    cop_tokens_destroy(tokens);
}

static void visits_every_window_once_in_each_epoch(void **state)
{
    (void)state;
    cop_tokens *tokens = numbers("epochs.bin");
    cop_sampler *sampler = sampler_of(tokens, T, 1, true);
    int order[3][WINDOWS];
    cop_error err = {0};

    for (int epoch = 0; epoch < 3; epoch++) {
        bool seen[WINDOWS] = {false};
        for (int i = 0; i < WINDOWS; i++) {
            int32_t inputs[T];
            int32_t targets[T];
            assert_int_equal(
                cop_sampler_fill(sampler, (int64_t)epoch * WINDOWS + i, 1, inputs, targets, &err),
                COP_OK);
            assert_int_equal(inputs[0] % T, 0);
            const int window = inputs[0] / T;
            assert_false(seen[window]);
            seen[window] = true;
            order[epoch][i] = window;
            for (int t = 0; t < T; t++) {
                assert_int_equal(inputs[t], window * T + t);
                assert_int_equal(targets[t], window * T + t + 1);
            }
        }
    }
    // Equal orders of two epochs have a chance of 1 in 10!.
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    assert_memory_not_equal(order[1], order[2], sizeof order[0]);
    cop_sampler_destroy(sampler);
    cop_tokens_destroy(tokens);
}

static void names_the_same_text_by_the_same_number(void **state)
{
    (void)state;
    cop_tokens *tokens = numbers("same.bin");
    cop_sampler *whole = sampler_of(tokens, T, 7, true);
    cop_sampler *parts = sampler_of(tokens, T, 7, true);
    cop_sampler *other = sampler_of(tokens, T, 8, true);
    int32_t all[25 * T];
    int32_t again[25 * T];
    int32_t differs[25 * T];
    cop_error err = {0};

    assert_int_equal(cop_sampler_fill(whole, 0, 25, all, NULL, &err), COP_OK);
    // Backwards and across the borders of epochs, as after an interruption.
    for (int64_t first = 20; first >= 0; first -= 5) {
        assert_int_equal(cop_sampler_fill(parts, first, 5, again + first * T, NULL, &err), COP_OK);
    }
    assert_memory_equal(all, again, sizeof all);
    assert_int_equal(cop_sampler_fill(other, 0, 25, differs, NULL, &err), COP_OK);
    assert_memory_not_equal(all, differs, sizeof all);
    cop_sampler_destroy(whole);
    cop_sampler_destroy(parts);
    cop_sampler_destroy(other);
    cop_tokens_destroy(tokens);
}

static bool is_equal(cop_hash a, cop_hash b)
{
    return a.high == b.high && a.low == b.low;
}

static void hashes_what_decides_the_batches(void **state)
{
    (void)state;
    cop_tokens *tokens = numbers("hash.bin");
    cop_tokens *copy = numbers("copy.bin");
    cop_sampler *base = sampler_of(tokens, T, 1, true);
    cop_sampler *same = sampler_of(copy, T, 1, true);
    cop_sampler *longer = sampler_of(tokens, T + 1, 1, true);
    cop_sampler *seeded = sampler_of(tokens, T, 2, true);
    cop_sampler *ordered = sampler_of(tokens, T, 1, false);
    cop_sampler *ordered_too = sampler_of(tokens, T, 2, false);
    const cop_hash hash = cop_sampler_hash(base);

    assert_true(is_equal(hash, cop_sampler_hash(same)));
    assert_false(is_equal(hash, cop_sampler_hash(longer)));
    assert_false(is_equal(hash, cop_sampler_hash(seeded)));
    assert_false(is_equal(hash, cop_sampler_hash(ordered)));
    assert_true(is_equal(cop_sampler_hash(ordered), cop_sampler_hash(ordered_too)));
    cop_sampler *const all[] = {base, same, longer, seeded, ordered, ordered_too};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        cop_sampler_destroy(all[i]);
    }
    cop_tokens_destroy(tokens);
    cop_tokens_destroy(copy);
}

static void uses_the_longest_sequence_that_fits(void **state)
{
    (void)state;
    cop_tokens *tokens = numbers("long.bin");
    cop_sampler *sampler = sampler_of(tokens, COUNT - 1, 1, true);
    int32_t inputs[COUNT];
    int32_t targets[COUNT];
    cop_error err = {0};

    assert_int_equal(cop_sampler_windows(sampler), 1);
    assert_int_equal(cop_sampler_fill(sampler, 12345, 1, inputs, targets, &err), COP_OK);
    assert_int_equal(inputs[0], 0);
    assert_int_equal(targets[COUNT - 2], COUNT - 1);
    cop_sampler_destroy(sampler);
    cop_tokens_destroy(tokens);
}

static void refuses_impossible_sequences(void **state)
{
    (void)state;

    static const struct {
        int64_t sequence;
        const char *want;
    } rows[] = {
        {0, "short.bin: sequence is 0 (allowed: at least 1)"},
        {-1, "short.bin: sequence is -1 (allowed: at least 1)"},
        {COUNT, "short.bin: 103 tokens are too few for a sequence of 103 and its targets (allowed: "
                "sequences of at most 102)"},
        {INT64_MAX, "short.bin: 103 tokens are too few for a sequence of 9223372036854775807 and "
                    "its targets (allowed: sequences of at most 102)"},
    };

    cop_tokens *tokens = numbers("short.bin");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_sampler *sampler = NULL;
        cop_error err = {0};
        assert_int_equal(cop_sampler_create(&sampler, tokens, rows[i].sequence, 1, true, &err),
                         COP_ERR_CONFIG);
        assert_string_equal(err.message, rows[i].want);
        assert_null(sampler);
    }
    cop_sampler *sampler = sampler_of(tokens, T, 1, true);
    int32_t inputs[T];
    cop_error err = {0};
    assert_int_equal(cop_sampler_fill(sampler, -1, 1, inputs, NULL, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "short.bin: sequences from -1, 1 of them (allowed: from 0)");
    cop_sampler_destroy(sampler);
    cop_tokens_destroy(tokens);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_tokens *tokens = numbers("oom.bin");
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 100; n++) {
        cop_sampler *sampler = NULL;
        int32_t inputs[T];
        cop_alloc_fail_after(n);
        status = cop_sampler_create(&sampler, tokens, T, 1, true, NULL);
        if (status == COP_OK) {
            status = cop_sampler_fill(sampler, 3, 1, inputs, NULL, NULL);
        }
        cop_alloc_fail_after(SIZE_MAX);
        cop_sampler_destroy(sampler);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
    cop_tokens_destroy(tokens);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_held_out_windows_in_file_order),
        cmocka_unit_test(visits_every_window_once_in_each_epoch),
        cmocka_unit_test(names_the_same_text_by_the_same_number),
        cmocka_unit_test(hashes_what_decides_the_batches),
        cmocka_unit_test(uses_the_longest_sequence_that_fits),
        cmocka_unit_test(refuses_impossible_sequences),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
