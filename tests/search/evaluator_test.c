// A pool of external evaluators with programs that behave, and its life.

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "tests/search/evaluator_fixture.h"
#include "tests/support.h"

// --- Good programs ------------------------------------------------------------------------------

static void asks_all_processes_at_once(void **state)
{
    (void)state;

    enum { PROCESSES = 5, REQUESTS = 200 };

    char command[1024];
    bool seen[REQUESTS] = {false};
    cop_evaluator_options options = options_for(command, sizeof command, "sum");
    options.processes = PROCESSES;
    cop_evaluator *pool = create(&options);
    int asked = 0;
    for (int taken = 0; taken < REQUESTS; taken++) {
        for (; asked < REQUESTS && cop_evaluator_free_slots(pool) > 0; asked++) {
            char id[32];
            (void)snprintf(id, sizeof id, "c%d", asked);
            submit(pool, asked, id);
        }
        assert_int_equal(cop_evaluator_free_slots(pool),
                         asked - taken < PROCESSES ? PROCESSES - (asked - taken) : 0);
        cop_evaluator_answer answer = take(pool);
        assert_int_equal(answer.outcome, COP_EVALUATOR_METRICS);
        assert_in_range(answer.process, 0, PROCESSES - 1);
        assert_false(seen[answer.ticket]);
        seen[answer.ticket] = true;
        assert_true(answer.metrics[1].value == 0.25);
        assert_true(answer.seconds >= 0.0);
        cop_evaluator_answer_release(&answer);
    }
    assert_string_equal(cop_text_view(&notes), "");
    cop_evaluator_destroy(pool);
}

static void gives_a_process_its_own_surroundings(void **state)
{
    (void)state;
    static const char *const names[] = {"number",        "count",       "files",
                                        "plain_signals", "leads_group", "pid"};
    char command[1024];
    cop_evaluator_options options =
        options_for(command, sizeof command, "surroundings; test -f mark");
    (void)snprintf(command, sizeof command, "test -f mark && exec '%s' surroundings",
                   COP_MOCK_EVALUATOR);
    (void)mkdir("folder", 0777);
    (void)scratch_file("folder/mark", "", 0);
    const int stray = dup(2); // not closed on exec
    options.directory = "folder";
    options.processes = 2;
    options.required = names;
    options.required_count = 6;
    cop_evaluator *pool = create(&options);
    for (int i = 0; i < 2; i++) {
        submit(pool, i, "a");
    }
    for (int i = 0; i < 2; i++) {
        cop_evaluator_answer answer = take(pool);
        assert_string_equal(answer.reason, "");
        const double expected[] = {(double)answer.process, 2, 3, 1, 1};
        for (int k = 0; k < 5; k++) {
            assert_true(answer.metrics[k].value == expected[k]);
        }
        cop_evaluator_answer_release(&answer);
    }
    cop_evaluator_destroy(pool);
    (void)close(stray);
}

static void puts_lines_together(void **state)
{
    (void)state;
    cop_evaluator *pool = create_mode("halves");
    for (int i = 0; i < 3; i++) {
        submit(pool, i, "h");
        take_sum(pool, i);
    }
    cop_evaluator_destroy(pool);
}

static void never_deadlocks_with_a_program_that_writes_first(void **state)
{
    (void)state;
    cop_text values = {0};
    cop_evaluator *pool = create_mode("write_first");
    cop_evaluator_answer answer = {0};
    cop_error err = {0};
    cop_text_append(&values, "{\"x\":1");
    for (int i = 0; i < 100000; i++) {
        cop_text_appendf(&values, ",\"axis%d\":1", i);
    }
    cop_text_append(&values, "}");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cop_evaluator_submit(pool, i, "long", cop_text_view(&values), 1, &err),
                         COP_OK);
        answer = take(pool);
        assert_string_equal(answer.reason, "");
        assert_true(answer.metrics[0].value == 100001.0);
        cop_evaluator_answer_release(&answer);
    }
    cop_text_release(&values);
    cop_evaluator_destroy(pool);
}

static void ignores_lines_that_nothing_asked_for(void **state)
{
    (void)state;
    cop_evaluator_answer answer;
    bool has_one = true;
    cop_error err = {0};
    cop_evaluator *pool = create_mode("twice");
    submit(pool, 1, "a");
    take_sum(pool, 1);
    // The three lines come in one piece: a program writes its buffer at once.
    assert_int_equal(cop_evaluator_wait(pool, 0, &answer, &has_one, &err), COP_OK);
    assert_false(has_one);
    submit(pool, 2, "b");
    take_sum(pool, 2);
    cop_evaluator_destroy(pool);
    assert_string_equal(cop_text_view(&notes),
                        "evaluator 0: a line that answers nothing was ignored: "
                        "\"{\"id\":\"a\",\"metrics\":{\"sum\":4.5,\"fidelity\":0.25}}\"\n"
                        "evaluator 0: 1 more lines that answer nothing\n"
                        "evaluator 0: a line that answers nothing was ignored: "
                        "\"{\"id\":\"b\",\"metrics\":{\"sum\":4.5,\"fidelity\":0.25}}\"\n"
                        "evaluator 0: 1 more lines that answer nothing\n");
}

static void passes_a_log_on_within_bounds(void **state)
{
    (void)state;
    cop_evaluator *pool = create_mode("log 300000");
    submit(pool, 1, "a");
    take_sum(pool, 1);
    cop_evaluator_destroy(pool);
    int lines = 0;
    for (const char *at = cop_text_view(&notes); (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_in_range(lines, 101, 250); // what came behind the answer counts anew
    assert_non_null(strstr(cop_text_view(&notes), "evaluator 0: line 99\nevaluator 0: 29"));
}

static void starts_a_program_that_exits_after_each_answer_anew(void **state)
{
    (void)state;
    char command[1024];
    cop_evaluator_options options = options_for(command, sizeof command, "once");
    options.restarts = 0;
    cop_evaluator *pool = create(&options);
    for (int i = 0; i < 3; i++) {
        const struct timespec pause_time = {.tv_nsec = 1000000};
        submit(pool, i, "a");
        take_sum(pool, i);
        cop_text_release(&notes);
        while (notes.length == 0) { // until it is noticed
            cop_evaluator_answer none;
            bool has_one = false;
            assert_int_equal(cop_evaluator_wait(pool, 0, &none, &has_one, NULL), COP_OK);
            (void)nanosleep(&pause_time, NULL);
        }
    }
    cop_evaluator_destroy(pool);
    assert_non_null(
        strstr(cop_text_view(&notes), "evaluator 0: exited with status 0 between two requests\n"));
}

static void an_answer_that_waited_for_us_is_not_late(void **state)
{
    (void)state;
    const struct timespec pause_time = {.tv_nsec = 20000000};
    char command[1024];
    cop_evaluator_options options = options_for(command, sizeof command, "mark answered");
    options.timeout_seconds = 0.1;
    (void)remove("answered");
    cop_evaluator *pool = create(&options);
    const double start = cop_clock_seconds();
    submit(pool, 1, "a");
    while (access("answered", F_OK) != 0 || cop_clock_seconds() < start + 0.2) {
        (void)nanosleep(&pause_time, NULL);
    }
    take_sum(pool, 1);
    cop_evaluator_destroy(pool);
}

// --- Life ---------------------------------------------------------------------------------------

static void refuses_options_out_of_range(void **state)
{
    (void)state;
    const cop_evaluator_options defaults = COP_EVALUATOR_OPTIONS_DEFAULT;
    cop_evaluator_options cases[9];
    static const char *const messages[] = {"evaluator.command: is empty (allowed: a command)",
                                           "evaluator.command: is empty (allowed: a command)",
                                           "evaluator.processes: is 0 (allowed: 1..256)",
                                           "evaluator.processes: is 257 (allowed: 1..256)",
                                           "evaluator.restarts: is -1 (allowed: 0..1000000)",
                                           "evaluator.line_bytes: is 255 (allowed: 256..2^30)",
                                           "evaluator.timeout: is nan (allowed: 0..1e9)",
                                           "evaluator.start: is -1 (allowed: 0..1e9)",
                                           "no/such/folder: is no folder to run the evaluator in"};
    for (size_t i = 0; i < 9; i++) {
        cases[i] = defaults;
        cases[i].command = "true";
    }
    cases[0].command = NULL;
    cases[1].command = " \n";
    cases[2].processes = 0;
    cases[3].processes = 257;
    cases[4].restarts = -1;
    cases[5].line_bytes_max = 255;
    cases[6].timeout_seconds = (double)NAN;
    cases[7].start_seconds = -1;
    cases[8].directory = "no/such/folder";
    for (size_t i = 0; i < 9; i++) {
        cop_error err = {0};
        cop_evaluator *pool = NULL;
        assert_int_equal(cop_evaluator_create(&pool, &cases[i], &err),
                         i == 8 ? COP_ERR_IO : COP_ERR_CONFIG);
        assert_string_equal(err.message, messages[i]);
        assert_null(pool);
    }
    cop_evaluator_destroy(NULL);
}

static void starts_nothing_before_it_is_asked(void **state)
{
    (void)state;
    cop_evaluator_answer answer;
    bool has_one = true;
    cop_evaluator *pool = create_mode("sum");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(cop_evaluator_wait(pool, -1, &answer, &has_one, NULL), COP_OK);
    assert_false(has_one); // nothing is at work: there is nothing to wait for
    cop_evaluator_destroy(pool);
}

static void ends_programs_that_do_not_want_to(void **state)
{
    (void)state;
    char command[1024];
    cop_evaluator_options options = options_for(command, sizeof command, "stubborn");
    options.processes = 3;
    options.stop_seconds = 0.1;
    cop_evaluator *pool = create(&options);
    for (int i = 0; i < 3; i++) {
        submit(pool, i, "a");
    }
    for (int i = 0; i < 3; i++) {
        cop_evaluator_answer answer = take(pool);
        cop_evaluator_answer_release(&answer);
    }
    submit(pool, 4, "at work");
    cop_evaluator_destroy(pool);
}

static void ignore_alarm(int signal_number)
{
    (void)signal_number;
}

static void a_signal_ends_the_wait(void **state)
{
    (void)state;
    const struct sigaction on = {.sa_handler = ignore_alarm};
    const struct sigaction off = {.sa_handler = SIG_DFL};
    const struct itimerval often = {.it_interval.tv_usec = 20000, .it_value.tv_usec = 20000};
    const struct itimerval never = {0};
    cop_evaluator_answer answer;
    bool has_one = true;
    char command[1024];
    cop_evaluator_options options = options_for(command, sizeof command, "silent");
    options.stop_seconds = 0.1;
    cop_evaluator *pool = create(&options);
    submit(pool, 1, "a");
    assert_int_equal(sigaction(SIGALRM, &on, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_int_equal(cop_evaluator_wait(pool, -1, &answer, &has_one, NULL), COP_OK);
    assert_false(has_one);
    cop_evaluator_destroy(pool); // interrupted, too
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &off, NULL), 0);
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
    (void)state;
    cop_evaluator_answer answer;
    bool has_one = true;
    cop_evaluator *pool = create_mode("silent");
    submit(pool, 1, "a");
    assert_int_equal(cop_evaluator_wait(pool, 0.05, &answer, &has_one, NULL), COP_OK);
    assert_false(has_one);
    assert_int_equal(cop_evaluator_free_slots(pool), 0);
    cop_evaluator_destroy(pool);
}

static bool is_alive(long pid)
{
    char path[64];
    char text[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *const file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    const bool has_text = fgets(text, sizeof text, file) != NULL;
    (void)fclose(file);
    const char *const state = strrchr(text, ')'); // a zombie is dead: who inherited it reaps it
    return has_text && state != NULL && state[2] != 'Z' && state[2] != 'X';
}

// The program hangs and would not see the end of its stdin.
static void programs_die_with_us(void **state)
{
    (void)state;
    int ends[2];
    double pid = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t owner = fork();
    if (owner == 0) {
        cop_evaluator *pool = create_mode("surroundings hang");
        submit(pool, 1, "a");
        const cop_evaluator_answer answer = take(pool);
        (void)!write(ends[1], &answer.metrics[5].value, sizeof(double));
        (void)raise(SIGKILL);
    }
    assert_true(owner > 0);
    assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
    assert_int_equal(waitpid(owner, NULL, 0), owner);
    for (int i = 0; i < 2000 && is_alive((long)pid); i++) {
        const struct timespec pause_time = {.tv_nsec = 5000000};
        (void)nanosleep(&pause_time, NULL);
    }
    assert_false(is_alive((long)pid));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static cop_status run_once(void)
{
    cop_status status = COP_OK;
    cop_error err = {0};
    char command[1024];
    cop_evaluator *pool = NULL;
    cop_evaluator_answer answer = {0};
    bool has_one = false;
    cop_evaluator_options options = options_for(command, sizeof command, "sum");
    options.directory = ".";
    options.log = NULL;
    COP_TRY(status, cop_evaluator_create(&pool, &options, &err));
    for (int i = 0; i < 2; i++) {
        COP_TRY(status, cop_evaluator_submit(pool, i, "a", VALUES, 1, &err));
        COP_TRY(status, cop_evaluator_wait(pool, -1, &answer, &has_one, &err));
        assert_true(has_one);
        assert_string_equal(answer.reason, "");
        cop_evaluator_answer_release(&answer);
    }

done:
    cop_evaluator_destroy(pool);
    if (status != COP_OK) {
        assert_int_equal(status, COP_ERR_NOMEM);
        assert_non_null(strstr(err.message, "no memory"));
    }
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status != COP_OK; n++) {
        assert_true(n < 1000);
        const size_t live = cop_alloc_live_blocks();
        cop_alloc_fail_after(n);
        status = run_once();
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, look_around, leaves_nothing_behind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(asks_all_processes_at_once),
        TEST(gives_a_process_its_own_surroundings),
        TEST(puts_lines_together),
        TEST(never_deadlocks_with_a_program_that_writes_first),
        TEST(ignores_lines_that_nothing_asked_for),
        TEST(passes_a_log_on_within_bounds),
        TEST(starts_a_program_that_exits_after_each_answer_anew),
        TEST(an_answer_that_waited_for_us_is_not_late),
        TEST(refuses_options_out_of_range),
        TEST(starts_nothing_before_it_is_asked),
        TEST(ends_programs_that_do_not_want_to),
        TEST(a_signal_ends_the_wait),
        TEST(a_wait_ends_when_its_time_is_over),
        TEST(programs_die_with_us),
        TEST(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
