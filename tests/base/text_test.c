#include "base/text.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/support.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void grows_as_text_is_appended(void **state)
{
    (void)state;
    cop_text text = {0};
    assert_string_equal(cop_text_view(&text), "");
    for (int i = 0; i < 1000; i++) {
        cop_text_append(&text, "ab");
        cop_text_appendf(&text, "%03d", i);
    }
    cop_text_append_bytes(&text, "\0z", 2);
    assert_int_equal(text.length, 5002);
    assert_memory_equal(text.data + 4995, "ab999\0z", 8);
    assert_int_equal(cop_text_check(&text, "test", NULL), COP_OK);
    cop_text_release(&text);
    cop_text_release(&text);
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void a_failed_append_is_seen_at_the_end(void **state)
{
    (void)state;
    cop_text text = {0};
    cop_error err = {0};
    cop_text_append(&text, "kept until then");
    cop_alloc_fail_after(0);
    for (int i = 0; i < 100; i++) {
        cop_text_append(&text, "x");
    }
    cop_alloc_fail_after(SIZE_MAX);
    cop_text_append(&text, "not appended any more");
    assert_string_equal(cop_text_view(&text), "");
    assert_int_equal(cop_text_check(&text, "table", &err), COP_ERR_NOMEM);
    assert_string_equal(err.message, "table: out of memory while building the text");
    cop_text_release(&text);
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void short_forms_are_readable(void **state)
{
    (void)state;
    char out[COP_TEXT_NUMBER_BYTES];

    const struct {
        double value;
        const char *count;
    } counts[] = {{0, "0"},
                  {7, "7"},
                  {999, "999"},
                  {1000, "1.00k"},
                  {8.27e9, "8.27B"},
                  {4.19e6, "4.19M"},
                  {15628775424.0, "15.6B"},
                  {999499, "999k"},
                  {999999, "1.00M"},
                  {2.5, "2.50"},
                  {-1234, "-1.23k"},
                  {1e20, "100000Q"},
                  {9.9999e3, "10.0k"}};

    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        assert_string_equal(cop_text_count(out, counts[i].value), counts[i].count);
    }

    const struct {
        uint64_t value;
        const char *bytes;
    } sizes[] = {{0, "0 B"},           {1023, "1023 B"},
                 {1024, "1.0 KiB"},    {1395864371, "1.3 GiB"},
                 {1048575, "1.0 MiB"}, {UINT64_MAX, "16.0 EiB"}};

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_string_equal(cop_text_bytes(out, sizes[i].value), sizes[i].bytes);
    }

    const struct {
        double value;
        const char *seconds;
    } times[] = {{0.0, "0.00 ms"},    {0.0123, "12.3 ms"},     {0.5, "0.5 s"},   {9.96, "10 s"},
                 {45.2, "45 s"},      {59.6, "1m00s"},         {80.0, "1m20s"},  {11520.0, "3h12m"},
                 {200000.0, "2d07h"}, {INFINITY, "11574d01h"}, {NAN, "0.00 ms"}, {-3.0, "0.00 ms"}};

    for (size_t i = 0; i < COUNT_OF(times); i++) {
        assert_string_equal(cop_text_seconds(out, times[i].value), times[i].seconds);
    }
}

static void suggests_only_plausible_words(void **state)
{
    (void)state;
    static const char *const words[] = {"layers", "hidden", "heads", "kv_heads", "ffn", "seed"};

    const struct {
        const char *word;
        const char *want;
    } rows[] = {
        {"layres", "layers"}, {"hiden", "hidden"}, {"head", "heads"},  {"kvheads", "kv_heads"},
        {"FFN", "ffn"},       {"fnn", "ffn"},      {"sead", "seed"},   {"temperature", NULL},
        {"", NULL},           {"xyz", NULL},       {"strategy", NULL},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *found = cop_text_nearest(rows[i].word, words, COUNT_OF(words));
        if (rows[i].want == NULL) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_string_equal(found, rows[i].want);
        }
    }
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(cop_text_nearest(longest, words, COUNT_OF(words)));
    const char *const long_words[] = {longest, "short"};
    assert_string_equal(cop_text_nearest("shot", long_words, 2), "short");
}

static void whole_strings_become_integers(void **state)
{
    (void)state;

    const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        {"0", 0},
        {"-0", 0},
        {"42", 42},
        {"+7", 7},
        {"-3", -3},
        {"1e9", 1000000000},
        {"7.8e9", 7800000000},
        {"1.500e3", 1500},
        {"10e-1", 1},
        {"0e999999", 0},
        {"0.0e3", 0},
        {"1E+2", 100},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"-922337203685477580800e-2", INT64_MIN},
        {"9007199254740993", 9007199254740993},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t value = -1;
        assert_true(cop_text_to_i64(rows[i].text, &value));
        assert_int_equal(value, rows[i].value);
    }
}

static void anything_else_is_no_integer(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " 1",
                                        "1 ",
                                        "1_000",
                                        "0x10",
                                        "010",
                                        "1.5",
                                        "1.0",
                                        "3x",
                                        "1e",
                                        "1e+",
                                        "e9",
                                        "-",
                                        "+",
                                        "--1",
                                        "1.55e1",
                                        "5e-1",
                                        "1e-1",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "1e19",
                                        "1e99999999999999999999",
                                        "nan",
                                        "inf",
                                        "12abc",
                                        "1.",
                                        ".",
                                        "1..0e3",
                                        "٣"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        int64_t value = -1;
        assert_false(cop_text_to_i64(texts[i], &value));
        assert_int_equal(value, -1);
    }
}

static void whole_strings_become_numbers(void **state)
{
    (void)state;

    const struct {
        const char *text;
        double value;
    } rows[] = {{"0.3", 0.3}, {"-2", -2.0}, {"1e-05", 1e-5}, {"7.8e9", 7.8e9}, {".5", 0.5},
                {"5.", 5.0},  {"0", 0.0},   {"1e-400", 0.0}, {"0.1", 0.1},     {"+3.5E2", 350.0}};

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double value = -1.0;
        assert_true(cop_text_to_f64(rows[i].text, &value));
        assert_memory_equal(&value, &rows[i].value, sizeof value); // bits: both come from strtod
    }
    static const char *const bad[] = {"",         "0.3x",  "nan",   "NaN", "inf",  "-inf",
                                      "infinity", "0x1p3", "1e400", "1,5", " 0.3", "0.3 ",
                                      "1e",       "0.3.1", "00.5",  "-",   ".",    "true"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        double value = -1.0;
        assert_false(cop_text_to_f64(bad[i], &value));
        assert_true(value == -1.0);
    }
}

static void numbers_are_the_shortest_that_read_back(void **state)
{
    (void)state;

    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1e300, "1e+300"},
                 {-0.0, "-0"},
                 {5e-324, "4.94065645841247e-324"},
                 {4096, "4096"},
                 {(double)NAN, ""},
                 {(double)INFINITY, ""}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_text text = {0};
        cop_text_append_number(&text, cases[i].value);
        assert_string_equal(cop_text_view(&text), cases[i].text);
        cop_text_release(&text);
    }
}

static void strings_are_quoted_for_json_and_csv(void **state)
{
    (void)state;
    static const char string[] = "a\"b\\c\n\x01\x7f\303\251";
    cop_text text = {0};
    cop_text_append_json(&text, string, sizeof string - 1);
    assert_string_equal(cop_text_view(&text), "\"a\\\"b\\\\c\\n\\u0001\\u007f\303\251\"");
    cop_text_release(&text);
    cop_text_append_csv(&text, "plain");
    cop_text_append(&text, ";");
    cop_text_append_csv(&text, "a,\"b\"");
    assert_string_equal(cop_text_view(&text), "plain;\"a,\"\"b\"\"\"");
    cop_text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_as_text_is_appended),
        cmocka_unit_test(a_failed_append_is_seen_at_the_end),
        cmocka_unit_test(short_forms_are_readable),
        cmocka_unit_test(suggests_only_plausible_words),
        cmocka_unit_test(whole_strings_become_integers),
        cmocka_unit_test(anything_else_is_no_integer),
        cmocka_unit_test(whole_strings_become_numbers),
        cmocka_unit_test(numbers_are_the_shortest_that_read_back),
        cmocka_unit_test(strings_are_quoted_for_json_and_csv),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
