#include "tests/search/evaluator_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/support.h"

cop_text notes;

static void keep_note(void *context, const char *line)
{
    (void)context;
    cop_text_append(&notes, line);
    cop_text_append(&notes, "\n");
}

static int count_files(void)
{
    int files = 0;
    DIR *const folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) { // NOLINT(concurrency-mt-unsafe)
        files++;
    }
    (void)closedir(folder);
    return files;
}

cop_evaluator_options options_for(char *command, size_t bytes, const char *mode)
{
    cop_evaluator_options options = COP_EVALUATOR_OPTIONS_DEFAULT;
    (void)snprintf(command, bytes, "exec '%s' %s", COP_MOCK_EVALUATOR, mode);
    options.command = command;
    options.log = keep_note;
    options.restarts = 1000;
    options.restarts_first = 1000;
    return options;
}

cop_evaluator *create(const cop_evaluator_options *options)
{
    cop_error err = {0};
    cop_evaluator *pool = NULL;
    cop_text_release(&notes);
    if (cop_evaluator_create(&pool, options, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return pool;
}

cop_evaluator *create_mode(const char *mode)
{
    char command[1024];
    const cop_evaluator_options options = options_for(command, sizeof command, mode);
    return create(&options);
}

void submit(cop_evaluator *pool, int64_t ticket, const char *id)
{
    cop_error err = {0};
    if (cop_evaluator_submit(pool, ticket, id, VALUES, 0.25, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

cop_evaluator_answer take(cop_evaluator *pool)
{
    cop_error err = {0};
    cop_evaluator_answer answer = {0};
    bool has_one = false;
    if (cop_evaluator_wait(pool, -1, &answer, &has_one, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(has_one);
    return answer;
}

void take_sum(cop_evaluator *pool, int64_t ticket)
{
    cop_evaluator_answer answer = take(pool);
    assert_string_equal(answer.reason, "");
    assert_int_equal(answer.outcome, COP_EVALUATOR_METRICS);
    assert_int_equal(answer.ticket, ticket);
    assert_int_equal(answer.count, 2);
    assert_string_equal(answer.metrics[0].name, "sum");
    assert_true(answer.metrics[0].value == 4.5);
    cop_evaluator_answer_release(&answer);
}

static int files_before;
static size_t blocks_before;

int look_around(void **state)
{
    (void)state;
    files_before = count_files();
    blocks_before = cop_alloc_live_blocks();
    return 0;
}

int leaves_nothing_behind(void **state)
{
    (void)state;
    cop_text_release(&notes);
    const bool has_child = waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD;
    const bool has_file = count_files() != files_before;
    const bool has_memory = cop_alloc_live_blocks() != blocks_before;
    if (has_child || has_file || has_memory) {
        print_error("left:%s%s%s\n", has_child ? " a child" : "", has_file ? " a file" : "",
                    has_memory ? " memory" : "");
    }
    return has_child || has_file || has_memory;
}
