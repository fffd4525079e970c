#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/array_file.h"
#include "base/file.h"
#include "distill/teacher_cache.h"
#include "tests/device_memory.h"
#include "tests/distill/fixture.h"

enum { SEQUENCE = 16, WINDOW = 4, WIDTH = 24, ROW = SEQUENCE * WIDTH };

static const fixture_options teacher_options = {
    .family = COP_FAMILY_LLAMA,
    .hidden = WIDTH,
    .layers = 2,
    .precision = COP_PRECISION_F32,
    .teacher_batch = WINDOW,
    .sequence = SEQUENCE,
};

// Copies the states of sequences [first, first + count).
static void read_states(cop_backend *backend, cop_teacher_states *states, int64_t first,
                        int64_t count, float *out)
{
    const cop_state_source source = cop_teacher_states_source(states);
    cop_error err = {0};
    cop_matrix hidden = {0};
    must(source.states(source.context, first, count, &hidden, &err), &err);
    assert_int_equal(hidden.rows, count * SEQUENCE);
    assert_int_equal(hidden.cols, WIDTH);
    assert_int_equal(hidden.dtype, COP_F32);
    void *copy = device_copy(backend, hidden.data, (size_t)(count * ROW) * sizeof *out);
    memcpy(out, copy, (size_t)(count * ROW) * sizeof *out);
    free(copy);
}

static cop_teacher_states *open_cache(fixture_set *from, const char *directory, int64_t count)
{
    cop_error err = {0};
    cop_teacher_states *states = NULL;
    must(cop_teacher_states_cached(&states, from->model, from->sampler, directory, count, &err),
         &err);
    return states;
}

// NOLINTBEGIN(concurrency-mt-unsafe): readdir of a stream of its own
// Name of the only file in a directory whose name holds `part`; fails when there are others.
static void only_file(const char *directory, const char *part, char *path, size_t bytes)
{
    DIR *stream = opendir(directory);
    int found = 0;
    assert_non_null(stream);
    for (const struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (strstr(entry->d_name, part) != NULL) {
            assert_in_range(snprintf(path, bytes, "%s/%s", directory, entry->d_name), 1, bytes - 1);
            found++;
        }
    }
    (void)closedir(stream);
    assert_int_equal(found, 1);
}

// NOLINTEND(concurrency-mt-unsafe)

static void start_cache(const char *directory)
{
    cop_error err = {0};
    must(cop_file_remove_tree(directory, &err), &err);
}

static void cached_states_equal_computed_ones_bit_for_bit(void **state)
{
    (void)state;
    const cop_precision precisions[] = {COP_PRECISION_F32, COP_PRECISION_BF16, COP_PRECISION_F64};
    for (int p = 0; p < 3; p++) {
        fixture_set from;
        fixture_options options = teacher_options;
        options.precision = precisions[p];
        options.backend = precisions[p] == COP_PRECISION_F64 ? "reference" : "cpu";
        fixture_open(&from, "exact", &options);
        start_cache("exact-cache");
        cop_teacher_states *cached = open_cache(&from, "exact-cache", 10);

        const struct {
            int64_t first;
            int64_t count;
        } requests[] = {{0, 4}, {4, 4}, {1, 1}, {2, 5}, {9, 1}, {0, 10}, {8, 2}, {5, 3}};

        for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
            const cop_state_source a = cop_teacher_states_source(cached);
            const cop_state_source b = from.teacher.states;
            cop_error err = {0};
            cop_matrix x = {0};
            cop_matrix y = {0};
            must(a.states(a.context, requests[i].first, requests[i].count, &x, &err), &err);
            must(b.states(b.context, requests[i].first, requests[i].count, &y, &err), &err);
            assert_int_equal(x.dtype, y.dtype);
            assert_int_equal(x.rows, requests[i].count * SEQUENCE);
            assert_device_equal(from.backend, x.data, from.backend, y.data,
                                (size_t)(x.rows * x.cols) * cop_dtype_bytes(x.dtype));
        }
        cop_teacher_states_destroy(cached);
        fixture_close(&from);
    }
}

static void only_what_is_missing_is_computed(void **state)
{
    (void)state;
    static float expected[11 * ROW];
    static float found[11 * ROW];
    fixture_set from;
    cop_error err = {0};
    char path[256];
    cop_array_reader *reader = NULL;
    int64_t format = 0;
    fixture_open(&from, "missing", &teacher_options);
    start_cache("missing-cache");
    read_states(from.backend, from.states, 0, 11, expected);

    cop_teacher_states_destroy(open_cache(&from, "missing-cache", 3));
    only_file("missing-cache", "-0-3.h5", path, sizeof path);
    cop_teacher_model_drop_network(from.model);
    cop_teacher_states *states = open_cache(&from, "missing-cache", 11);
    only_file("missing-cache", "-0-3.h5", path, sizeof path);
    only_file("missing-cache", "-3-8.h5", path, sizeof path);
    read_states(from.backend, states, 0, 11, found);
    assert_memory_equal(found, expected, sizeof found);
    cop_teacher_states_destroy(states);

    cop_teacher_states_destroy(open_cache(&from, "missing-cache", 11)); // nothing to do
    only_file("missing-cache", "-3-8.h5", path, sizeof path);

    // The file can be read by anybody: it says what it holds.
    must(cop_array_reader_open(&reader, path, &err), &err);
    must(cop_array_reader_i64(reader, "", "first", &format, &err), &err);
    assert_int_equal(format, 3);
    cop_array_reader_destroy(reader);
    fixture_close(&from);
}

// A file cut short by a crash has another name: it is not read, and removed when it is old.
static void ignores_temporaries_and_removes_old_ones(void **state)
{
    (void)state;
    static float expected[5 * ROW];
    static float found[5 * ROW];
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    fixture_set from;
    char path[256];
    char young[300];
    char old[300];
    fixture_open(&from, "leftover", &teacher_options);
    start_cache("leftover-cache");
    read_states(from.backend, from.states, 0, 5, expected);
    cop_teacher_states_destroy(open_cache(&from, "leftover-cache", 5));
    only_file("leftover-cache", "-0-5.h5", path, sizeof path);
    assert_in_range(snprintf(young, sizeof young, "%s.tmp.77", path), 1, sizeof young - 1);
    assert_in_range(snprintf(old, sizeof old, "%s.tmp.78", path), 1, sizeof old - 1);
    (void)scratch_file(young, "x", 1);
    (void)scratch_file(old, "x", 1);
    assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
    cop_teacher_states *states = open_cache(&from, "leftover-cache", 5);
    assert_true(cop_file_exists(young));
    assert_false(cop_file_exists(old));
    read_states(from.backend, states, 0, 5, found);
    assert_memory_equal(found, expected, sizeof found);
    cop_teacher_states_destroy(states);
    fixture_close(&from);
}

static void refuses_sequences_that_were_not_cached(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_matrix hidden = {0};
    fixture_open(&from, "beyond", &teacher_options);
    start_cache("beyond-cache");
    cop_teacher_states *states = open_cache(&from, "beyond-cache", 5);
    const cop_state_source source = cop_teacher_states_source(states);
    assert_int_equal(source.states(source.context, 4, 2, &hidden, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "beyond-cache: sequence 5 is not in this cache (allowed: what "
                                     "was asked for when it was opened)");
    cop_teacher_states_destroy(states);
    fixture_close(&from);
}

// Writes a cache file in the place of `path` with one attribute changed.
static void forge(const char *path, const char *key, const char *value)
{
    const int64_t shape[] = {5, ROW};
    static const float zeros[5 * ROW];
    cop_error err = {0};
    cop_array_reader *reader = NULL;
    cop_array_writer *writer = NULL;
    const char *texts[] = {"teacher_hash", "batches_hash", "precision"};
    const char *numbers[] = {"format", "first", "count", "sequence", "width"};
    must(cop_array_reader_open(&reader, path, &err), &err);
    must(cop_array_writer_create(&writer, path, &err), &err);
    must(cop_array_writer_put(writer, "states", COP_F32, 2, shape, zeros, &err), &err);
    for (int i = 0; i < 3; i++) {
        char *text = NULL;
        must(cop_array_reader_text(reader, "", texts[i], &text, &err), &err);
        must(cop_array_writer_text(writer, "", texts[i], strcmp(key, texts[i]) == 0 ? value : text,
                                   &err),
             &err);
        cop_free(text);
    }
    for (int i = 0; i < 5; i++) {
        int64_t number = 0;
        must(cop_array_reader_i64(reader, "", numbers[i], &number, &err), &err);
        must(cop_array_writer_i64(writer, "", numbers[i],
                                  strcmp(key, numbers[i]) == 0 ? 99 : number, &err),
             &err);
    }
    cop_array_reader_destroy(reader);
    must(cop_array_writer_commit(writer, &err), &err);
    cop_array_writer_destroy(writer);
}

static void refuses_files_of_others_and_damaged_ones(void **state)
{
    (void)state;
    fixture_set from;
    char path[256];
    char hash[COP_HASH_TEXT_BYTES];
    fixture_open(&from, "forged", &teacher_options);
    for (int i = 0; i < 4; i++) {
        cop_error err = {0};
        cop_hash teacher = {0};
        char message[COP_ERROR_MESSAGE_BYTES];
        cop_teacher_states *states = NULL;
        start_cache("forged-cache");
        cop_teacher_states_destroy(open_cache(&from, "forged-cache", 5));
        only_file("forged-cache", "-0-5.h5", path, sizeof path);
        must(cop_checkpoint_hash(from.checkpoint, &teacher, &err), &err);
        message[0] = '\0';
        switch (i) {
        case 0:
            forge(path, "teacher_hash", "of another");
            (void)snprintf(message, sizeof message,
                           "%s: teacher_hash is of another (allowed: %s; remove the file to have "
                           "it computed)",
                           path, cop_hash_text(hash, teacher));
            break;
        case 1:
            forge(path, "precision", "bf16");
            (void)snprintf(message, sizeof message,
                           "%s: precision is bf16 (allowed: f32; remove the file to have it "
                           "computed)",
                           path);
            break;
        case 2:
            forge(path, "first", "");
            (void)snprintf(message, sizeof message,
                           "%s: first is 99 (allowed: 0; remove the file to have it computed)",
                           path);
            break;
        default: (void)scratch_file(path, "not HDF5", 8); break;
        }
        assert_int_not_equal(
            cop_teacher_states_cached(&states, from.model, from.sampler, "forged-cache", 5, &err),
            COP_OK);
        assert_null(states);
        if (message[0] != '\0') {
            assert_string_equal(err.message, message);
        } else {
            assert_non_null(strstr(err.message, path));
        }
    }
    fixture_close(&from);
}

static void what_the_disk_cannot_hold_is_refused_before_any_work(void **state)
{
    (void)state;
    const int64_t count = INT64_C(1000000000000); // 1.4 PiB
    fixture_set from;
    cop_error err = {0};
    cop_teacher_states *states = NULL;
    fixture_open(&from, "disk", &teacher_options);
    start_cache("disk-cache");
    assert_int_equal(
        cop_teacher_states_cached(&states, from.model, from.sampler, "disk-cache", count, &err),
        COP_ERR_IO);
    assert_non_null(strstr(err.message, "disk-cache: the teacher's states of 1000000000000 "
                                        "sequences need "));
    assert_non_null(strstr(err.message, " are free (allowed: what fits)"));
    fixture_close(&from);
}

static void refuses_batches_of_another_length(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_sampler *sampler = NULL;
    cop_teacher_states *states = NULL;
    fixture_open(&from, "length", &teacher_options);
    must(cop_sampler_create(&sampler, from.tokens, 8, 3, true, &err), &err);
    assert_int_equal(cop_teacher_states_online(&states, from.model, sampler, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "teacher states: batches have sequences of 8, the teacher was made for 16");
    cop_sampler_destroy(sampler);
    fixture_close(&from);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    fixture_set from;
    cop_error warm = {0};
    cop_hash hash = {0};
    fixture_open(&from, "failing", &teacher_options);
    must(cop_checkpoint_hash(from.checkpoint, &hash, &warm), &warm); // is kept by the checkpoint
    cop_teacher_model_drop_network(from.model);
    const size_t live = cop_alloc_live_blocks();
    size_t allowed = 0;
    for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
        cop_error err = {0};
        cop_teacher_states *states = NULL;
        cop_matrix hidden = {0};
        start_cache("failing-cache");
        cop_alloc_fail_after(allowed);
        status =
            cop_teacher_states_cached(&states, from.model, from.sampler, "failing-cache", 6, &err);
        if (status == COP_OK) {
            const cop_state_source source = cop_teacher_states_source(states);
            status = source.states(source.context, 1, 5, &hidden, &err);
        }
        cop_teacher_states_destroy(states);
        cop_alloc_fail_after(SIZE_MAX);
        if (status != COP_OK) {
            assert_true(err.message[0] != '\0');
        }
        assert_int_equal(cop_alloc_live_blocks(), live);
        assert_true(allowed < 1000);
    }
    assert_true(allowed > 10);
    fixture_close(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_states_equal_computed_ones_bit_for_bit),
        cmocka_unit_test(only_what_is_missing_is_computed),
        cmocka_unit_test(ignores_temporaries_and_removes_old_ones),
        cmocka_unit_test(refuses_sequences_that_were_not_cached),
        cmocka_unit_test(refuses_files_of_others_and_damaged_ones),
        cmocka_unit_test(what_the_disk_cannot_hold_is_refused_before_any_work),
        cmocka_unit_test(refuses_batches_of_another_length),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("teacher", tests, NULL, NULL);
}
