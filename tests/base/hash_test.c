#include "base/hash.h"

#include <string.h>

#include "base/alloc.h"
#include "tests/support.h"

static void equals_the_published_xxh3(void **state)
{
    (void)state;
    char text[COP_HASH_TEXT_BYTES];
    // `xxh128sum` of the empty input and of "a", "abc".
    assert_string_equal(cop_hash_text(text, cop_hash_bytes("", 0)),
                        "99aa06d3014798d86001c324468d497f");
    assert_string_equal(cop_hash_text(text, cop_hash_bytes("a", 1)),
                        "a96faf705af16834e6c632b61e964e1f");
    assert_string_equal(cop_hash_text(text, cop_hash_bytes("abc", 3)),
                        "06b05ab6733a618578af5f94892f3950");
}

static void pieces_hash_like_the_whole(void **state)
{
    (void)state;
    unsigned char data[5000];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * i);
    }
    const cop_hash whole = cop_hash_bytes(data, sizeof data);
    cop_hasher *hasher = NULL;
    assert_int_equal(cop_hasher_create(&hasher, NULL), COP_OK);
    for (size_t at = 0, step = 1; at < sizeof data; at += step, step = step * 2 + 1) {
        const size_t rest = sizeof data - at;
        cop_hasher_add_bytes(hasher, data + at, step < rest ? step : rest);
    }
    const cop_hash pieces = cop_hasher_value(hasher);
    cop_hasher_destroy(hasher);
    assert_true(pieces.high == whole.high && pieces.low == whole.low);

    cop_hash file;
    assert_int_equal(cop_hash_file(&file, scratch_file("data", data, sizeof data), NULL), COP_OK);
    assert_true(file.high == whole.high && file.low == whole.low);
}

static cop_hash hash_of(const char *first, const char *second, int64_t number, double real)
{
    cop_hasher *hasher = NULL;
    assert_int_equal(cop_hasher_create(&hasher, NULL), COP_OK);
    cop_hasher_add_text(hasher, first);
    cop_hasher_add_text(hasher, second);
    cop_hasher_add_i64(hasher, number);
    cop_hasher_add_f64(hasher, real);
    const cop_hash value = cop_hasher_value(hasher);
    cop_hasher_destroy(hasher);
    return value;
}

static void fields_do_not_run_into_one_another(void **state)
{
    (void)state;
    const cop_hash values[] = {hash_of("ab", "c", 1, 0.0), hash_of("a", "bc", 1, 0.0),
                               hash_of("ab", "c", 2, 0.0), hash_of("ab", "c", 1, -0.0),
                               hash_of("abc", "", 1, 0.0)};
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_true(values[i].low != values[j].low);
        }
    }
    // The byte order is defined: this value holds on every machine.
    char text[COP_HASH_TEXT_BYTES];
    unsigned char bytes[] = {2,   0, 0, 0, 0, 0, 0, 0, 'a', 'b', 1, 0, 0, 0, 0, 0, 0, 0,
                             'c', 1, 0, 0, 0, 0, 0, 0, 0,   0,   0, 0, 0, 0, 0, 0, 0};
    char want[COP_HASH_TEXT_BYTES];
    cop_hash_text(want, cop_hash_bytes(bytes, sizeof bytes));
    assert_string_equal(cop_hash_text(text, values[0]), want);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    cop_hash hash;
    cop_error err = {0};
    assert_int_equal(cop_hash_file(&hash, "no/such", &err), COP_ERR_IO);
    assert_string_equal(err.message, "no/such: cannot open: No such file or directory");
    assert_int_equal(cop_hash_file(&hash, ".", &err), COP_ERR_IO);
    assert_string_equal(err.message, ".: cannot read: Is a directory");
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const char *path = scratch_file("small", "abc", 3);
    for (size_t n = 0; n < 2; n++) {
        cop_hash hash;
        cop_alloc_fail_after(n);
        const cop_status status = cop_hash_file(&hash, path, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(status, COP_ERR_NOMEM);
        assert_int_equal(cop_alloc_live_blocks(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_published_xxh3),
        cmocka_unit_test(pieces_hash_like_the_whole),
        cmocka_unit_test(fields_do_not_run_into_one_another),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
