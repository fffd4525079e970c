// Lines to and from an external evaluator: what is written, and what each kind of bad answer is called.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/evaluator_internal.h"
#include "tests/support.h"

static const char *const required[] = {"loss", "size"};

static void writes_requests_on_one_line(void **state)
{
    (void)state;
    cop_text text = {0};
    cop_evaluator_request_text(&text, "a1", "{\"layers\":4}", 0.1);
    assert_string_equal(cop_text_view(&text),
                        "{\"id\":\"a1\",\"values\":{\"layers\":4},\"fidelity\":0.1}\n");
    text.length = 0;
    cop_evaluator_request_text(&text, "q\"\\\n\x01ü", "{}", 20000);
    assert_string_equal(cop_text_view(&text),
                        "{\"id\":\"q\\\"\\\\\\n\\u0001ü\",\"values\":{},\"fidelity\":20000}\n");
    text.length = 0;
    cop_evaluator_request_text(&text, "", "{}", 1.0 / 3.0);
    assert_string_equal(cop_text_view(&text),
                        "{\"id\":\"\",\"values\":{},\"fidelity\":0.3333333333333333}\n");
    cop_text_release(&text);
}

static void quotes_any_bytes_as_text(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        size_t length_max;
        const char *quoted;
    } cases[] = {{"", 10, "\"\""},
                 {"plain", 10, "\"plain\""},
                 {"plain", 5, "\"plain\""},
                 {"plain", 4, "\"plai…\""},
                 {"a\tb\x7f", 10, "\"a b \""},
                 {"ü€😀", 20, "\"ü€😀\""},
                 {"ü€😀", 8, "\"ü€…\""},
                 {"\xff\xc3", 10, "\"??\""},
                 {"\xed\xa0\x80", 10, "\"???\""},           // half of a pair
                 {"\xc0\x80\xe0\x80\x80", 10, "\"?????\""}, // longer forms than needed
                 {"\xf4\x90\x80\x80", 10, "\"????\""}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[COP_EVALUATOR_QUOTE_BYTES];
        assert_string_equal(
            cop_evaluator_quote(out, cases[i].text, strlen(cases[i].text), cases[i].length_max),
            cases[i].quoted);
    }
}

static cop_evaluator_answer parse(const char *line, bool *is_in_step)
{
    cop_error err = {0};
    cop_evaluator_answer out = {.process = 3};
    assert_int_equal(
        cop_evaluator_answer_parse(&out, is_in_step, line, strlen(line), "a1", required, 2, &err),
        COP_OK);
    return out;
}

static void takes_metrics(void **state)
{
    (void)state;
    bool is_in_step = false;
    cop_evaluator_answer out =
        parse(" {\"metrics\": {\"size\": 100000000000000000000, \"loss\": -2.5e-3, \"ü\": 0}, "
              "\"id\": \"\\u00611\"} ",
              &is_in_step);
    assert_true(is_in_step);
    assert_int_equal(out.outcome, COP_EVALUATOR_METRICS);
    assert_string_equal(out.reason, "");
    assert_int_equal(out.count, 3);
    assert_string_equal(out.metrics[0].name, "size");
    assert_true(out.metrics[0].value == 1e20);
    assert_string_equal(out.metrics[1].name, "loss");
    assert_true(out.metrics[1].value == -2.5e-3);
    assert_string_equal(out.metrics[2].name, "ü");
    assert_true(out.metrics[2].value == 0.0);
    cop_evaluator_answer_release(&out);
    cop_evaluator_answer_release(&out); // a second time: nothing happens
    assert_null(out.metrics);
}

static void takes_errors_as_one_line(void **state)
{
    (void)state;
    bool is_in_step = false;
    const cop_evaluator_answer out =
        parse("{\"id\":\"a1\",\"error\":\"CUDA:\\nout of memory\"}", &is_in_step);
    assert_true(is_in_step);
    assert_int_equal(out.outcome, COP_EVALUATOR_ERROR);
    assert_string_equal(out.reason, "evaluator 3: error: \"CUDA: out of memory\"");
}

#define ID "{\"id\":\"a1\","

static void says_what_is_wrong_with_an_answer(void **state)
{
    (void)state;

    // Behind each of these reasons stands the line, quoted.
    static const struct {
        const char *line;
        bool is_in_step;
        const char *reason;
    } cases[] = {
        {"loading", false, "the answer is not JSON (column 7: '[' or '{' expected near 'loading')"},
        {"{\"id\":", false, "the answer is not JSON (column 6: unexpected token near end of file)"},
        {"[1]", false, "the answer is an array (allowed: an object)"},
        {"{}", false, "the answer has no id (allowed: that of the request, \"a1\")"},
        {"{\"id\":1}", false, "the answer's id is a number (allowed: that of the request, \"a1\")"},
        {"{\"id\":\"a2\"}", false,
         "the answer has the id \"a2\" (allowed: that of the request, \"a1\")"},
        {"{\"id\":\"a1\"}", true,
         "the answer has neither metrics nor error (allowed: one of them)"},
        {ID "\"metrics\":{},\"error\":\"\"}", true,
         "the answer has both metrics and error (allowed: one of them)"},
        {ID "\"metric\":{}}", true,
         "the answer has the key \"metric\" (allowed: id, and metrics or error)"},
        {ID "\"metrics\":[1]}", true, "metrics is an array (allowed: an object of numbers)"},
        {ID "\"error\":null}", true, "error is null (allowed: a text)"},
        {ID "\"metrics\":{\"loss\":1}}", true, "metric \"size\" is missing, which the study uses"},
        {ID "\"metrics\":{\"loss\":null}}", true,
         "metric \"loss\" is null (allowed: a finite number)"},
        {ID "\"metrics\":{\"loss\":true}}", true,
         "metric \"loss\" is true (allowed: a finite number)"},
        {ID "\"metrics\":{\"loss\":\"1\"}}", true,
         "metric \"loss\" is a string (allowed: a finite number)"},
        {ID "\"metrics\":{\"loss\":{\"mean\":1}}}", true,
         "metric \"loss\" is an object (allowed: a finite number)"},
        {ID "\"metrics\":{\"loss\":[1]}}", true,
         "metric \"loss\" is an array (allowed: a finite number)"},
        {ID "\"metrics\":{\"loss\":NaN}}", true,
         "the answer is not JSON (column 32: invalid token near 'NaN')"},
        {ID "\"metrics\":{\"loss\":-Infinity}}", true,
         "the answer is not JSON (column 30: invalid token near '-')"},
        {ID "\"metrics\":{\"loss\":1e999}}", true,
         "the answer is not JSON (column 34: real number overflow near '1e999')"},
        {ID "\"metrics\":{\"loss\":1,\"loss\":2}}", true,
         "the answer is not JSON (column 37: duplicate object key near '\"loss\"')"},
        {ID "\"id\":\"a1\"}", true,
         "the answer is not JSON (column 15: duplicate object key near '\"id\"')"},
        {ID "\"metrics\":{\"loss\":1}} {}", true,
         "the answer is not JSON (column 34: end of file expected near '{')"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char expected[2 * COP_ERROR_MESSAGE_BYTES];
        bool is_in_step = !cases[i].is_in_step;
        const cop_evaluator_answer out = parse(cases[i].line, &is_in_step);
        (void)snprintf(expected, sizeof expected, "evaluator 3: %s: \"%s\"", cases[i].reason,
                       cases[i].line);
        assert_string_equal(out.reason, expected);
        assert_int_equal(out.outcome, COP_EVALUATOR_BAD);
        assert_int_equal(is_in_step, cases[i].is_in_step);
        assert_null(out.metrics);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char line[] = ID "\"metrics\":{\"loss\":1,\"size\":2}}";
    const size_t live = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status != COP_OK; n++) {
        cop_error err = {0};
        cop_evaluator_answer out = {.process = 3};
        bool is_in_step = false;
        cop_alloc_fail_after(n);
        status = cop_evaluator_answer_parse(&out, &is_in_step, line, strlen(line), "a1", required,
                                            2, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_true(n < 1000);
        if (status != COP_OK) {
            assert_int_equal(status, COP_ERR_NOMEM);
            assert_non_null(strstr(err.message, "evaluator 3: no memory"));
            assert_null(out.metrics);
        } else {
            assert_int_equal(out.outcome, COP_EVALUATOR_METRICS);
        }
        cop_evaluator_answer_release(&out);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_requests_on_one_line),
        cmocka_unit_test(quotes_any_bytes_as_text),
        cmocka_unit_test(takes_metrics),
        cmocka_unit_test(takes_errors_as_one_line),
        cmocka_unit_test(says_what_is_wrong_with_an_answer),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
