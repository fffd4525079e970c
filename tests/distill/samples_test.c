// Samples of the teacher's distributions as targets: their files, and training from them.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/array_file.h"
#include "base/file.h"
#include "tests/device_memory.h"
#include "tests/distill/fixture.h"

enum { SEQUENCE = 16, WINDOW = 4, DRAWS = 50, BATCH = 4, SEED = 9 };

static const fixture_options teacher_options = {
    .family = COP_FAMILY_LLAMA,
    .hidden = 24,
    .layers = 2,
    .precision = COP_PRECISION_F32,
    .teacher_batch = WINDOW,
    .sequence = SEQUENCE,
    .draws = DRAWS,
};

static cop_teacher_samples *open_cache(fixture_set *from, const char *directory, uint64_t seed,
                                       int64_t count)
{
    cop_error err = {0};
    cop_teacher_samples *samples = NULL;
    must(cop_teacher_samples_cached(&samples, from->model, from->sampler, seed, directory, count,
                                    &err),
         &err);
    return samples;
}

static void start_cache(const char *directory)
{
    cop_error err = {0};
    must(cop_file_remove_tree(directory, &err), &err);
}

// NOLINTBEGIN(concurrency-mt-unsafe): readdir of a stream of its own
// Path of the only file in a directory whose name holds `part`; fails when there are others.
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

static cop_teacher_sample ask(cop_teacher_samples *samples, int64_t first, int64_t count)
{
    const cop_sample_source source = cop_teacher_samples_source(samples);
    cop_error err = {0};
    cop_teacher_sample sample = {0};
    assert_int_equal(source.draws, DRAWS);
    assert_int_equal(source.sequence, SEQUENCE);
    must(source.samples(source.context, first, count, &sample, &err), &err);
    assert_int_equal(sample.weights.rows, count * SEQUENCE);
    return sample;
}

static void assert_same_sample(cop_backend *backend, cop_teacher_sample a, cop_teacher_sample b)
{
    const size_t tokens = (size_t)a.weights.rows;
    assert_int_equal(a.weights.rows, b.weights.rows);
    assert_device_equal(backend, a.ids, backend, b.ids, tokens * DRAWS * sizeof *a.ids);
    assert_device_equal(backend, a.weights.data, backend, b.weights.data,
                        tokens * DRAWS * sizeof(float));
    assert_device_equal(backend, a.entropy.data, backend, b.entropy.data, tokens * sizeof(float));
}

// --- Files --------------------------------------------------------------------------------------

static void cached_samples_equal_computed_ones_bit_for_bit(void **state)
{
    (void)state;
    const cop_precision precisions[] = {COP_PRECISION_F32, COP_PRECISION_BF16, COP_PRECISION_F64};
    for (int p = 0; p < 3; p++) {
        fixture_set from;
        cop_error err = {0};
        cop_teacher_samples *online = NULL;
        fixture_options options = teacher_options;
        options.precision = precisions[p];
        options.backend = precisions[p] == COP_PRECISION_F64 ? "reference" : "cpu";
        fixture_open(&from, "sampled", &options);
        start_cache("sampled-cache");
        cop_teacher_samples *cached = open_cache(&from, "sampled-cache", SEED, 10);
        must(cop_teacher_samples_online(&online, from.model, from.sampler, SEED, &err), &err);

        const struct {
            int64_t first;
            int64_t count;
        } requests[] = {{0, 4}, {4, 4}, {1, 1}, {2, 5}, {9, 1}, {0, 10}, {8, 2}, {5, 3}};

        for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
            assert_same_sample(from.backend, ask(cached, requests[i].first, requests[i].count),
                               ask(online, requests[i].first, requests[i].count));
        }
        cop_teacher_samples_destroy(cached);
        cop_teacher_samples_destroy(online);
        fixture_close(&from);
    }
}

static void only_what_is_missing_is_computed_and_seeds_lie_side_by_side(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    char path[256];
    cop_teacher_samples *online = NULL;
    cop_array_reader *reader = NULL;
    int64_t draws = 0;
    int64_t seed = 0;
    fixture_open(&from, "sampled-part", &teacher_options);
    start_cache("sampled-part-cache");
    cop_teacher_samples_destroy(open_cache(&from, "sampled-part-cache", SEED, 3));
    only_file("sampled-part-cache", "-samples-0-3.h5", path, sizeof path);
    cop_teacher_samples *samples = open_cache(&from, "sampled-part-cache", SEED, 11);
    only_file("sampled-part-cache", "-samples-0-3.h5", path, sizeof path);
    only_file("sampled-part-cache", "-samples-3-8.h5", path, sizeof path);
    must(cop_teacher_samples_online(&online, from.model, from.sampler, SEED, &err), &err);
    assert_same_sample(from.backend, ask(samples, 0, 11), ask(online, 0, 11));

    // The file says what it holds.
    must(cop_array_reader_open(&reader, path, &err), &err);
    must(cop_array_reader_i64(reader, "", "draws", &draws, &err), &err);
    must(cop_array_reader_i64(reader, "", "seed", &seed, &err), &err);
    assert_int_equal(draws, DRAWS);
    assert_int_equal(seed, SEED);
    cop_array_reader_destroy(reader);

    cop_teacher_samples_destroy(open_cache(&from, "sampled-part-cache", SEED + 1, 5));
    only_file("sampled-part-cache", "-samples-0-5.h5", path, sizeof path);
    cop_teacher_samples_destroy(samples);
    cop_teacher_samples_destroy(online);
    fixture_close(&from);
}

static void a_token_takes_four_bytes_per_distinct_id_and_four_for_its_entropy(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    char path[256];
    cop_array_reader *reader = NULL;
    cop_dtype dtype = COP_F32;
    int rank = 0;
    int64_t shape[COP_ARRAY_RANK_MAX] = {0};
    int64_t distinct = 0;
    fixture_open(&from, "sampled-size", &teacher_options);
    start_cache("sampled-size-cache");
    cop_teacher_samples *samples = open_cache(&from, "sampled-size-cache", SEED, 6);
    const cop_teacher_sample sample = ask(samples, 0, 6);
    const int64_t places = sample.weights.rows * DRAWS;
    int32_t *ids = device_copy(from.backend, sample.ids, (size_t)places * sizeof *ids);
    for (int64_t i = 0; i < places; i++) {
        distinct += ids[i] >= 0 ? 1 : 0;
    }
    free(ids);
    only_file("sampled-size-cache", "-samples-0-6.h5", path, sizeof path);
    must(cop_array_reader_open(&reader, path, &err), &err);
    must(cop_array_reader_shape(reader, "draws", &dtype, &rank, shape, &err), &err);
    assert_int_equal(dtype, COP_I32);
    assert_int_equal(shape[0], distinct);
    must(cop_array_reader_shape(reader, "entropy", &dtype, &rank, shape, &err), &err);
    assert_int_equal(shape[0] * shape[1], 6 * SEQUENCE);
    assert_int_equal(cop_teacher_sample_bytes(DRAWS), 204);
    cop_array_reader_destroy(reader);
    cop_teacher_samples_destroy(samples);
    fixture_close(&from);
}

static void refuses_sequences_that_were_not_cached(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_teacher_sample sample = {0};
    fixture_open(&from, "sampled-beyond", &teacher_options);
    start_cache("sampled-beyond-cache");
    cop_teacher_samples *samples = open_cache(&from, "sampled-beyond-cache", SEED, 5);
    const cop_sample_source source = cop_teacher_samples_source(samples);
    assert_int_equal(source.samples(source.context, 4, 2, &sample, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "sampled-beyond-cache: sequence 5 is not in this cache "
                                     "(allowed: what was asked for when it was opened)");
    cop_teacher_samples_destroy(samples);
    fixture_close(&from);
}

// What a forged file has instead of what it should.
typedef enum forgery {
    FORGED_TEACHER,
    FORGED_DRAWS,
    FORGED_SEED,
    FORGED_STARTS,
    FORGED_LENGTH,
    FORGED_COUNT,
    FORGED_ID,
    FORGERIES
} forgery;

// Copies the file of 5 sequences at `path` with a change, in its place.
static void forge(const char *path, forgery what)
{
    static int32_t draws[5 * SEQUENCE * DRAWS];
    int64_t starts[6];
    float entropy[5 * SEQUENCE];
    const int64_t starts_shape = 6;
    const int64_t entropy_shape[] = {5, SEQUENCE};
    const char *texts[] = {"teacher_hash", "batches_hash", "precision"};
    const char *numbers[] = {"format", "first", "count", "sequence", "width", "draws", "seed"};
    cop_error err = {0};
    cop_array_reader *reader = NULL;
    cop_array_writer *writer = NULL;
    must(cop_array_reader_open(&reader, path, &err), &err);
    must(cop_array_reader_get(reader, "starts", COP_I64, 1, &starts_shape, starts, &err), &err);
    int64_t total = starts[5];
    must(cop_array_reader_get(reader, "draws", COP_I32, 1, &total, draws, &err), &err);
    must(cop_array_reader_get(reader, "entropy", COP_F32, 2, entropy_shape, entropy, &err), &err);
    starts[1] = what == FORGED_STARTS ? total + 1 : starts[1];
    draws[total - 1] += what == FORGED_COUNT ? 1 << 22 : 0; // one draw more
    draws[0] |= what == FORGED_ID ? (1 << 22) - 1 : 0;
    total -= what == FORGED_LENGTH ? 1 : 0; // cut short
    must(cop_array_writer_create(&writer, path, &err), &err);
    must(cop_array_writer_put(writer, "draws", COP_I32, 1, &total, draws, &err), &err);
    must(cop_array_writer_put(writer, "starts", COP_I64, 1, &starts_shape, starts, &err), &err);
    must(cop_array_writer_put(writer, "entropy", COP_F32, 2, entropy_shape, entropy, &err), &err);
    for (int i = 0; i < 3; i++) {
        char *text = NULL;
        must(cop_array_reader_text(reader, "", texts[i], &text, &err), &err);
        must(cop_array_writer_text(writer, "", texts[i],
                                   what == FORGED_TEACHER && i == 0 ? "another" : text, &err),
             &err);
        cop_free(text);
    }
    for (int i = 0; i < 7; i++) {
        int64_t number = 0;
        must(cop_array_reader_i64(reader, "", numbers[i], &number, &err), &err);
        const bool is_changed = (what == FORGED_DRAWS && i == 5) || (what == FORGED_SEED && i == 6);
        must(cop_array_writer_i64(writer, "", numbers[i], is_changed ? 7 : number, &err), &err);
    }
    cop_array_reader_destroy(reader);
    must(cop_array_writer_commit(writer, &err), &err);
    cop_array_writer_destroy(writer);
}

static void refuses_files_of_others_and_damaged_ones_by_name(void **state)
{
    (void)state;
    static const char *const wanted[FORGERIES] = {
        [FORGED_TEACHER] = "teacher_hash is another (allowed: ",
        [FORGED_DRAWS] = "draws is 7 (allowed: 50; remove the file to have it computed)",
        [FORGED_SEED] = "seed is 7 (allowed: 9; remove the file to have it computed)",
        [FORGED_STARTS] = "starts does not have the shape of 5 sequences (allowed: a whole file; "
                          "remove it to have it computed)",
        [FORGED_LENGTH] = "starts does not have the shape of 5 sequences (allowed: ",
        [FORGED_COUNT] = "draws of sequences from 0 do not add up to 50 per token (allowed: ",
        [FORGED_ID] = "draws of sequences from 0 do not add up to 50 per token (allowed: ",
    };
    for (int what = 0; what < FORGERIES; what++) {
        fixture_set from;
        cop_error err = {0};
        char path[256];
        cop_teacher_samples *samples = NULL;
        cop_teacher_sample sample = {0};
        fixture_options options = teacher_options;
        options.teacher_batch = 5;
        fixture_open(&from, "sampled-forged", &options);
        start_cache("sampled-forged-cache");
        cop_teacher_samples_destroy(open_cache(&from, "sampled-forged-cache", SEED, 5));
        only_file("sampled-forged-cache", "-samples-0-5.h5", path, sizeof path);
        forge(path, (forgery)what);
        cop_status status = cop_teacher_samples_cached(&samples, from.model, from.sampler, SEED,
                                                       "sampled-forged-cache", 5, &err);
        if (status == COP_OK) {
            const cop_sample_source source = cop_teacher_samples_source(samples);
            status = source.samples(source.context, 0, 5, &sample, &err);
        }
        assert_int_equal(status, COP_ERR_FORMAT);
        if (strstr(err.message, path) != err.message || strstr(err.message, wanted[what]) == NULL) {
            fail_msg("forgery %d: %s (allowed: %s: %s)", what, err.message, path, wanted[what]);
        }
        cop_teacher_samples_destroy(samples);
        fixture_close(&from);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    fixture_set from;
    cop_error warm = {0};
    cop_hash hash = {0};
    fixture_open(&from, "sampled-failing", &teacher_options);
    must(cop_checkpoint_hash(from.checkpoint, &hash, &warm), &warm); // is kept by the checkpoint
    cop_teacher_model_drop_network(from.model);
    const size_t live = cop_alloc_live_blocks();
    size_t allowed = 0;
    for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
        cop_error err = {0};
        cop_teacher_samples *samples = NULL;
        cop_teacher_sample sample = {0};
        start_cache("sampled-failing-cache");
        cop_alloc_fail_after(allowed);
        status = cop_teacher_samples_cached(&samples, from.model, from.sampler, SEED,
                                            "sampled-failing-cache", 6, &err);
        if (status == COP_OK) {
            const cop_sample_source source = cop_teacher_samples_source(samples);
            status = source.samples(source.context, 1, 5, &sample, &err);
        }
        cop_teacher_samples_destroy(samples);
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

// --- Training -----------------------------------------------------------------------------------

static cop_trainer_options options_for(int64_t steps, int64_t draws)
{
    cop_trainer_options options = cop_trainer_options_default();
    options.batch = BATCH;
    options.micro_batch = BATCH;
    options.sequence = SEQUENCE;
    options.sample_draws = draws;
    options.seed = 5;
    options.schedule = (cop_schedule){COP_SCHEDULE_COSINE, 1e-2, 1e-3, 2, steps};
    return options;
}

static cop_network *new_student(fixture_set *from)
{
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    return make_student(from->backend, &arch, COP_PRECISION_F32, BATCH, SEQUENCE, 21);
}

static cop_status remember_kl(void *context, const cop_trainer_step *step, cop_error *err)
{
    (void)err;
    *(double *)context = step->kl;
    return COP_OK;
}

// Trains to `until`; returns the KL of the last step, as the trainer saw it.
static double train(fixture_set *from, cop_network *student, const cop_teacher *teacher,
                    const cop_trainer_options *options, int64_t until)
{
    cop_error err = {0};
    cop_trainer *trainer = NULL;
    double kl = (double)NAN;
    must(cop_trainer_create(&trainer, student, from->sampler, teacher, NULL, options, &err), &err);
    must(cop_trainer_run(trainer, until, remember_kl, &kl, &err), &err);
    cop_trainer_destroy(trainer);
    return kl;
}

// Exact KL over other sequences than those of the training; spoils the student.
static double exact_kl(fixture_set *from, cop_network *student)
{
    cop_trainer_options options = options_for(1, 0);
    options.first_sequence = 400;
    return train(from, student, &from->teacher, &options, 1);
}

static void sampled_training_learns_what_exact_kl_learns(void **state)
{
    (void)state;

    enum { STEPS = 60, SEEDS = 6 };

    fixture_set from;
    cop_trainer_options options = options_for(STEPS, 0);
    double mean = 0.0;
    double squares = 0.0;
    double first = 0.0;
    double first_squares = 0.0;
    fixture_open(&from, "sampled-learns", &teacher_options);
    cop_network *student = new_student(&from);
    const double start = exact_kl(&from, student);
    cop_network_destroy(student);
    student = new_student(&from);
    const double exact_first = train(&from, student, &from.teacher, &options, 1);
    cop_network_destroy(student);
    student = new_student(&from);
    (void)train(&from, student, &from.teacher, &options, STEPS);
    const double exact = exact_kl(&from, student);
    cop_network_destroy(student);
    assert_true(exact < 0.5 * start);

    options.sample_draws = DRAWS;
    for (int seed = 0; seed < SEEDS; seed++) {
        cop_error err = {0};
        cop_teacher_samples *samples = NULL;
        cop_teacher teacher = {.head = from.teacher.head};
        must(cop_teacher_samples_online(&samples, from.model, from.sampler, (uint64_t)seed, &err),
             &err);
        teacher.samples = cop_teacher_samples_source(samples);
        student = new_student(&from);
        const double sampled_first = train(&from, student, &teacher, &options, 1);
        cop_network_destroy(student);
        student = new_student(&from);
        (void)train(&from, student, &teacher, &options, STEPS);
        const double sampled = exact_kl(&from, student);
        first += sampled_first / SEEDS;
        first_squares += sampled_first * sampled_first / SEEDS;
        mean += sampled / SEEDS;
        squares += sampled * sampled / SEEDS;
        cop_network_destroy(student);
        cop_teacher_samples_destroy(samples);
    }
    // At the same weights the loss has the exact one as its mean: 5 standard errors of 6 runs.
    const double first_error = sqrt(fmax(first_squares - first * first, 0.0) / (SEEDS - 1));
    assert_close(first, exact_first, 5.0 * first_error + 1e-5);
    // After 60 steps noise has cost at most a tenth of what was learned, and more is not won.
    const double error = sqrt(fmax(squares - mean * mean, 0.0) / (SEEDS - 1));
    assert_close(mean, exact, 0.1 * (start - exact) + 5.0 * error);
    fixture_close(&from);
}

static void a_resumed_run_equals_an_uninterrupted_one_and_other_draws_are_refused(void **state)
{
    (void)state;
    fixture_set from;
    cop_error err = {0};
    cop_trainer *trainer = NULL;
    cop_trainer_options options = options_for(7, DRAWS);
    int64_t count = 0;
    fixture_open(&from, "sampled-resumed", &teacher_options);
    start_cache("sampled-resumed-cache");
    start_cache("sampled-resumed-state");
    cop_teacher_samples *samples = open_cache(&from, "sampled-resumed-cache", SEED, 7 * BATCH);
    cop_teacher teacher = {.head = from.teacher.head,
                           .samples = cop_teacher_samples_source(samples)};
    cop_network *whole = new_student(&from);
    (void)train(&from, whole, &teacher, &options, 7);

    cop_network *student = new_student(&from);
    must(cop_trainer_create(&trainer, student, from.sampler, &teacher, NULL, &options, &err), &err);
    must(cop_trainer_run(trainer, 3, NULL, NULL, &err), &err);
    must(cop_trainer_save(trainer, "sampled-resumed-state", &err), &err);
    cop_trainer_destroy(trainer);
    cop_network_destroy(student);
    options.micro_batch = 1; // not part of the run's identity
    student = new_student(&from);
    must(cop_trainer_create(&trainer, student, from.sampler, &teacher, NULL, &options, &err), &err);
    must(cop_trainer_load(trainer, "sampled-resumed-state", &err), &err);
    cop_trainer_destroy(trainer);
    options.micro_batch = BATCH;
    must(cop_trainer_create(&trainer, student, from.sampler, &teacher, NULL, &options, &err), &err);
    must(cop_trainer_load(trainer, "sampled-resumed-state", &err), &err);
    must(cop_trainer_run(trainer, 7, NULL, NULL, &err), &err);
    cop_trainer_destroy(trainer);
    double *x = read_parameters(whole, &count);
    double *y = read_parameters(student, &count);
    assert_memory_equal(x, y, (size_t)count * sizeof *x);
    cop_free(x);
    cop_free(y);

    options.sample_draws = 0;
    must(cop_trainer_create(&trainer, student, from.sampler, &from.teacher, NULL, &options, &err),
         &err);
    assert_int_equal(cop_trainer_load(trainer, "sampled-resumed-state", &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "sample_draws of the interrupted run is 50, of this one "
                                        "0"));
    cop_trainer_destroy(trainer);
    cop_network_destroy(student);
    cop_network_destroy(whole);
    cop_teacher_samples_destroy(samples);
    fixture_close(&from);
}

static void what_samples_cannot_do_is_refused_by_name(void **state)
{
    (void)state;
    fixture_set from;
    cop_trainer *trainer = NULL;
    fixture_open(&from, "sampled-refused", &teacher_options);
    cop_network *student = new_student(&from);

    const struct {
        double temperature;
        int pairs;
        const char *message;
    } cases[] = {
        {2.0, 0, "training: temperature is 2 (allowed: 1 with samples of the teacher)"},
        {1.0, 1, "training: state losses with samples of the teacher (allowed: with its states)"},
        {1.0, 0, "training: the teacher gives 0 draws of each token (allowed: 50)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_error err = {0};
        cop_trainer_options options = options_for(1, DRAWS);
        options.temperature = cases[i].temperature;
        options.state_pairs = cases[i].pairs;
        assert_int_equal(cop_trainer_create(&trainer, student, from.sampler, &from.teacher,
                                            from.model, &options, &err),
                         COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
    }
    cop_network_destroy(student);
    fixture_close(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_samples_equal_computed_ones_bit_for_bit),
        cmocka_unit_test(only_what_is_missing_is_computed_and_seeds_lie_side_by_side),
        cmocka_unit_test(a_token_takes_four_bytes_per_distinct_id_and_four_for_its_entropy),
        cmocka_unit_test(refuses_sequences_that_were_not_cached),
        cmocka_unit_test(refuses_files_of_others_and_damaged_ones_by_name),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(sampled_training_learns_what_exact_kl_learns),
        cmocka_unit_test(a_resumed_run_equals_an_uninterrupted_one_and_other_draws_are_refused),
        cmocka_unit_test(what_samples_cannot_do_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("samples", tests, NULL, NULL);
}
