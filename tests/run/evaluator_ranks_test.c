// A study with an evaluator under mpirun: 1, 2 and 4 processes find what one finds, and none is left behind when
// something fails. COP_LAUNCHER is mpirun; empty: built without MPI.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "tests/cli/program.h"
#include "tests/run/evaluator_study.h"
#include "tests/support.h"

#define RANKS COP_LAUNCHER " --oversubscribe --bind-to none -n "
#define AXES  "x1: {from: 0, to: 1, step: 0.1}, x2: {from: 0, to: 1, step: 0.25}, x3: [0, 0.5, 1]"
// hit <signal> <process id of mpirun> <rank>
#define HIT                                                                                    \
    "hit() { for p in $(cat /proc/$2/task/*/children); do tr '\\0' '\\n' </proc/$p/environ | " \
    "grep -qx OMPI_COMM_WORLD_RANK=$3 && kill -$1 $p; done; }\n"

// mpirun of OpenMPI 4.1.4 may wait for itself for ever when a process dies while it starts others.
#define GUARDED_WAIT                                                             \
    "(sleep 30; kill -KILL $id) >/dev/null 2>&1 & guard=$!; wait $id; code=$?\n" \
    "kill $guard; exit $code"

static void run(int ranks, const char *folder, const char *directory)
{
    char line[512];
    (void)snprintf(line, sizeof line,
                   RANKS "%d $coppice search -q %s/study.yaml -o %s/%s >/dev/null", ranks, folder,
                   folder, directory);
    program_expect(line, 0, "", NULL);
}

static void the_report_does_not_depend_on_the_number_of_processes(void **state)
{
    (void)state;
    run(1, "ranks", "1");
    evaluator_study_check_same("ranks/1", "ranks/whole");
    run(2, "ranks", "2");
    evaluator_study_check_same("ranks/2", "ranks/whole");
    run(4, "ranks", "4");
    evaluator_study_check_same("ranks/4", "ranks/whole");
}

static void only_the_first_process_speaks(void **state)
{
    (void)state;
    program_expect(RANKS "3 $coppice search -q ranks/study.yaml -o ranks/3 | grep -c finished", 0,
                   "1", NULL);
}

static void failures_do_not_depend_on_it_either(void **state)
{
    (void)state;
    const evaluator_study study = {.axes = AXES ", kind: [whole, broken]",
                                   .budget = "g: {max: 9}",
                                   .rungs = "10, 100",
                                   .evaluations = 60};
    evaluator_study_write("broken", &study);
    program_expect("$coppice search -q broken/study.yaml -o broken/whole >/dev/null", 0, "", NULL);
    run(2, "broken", "2");
    evaluator_study_check_same("broken/2", "broken/whole");
    run(4, "broken", "4");
    evaluator_study_check_same("broken/4", "broken/whole");
}

// Lines that are no warning.
static int count_errors(const char *text)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, "coppice: ")) != NULL; at++) {
        count += strncmp(at, "coppice: warning: ", 18) != 0 ? 1 : 0;
    }
    return count;
}

static void an_evaluator_that_cannot_start_ends_all_with_one_line(void **state)
{
    (void)state;
    cop_error err = {0};
    static const char text[] =
        "evaluator: {command: ./nowhere, restarts: 1}\nspace: {x: [1, 2, 3, 4, 5, 6]}\n"
        "objectives: [f]\n";
    assert_int_equal(cop_file_make_directory("nowhere", &err), COP_OK);
    assert_int_equal(cop_file_write("nowhere/study.yaml", text, sizeof text - 1, &err), COP_OK);
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        char line[512];
        (void)snprintf(line, sizeof line, RANKS "%d $coppice search -q nowhere/study.yaml", ranks);
        program_result result = program_run(line);
        assert_int_equal(result.exit_code, 1);
        if (count_errors(result.err) != 1) {
            fail_msg("%d ranks: %s", ranks, result.err);
        }
        program_release(&result);
    }
}

static void another_study_in_the_directory_ends_all_with_one_line(void **state)
{
    (void)state;
    program_result result =
        program_run(RANKS "3 $coppice search -q broken/study.yaml -o ranks/whole");
    assert_int_equal(result.exit_code, 1);
    assert_int_equal(count_errors(result.err), 1);
    assert_non_null(strstr(result.err, "coppice: ranks/whole: is another study: "));
    program_release(&result);
}

// The signal reaches one process only: rank 0, or one that has to tell it.
static void an_interrupt_of_any_process_stops_all(void **state)
{
    (void)state;
    evaluator_known known = {0};
    int stops = 0;
    bool is_finished = false;

    for (int i = 0; !is_finished; i++) {
        char line[1024];
        const int ranks = 3 - i % 3;
        const int milliseconds = 500 + i * 120;
        evaluator_known_read(&known, "ranks", "ranks/stopped");
        (void)snprintf(line, sizeof line,
                       HIT RANKS "%d $coppice search -q ranks/study.yaml -o ranks/stopped & id=$!\n"
                                 "sleep %d.%03d; hit INT $id %d 2>/dev/null; " GUARDED_WAIT,
                       ranks, milliseconds / 1000, milliseconds % 1000, i / 3 % ranks);
        program_result result = program_run(line);
        (void)evaluator_known_check(&known, "ranks");
        is_finished = strstr(result.out, "ranks/stopped: finished") != NULL;
        if (strstr(result.out, "stopped; the same command continues") != NULL) {
            assert_int_equal(result.exit_code, 0);
            stops++;
        }
        program_release(&result);
        assert_true(i < 200);
    }
    assert_true(stops > 0);
    evaluator_study_check_same("ranks/stopped", "ranks/whole");
    evaluator_known_release(&known);
}

// MPI's rule: one that dies takes all along. The same command continues, with any number of processes.
static void whoever_is_killed_the_study_continues_with_the_same_report(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_rng *rng = NULL;
    evaluator_known known = {0};
    int kills = 0;
    bool is_finished = false;

    assert_int_equal(cop_rng_create(&rng, 5, COP_RNG_TEST, 1, &err), COP_OK);
    for (int i = 0; !is_finished; i++) {
        char line[1024];
        const int ranks = 2 + i % 3;
        const int milliseconds = 450 + i * 100 + (int)cop_rng_below(rng, 200);
        evaluator_known_read(&known, "ranks", "ranks/killed");
        (void)snprintf(line, sizeof line,
                       HIT RANKS "%d $coppice search -q ranks/study.yaml -o ranks/killed & id=$!\n"
                                 "sleep %d.%03d; hit KILL $id %d 2>/dev/null; " GUARDED_WAIT,
                       ranks, milliseconds / 1000, milliseconds % 1000,
                       (int)cop_rng_below(rng, (uint64_t)ranks));
        program_result result = program_run(line);
        (void)evaluator_known_check(&known, "ranks");
        is_finished = strstr(result.out, "ranks/killed: finished") != NULL;
        kills += is_finished ? 0 : 1;
        program_release(&result);
        assert_true(i < 200);
    }
    assert_true(kills > 0);
    print_message("%d kills\n", kills);
    evaluator_study_check_same("ranks/killed", "ranks/whole");
    evaluator_known_release(&known);
    cop_rng_destroy(rng);
}

static int make_study(void **state)
{
    (void)state;
    static const char *const folders[] = {"ranks", "broken", "nowhere"};
    const evaluator_study study = {.axes = AXES,
                                   .budget = "g: {max: 9}",
                                   .rungs = "10, 50, 100",
                                   .evaluations = 70,
                                   .milliseconds = 8};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        cop_error err = {0};
        assert_int_equal(cop_file_remove_tree(folders[i], &err), COP_OK);
    }
    evaluator_study_write("ranks", &study);
    program_expect("$coppice search -q ranks/study.yaml -o ranks/whole >/dev/null", 0, "", "");
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_report_does_not_depend_on_the_number_of_processes),
        cmocka_unit_test(only_the_first_process_speaks),
        cmocka_unit_test(failures_do_not_depend_on_it_either),
        cmocka_unit_test(an_evaluator_that_cannot_start_ends_all_with_one_line),
        cmocka_unit_test(another_study_in_the_directory_ends_all_with_one_line),
        cmocka_unit_test(an_interrupt_of_any_process_stops_all),
        cmocka_unit_test(whoever_is_killed_the_study_continues_with_the_same_report),
    };
    if (COP_LAUNCHER[0] == '\0') {
        return 77; // built without MPI
    }
    return cmocka_run_group_tests(tests, make_study, NULL);
}
