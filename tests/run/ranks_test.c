// `coppice search` with 2 to 4 processes under mpirun finds what one process finds, whoever is killed.
// Usage: ranks_test <path of coppice> <path of mpirun>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "tests/run/figures.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

static const char *program;
static const char *launcher;

// hit <signal> <process id of mpirun> <rank>, and the rank -1 for mpirun itself.
static const char functions[] =
    "hit() { [ $3 -ge 0 ] || kill -$1 $2\n"
    "for p in $(cat /proc/$2/task/*/children); do\n"
    "tr '\\0' '\\n' </proc/$p/environ | grep -qx OMPI_COMM_WORLD_RANK=$3 && kill -$1 $p\n"
    "done; }\n";

// Runs a line of the shell in which $coppice is the program and $ranks the start of `mpirun -n`.
static int run_line(const char *line)
{
    char script[4096];
    const int length = snprintf(script, sizeof script,
                                "coppice='%s'; ranks='%s --oversubscribe --bind-to none -n';\n%s{ "
                                "%s\n} >ranks.out 2>ranks.err",
                                program, launcher, functions, line);
    assert_in_range(length, 1, sizeof script - 1);
    const int status = system(script); // NOLINT(concurrency-mt-unsafe): one thread, own lines
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void must_run(const char *line)
{
    const int code = run_line(line);
    if (code != 0) {
        (void)run_line("cat ranks.err >&2");
        fail_msg("%s: exit code %d", line, code);
    }
}

static char *printed(const char *path)
{
    char *text = NULL;
    cop_error err = {0};
    assert_int_equal(cop_file_read(&text, NULL, path, 1 << 20, &err), COP_OK);
    return text;
}

// report.json without what tells of the run itself: dates, host, durations, paths.
static json_t *read_report(const char *directory)
{
    char line[256];
    char path[256];
    json_t *report = NULL;
    cop_error err = {0};
    (void)snprintf(line, sizeof line, "$coppice report %s", directory);
    must_run(line);
    (void)snprintf(path, sizeof path, "%s/report.json", directory);
    assert_int_equal(cop_json_read(&report, path, (size_t)1 << 26, &err), COP_OK);
    return report;
}

static void drop_key(json_t *value, const char *key)
{
    size_t i = 0;
    const char *name = NULL;
    json_t *child = NULL;
    (void)json_object_del(value, key);
    json_object_foreach(value, name, child)
    {
        drop_key(child, key);
    }
    json_array_foreach(value, i, child)
    {
        drop_key(child, key);
    }
}

static char *report_figures(const char *directory)
{
    static const char *const keys[] = {"provenance", "seconds", "study", "directory"};
    char *text = NULL;
    cop_error err = {0};
    json_t *report = read_report(directory);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        drop_key(report, keys[i]);
    }
    assert_int_equal(cop_json_text(&text, report, 2, &err), COP_OK);
    json_decref(report);
    return text;
}

static void check_same(const char *directory)
{
    char *wanted = figures_of("ranks/1");
    char *found = figures_of(directory);
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
    wanted = report_figures("ranks/1");
    found = report_figures(directory);
    assert_non_null(strstr(found, "\"loss\""));
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
}

static void figures_do_not_depend_on_the_number_of_processes(void **state)
{
    (void)state;
    must_run("$ranks 2 $coppice search -q ranks/study.yaml -o ranks/2");
    check_same("ranks/2");
    must_run("$ranks 4 $coppice search -q --dedicated 4 ranks/study.yaml -o ranks/4");
    check_same("ranks/4");
    must_run("$ranks 3 $coppice search ranks/study.yaml -o ranks/3");
    check_same("ranks/3");
    char *out = printed("ranks.out"); // of the report
    assert_non_null(strstr(out, "written: ranks/3/report.html"));
    cop_free(out);
}

static void one_process_under_mpirun_is_one_process(void **state)
{
    (void)state;
    must_run("$ranks 1 $coppice search -q ranks/study.yaml -o ranks/single");
    check_same("ranks/single");
}

static void only_the_first_process_speaks(void **state)
{
    (void)state;
    must_run("$ranks 3 $coppice search ranks/study.yaml -o ranks/3");
    char *out = printed("ranks.out");
    const char *first = strstr(out, "ranks/3: finished");
    assert_non_null(first);
    assert_null(strstr(first + 1, "ranks/3: finished"));
    cop_free(out);
}

// All processes are told, whichever hears it first. Not by way of mpirun, which would pass the signal on:
// that of OpenMPI 4.1.4 may wait for itself for ever when it is told while it still starts them.
static void a_stopped_search_continues_with_any_number_of_processes(void **state)
{
    (void)state;
    int stops = 0;
    for (int i = 0; i < 30; i++) {
        char line[512];
        (void)snprintf(
            line, sizeof line,
            "$ranks %d $coppice search -q ranks/study.yaml -o ranks/stopped & id=$!\n"
            "sleep %d.%d; kill -USR1 $(cat /proc/$id/task/*/children) 2>/dev/null; wait $id",
            3 - i % 3, 1 + i / 4, i * 3 % 10);
        const int code = run_line(line);
        char *out = printed("ranks.out");
        const bool was_stopped = strstr(out, "stopped; the same command continues") != NULL;
        const bool was_finished = strstr(out, "ranks/stopped: finished") != NULL;
        cop_free(out);
        if (was_finished) {
            assert_int_equal(code, 0);
            break;
        }
        stops += was_stopped ? 1 : 0; // or the signal came before the handler
    }
    assert_true(stops > 0);
    check_same("ranks/stopped");
}

static void a_study_that_cannot_run_fails_once_and_hangs_nobody(void **state)
{
    (void)state;
    assert_int_equal(run_line("$ranks 3 $coppice search -q ranks/nothing.yaml"), 1);
    char *err = printed("ranks.err");
    const char *first = strstr(err, "coppice: ranks/nothing.yaml: ");
    assert_non_null(first);
    assert_null(strstr(first + 1, "coppice: ranks/nothing.yaml: "));
    cop_free(err);
    // A directory that is no study: rank 0 alone finds out.
    must_run("mkdir -p ranks/other && touch ranks/other/file");
    assert_int_equal(run_line("$ranks 3 $coppice search -q ranks/study.yaml -o ranks/other"), 1);
    err = printed("ranks.err");
    assert_non_null(strstr(err, "coppice: ranks/other: exists and is no study directory"));
    cop_free(err);
}

static void a_candidate_that_fails_on_a_worker_is_recorded_as_failed(void **state)
{
    (void)state;
    // Probes diverge, wherever they run.
    tiny_study_write("ranks", "learning_rate: 3e-3",
                     "learning_rate: 10\n  clip_norm: 0\n  weight_decay: 10\n  schedule: constant");
    const int alone = run_line("$coppice search -q ranks/study.yaml -o ranks/diverged1");
    char *wanted = printed("ranks.err");
    const int together =
        run_line("$ranks 3 $coppice search -q ranks/study.yaml -o ranks/diverged3");
    char *found = printed("ranks.err");
    tiny_study_write("ranks", NULL, NULL);
    assert_int_equal(alone, together);
    assert_non_null(strstr(wanted, "is tried again: training: step "));
    assert_non_null(strstr(found, "is tried again: training: step "));
    assert_non_null(strstr(found, ": failed at stage 1: training: step "));
    char *figures1 = figures_of("ranks/diverged1");
    char *figures3 = figures_of("ranks/diverged3");
    assert_string_equal(figures1, figures3);
    cop_free(figures1);
    cop_free(figures3);
    cop_free(wanted);
    cop_free(found);
}

// Saved states cannot be written, whoever tries first: the search stops for all, and continues when the cause is
// gone.
static void a_disk_that_refuses_stops_all_and_hangs_nobody(void **state)
{
    (void)state;
    // Files of at most 400 KiB: enough for everything but the cache of the first rung.
    assert_int_equal(
        run_line("ulimit -f 400; $coppice search -q ranks/study.yaml -o ranks/refused"), 1);
    must_run("rm -rf ranks/refused/checkpoints; touch ranks/refused/checkpoints");
    assert_int_equal(run_line("$ranks 3 $coppice search -q ranks/study.yaml -o ranks/refused"), 1);
    char *err = printed("ranks.err");
    assert_non_null(strstr(err, "coppice: ranks/refused/checkpoints"));
    cop_free(err);
    must_run("rm ranks/refused/checkpoints");
    must_run("$ranks 2 $coppice search -q ranks/study.yaml -o ranks/refused");
    check_same("ranks/refused");
}

static void lines_of_workers_name_rank_and_host(void **state)
{
    (void)state;
    must_run("grep -q \"\\[2 $(hostname -s)\\] evaluated [0-9]* candidates\" ranks/3/log");
}

// --- Deaths -------------------------------------------------------------------------------------

// MPI's rule: one that dies takes all along. The same command continues.
static void whoever_is_killed_the_search_continues_with_the_same_figures(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_rng *rng = NULL;
    int kills = 0;
    bool is_finished = false;

    assert_int_equal(cop_rng_create(&rng, 7, COP_RNG_TEST, 1, &err), COP_OK);
    for (int i = 0; !is_finished; i++) {
        char line[512];
        const int ranks = 2 + i % 3;
        const int victim = (int)cop_rng_below(rng, (uint64_t)ranks + 1) - 1;
        // Later and later, so that it gets through on any machine.
        const int milliseconds = 400 + i * 100 + (int)cop_rng_below(rng, 900);
        (void)snprintf(line, sizeof line,
                       "$ranks %d $coppice search -q ranks/study.yaml -o ranks/killed & id=$!\n"
                       "sleep %d.%03d; hit KILL $id %d; wait $id",
                       ranks, milliseconds / 1000, milliseconds % 1000, victim);
        (void)run_line(line);
        char *out = printed("ranks.out");
        is_finished = strstr(out, "ranks/killed: finished") != NULL;
        cop_free(out);
        kills += is_finished ? 0 : 1;
        assert_true(kills < 100);
    }
    assert_true(kills > 0);
    check_same("ranks/killed");
    cop_rng_destroy(rng);
}

// Runs the long study with 3 processes, of which the launcher lets the others be when one dies; `then` is what
// happens to $id once stage 0 is done.
static void run_and_hurt(const char *directory, const char *then)
{
    char line[1024];
    (void)snprintf(line, sizeof line,
                   "$ranks 3 --enable-recovery $coppice search --stall 1 --give-up 2 "
                   "ranks/long.yaml -o %s & id=$!\n"
                   "until grep -q 'stage 0' %s/log; do sleep 0.05; done 2>/dev/null\n"
                   "%s\nwait $id",
                   directory, directory, then);
    (void)run_line(line); // the exit code of mpirun tells of the killed one
}

static void check_long(const char *directory)
{
    char *found = printed("ranks.out");
    assert_non_null(strstr(found, ": finished"));
    cop_free(found);
    char *wanted = figures_of("ranks/long");
    found = figures_of(directory);
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
}

static void where_mpi_allows_a_dead_worker_costs_its_probe_only(void **state)
{
    (void)state;
    run_and_hurt("ranks/bereft", "hit KILL $id 1");
    check_long("ranks/bereft");
    char *log = printed("ranks/bereft/log");
    assert_non_null(strstr(log, ": nothing was heard for "));
    assert_non_null(strstr(log, " s of silence, at stage "));
    assert_non_null(strstr(log, "; lost"));
    cop_free(log);
}

static void a_worker_that_was_only_slow_spoils_nothing(void **state)
{
    (void)state;
    run_and_hurt("ranks/slow", "hit STOP $id 2\n"
                               "until grep -q 'given up' ranks/slow/log; do sleep 0.05; done\n"
                               "hit CONT $id 2");
    check_long("ranks/slow");
}

// Nobody is left to hand anything out: the workers see it by the lock of the study, and leave.
static void workers_do_not_outlive_rank_0(void **state)
{
    (void)state;
    run_and_hurt("ranks/headless", "hit KILL $id 0");
    char *err = printed("ranks.err");
    assert_non_null(strstr(err, "coppice: ranks/headless: rank 0 has died"));
    cop_free(err);
    must_run("$ranks 2 $coppice search -q ranks/long.yaml -o ranks/headless");
    check_long("ranks/headless");
}

static int make_study(void **state)
{
    (void)state;
    tiny_study_make("ranks", COP_FAMILY_LLAMA, 1);
    must_run("$coppice search -q ranks/study.yaml -o ranks/1");
    must_run("sed 's/rungs: .*/rungs: [12288, 24576]/' ranks/study.yaml >ranks/long.yaml");
    must_run("$coppice search -q ranks/long.yaml -o ranks/long");
    return 0;
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_do_not_depend_on_the_number_of_processes),
        cmocka_unit_test(one_process_under_mpirun_is_one_process),
        cmocka_unit_test(only_the_first_process_speaks),
        cmocka_unit_test(a_stopped_search_continues_with_any_number_of_processes),
        cmocka_unit_test(a_study_that_cannot_run_fails_once_and_hangs_nobody),
        cmocka_unit_test(a_disk_that_refuses_stops_all_and_hangs_nobody),
        cmocka_unit_test(a_candidate_that_fails_on_a_worker_is_recorded_as_failed),
        cmocka_unit_test(lines_of_workers_name_rank_and_host),
        cmocka_unit_test(whoever_is_killed_the_search_continues_with_the_same_figures),
        cmocka_unit_test(where_mpi_allows_a_dead_worker_costs_its_probe_only),
        cmocka_unit_test(a_worker_that_was_only_slow_spoils_nothing),
        cmocka_unit_test(workers_do_not_outlive_rank_0),
    };
    if (argc != 3 || argv[2][0] == '\0') {
        return 77; // built without MPI
    }
    program = argv[1];
    launcher = argv[2];
    return cmocka_run_group_tests(tests, make_study, NULL);
}
