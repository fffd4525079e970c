// A pool of external evaluators with a program that misbehaves in every way we know: messages, and
// that one request alone pays for it.

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/search/evaluator_fixture.h"
#include "tests/support.h"

static void names_what_a_program_did(void **state)
{
    (void)state;

    static const struct {
        const char *mode;
        cop_evaluator_outcome outcome;
        const char *reason;
    } cases[] = {
        {"exit", COP_EVALUATOR_DIED,
         "evaluator 0: exited with status 3 without an answer; it last said: \"no module named "
         "torch\""},
        {"die 1", COP_EVALUATOR_DIED,
         "evaluator 0: exited with status 7 without an answer; it last said: \"no more "
         "\"memory\"\""},
        {"crash 9", COP_EVALUATOR_DIED,
         "evaluator 0: was ended by signal 9 (SIGKILL) without an answer"},
        {"leave", COP_EVALUATOR_DIED, "evaluator 0: exited with status 5 without an answer"},
        {"close_out", COP_EVALUATOR_DIED, "evaluator 0: closed its output without an answer"},
        {"silent", COP_EVALUATOR_TIMEOUT, "evaluator 0: no answer within 0.2 s"},
        {"flood", COP_EVALUATOR_BAD,
         "evaluator 0: the answer has no id (allowed: that of the request, \"a\"): "
         "\"{\"step\":1}\""},
        {"say '@'", COP_EVALUATOR_BAD,
         "evaluator 0: the answer is not JSON (column 1: '[' or '{' expected near 'a'): \"a\""},
        {"say '{\"id\":\"@@\",\"metrics\":{}}'", COP_EVALUATOR_BAD,
         "evaluator 0: the answer has the id \"aa\" (allowed: that of the request, \"a\"): "
         "\"{\"id\":\"aa\",\"metrics\":{}}\""},
        {"say '{\"id\":\"@\",\"metrics\":{\"a\":NaN}}'", COP_EVALUATOR_BAD,
         "evaluator 0: the answer is not JSON (column 28: invalid token near 'NaN'): "
         "\"{\"id\":\"a\",\"metrics\":{\"a\":NaN}}\""},
        {"say '{\"id\":\"@\",\"error\":\"no $ luck\"}'", COP_EVALUATOR_BAD,
         "evaluator 0: the answer is not JSON (column 22: premature end of input near '\"no '): "
         "\"{\"id\":\"a\",\"error\":\"no \""},
        {"say '{\"id\":\"@\",\"error\":\"no luck\"}'", COP_EVALUATOR_ERROR,
         "evaluator 0: error: \"no luck\""},
        {"long 1025", COP_EVALUATOR_BAD,
         "evaluator 0: the answer is longer than 1024 bytes: "
         "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[1024];
        cop_evaluator_options options = options_for(command, sizeof command, cases[i].mode);
        options.line_bytes_max = 1024;
        options.timeout_seconds = strcmp(cases[i].mode, "silent") == 0 ? 0.2 : 0;
        cop_evaluator *pool = create(&options);
        for (int k = 0; k < (strcmp(cases[i].mode, "leave") == 0 ? 1 : 2); k++) { // and again, anew
            submit(pool, 7, "a");
            cop_evaluator_answer answer = take(pool);
            assert_string_equal(answer.reason, cases[i].reason);
            assert_int_equal(answer.outcome, cases[i].outcome);
            assert_int_equal(answer.ticket, 7);
            assert_null(answer.metrics);
            assert_int_equal(cop_evaluator_free_slots(pool), 1);
        }
        cop_evaluator_destroy(pool);
    }
}

static void a_late_answer_costs_its_own_request_alone(void **state)
{
    (void)state;
    char command[1024];
    cop_error err = {0};
    cop_evaluator_options options = options_for(command, sizeof command, "hang");
    options.processes = 2;
    options.restarts = 0; // late answers do not count
    options.timeout_seconds = 1;
    options.start_seconds = 1;
    cop_evaluator *pool = create(&options);
    assert_int_equal(cop_evaluator_submit(pool, 1, "a", "{\"hang\":1}", 1, &err), COP_OK);
    cop_evaluator_answer answer = take(pool);
    assert_string_equal(answer.reason,
                        "evaluator 0: no answer within 2.0 s; it last said: \"this takes long\"");
    assert_int_equal(answer.outcome, COP_EVALUATOR_TIMEOUT);
    submit(pool, 2, "b");
    take_sum(pool, 2);
    assert_int_equal(cop_evaluator_submit(pool, 3, "c", "{\"hang\":1}", 1, &err), COP_OK);
    answer = take(pool);
    assert_string_equal(answer.reason,
                        "evaluator 0: no answer within 1.0 s; it last said: \"this takes long\"");
    cop_evaluator_destroy(pool);
}

static void a_death_costs_its_own_request_alone(void **state)
{
    (void)state;
    char command[1024];
    cop_evaluator_options options = options_for(command, sizeof command, "die 3");
    options.restarts = 1;
    cop_evaluator *pool = create(&options);
    for (int i = 0; i < 9; i++) {
        submit(pool, i, "a");
        if (i % 3 < 2) {
            take_sum(pool, i);
        } else {
            const cop_evaluator_answer answer = take(pool);
            assert_int_equal(answer.outcome, COP_EVALUATOR_DIED);
            assert_int_equal(answer.ticket, i);
        }
    }
    cop_evaluator_destroy(pool);
}

// An answer without usable metrics is an answer: the process keeps its pace, and lives.
static void keeps_a_process_that_answers_without_metrics(void **state)
{
    (void)state;
    char command[1024];
    cop_evaluator_options options =
        options_for(command, sizeof command, "say '{\"id\":\"@\",\"metrics\":{\"loss\":NaN}}'");
    options.restarts = 0;
    cop_evaluator *pool = create(&options);
    for (int i = 0; i < 3; i++) {
        submit(pool, i, "a");
        assert_int_equal(take(pool).outcome, COP_EVALUATOR_BAD);
    }
    cop_evaluator_destroy(pool);
}

static void gives_up_on_a_program_that_never_answers(void **state)
{
    (void)state;

    static const struct {
        const char *mode;
        int processes;
        const char *message; // behind the command
    } cases[] = {
        {"exit", 1,
         "exited with status 3 without an answer, 3 times in a row; it last said: \"no module "
         "named torch\" (allowed: a program that answers each line)"},
        {"exit", 3,
         "exited with status 3 without an answer, 3 times in a row; it last said: \"no module "
         "named torch\" (allowed: a program that answers each line)"},
        {"say ready", 2,
         "writes lines that are no answers, 3 times in a row; evaluator 1: the answer is not JSON "
         "(column 5: '[' or '{' expected near 'ready'): \"ready\" (allowed: a program that answers "
         "each line)"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[1024];
        char quoted[2048];
        cop_evaluator_options options = options_for(command, sizeof command, cases[i].mode);
        options.restarts = 2;
        options.processes = cases[i].processes;
        // A short command, so that the whole message fits. The environment is ours.
        (void)setenv("MOCK", COP_MOCK_EVALUATOR, 1); // NOLINT(concurrency-mt-unsafe)
        (void)snprintf(command, sizeof command, "exec $MOCK %s", cases[i].mode);
        cop_evaluator *pool = create(&options);
        cop_status status = COP_OK;
        cop_error err = {0};
        int deaths = 0;
        while (status == COP_OK) {
            cop_evaluator_answer answer;
            bool has_one = false;
            while (cop_evaluator_free_slots(pool) > 0) {
                submit(pool, 1, "a");
            }
            status = cop_evaluator_wait(pool, -1, &answer, &has_one, &err);
            deaths += has_one;
        }
        assert_int_equal(deaths, 2);
        assert_int_equal(status, COP_ERR_CONFIG);
        (void)snprintf(quoted, sizeof quoted, "evaluator.command: \"%s\" %s", command,
                       cases[i].message);
        if (strcmp(cases[i].mode, "say ready") != 0) {
            assert_string_equal(err.message, quoted);
        } else { // whichever of the two came last
            char *const number = strstr(quoted, "evaluator 1");
            *(strstr(err.message, "; evaluator ") + 12) = '1';
            assert_non_null(number);
            assert_string_equal(err.message, quoted);
        }
        cop_evaluator_destroy(pool);
    }
}

// A request larger than a pipe, to a program that will not read it.
static void notices_a_closed_input(void **state)
{
    (void)state;
    cop_text values = {0};
    cop_error err = {0};
    cop_evaluator *pool = create_mode("close_in");
    cop_text_append(&values, "{");
    for (int i = 0; i < 300000; i++) {
        cop_text_append(&values, " ");
    }
    cop_text_append(&values, "}");
    assert_int_equal(cop_evaluator_submit(pool, 1, "a", cop_text_view(&values), 1, &err), COP_OK);
    const cop_evaluator_answer answer = take(pool);
    assert_string_equal(answer.reason, "evaluator 0: closed its input without an answer");
    assert_int_equal(answer.outcome, COP_EVALUATOR_DIED);
    cop_text_release(&values);
    cop_evaluator_destroy(pool);
}

// Where SIGCHLD is ignored the kernel forgets how a process ended.
static void does_without_exit_statuses(void **state)
{
    (void)state;
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    const struct sigaction fallback = {.sa_handler = SIG_DFL};
    assert_int_equal(sigaction(SIGCHLD, &ignore, NULL), 0);
    cop_evaluator *pool = create_mode("die 2");
    for (int i = 0; i < 2; i++) {
        submit(pool, 1, "a");
        take_sum(pool, 1);
        submit(pool, 2, "b");
        const cop_evaluator_answer answer = take(pool);
        assert_string_equal(answer.reason, "evaluator 0: ended without an answer; it last said: "
                                           "\"no more \"memory\"\"");
    }
    cop_evaluator_destroy(pool);
    assert_int_equal(sigaction(SIGCHLD, &fallback, NULL), 0);
}

static void says_when_a_process_cannot_be_started(void **state)
{
    (void)state;
    cop_error err = {0};
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = {.rlim_cur = 5, .rlim_max = limit.rlim_max};
    cop_evaluator *pool = create_mode("sum");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(cop_evaluator_submit(pool, 1, "a", VALUES, 1, &err), COP_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_string_equal(err.message, "evaluator 0: cannot be started: Too many open files");
    assert_int_equal(cop_evaluator_free_slots(pool), 1);
    submit(pool, 2, "b"); // it can now
    take_sum(pool, 2);
    cop_evaluator_destroy(pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, look_around, leaves_nothing_behind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_what_a_program_did),
        TEST(a_late_answer_costs_its_own_request_alone),
        TEST(a_death_costs_its_own_request_alone),
        TEST(keeps_a_process_that_answers_without_metrics),
        TEST(gives_up_on_a_program_that_never_answers),
        TEST(notices_a_closed_input),
        TEST(does_without_exit_statuses),
        TEST(says_when_a_process_cannot_be_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
