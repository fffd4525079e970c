// What a search refuses, in which words, and that nothing is lost by it.

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "tests/run/runner.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

#define LLAMA    "llama"
#define NEMOTRON "nemotron"

static void another_setting_is_named_and_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    tiny_study_write(LLAMA, "keep: 0.4", "keep: 0.5");
    assert_int_equal(runner_run(LLAMA, "a", NULL, NULL, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "llama/a: is another study: its probe.keep is 0.4, that of "
                        "llama/study.yaml is 0.5 (allowed: the same, or another directory)");
    tiny_study_write(LLAMA, NULL, NULL);
}

static void another_teacher_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    tiny_study_write(LLAMA, "teacher: teacher", "teacher: ../" NEMOTRON "/teacher");
    assert_int_equal(runner_run(LLAMA, "a", NULL, NULL, &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "llama/a: is another study: its teacher is "));
    tiny_study_write(LLAMA, NULL, NULL);
}

static void importance_of_another_teacher_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    tiny_study_write(LLAMA, "teacher: teacher",
                     "teacher: teacher\nimportance: ../" NEMOTRON "/a/importance.h5");
    assert_int_not_equal(runner_run(LLAMA, "foreign", NULL, NULL, &err), COP_OK);
    assert_non_null(strstr(err.message, "/a/importance.h5"));
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_named_importance_file_is_made_and_used_again(void **state)
{
    (void)state;
    tiny_study_write(LLAMA, "teacher: teacher", "teacher: teacher\nimportance: scores.h5");
    runner_must_run(LLAMA, "named");
    assert_true(cop_file_exists(LLAMA "/scores.h5"));
    assert_false(cop_file_exists(LLAMA "/named/importance.h5"));
    char *wanted = runner_figures(LLAMA, "a");
    char *found = runner_figures(LLAMA, "named");
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_budget_that_nothing_meets_leaves_nothing_behind(void **state)
{
    (void)state;
    cop_error err = {0};
    tiny_study_write(LLAMA, "params: {min: 8e3, max: 4e4}", "params: {max: 1e3}");
    assert_int_equal(runner_run(LLAMA, "none", NULL, NULL, &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "llama/study.yaml: budget: none of 36 grid points is "
                                        "feasible: params <= 1000 excludes 36"));
    assert_false(cop_file_is_directory(LLAMA "/none"));
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_directory_with_other_files_is_left_alone(void **state)
{
    (void)state;
    cop_error err = {0};
    assert_int_equal(runner_run(LLAMA, "teacher", NULL, NULL, &err), COP_ERR_IO);
    assert_string_equal(err.message,
                        "llama/teacher: exists and is no study directory (allowed: a new path, an "
                        "empty directory, or a study to continue)");
    assert_false(cop_file_exists(LLAMA "/teacher/study.db"));
}

static void a_study_in_use_is_refused_naming_the_process(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_store *store = NULL;
    assert_int_equal(cop_store_open(&store, LLAMA "/a", COP_STORE_OWN, &err), COP_OK);
    assert_int_not_equal(runner_run(LLAMA, "a", NULL, NULL, &err), COP_OK);
    assert_non_null(strstr(err.message, "process "));
    cop_store_destroy(store);
}

static void sequences_beyond_the_data_or_the_context_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *from;
        const char *to;
        const char *message;
    } cases[] = {
        {"sequence: 32\n  batch_tokens: 256", "sequence: 128\n  batch_tokens: 512",
         "llama/study.yaml: probe.sequence is 128 (allowed: up to 64, the teacher's context)"},
        {"samples: 32}", "samples: 32}\n  validation_sequences: 17",
         "llama/study.yaml: data.validation_sequences is 17 (allowed: up to 16, the windows of 32 "
         "tokens in llama/valid.bin)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_error err = {0};
        tiny_study_write(LLAMA, cases[i].from, cases[i].to);
        assert_int_equal(runner_run(LLAMA, "long", NULL, NULL, &err), COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
    }
    tiny_study_write(LLAMA, NULL, NULL);
}

static int make_studies(void **state)
{
    (void)state;
    tiny_study_make(LLAMA, COP_FAMILY_LLAMA, 1);
    tiny_study_make(NEMOTRON, COP_FAMILY_NEMOTRON, 2);
    runner_must_run(LLAMA, "a");
    runner_must_run(NEMOTRON, "a");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_setting_is_named_and_refused),
        cmocka_unit_test(another_teacher_is_refused),
        cmocka_unit_test(importance_of_another_teacher_is_refused),
        cmocka_unit_test(a_named_importance_file_is_made_and_used_again),
        cmocka_unit_test(a_budget_that_nothing_meets_leaves_nothing_behind),
        cmocka_unit_test(a_directory_with_other_files_is_left_alone),
        cmocka_unit_test(a_study_in_use_is_refused_naming_the_process),
        cmocka_unit_test(sequences_beyond_the_data_or_the_context_are_refused),
    };
    cop_system_silence_libraries();
    return cmocka_run_group_tests(tests, make_studies, NULL);
}
