// Studies with an evaluator for tests that disturb them: tests/cli/zdt1_evaluator, which notes what it is asked.

#ifndef COP_TESTS_RUN_EVALUATOR_STUDY_H
#define COP_TESTS_RUN_EVALUATOR_STUDY_H

#include <stdbool.h>
#include <stdint.h>

// What a study file says; NULL and 0: nothing.
typedef struct evaluator_study {
    const char *axes;     // of the space
    const char *budget;   // bounds
    const char *rungs;    // fidelities, separated by commas
    const char *strategy; // nsga2 with a population of 12 unless said
    int evaluations;
    int processes;    // 1 unless said
    int milliseconds; // of each answer
    const char *more; // lines of the end
} evaluator_study;

// <folder>/study.yaml. The evaluator notes requests in <folder>/asked.
void evaluator_study_write(const char *folder, const evaluator_study *study);

// report.json of a study, without its provenance. Owned by the caller: cop_free().
char *evaluator_study_report(const char *directory);
// Fails the test unless two studies found the same.
void evaluator_study_check_same(const char *directory, const char *wanted);

// What a study knows and what its evaluator was asked: to show that nothing known is asked for again.
typedef struct evaluator_known {
    char *text;   // "\n<id> <fidelity>\n…" of all results
    int64_t from; // bytes of <folder>/asked at that time
} evaluator_known;

// Reads <directory>/study.db, which may not be there yet. `known` is replaced.
void evaluator_known_read(evaluator_known *known, const char *folder, const char *directory);
// Fails the test if a request noted since then is among the known. Returns the number of requests.
int evaluator_known_check(const evaluator_known *known, const char *folder);
void evaluator_known_release(evaluator_known *known);

#endif
