// Runs a study of tests/run in a test, with stops and disk failures at chosen moments.

#ifndef COP_TESTS_RUN_RUNNER_H
#define COP_TESTS_RUN_RUNNER_H

#include "search/search.h"

typedef struct runner_options {
    int stop_at;      // tick (training step or evaluation) that asks to stop; 0: none
    int full_disk_at; // tick from which no file grows beyond a few pages, as on a full disk; 0: none
} runner_options;

typedef struct runner_result {
    int ticks;
    bool was_stopped;
} runner_result;

// Runs <folder>/study.yaml into <folder>/<name>. `options` and `result` may be NULL.
cop_status runner_run(const char *folder, const char *name, const runner_options *options,
                      runner_result *result, cop_error *err);

// The same, undisturbed; a failure fails the test.
void runner_must_run(const char *folder, const char *name);

// figures_of() of <folder>/<name>.
char *runner_figures(const char *folder, const char *name);

#endif
