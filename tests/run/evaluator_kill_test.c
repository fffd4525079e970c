// A study with an evaluator, whose processes are killed, interrupted and denied the disk at many moments, ends with
// the report of an undisturbed one, and what was stored once is never asked for again.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "tests/cli/program.h"
#include "tests/run/evaluator_study.h"
#include "tests/support.h"

extern char **environ;

enum { KILLS_MIN = 60 };

static pid_t start(const char *directory)
{
    char *const arguments[] = {(char *)(uintptr_t)COP_PROGRAM,
                               (char *)(uintptr_t) "search",
                               (char *)(uintptr_t) "-q",
                               (char *)(uintptr_t) "study/study.yaml",
                               (char *)(uintptr_t) "-o",
                               (char *)(uintptr_t)directory,
                               NULL};
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, 1, "out", flags, 0644), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, 2, "err", flags, 0644), 0);
    assert_int_equal(posix_spawn(&child, COP_PROGRAM, &actions, NULL, arguments, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    return child;
}

// Waits up to `milliseconds`; true when it ended by itself.
static bool has_ended(pid_t child, int milliseconds, int *exit_code)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int state = 0;
    for (int waited = 0; waited < milliseconds; waited++) {
        if (waitpid(child, &state, WNOHANG) == child) {
            *exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
            return true;
        }
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static int wait_for(pid_t child)
{
    int state = 0;
    assert_int_equal(waitpid(child, &state, 0), child);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static char *printed(const char *path)
{
    char *text = NULL;
    cop_error err = {0};
    assert_int_equal(cop_file_read(&text, NULL, path, 1 << 20, &err), COP_OK);
    return text;
}

// One of the program's evaluator processes, drawn by lot; 0: it has none now.
static pid_t evaluator_of(pid_t program, cop_rng *rng)
{
    char path[64];
    char text[256] = "";
    pid_t found[16];
    int count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)program, (int)program);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        (void)fgets(text, sizeof text, file);
        (void)fclose(file);
    }
    for (char *at = text; count < 16;) {
        char *end = NULL;
        const long id = strtol(at, &end, 10);
        if (end == at) {
            break;
        }
        found[count++] = (pid_t)id;
        at = end;
    }
    return count == 0 ? 0 : found[cop_rng_below(rng, (uint64_t)count)];
}

// --- Kills --------------------------------------------------------------------------------------

typedef struct killer {
    cop_rng *rng;
    int kills;  // of the program
    int bereft; // of an evaluator
    int round;  // within this study: later and later, so that it gets through on any machine
    evaluator_known known;
} killer;

static int draw_delay(killer *k)
{
    const uint64_t range = 40 + (uint64_t)k->round * 4;
    k->round++;
    return 8 + (int)cop_rng_below(k->rng, range);
}

// One run, in which evaluators die, until the program is killed. True: it ended before.
static bool run_and_kill(killer *k, const char *directory)
{
    int code = -1;
    evaluator_known_read(&k->known, "study", directory);
    const pid_t program = start(directory);
    while (!has_ended(program, draw_delay(k), &code)) {
        const bool is_evaluator = cop_rng_below(k->rng, 2) == 0;
        const pid_t evaluator = is_evaluator ? evaluator_of(program, k->rng) : 0;
        if (evaluator > 0) {
            k->bereft += kill(evaluator, SIGKILL) == 0 ? 1 : 0;
            continue;
        }
        assert_int_equal(kill(program, SIGKILL), 0);
        code = wait_for(program);
        if (code != -1) {
            break; // it was faster
        }
        k->kills++;
        (void)evaluator_known_check(&k->known, "study");
        return false;
    }
    if (code != 0) {
        char *err = printed("err");
        fail_msg("exit code %d: %s", code, err);
    }
    (void)evaluator_known_check(&k->known, "study");
    return true;
}

static void a_killed_study_ends_with_the_same_report(void **state)
{
    (void)state;
    cop_error err = {0};
    killer k = {0};
    assert_int_equal(cop_rng_create(&k.rng, 11, COP_RNG_TEST, 1, &err), COP_OK);
    for (int i = 0; k.kills + k.bereft < KILLS_MIN || k.bereft == 0; i++) {
        char directory[64];
        (void)snprintf(directory, sizeof directory, "study/killed%d", i);
        k.round = 0;
        while (!run_and_kill(&k, directory)) {
            assert_true(k.round < 1000);
        }
        evaluator_study_check_same(directory, "study/whole");
        assert_true(i < 100);
    }
    print_message("%d kills of the program, %d of evaluators\n", k.kills, k.bereft);
    evaluator_known_release(&k.known);
    cop_rng_destroy(k.rng);
}

// --- Interrupts ---------------------------------------------------------------------------------

static void an_interrupted_study_says_so_and_continues(void **state)
{
    (void)state;
    evaluator_known known = {0};
    int stops = 0;
    bool is_finished = false;

    for (int milliseconds = 40; !is_finished; milliseconds += 10) {
        int code = -1;
        evaluator_known_read(&known, "study", "study/stopped");
        const pid_t program = start("study/stopped");
        if (!has_ended(program, milliseconds, &code)) {
            (void)kill(program, SIGINT);
            code = wait_for(program);
        }
        (void)evaluator_known_check(&known, "study");
        if (code == -1) {
            continue; // before the handler was there
        }
        char *out = printed("out");
        char *err = printed("err");
        assert_int_equal(code, 0);
        assert_string_equal(err, "");
        is_finished = strstr(out, "study/stopped: finished") != NULL;
        const char *said = strstr(out, "study/stopped: stopped; the same command continues");
        assert_true(is_finished || said != NULL);
        stops += is_finished ? 0 : 1;
        cop_free(out);
        cop_free(err);
    }
    assert_true(stops > 0);
    evaluator_study_check_same("study/stopped", "study/whole");
    evaluator_known_release(&known);
}

// --- The disk -----------------------------------------------------------------------------------

// Files beyond a limit are refused, as on a full disk: one line, and the study continues with more room.
static void a_full_disk_is_one_line_and_the_study_continues(void **state)
{
    (void)state;
    evaluator_known known = {0};
    int refused = 0;
    bool is_finished = false;

    for (int blocks = 8; !is_finished; blocks += 24) {
        char line[256];
        evaluator_known_read(&known, "study", "study/full");
        // A log that has become longer than the limit would make every run fail.
        (void)snprintf(
            line, sizeof line,
            "rm -f study/asked; ulimit -f %d; $coppice search -q study/study.yaml -o study/full",
            blocks);
        known.from = 0;
        program_result result = program_run(line);
        is_finished = result.exit_code == 0;
        (void)evaluator_known_check(&known, "study");
        if (!is_finished) {
            assert_int_equal(result.exit_code, 1);
            const char *found = strstr(result.err, "coppice: study/full/");
            if (found != result.err || strchr(found, '\n') != NULL) {
                fail_msg("%d blocks: %s", blocks, result.err);
            }
            refused++;
        }
        program_release(&result);
    }
    assert_true(refused > 2);
    evaluator_study_check_same("study/full", "study/whole");
    evaluator_known_release(&known);
}

static int make_study(void **state)
{
    (void)state;
    cop_error err = {0};
    const evaluator_study study = {
        .axes =
            "x1: {from: 0, to: 1, step: 0.1}, x2: {from: 0, to: 1, step: 0.25}, x3: [0, 0.5, 1]",
        .budget = "g: {max: 9}",
        .rungs = "10, 50, 100",
        .evaluations = 70,
        .processes = 2,
        .milliseconds = 3};
    assert_int_equal(cop_file_remove_tree("study", &err), COP_OK);
    evaluator_study_write("study", &study);
    program_expect("$coppice search -q study/study.yaml -o study/whole >/dev/null", 0, "", "");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_study_ends_with_the_same_report),
        cmocka_unit_test(an_interrupted_study_says_so_and_continues),
        cmocka_unit_test(a_full_disk_is_one_line_and_the_study_continues),
    };
    return cmocka_run_group_tests(tests, make_study, NULL);
}
