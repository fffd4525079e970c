// What a search stores of its surrogate: the same however often it was stopped, as long as the results are.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "search/facts.h"
#include "search/store.h"
#include "tests/run/runner.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

#define FOLDER "calibration"

static char *stored(const char *directory, const char *key)
{
    char *value = NULL;
    cop_store *store = NULL;
    cop_error err = {0};
    assert_int_equal(cop_store_open(&store, directory, COP_STORE_READ, &err), COP_OK);
    assert_int_equal(cop_store_get(store, key, &value, &err), COP_OK);
    cop_store_destroy(store);
    return value;
}

static void write_study(const char *strategy)
{
    char text[160];
    (void)snprintf(text, sizeof text,
                   "search: {strategy: %s, seed: 3, population: 6, batch: 3, evaluations: 12, "
                   "fidelity: 1}",
                   strategy);
    tiny_study_write(FOLDER, "search: {strategy: grid, seed: 3}", text);
}

static void it_does_not_depend_on_interruptions(void **state)
{
    (void)state;
    static const int strides[] = {11, 53};
    write_study("surrogate");
    runner_must_run(FOLDER, "whole");
    char *loss = stored(FOLDER "/whole", COP_FACT_CALIBRATION_PREFIX "loss");
    char *params = stored(FOLDER "/whole", COP_FACT_CALIBRATION_PREFIX "params");
    assert_non_null(loss);
    assert_null(strstr(loss, "\"n\": 0,"));
    assert_non_null(strstr(loss, "\"is_exact\": false}"));
    assert_non_null(strstr(params, "{\"n\": 0, \"coverage50\": null, "));
    assert_non_null(strstr(params, "\"is_exact\": true}"));

    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
        cop_error err = {0};
        runner_result result = {.was_stopped = true};
        const runner_options options = {.stop_at = strides[i]};
        int runs = 0;
        assert_int_equal(cop_file_remove_tree(FOLDER "/stopped", &err), COP_OK);
        for (; result.was_stopped && runs < 200; runs++) {
            if (runner_run(FOLDER, "stopped", &options, &result, &err) != COP_OK) {
                fail_msg("%s", err.message);
            }
        }
        assert_true(runs > 2 && runs < 200);
        char *found = stored(FOLDER "/stopped", COP_FACT_CALIBRATION_PREFIX "loss");
        assert_string_equal(found, loss);
        cop_free(found);
    }
    cop_free(loss);
    cop_free(params);
}

static void other_strategies_store_none(void **state)
{
    (void)state;
    write_study("stratified");
    runner_must_run(FOLDER, "other");
    assert_null(stored(FOLDER "/other", COP_FACT_CALIBRATION_PREFIX "loss"));
}

static int make_teacher(void **state)
{
    (void)state;
    tiny_study_make(FOLDER, COP_FAMILY_LLAMA, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_not_depend_on_interruptions),
        cmocka_unit_test(other_strategies_store_none),
    };
    cop_system_silence_libraries();
    return cmocka_run_group_tests(tests, make_teacher, NULL);
}
