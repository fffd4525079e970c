// `coppice search`, killed with SIGKILL at many moments and started again, ends with the same figures.
// Usage: kill_test <path of coppice>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "tests/run/figures.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

extern char **environ;

static const char *program;

static pid_t start(const char *directory)
{
    char *const arguments[] = {(char *)(uintptr_t)program,
                               (char *)(uintptr_t) "search",
                               (char *)(uintptr_t) "-q",
                               (char *)(uintptr_t) "kill/study.yaml",
                               (char *)(uintptr_t) "-o",
                               (char *)(uintptr_t)directory,
                               NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "kill/stdout",
                                                      O_WRONLY | O_CREAT | O_TRUNC, 0644),
                     0);
    assert_int_equal(posix_spawn(&child, program, &actions, NULL, arguments, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    return child;
}

// Waits up to `milliseconds` (0: for ever), then sends the signal. Returns true when it ended by itself.
static bool wait_or_signal(pid_t child, int milliseconds, int signal_number, int *exit_code)
{
    int state = 0;
    bool was_alive = false;
    if (milliseconds > 0) {
        for (int waited = 0; waited < milliseconds; waited += 5) {
            const struct timespec pause = {.tv_nsec = 5000000};
            if (waitpid(child, &state, WNOHANG) == child) {
                *exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
                return true;
            }
            (void)nanosleep(&pause, NULL);
        }
        was_alive = kill(child, signal_number) == 0;
    }
    assert_int_equal(waitpid(child, &state, 0), child);
    *exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    return !was_alive || WIFEXITED(state);
}

static void check(const char *directory, const char *wanted)
{
    char *found = figures_of(directory);
    assert_string_equal(found, wanted);
    cop_free(found);
}

static void a_killed_search_ends_with_the_same_figures(void **state)
{
    char *wanted = *state;
    int code = -1;
    int kills = 0;
    bool is_done = false;

    // Longer and longer, so that it gets through on any machine; between two kills it may do nothing.
    for (int milliseconds = 30; !is_done; milliseconds += milliseconds / 8 + 7) {
        is_done = wait_or_signal(start("kill/killed"), milliseconds, SIGKILL, &code);
        kills += is_done ? 0 : 1;
        assert_true(kills < 200);
    }
    assert_int_equal(code, 0);
    assert_true(kills > 3);
    check("kill/killed", wanted);
}

static void an_interrupted_search_says_so_and_continues(void **state)
{
    char *wanted = *state;
    int code = -1;
    int stops = 0;

    for (int milliseconds = 100; stops < 100; milliseconds += milliseconds / 4) {
        char *printed = NULL;
        cop_error err = {0};
        (void)wait_or_signal(start("kill/stopped"), milliseconds, SIGINT, &code);
        if (code == -1) { // before the handler was there
            continue;
        }
        assert_int_equal(code, 0);
        assert_int_equal(cop_file_read(&printed, NULL, "kill/stdout", 1 << 20, &err), COP_OK);
        const bool was_stopped =
            strstr(printed, "kill/stopped: stopped; the same command continues") != NULL;
        assert_true(was_stopped || strstr(printed, "kill/stopped: finished") != NULL);
        cop_free(printed);
        if (!was_stopped) {
            break;
        }
        stops++;
    }
    check("kill/stopped", wanted);
}

// The figures of a run that nothing disturbed.
static int make_wanted(void **state)
{
    int code = -1;
    tiny_study_make("kill", COP_FAMILY_LLAMA, 1);
    assert_true(wait_or_signal(start("kill/whole"), 0, 0, &code));
    assert_int_equal(code, 0);
    *state = figures_of("kill/whole");
    return 0;
}

static int drop_wanted(void **state)
{
    cop_free(*state);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_search_ends_with_the_same_figures),
        cmocka_unit_test(an_interrupted_search_says_so_and_continues),
    };
    cop_system_silence_libraries();
    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s <path of coppice>\n", argv[0]);
        return 2;
    }
    program = argv[1];
    return cmocka_run_group_tests(tests, make_wanted, drop_wanted);
}
