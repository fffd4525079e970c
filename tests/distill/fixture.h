// Small teachers, students and texts for the tests of distill/ and eval/. Every helper fails the test
// when something goes wrong.

#ifndef COP_TESTS_DISTILL_FIXTURE_H
#define COP_TESTS_DISTILL_FIXTURE_H

#include "distill/trainer.h"
#include "tests/support.h"

enum { FIXTURE_VOCAB = 32, FIXTURE_CONTEXT = 64 };

// Fails the running test with the message of `err` unless the status is COP_OK.
void must(cop_status status, const cop_error *err);

// |value - expected| <= tolerance; both are shown on failure.
void assert_close(double value, double expected, double tolerance);

// Grouped queries, head_dim apart from hidden / heads; partial rotation for Nemotron.
cop_arch small_arch(cop_family family, int64_t hidden, int64_t layers);

// `count` ids with structure that a model can learn: each is mostly a function of the one before.
void write_tokens(const char *path, int64_t count, uint64_t seed);

// A model directory with random weights.
void write_model(const char *directory, const cop_arch *arch, uint64_t seed);

// A training network of random weights.
cop_network *make_student(cop_backend *backend, const cop_arch *arch, cop_precision precision,
                          int64_t batch, int64_t sequence, uint64_t seed);

// A teacher on disk, a text, and all that is needed to train from them.
typedef struct fixture_set {
    cop_backend *backend;
    cop_tokens *tokens;
    cop_sampler *sampler;
    cop_checkpoint *checkpoint;
    cop_teacher_model *model;
    cop_teacher_states *states; // online
    cop_teacher teacher;
} fixture_set;

typedef struct fixture_options {
    const char *backend; // NULL: "cpu"
    cop_family family;
    int64_t hidden; // of the teacher
    int64_t layers;
    cop_precision precision;
    int64_t teacher_batch;
    int64_t sequence;
    int64_t draws; // of samples; 0: none
} fixture_options;

// `name` makes the files' names; an older run's are replaced.
void fixture_open(fixture_set *out, const char *name, const fixture_options *options);
void fixture_close(fixture_set *fixture);

// All parameters (master precision) of a network as one array, owned by the caller (cop_free).
double *read_parameters(cop_network *network, int64_t *count);

#endif
