// `search --extend` of a study with an evaluator: the report is that of a study begun with the new file, and nothing
// that is known is asked for again.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/cli/program.h"
#include "tests/run/evaluator_study.h"
#include "tests/support.h"

#define AXES "x1: {from: 0, to: 1, step: 0.1}, x2: {from: 0, to: 1, step: 0.25}, x3: [0, 0.5, 1]"
#define WIDER \
    "x1: {from: 0, to: 1, step: 0.05}, x2: {from: 0, to: 1, step: 0.125}, x3: [0, 0.25, 0.5, 1]"

static const evaluator_study base = {
    .axes = AXES, .budget = "g: {max: 9}", .rungs = "10, 50", .evaluations = 40};

static void search(const char *folder, const char *directory, const char *option)
{
    char line[256];
    (void)snprintf(line, sizeof line, "$coppice search -q %s %s/study.yaml -o %s/%s >/dev/null",
                   option, folder, folder, directory);
    program_expect(line, 0, "", NULL);
}

static void clear(const char *folder)
{
    cop_error err = {0};
    assert_int_equal(cop_file_remove_tree(folder, &err), COP_OK);
}

static int requests_of(const char *folder, const char *directory, const char *option)
{
    char path[64];
    evaluator_known known = {0};
    (void)snprintf(path, sizeof path, "%s/%s", folder, directory);
    evaluator_known_read(&known, folder, path);
    search(folder, directory, option);
    const int count = evaluator_known_check(&known, folder);
    evaluator_known_release(&known);
    return count;
}

// `before` is run, refused without --extend, extended to `after`, and compared with a fresh study of `after`.
// Returns how many requests the extension cost.
static int check_extension(const char *folder, const evaluator_study *before,
                           const evaluator_study *after)
{
    char line[256];
    char path[64];
    clear(folder);
    evaluator_study_write(folder, before);
    search(folder, "grown", "");
    evaluator_study_write(folder, after);
    (void)snprintf(line, sizeof line, "$coppice search -q %s/study.yaml -o %s/grown", folder,
                   folder);
    program_expect(line, 1, "", "coppice: */grown: is another study: *--extend)");
    const int extended = requests_of(folder, "grown", "--extend");
    const int again = requests_of(folder, "grown", "");
    const int fresh = requests_of(folder, "fresh", "");
    assert_int_equal(again, 0);
    (void)snprintf(path, sizeof path, "%s/grown", folder);
    (void)snprintf(line, sizeof line, "%s/fresh", folder);
    evaluator_study_check_same(path, line);
    print_message("%s: %d of %d requests\n", folder, extended, fresh);
    return extended;
}

static void more_evaluations(void **state)
{
    (void)state;
    evaluator_study after = base;
    after.evaluations = 100;
    assert_in_range(check_extension("evaluations", &base, &after), 60, 60 + 40);
}

// A third fidelity: only its requests.
static void more_fidelities(void **state)
{
    (void)state;
    evaluator_study after = base;
    after.rungs = "10, 50, 100";
    assert_int_equal(check_extension("rungs", &base, &after), 7);
}

static void a_larger_space(void **state)
{
    (void)state;
    evaluator_study after = base;
    after.axes = WIDER;
    (void)check_extension("space", &base, &after);
}

static void a_larger_grid(void **state)
{
    (void)state;
    evaluator_study before = base;
    before.axes = "x1: [0, 0.5, 1], x2: [0, 0.5]";
    before.strategy = "grid";
    before.evaluations = 0;
    evaluator_study after = before;
    after.axes = "x1: [0, 0.25, 0.5, 1], x2: [0, 0.5, 1]";
    // 12 points, of which 6 are known; 5 of them go on, of which some are known.
    assert_in_range(check_extension("grid", &before, &after), 6, 11);
}

static void another_budget(void **state)
{
    (void)state;
    evaluator_study after = base;
    after.budget = "g: {max: 6}";
    (void)check_extension("budget", &base, &after);
    after.budget = "g: {max: 9}, f1: {max: 0.5}";
    (void)check_extension("bounds", &base, &after);
}

static void everything_at_once(void **state)
{
    (void)state;
    evaluator_study after = base;
    after.axes = WIDER;
    after.budget = "g: {max: 7}";
    after.rungs = "10, 50, 100";
    after.evaluations = 80;
    (void)check_extension("all", &base, &after);
}

static void a_random_study(void **state)
{
    (void)state;
    evaluator_study before = base;
    before.strategy = "random";
    evaluator_study after = before;
    after.evaluations = 90;
    (void)check_extension("random", &before, &after);
    after.axes = WIDER;
    (void)check_extension("drawn", &before, &after);
}

static void failures_are_kept(void **state)
{
    (void)state;
    evaluator_study before = base;
    before.axes = AXES ", kind: [whole, broken]";
    evaluator_study after = before;
    after.evaluations = 80;
    (void)check_extension("broken", &before, &after);
}

// Extended twice, back and forth.
static void an_extension_of_an_extension(void **state)
{
    (void)state;
    evaluator_study next = base;
    clear("twice");
    evaluator_study_write("twice", &base);
    search("twice", "grown", "");
    next.axes = WIDER;
    evaluator_study_write("twice", &next);
    search("twice", "grown", "--extend");
    evaluator_study_write("twice", &base);
    assert_int_equal(requests_of("twice", "grown", "--extend"), 0);
    search("twice", "fresh", "");
    evaluator_study_check_same("twice/grown", "twice/fresh");
    next = base;
    next.evaluations = 60;
    evaluator_study_write("twice", &next);
    search("twice", "grown", "--extend");
    search("twice", "larger", "");
    evaluator_study_check_same("twice/grown", "twice/larger");
}

// Killed at many moments of an extension.
static void a_killed_extension_continues(void **state)
{
    (void)state;
    evaluator_known known = {0};
    evaluator_study before = base;
    before.milliseconds = 2;
    evaluator_study after = before;
    bool is_finished = false;
    int kills = 0;

    clear("killed");
    evaluator_study_write("killed", &before);
    search("killed", "grown", "");
    after.axes = WIDER;
    after.budget = "g: {max: 8}";
    after.rungs = "10, 50, 100";
    after.evaluations = 80;
    evaluator_study_write("killed", &after);
    for (int milliseconds = 5; !is_finished; milliseconds += 9) {
        char line[256];
        evaluator_known_read(&known, "killed", "killed/grown");
        (void)snprintf(line, sizeof line,
                       "timeout -s KILL %d.%03d $coppice search -q --extend killed/study.yaml "
                       "-o killed/grown",
                       milliseconds / 1000, milliseconds % 1000);
        program_result result = program_run(line);
        is_finished = strstr(result.out, "finished") != NULL;
        assert_int_not_equal(result.exit_code, 1);
        kills += is_finished ? 0 : 1;
        (void)evaluator_known_check(&known, "killed");
        program_release(&result);
    }
    assert_true(kills > 3);
    search("killed", "fresh", "");
    evaluator_study_check_same("killed/grown", "killed/fresh");
    evaluator_known_release(&known);
}

// What changes the meaning of what is known.
static void refuse(const char *text, const char *what)
{
    char line[512];
    char message[256];
    (void)snprintf(
        line, sizeof line,
        "sed '%s' evaluations/study.yaml >refused.yaml && $coppice search -q --extend refused.yaml "
        "-o evaluations/grown",
        text);
    (void)snprintf(message, sizeof message,
                   "coppice: evaluations/grown: is another study: its *%s* (allowed: the same, or "
                   "another directory)",
                   what);
    program_expect(line, 1, "", message);
}

static void what_cannot_be_extended_is_refused(void **state)
{
    (void)state;
    refuse("s/population: 12/population: 16/", "search.population");
    refuse("s/population: 12/population: 12, seed: 9/", "search.seed");
    refuse("s/\\[f1, f2\\]/[f1, g]/", "objectives");
    refuse("s/nsga2/random/; s/, population: 12//", "search.strategy");
    refuse("s/keep: 0.4/keep: 0.5/", "probe.keep");
    refuse("s/evaluations: 100/evaluations: 120/; s/\\[f1, f2\\]/[f2, f1]/", "objectives");
    assert_int_equal(requests_of("evaluations", "grown", ""), 0);
    evaluator_study_check_same("evaluations/grown", "evaluations/fresh");
}

// --extend may stand there from the beginning.
static void a_new_study_is_begun(void **state)
{
    (void)state;
    clear("new");
    evaluator_study_write("new", &base);
    search("new", "grown", "--extend");
    search("new", "fresh", "");
    evaluator_study_check_same("new/grown", "new/fresh");
}

// A refused extension changes nothing: the study's own file still continues it.
static void fewer_evaluations_are_refused(void **state)
{
    (void)state;
    evaluator_study after = base;
    clear("fewer");
    evaluator_study_write("fewer", &base);
    search("fewer", "grown", "");
    search("fewer", "fresh", "");
    after.rungs = "10, 50, 100";
    after.axes = WIDER;
    after.evaluations = 30;
    evaluator_study_write("fewer", &after);
    program_expect("$coppice search -q --extend fewer/study.yaml -o fewer/grown", 1, "",
                   "coppice: fewer/grown: --extend: its search.evaluations is 40, that of "
                   "fewer/study.yaml is 30 (allowed: at least as many, or another directory)");
    evaluator_study_write("fewer", &base);
    assert_int_equal(requests_of("fewer", "grown", ""), 0);
    evaluator_study_check_same("fewer/grown", "fewer/fresh");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_evaluations),
        cmocka_unit_test(more_fidelities),
        cmocka_unit_test(a_larger_space),
        cmocka_unit_test(a_larger_grid),
        cmocka_unit_test(another_budget),
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(a_random_study),
        cmocka_unit_test(failures_are_kept),
        cmocka_unit_test(an_extension_of_an_extension),
        cmocka_unit_test(a_killed_extension_continues),
        cmocka_unit_test(what_cannot_be_extended_is_refused),
        cmocka_unit_test(a_new_study_is_begun),
        cmocka_unit_test(fewer_evaluations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
