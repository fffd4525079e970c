// importance.h5: schema, cache, and files that are not what they should be.

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/array_file.h"
#include "base/file.h"
#include "tests/prune/fixture.h"

enum { SEQUENCE = 8 };

static const cop_importance_settings small = {
    .samples = 3, .sequence = SEQUENCE, .with_perplexity = true, .precision = COP_PRECISION_F32};

typedef struct fixture {
    cop_backend *backend;
    cop_checkpoint *teacher;
    cop_tokens *tokens;
} fixture;

static void fixture_open(fixture *out)
{
    const cop_arch arch = teacher_arch(COP_FAMILY_NEMOTRON);
    cop_error err = {0};
    out->backend = tiny_backend("reference");
    out->teacher = teacher_open("teacher", &arch, COP_F32, 1);
    out->tokens = text_open("text.bin", 4 * SEQUENCE + 1, arch.vocab, 2);
    must(cop_file_remove_tree("scores.h5", &err), &err);
}

static void fixture_close(fixture *with)
{
    cop_tokens_destroy(with->tokens);
    cop_checkpoint_destroy(with->teacher);
    cop_backend_destroy(with->backend);
}

static cop_importance *obtain(const fixture *with, const cop_importance_settings *settings,
                              bool force, bool *was_cached)
{
    cop_error err = {0};
    cop_importance *scores = NULL;
    must(cop_importance_obtain(&scores, "scores.h5", with->teacher, with->tokens, settings,
                               with->backend, force, was_cached, &err),
         &err);
    return scores;
}

static size_t storage_bytes(const cop_importance *scores)
{
    return sizeof(double) *
           (size_t)(COP_AGGREGATES *
                        (scores->layers * (scores->heads + scores->kv_heads + scores->ffn) +
                         scores->hidden) +
                    2 * scores->layers);
}

// Number of entries of the working directory: temporary files that were left behind would show.
static long entry_count(void)
{
    FILE *list = popen("ls -A | wc -l", "r");
    long count = 0;
    assert_non_null(list);
    assert_int_equal(fscanf(list, "%ld", &count), 1); // NOLINT(cert-err34-c): output of wc
    assert_int_equal(pclose(list), 0);
    return count;
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    fixture with;
    cop_error err = {0};
    cop_importance *read = NULL;
    cop_hash key;
    cop_hash stored;
    bool was_cached = true;

    fixture_open(&with);
    cop_importance *measured = obtain(&with, &small, false, &was_cached);
    assert_false(was_cached);
    must(cop_importance_read(&read, "scores.h5", with.teacher, &stored, &err), &err);
    must(cop_importance_key(&key, with.teacher, with.tokens, &small, &err), &err);
    assert_memory_equal(&stored, &key, sizeof key);
    assert_memory_equal(read->storage, measured->storage, storage_bytes(measured));
    assert_true(read->teacher_perplexity == measured->teacher_perplexity);
    cop_importance_destroy(read);
    cop_importance_destroy(measured);
    fixture_close(&with);
}

static void expect_text(const cop_array_reader *reader, const char *object, const char *key,
                        const char *want)
{
    cop_error err = {0};
    char *text = NULL;
    must(cop_array_reader_text(reader, object, key, &text, &err), &err);
    assert_string_equal(text, want);
    cop_free(text);
}

// The schema spelled out a second time: programs rely on it.
static void has_the_documented_schema(void **state)
{
    (void)state;
    static const char *const aggregates[] = {"l2_l2",   "l2_mean",   "l2_var",
                                             "mean_l2", "mean_mean", "mean_var",
                                             "var_l2",  "var_mean",  "var_var"};

    static const struct {
        const char *name;
        int rank;
        int64_t shape[2];
    } groups[] = {{"head", 2, {4, 6}},
                  {"kv_group", 2, {4, 2}},
                  {"neuron", 2, {4, 20}},
                  {"channel", 1, {16, 0}}};

    fixture with;
    cop_error err = {0};
    cop_array_reader *reader = NULL;
    char hash_text[COP_HASH_TEXT_BYTES];
    cop_hash hash;
    cop_dtype dtype;
    int rank = 0;
    int64_t shape[COP_ARRAY_RANK_MAX];
    int64_t number = 0;
    char name[64];

    fixture_open(&with);
    cop_importance_destroy(obtain(&with, &small, false, NULL));
    must(cop_array_reader_open(&reader, "scores.h5", &err), &err);
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (size_t i = 0; i < COP_AGGREGATES; i++) {
            (void)snprintf(name, sizeof name, "%s/%s", groups[g].name, aggregates[i]);
            must(cop_array_reader_shape(reader, name, &dtype, &rank, shape, &err), &err);
            assert_int_equal(dtype, COP_F64);
            assert_int_equal(rank, groups[g].rank);
            assert_memory_equal(shape, groups[g].shape, (size_t)rank * sizeof *shape);
        }
        expect_text(reader, groups[g].name, "unit", "activation");
    }
    must(cop_array_reader_shape(reader, "layer/block_influence", &dtype, &rank, shape, &err), &err);
    assert_int_equal(shape[0], 4);
    must(cop_array_reader_shape(reader, "layer/perplexity", &dtype, &rank, shape, &err), &err);
    assert_int_equal(shape[0], 4);
    expect_text(reader, "layer/perplexity", "unit", "perplexity");
    expect_text(reader, "meta", "teacher", "teacher");
    expect_text(reader, "meta", "data", "text.bin");
    expect_text(reader, "meta", "precision", "f32");
    expect_text(reader, "meta", "program", "coppice");
    must(cop_checkpoint_hash(with.teacher, &hash, &err), &err);
    expect_text(reader, "meta", "teacher_hash", cop_hash_text(hash_text, hash));
    expect_text(reader, "meta", "data_hash",
                cop_hash_text(hash_text, cop_tokens_hash(with.tokens)));
    must(cop_importance_key(&hash, with.teacher, with.tokens, &small, &err), &err);
    expect_text(reader, "meta", "key", cop_hash_text(hash_text, hash));
    must(cop_array_reader_i64(reader, "meta", "samples", &number, &err), &err);
    assert_int_equal(number, 3);
    must(cop_array_reader_i64(reader, "meta", "sequence", &number, &err), &err);
    assert_int_equal(number, SEQUENCE);
    cop_array_reader_destroy(reader);
    fixture_close(&with);
}

static void measures_the_same_request_once(void **state)
{
    (void)state;
    fixture with;
    bool was_cached = false;
    struct stat before;
    struct stat after;
    cop_importance_settings other = small;

    fixture_open(&with);
    cop_importance *first = obtain(&with, &small, false, NULL);
    assert_int_equal(stat("scores.h5", &before), 0);
    cop_importance *second = obtain(&with, &small, false, &was_cached);
    assert_true(was_cached);
    assert_memory_equal(first->storage, second->storage, storage_bytes(first));
    cop_importance_destroy(second);

    other.batch = 2; // does not change the result, so it is no part of the key
    second = obtain(&with, &other, true, &was_cached);
    assert_true(was_cached);
    cop_importance_destroy(second);

    other.with_perplexity = false; // less than what is there
    second = obtain(&with, &other, false, &was_cached);
    assert_true(was_cached);
    cop_importance_destroy(second);

    assert_int_equal(stat("scores.h5", &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);

    other = small;
    other.samples = 2;
    second = obtain(&with, &other, true, &was_cached);
    assert_false(was_cached);
    cop_importance_destroy(second);
    assert_int_equal(stat("scores.h5", &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);

    other.samples = 4; // all there are …
    cop_importance_destroy(obtain(&with, &other, true, NULL));
    other.samples = 1000; // … and more than there are: the same sequences
    second = obtain(&with, &other, false, &was_cached);
    assert_true(was_cached);
    cop_importance_destroy(second);
    cop_importance_destroy(first);
    fixture_close(&with);
}

static void refuses_to_overwrite_other_scores(void **state)
{
    (void)state;
    fixture with;
    cop_error err = {0};
    cop_importance *scores = NULL;
    cop_importance_settings other = small;

    fixture_open(&with);
    cop_importance_destroy(obtain(&with, &small, false, NULL));
    other.sequence = 4;
    assert_int_equal(cop_importance_obtain(&scores, "scores.h5", with.teacher, with.tokens, &other,
                                           with.backend, false, NULL, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(
        err.message, "scores.h5: holds scores of teacher on text.bin, 3 sequences of 8 tokens in "
                     "f32 (allowed: those of teacher on text.bin, 3 of 4 in f32, a new path, or "
                     "--force)");
    assert_null(scores);
    other.sequence = SEQUENCE;
    other.with_perplexity = false;
    cop_importance_destroy(obtain(&with, &other, true, NULL));
    // A file without perplexity does not answer a request with it.
    must(cop_file_remove_tree("scores.h5", &err), &err);
    cop_importance_destroy(obtain(&with, &other, false, NULL));
    assert_int_equal(cop_importance_obtain(&scores, "scores.h5", with.teacher, with.tokens, &small,
                                           with.backend, false, NULL, &err),
                     COP_ERR_CONFIG);
    fixture_close(&with);
}

static void refuses_scores_of_another_teacher(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_NEMOTRON);
    fixture with;
    cop_error err = {0};
    cop_importance *scores = NULL;
    cop_hash mine;
    cop_hash theirs;
    char mine_text[COP_HASH_TEXT_BYTES];
    char theirs_text[COP_HASH_TEXT_BYTES];
    char want[COP_ERROR_MESSAGE_BYTES];

    fixture_open(&with);
    cop_checkpoint *other = teacher_open("other", &arch, COP_F32, 99);
    cop_importance_destroy(obtain(&with, &small, false, NULL));
    must(cop_checkpoint_hash(with.teacher, &theirs, &err), &err);
    must(cop_checkpoint_hash(other, &mine, &err), &err);
    (void)snprintf(want, sizeof want,
                   "scores.h5: scores of another teacher: teacher with weights %.8s (allowed: "
                   "scores of other with weights %.8s; run coppice score on it)",
                   cop_hash_text(theirs_text, theirs), cop_hash_text(mine_text, mine));
    assert_int_equal(cop_importance_read(&scores, "scores.h5", other, NULL, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, want);
    assert_null(scores);
    // Without a teacher to compare with, anybody's scores can be read.
    must(cop_importance_read(&scores, "scores.h5", NULL, NULL, &err), &err);
    cop_importance_destroy(scores);
    cop_checkpoint_destroy(other);
    fixture_close(&with);
}

static void refuses_a_truncated_file(void **state)
{
    (void)state;
    fixture with;
    cop_importance *scores = NULL;
    char *whole = NULL;
    size_t bytes = 0;
    cop_error err = {0};

    fixture_open(&with);
    cop_importance_destroy(obtain(&with, &small, false, NULL));
    must(cop_file_read(&whole, &bytes, "scores.h5", 1 << 24, &err), &err);
    const size_t lengths[] = {0, 1, 100, bytes / 2, bytes - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        err = (cop_error){0};
        (void)scratch_file("scores.h5", whole, lengths[i]);
        const cop_status status =
            cop_importance_obtain(&scores, "scores.h5", with.teacher, with.tokens, &small,
                                  with.backend, false, NULL, &err);
        assert_true(status == COP_ERR_FORMAT || status == COP_ERR_IO);
        assert_null(scores);
        assert_memory_equal(err.message, "scores.h5: ", 11);
    }
    // Asked to, it is replaced.
    cop_importance_destroy(obtain(&with, &small, true, NULL));
    must(cop_importance_read(&scores, "scores.h5", with.teacher, NULL, &err), &err);
    cop_importance_destroy(scores);
    cop_free(whole);
    fixture_close(&with);
}

// Scores that cannot be ranked are found when the file is read, not when units are chosen.
static void refuses_scores_that_are_no_numbers(void **state)
{
    (void)state;
    fixture with;
    cop_error err = {0};
    cop_importance *scores = NULL;
    cop_hash key;

    fixture_open(&with);
    cop_importance *measured = obtain(&with, &small, false, NULL);
    must(cop_importance_key(&key, with.teacher, with.tokens, &small, &err), &err);
    measured->channel[5] = (double)NAN;
    must(cop_importance_write(measured, "scores.h5", key, with.teacher, with.tokens, &small, &err),
         &err);
    assert_int_equal(cop_importance_read(&scores, "scores.h5", NULL, NULL, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "scores.h5: score 5 of row 0 in /channel is nan (allowed: finite "
                        "numbers, then NaN as padding)");
    measured->channel[5] = 1.0;
    measured->neuron[20 + 3] = HUGE_VAL;
    must(cop_importance_write(measured, "scores.h5", key, with.teacher, with.tokens, &small, &err),
         &err);
    assert_int_equal(cop_importance_read(&scores, "scores.h5", NULL, NULL, &err), COP_ERR_FORMAT);
    assert_null(scores);
    cop_importance_destroy(measured);
    fixture_close(&with);
}

static void leaves_nothing_behind_on_a_full_disk(void **state)
{
    (void)state;
    fixture with;
    cop_error err = {0};
    cop_importance *scores = NULL;
    struct rlimit limit;

    fixture_open(&with);
    const long entries = entry_count();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const struct rlimit tight = {.rlim_cur = 8192, .rlim_max = limit.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const cop_status status = cop_importance_obtain(&scores, "scores.h5", with.teacher, with.tokens,
                                                    &small, with.backend, false, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(status, COP_ERR_IO);
    assert_null(scores);
    assert_false(cop_file_exists("scores.h5"));
    assert_int_equal(entry_count(), entries);
    assert_memory_equal(err.message, "scores.h5: ", 11);
    fixture_close(&with);
}

// Before the long pass, not behind it: the network is never made.
static void finds_out_first_that_it_cannot_write(void **state)
{
    (void)state;
    fixture with;
    cop_error err = {0};
    cop_importance *scores = NULL;

    fixture_open(&with);
    assert_int_equal(cop_importance_obtain(&scores, "nowhere/scores.h5", with.teacher, with.tokens,
                                           &small, NULL, false, NULL, &err),
                     COP_ERR_IO);
    assert_null(scores);
    fixture_close(&with);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    fixture with;
    cop_error err = {0};

    fixture_open(&with);
    for (int is_cached = 0; is_cached < 2; is_cached++) {
        const size_t live = cop_alloc_live_blocks();
        cop_status status = COP_ERR_NOMEM;
        for (size_t n = 0; status == COP_ERR_NOMEM && n < 1000; n++) {
            cop_importance *scores = NULL;
            cop_alloc_fail_after(n);
            status = cop_importance_obtain(&scores, "scores.h5", with.teacher, with.tokens, &small,
                                           with.backend, false, NULL, &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_int_equal(scores != NULL, status == COP_OK);
            cop_importance_destroy(scores);
            assert_int_equal(cop_alloc_live_blocks(), live);
        }
        must(status, &err);
    }
    fixture_close(&with);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(has_the_documented_schema),
        cmocka_unit_test(measures_the_same_request_once),
        cmocka_unit_test(refuses_to_overwrite_other_scores),
        cmocka_unit_test(refuses_scores_of_another_teacher),
        cmocka_unit_test(refuses_a_truncated_file),
        cmocka_unit_test(refuses_scores_that_are_no_numbers),
        cmocka_unit_test(leaves_nothing_behind_on_a_full_disk),
        cmocka_unit_test(finds_out_first_that_it_cannot_write),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
