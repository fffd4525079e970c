#include "base/json.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/support.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static json_t *parse(const char *text)
{
    cop_error err = {0};
    json_t *value = NULL;
    assert_int_equal(cop_json_parse(&value, "x.json", text, strlen(text), &err), COP_OK);
    return value;
}

static void says_where_bad_json_is_bad(void **state)
{
    (void)state;

    const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"", "x.json:1:0: '[' or '{' expected near end of file"},
        {"{\"a\": 1,\n \"a\": 2}", "x.json:2:4: duplicate object key near '\"a\"'"},
        {"{\"a\": }", "x.json:1:7: unexpected token near '}'"},
        {"{\"a\": 1} x", "x.json:1:10: end of file expected near 'x'"},
        {"{\"a\": 99999999999999999999}",
         "x.json:1:26: too big integer near '99999999999999999999'"},
        {"{\"a\": NaN}", "x.json:1:9: invalid token near 'NaN'"},
        {"[1, 2", "x.json:1:5: ']' expected near end of file"},
        {"[\"\xff\"]", "x.json:1:2: unable to decode byte 0xff near '\"'"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        cop_error err = {0};
        json_t *value = NULL;
        assert_int_equal(cop_json_parse(&value, "x.json", rows[i].text, strlen(rows[i].text), &err),
                         COP_ERR_FORMAT);
        assert_string_equal(err.message, rows[i].want);
        assert_null(value);
    }
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void getters_say_what_they_allow(void **state)
{
    (void)state;
    json_t *object = parse("{\"n\": 12, \"x\": 0.5, \"s\": \"oak\", \"t\": true, \"z\": null, "
                           "\"l\": [1], \"big\": 9007199254740993}");
    cop_error err = {0};
    int64_t n = 0;
    double x = 0.0;
    bool t = false;
    const char *s = NULL;

    assert_int_equal(cop_json_i64(&n, object, "big", 0, INT64_MAX, "f", &err), COP_OK);
    assert_int_equal(n, 9007199254740993);
    assert_int_equal(cop_json_f64(&x, object, "n", 0.0, 20.0, "f", &err), COP_OK);
    assert_true(x == 12.0);
    assert_int_equal(cop_json_text_of(&s, object, "s", "f", &err), COP_OK);
    assert_string_equal(s, "oak");
    assert_int_equal(cop_json_bool_or(&t, object, "t", false, "f", &err), COP_OK);
    assert_true(t);

    assert_int_equal(cop_json_i64(&n, object, "n", 1, 8, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: n is 12 (allowed: 1..8)");
    assert_int_equal(cop_json_i64(&n, object, "x", 1, 8, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "f: x is a number with a fraction (allowed: an integer in 1..8)");
    assert_int_equal(cop_json_i64(&n, object, "none", 1, 8, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: none is missing");
    assert_int_equal(cop_json_i64(&n, object, "z", 1, 8, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: z is null (allowed: an integer in 1..8)");
    assert_int_equal(cop_json_f64(&x, object, "x", 1.0, 8.0, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: x is 0.5 (allowed: 1..8)");
    assert_int_equal(cop_json_f64(&x, object, "s", 1.0, 8.0, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: s is a string (allowed: a number in 1..8)");
    assert_int_equal(cop_json_bool_or(&t, object, "n", false, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: n is an integer (allowed: true, false)");
    assert_int_equal(cop_json_text_of(&s, object, "l", "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: l is an array (allowed: a string)");
    assert_int_equal(cop_json_i64(&n, json_object_get(object, "l"), "a", 1, 8, "f", &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: is an array (allowed: an object with the key a)");
    assert_int_equal(cop_json_i64(&n, NULL, "a", 1, 8, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: is nothing (allowed: an object with the key a)");
    json_decref(object);
}

static void absent_and_null_give_the_fallback(void **state)
{
    (void)state;
    json_t *object = parse("{\"z\": null, \"n\": 100}");
    cop_error err = {0};
    static const char *const keys[] = {"z", "none"};
    for (size_t i = 0; i < 2; i++) {
        int64_t n = 0;
        double x = 0.0;
        bool t = false;
        const char *s = NULL;
        assert_int_equal(cop_json_i64_or(&n, object, keys[i], 0, 9, 7, "f", &err), COP_OK);
        assert_int_equal(cop_json_f64_or(&x, object, keys[i], 0, 9, 0.25, "f", &err), COP_OK);
        assert_int_equal(cop_json_bool_or(&t, object, keys[i], true, "f", &err), COP_OK);
        assert_int_equal(cop_json_text_or(&s, object, keys[i], "ash", "f", &err), COP_OK);
        assert_int_equal(n, 7);
        assert_true(x == 0.25);
        assert_true(t);
        assert_string_equal(s, "ash");
    }
    int64_t n = 0;
    assert_int_equal(cop_json_i64_or(&n, object, "n", 0, 9, 7, "f", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "f: n is 100 (allowed: 0..9)");
    json_decref(object);
}

static void numbers_are_written_short_and_exact(void **state)
{
    (void)state;

    const struct {
        double value;
        const char *want;
    } rows[] = {
        {0.1, "0.1"},
        {1e-5, "1e-05"},
        {1.0, "1.0"},
        {500000.0, "500000.0"},
        {-0.0, "-0.0"},
        {1.0 / 3.0, "0.3333333333333333"},
        {5e-324, "4.94065645841247e-324"},
        {1e300, "1e+300"},
        {0.1 + 0.2, "0.30000000000000004"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *text = NULL;
        json_t *value = json_real(rows[i].value);
        assert_int_equal(cop_json_text(&text, value, 0, NULL), COP_OK);
        assert_string_equal(text, rows[i].want);
        json_decref(value);
        char whole[64];
        (void)snprintf(whole, sizeof whole, "[%s]", text);
        value = parse(whole);
        assert_true(json_is_real(json_array_get(value, 0)));
        assert_true(json_real_value(json_array_get(value, 0)) == rows[i].value);
        json_decref(value);
        cop_free(text);
    }
}

static const char document[] = "{\n"
                               "  \"z\": 1,\n"
                               "  \"a\": [1, 2.5, null, true, \"x\"],\n"
                               "  \"deep\": [\n"
                               "    {\n"
                               "      \"k\": \"quote \\\" back \\\\ line \\n bell \\u0007 "
                               "\xc3\xa9\"\n"
                               "    },\n"
                               "    []\n"
                               "  ],\n"
                               "  \"empty\": {}\n"
                               "}\n";

static void what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    json_t *value = parse(document);
    char *text = NULL;
    size_t bytes = 0;
    json_t *again = NULL;
    assert_int_equal(cop_json_write(value, "written.json", NULL), COP_OK);
    assert_int_equal(cop_file_read(&text, &bytes, "written.json", 4096, NULL), COP_OK);
    assert_string_equal(text, document);
    cop_free(text);
    assert_int_equal(cop_json_read(&again, "written.json", 4096, NULL), COP_OK);
    assert_true(json_equal(value, again));
    json_decref(again);
    json_decref(value);

    value = parse("{\"a\": [1, {\"b\": 2}], \"c\": \"d\"}");
    assert_int_equal(cop_json_text(&text, value, 0, NULL), COP_OK);
    assert_string_equal(text, "{\"a\": [1, {\"b\": 2}], \"c\": \"d\"}");
    cop_free(text);
    json_decref(value);
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void what_cannot_be_written_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    char *text = NULL;
    assert_int_equal(cop_json_text(&text, NULL, 0, &err), COP_ERR_NOMEM);
    json_t *nested = json_array();
    for (int i = 0; i < 300; i++) {
        json_t *outer = json_array();
        (void)json_array_append_new(outer, nested);
        nested = outer;
    }
    assert_int_equal(cop_json_write(nested, "deep.json", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "deep.json: nested deeper than 256 levels");
    assert_false(cop_file_exists("deep.json"));
    json_decref(nested);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    bool is_done = false;
    size_t failures = 0;
    (void)scratch_file("in.json", document, sizeof document - 1);
    for (size_t n = 0; !is_done; n++) {
        cop_error err = {0};
        json_t *value = NULL;
        cop_alloc_fail_after(n);
        cop_status status = cop_json_read(&value, "in.json", 4096, &err);
        if (status == COP_OK) {
            status = cop_json_write(value, "out.json", &err);
        }
        cop_alloc_fail_after(SIZE_MAX);
        json_decref(value);
        assert_int_equal(cop_alloc_live_blocks(), 0);
        is_done = status == COP_OK;
        failures += !is_done;
        if (!is_done) {
            assert_int_equal(status, COP_ERR_NOMEM);
            assert_non_null(strstr(err.message, "out of memory"));
        }
    }
    assert_true(failures > 20); // the parser's own allocations are among them
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_where_bad_json_is_bad),
        cmocka_unit_test(getters_say_what_they_allow),
        cmocka_unit_test(absent_and_null_give_the_fallback),
        cmocka_unit_test(numbers_are_written_short_and_exact),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(what_cannot_be_written_is_refused),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
