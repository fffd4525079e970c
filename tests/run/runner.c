#include "tests/run/runner.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/run/figures.h"
#include "tests/support.h"

enum { FULL_DISK_BYTES = 16384 };

typedef struct ticker {
    runner_options options;
    int count;
    volatile int stop;
} ticker;

static void limit_file_size(rlim_t bytes)
{
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void tick(void *context)
{
    ticker *t = context;
    t->count++;
    if (t->count == t->options.full_disk_at) {
        limit_file_size(FULL_DISK_BYTES);
    }
    if (t->count == t->options.stop_at) {
        t->stop = 1;
    }
}

cop_status runner_run(const char *folder, const char *name, const runner_options *options,
                      runner_result *result, cop_error *err)
{
    char yaml[256];
    char directory[256];
    ticker t = {0};
    bool stopped = false;
    cop_status status = COP_OK;
    cop_study_file study = {0};

    if (options != NULL) {
        t.options = *options;
    }
    (void)snprintf(yaml, sizeof yaml, "%s/study.yaml", folder);
    (void)snprintf(directory, sizeof directory, "%s/%s", folder, name);
    const cop_search_options settings = {.directory = directory,
                                         .backend = "cpu",
                                         .stop = &t.stop,
                                         .was_stopped = &stopped,
                                         .tick = tick,
                                         .tick_context = &t};
    status = cop_study_file_read(&study, yaml, true, err);
    if (status == COP_OK) {
        status = cop_search_run(&study, &settings, err);
    }
    if (t.options.full_disk_at > 0) {
        limit_file_size(RLIM_INFINITY);
    }
    cop_study_file_release(&study);
    if (result != NULL) {
        *result = (runner_result){.ticks = t.count, .was_stopped = stopped};
    }
    return status;
}

void runner_must_run(const char *folder, const char *name)
{
    cop_error err = {0};
    if (runner_run(folder, name, NULL, NULL, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

char *runner_figures(const char *folder, const char *name)
{
    char directory[256];
    (void)snprintf(directory, sizeof directory, "%s/%s", folder, name);
    return figures_of(directory);
}
