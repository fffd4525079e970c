// The program itself: commands, help, exit codes, and what happens to its output.

#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/support.h"

static void wrong_usage_is_explained(void **state)
{
    (void)state;
    program_expect("$coppice", 2, "", "coppice: no command given (see: coppice --help)");
    program_expect("$coppice docter", 2, "",
                   "coppice: unknown command: docter (did you mean doctor\\? see: coppice --help)");
    program_expect("$coppice zebra", 2, "",
                   "coppice: unknown command: zebra (see: coppice --help)");
    program_expect("$coppice help zebra", 2, "", "coppice: unknown command: zebra *");
    program_expect("$coppice doctor --frobnicate", 2, "",
                   "*coppice doctor: unrecognized option '--frobnicate'\n*");
    program_expect("$coppice doctor file", 2, "", "coppice doctor: too many arguments\n*");
    program_expect("$coppice doctor --threads 0", 2, "",
                   "coppice doctor: --threads is 0 (allowed: an integer in 1..4096)\n*");
    program_expect("$coppice doctor --threads 2x", 2, "",
                   "coppice doctor: --threads is 2x (allowed: an integer in 1..4096)\n*");
}

static void help_is_a_result(void **state)
{
    (void)state;
    static const char *const lines[] = {"$coppice --help", "$coppice -h", "$coppice help"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        program_expect(lines[i], 0, "Usage: coppice <command> *\n  doctor  *", "");
    }
    program_expect("$coppice help doctor", 0, "Usage: coppice doctor [OPTION...]\n*--json*", "");
    program_expect("$coppice doctor --help", 0, "Usage: coppice doctor [OPTION...]\n*", "");
    program_expect("$coppice --version", 0, "coppice ?*.?*.?*", "");
}

// Every command of the table explains itself.
static void every_command_has_help(void **state)
{
    (void)state;
    program_expect("$coppice --help | sed -n 's/^  \\([a-z][a-z]*\\)  *[a-z].*/\\1/p' >commands; "
                   "test -s commands || exit 9; "
                   "while read -r name; do $coppice $name --help >help || exit 1; "
                   "grep -q \"Usage: coppice $name\" help || exit 1; done <commands",
                   0, "", "");
}

static void commands_that_run_a_model_take_a_device(void **state)
{
    (void)state;
    program_expect(
        "for name in train distill score eval search plan; do "
        "$coppice $name --help >help; grep -q -- '--device=NAME' help || echo $name; done",
        0, "", "");
}

static void lost_output_is_a_failure(void **state)
{
    (void)state;
    program_expect("$coppice doctor --no-measure --json >/dev/full", 1, "",
                   "coppice: standard output: cannot write: No space left on device");
    program_expect("$coppice --help >/dev/full", 1, "",
                   "coppice: standard output: cannot write: No space left on device");
    program_expect("$coppice doctor --help >/dev/full", 1, "",
                   "coppice: standard output: cannot write: No space left on device");
    program_expect("{ sleep 0.2; $coppice --help; echo $? >code; } | true; cat code", 0, "1",
                   "coppice: standard output: cannot write: Broken pipe");
    program_expect("$coppice --version >&-", 1, "",
                   "coppice: standard output: cannot write: Bad file descriptor");
}

static void doctor_says_what_was_found(void **state)
{
    (void)state;
    program_expect("$coppice doctor --no-measure", 0,
                   "program\n*machine\n*threads *blas\n*core type*libraries\n*parts\n*cuda\n*is "
                   "usable*limits\n*",
                   "");
    program_expect("$coppice doctor", 0, "*matmul\n*device *cpu: *f32 *GFLOP/s*", "");

    program_result result = program_run("$coppice doctor --no-measure --json --threads 1");
    json_t *report = NULL;
    cop_error err = {0};
    const char *from = NULL;
    int64_t threads = 0;
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(cop_json_parse(&report, "doctor", result.out, strlen(result.out), &err),
                     COP_OK);
    program_release(&result);
    assert_int_equal(
        cop_json_i64(&threads, json_object_get(report, "machine"), "threads", 1, 1, "doctor", &err),
        COP_OK);
    // GSL's own cblas_sgemm, which would silently be fifty times slower, must not have been bound.
    assert_int_equal(cop_json_text_of(&from, json_object_get(report, "blas"), "cblas_sgemm_from",
                                      "doctor", &err),
                     COP_OK);
    assert_non_null(strstr(from, "openblas"));
    // Either there is a GPU, or it says why there is none.
    const json_t *cuda = json_object_get(report, "cuda");
    assert_true(json_is_true(json_object_get(cuda, "is_usable")) ||
                json_is_string(json_object_get(cuda, "reason")));
    json_decref(report);
}

static void doctor_says_why_there_is_no_plugin(void **state)
{
    (void)state;
    program_expect("COP_CUDA_PLUGIN=/nowhere/x.so $coppice doctor --no-measure | grep reason", 0,
                   "  reason *cuda: plugin: /nowhere/x.so: cannot open shared object file: *", "");
    program_expect("COP_CUDA_PLUGIN=/nowhere/x.so $coppice doctor --no-measure --json", 0,
                   "*\"reason\": \"cuda: plugin: /nowhere/x.so: cannot open shared object *", "");
}

static void an_inherited_core_type_is_cured(void **state)
{
    (void)state;
    // The program starts again without the variable, with the same arguments, and leaves no trace
    // in the environment.
    program_expect("OPENBLAS_CORETYPE=Haswell $coppice doctor --no-measure", 0, "*core type*", "");
    program_expect("OPENBLAS_CORETYPE=Haswell $coppice doctor --no-measure | grep CORETYPE", 1, "",
                   "");
    program_expect("OPENBLAS_CORETYPE=Haswell COPPICE_KEEP_CORETYPE=1 $coppice doctor "
                   "--no-measure | grep '  OPENBLAS_CORETYPE'",
                   0, "  OPENBLAS_CORETYPE  Haswell", "");
    program_expect("OPENBLAS_CORETYPE=Haswell $coppice zebra", 2, "", "*unknown command: zebra*");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage_is_explained),
        cmocka_unit_test(help_is_a_result),
        cmocka_unit_test(every_command_has_help),
        cmocka_unit_test(commands_that_run_a_model_take_a_device),
        cmocka_unit_test(lost_output_is_a_failure),
        cmocka_unit_test(doctor_says_what_was_found),
        cmocka_unit_test(doctor_says_why_there_is_no_plugin),
        cmocka_unit_test(an_inherited_core_type_is_cured),
    };
    return cmocka_run_group_tests_name("main", tests, NULL, NULL);
}
