// A grid over somebody else's table of 10,000 measured architectures, through the program: the published front,
// its hypervolume, and the answers to the published budget questions.

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/support.h"

enum { ROWS = 10000 };

static json_t *run_json(const char *line)
{
    json_t *value = NULL;
    cop_error err = {0};
    program_result result = program_run(line);
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(cop_json_parse(&value, line, result.out, strlen(result.out), &err), COP_OK);
    program_release(&result);
    return value;
}

static int run_study(void **state)
{
    (void)state;
    char text[1024];
    cop_error err = {0};
    const int bytes = snprintf(text, sizeof text,
                               "evaluator: {command: \"exec %s %s/hwgpt/hwgpt_s.csv\"}\n"
                               "space: {row: {from: 0, to: %d, step: 1}}\n"
                               "objectives: [ppl, params]\nsearch: {strategy: grid}\n",
                               COP_TABLE_EVALUATOR, COP_REFERENCE_DATA, ROWS - 1);
    assert_true(bytes > 0 && (size_t)bytes < sizeof text);
    assert_int_equal(cop_file_remove_tree("table.study", &err), COP_OK);
    assert_int_equal(cop_file_write("table.yaml", text, (size_t)bytes, &err), COP_OK);
    program_result result = program_run("$coppice search -q table.yaml");
    assert_int_equal(result.exit_code, 0);
    program_release(&result);
    return 0;
}

static int64_t row_of(const json_t *candidate)
{
    return json_integer_value(json_object_get(json_object_get(candidate, "values"), "row"));
}

static void the_front_and_its_hypervolume_are_the_published_ones(void **state)
{
    (void)state;
    static bool is_wanted[ROWS];
    char *text = NULL;
    cop_error err = {0};
    size_t i = 0;
    json_t *candidate = NULL;
    int wanted = 0;
    int found = 0;
    assert_int_equal(
        cop_file_read(&text, NULL, COP_REFERENCE_DATA "/hwgpt/fronts_s.txt", 1 << 20, &err),
        COP_OK);
    const char *line = strstr(text, "params,ppl:");
    assert_non_null(line);
    line += strlen("params,ppl:");
    for (char *end = NULL; *line == ' '; line = end, wanted++) {
        is_wanted[strtol(line, &end, 10)] = true;
    }
    cop_free(text);
    assert_int_equal(wanted, 140);

    json_t *report = run_json("$coppice report table.study --json");
    json_array_foreach(json_object_get(report, "candidates"), i, candidate)
    {
        const bool is_on_front = json_is_true(json_object_get(candidate, "on_front"));
        assert_int_equal(is_on_front, is_wanted[row_of(candidate)]);
        found += is_on_front ? 1 : 0;
    }
    assert_int_equal(found, wanted);
    const json_t *volume = json_object_get(json_object_get(report, "study"), "hypervolume");
    assert_true(fabs(json_number_value(json_object_get(volume, "value")) - 0.794198481551265) <
                1e-12);
    json_decref(report);
}

static void the_budget_questions_have_the_published_answers(void **state)
{
    (void)state;

    static const struct {
        const char *limits;
        int64_t row;
        int feasible;
    } questions[] = {
        {"--under params=60e6", 8583, 4089},
        {"--under params=100e6 --under lat_h100_ms=8.0", 3187, 6422},
        {"--under mem_a100_MB=300", 1737, 3325},
        {"--under mem_a100_MB=600 --under lat_rtx2080_ms=50", 5352, 6555},
    };

    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        char line[160];
        char count[32];
        (void)snprintf(line, sizeof line, "$coppice pick table.study --json %s",
                       questions[i].limits);
        (void)snprintf(count, sizeof count, "of %d candidates", questions[i].feasible);
        json_t *pick = run_json(line);
        assert_int_equal(row_of(pick), questions[i].row);
        assert_non_null(strstr(json_string_value(json_object_get(pick, "reason")), count));
        json_decref(pick);
    }
    program_expect("$coppice pick table.study --under params=24e6", 1, "",
                   "coppice: pick: no candidate meets the limits; the nearest is row=* with params "
                   "= 2.46497e+07");
}

int main(void)
{
    if (!cop_file_exists(COP_REFERENCE_DATA "/hwgpt/hwgpt_s.csv")) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_front_and_its_hypervolume_are_the_published_ones),
        cmocka_unit_test(the_budget_questions_have_the_published_answers),
    };
    return cmocka_run_group_tests(tests, run_study, NULL);
}
