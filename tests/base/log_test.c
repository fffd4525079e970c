#include "base/log.h"

#include <stdio.h>
#include <string.h>

#include "tests/support.h"

typedef struct record {
    int lines;
    cop_log_level level;
    char line[512];
} record;

static void keep(void *context, cop_log_level level, const char *line)
{
    record *kept = context;
    kept->lines++;
    kept->level = level;
    (void)snprintf(kept->line, sizeof kept->line, "%s", line);
}

static void without_a_sink_nothing_happens(void **state)
{
    (void)state;
    cop_progress progress;
    cop_log(COP_LOG_WARNING, "nobody reads %s", "this");
    cop_progress_init(&progress, "work", "step", 10, 0);
    cop_progress_update(&progress, 5, NULL);
    cop_progress_finish(&progress, NULL);
    assert_int_equal(progress.done, 5);
}

static void lines_reach_the_sink(void **state)
{
    (void)state;
    record kept = {0};
    cop_log_set_sink(keep, &kept);
    cop_log(COP_LOG_WARNING, "%d of %d", 3, 4);
    cop_log_set_sink(NULL, NULL);
    assert_int_equal(kept.lines, 1);
    assert_int_equal(kept.level, COP_LOG_WARNING);
    assert_string_equal(kept.line, "3 of 4");
}

static void progress_says_what_how_far_and_when(void **state)
{
    (void)state;
    record kept = {0};
    cop_progress progress;
    cop_log_set_sink(keep, &kept);
    cop_progress_init(&progress, "train", "step", 320, 20);
    progress.start_seconds -= 10.0; // as if ten seconds had passed
    cop_progress_update(&progress, 120, "loss 1.5");
    assert_int_equal(kept.level, COP_LOG_PROGRESS);
    assert_string_equal(kept.line, "train 37% 120/320 steps, 10.0 steps/s, loss 1.5, ETA 20 s");
    cop_progress_update(&progress, 121, ""); // within half a second: not shown
    assert_int_equal(kept.lines, 1);
    progress.shown_seconds -= 1.0;
    cop_progress_update(&progress, 320, "");
    assert_string_equal(kept.line, "train 100% 320/320 steps, 30.0 steps/s");
    cop_progress_finish(&progress, "done");
    cop_log_set_sink(NULL, NULL);
    assert_int_equal(kept.level, COP_LOG_INFO);
    assert_string_equal(kept.line, "train: 300 steps in 10 s, done");
}

static void nothing_to_do_is_done(void **state)
{
    (void)state;
    record kept = {0};
    cop_progress progress;
    cop_log_set_sink(keep, &kept);
    cop_progress_init(&progress, "empty", "step", 0, 0);
    cop_progress_update(&progress, 0, NULL);
    cop_log_set_sink(NULL, NULL);
    assert_string_equal(kept.line, "empty 100% 0/0 steps");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_sink_nothing_happens),
        cmocka_unit_test(lines_reach_the_sink),
        cmocka_unit_test(progress_says_what_how_far_and_when),
        cmocka_unit_test(nothing_to_do_is_done),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
