#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "distill/layout.h"
#include "distill/sample_internal.h"

struct cop_teacher_samples {
    cop_teacher_model *teacher; // borrowed
    int64_t draws;
    int64_t sequence;
    int64_t batch; // sequences of a window

    bool is_cached;
    cop_cache_files files;    // cached
    cop_array_reader *reader; // of file `open_file`
    int64_t open_file;        // -1: none
    int64_t *starts;          // of the open file
    int32_t *room;            // packed draws of a window
    cop_sample_maker maker;   // online

    cop_sample_rows window; // host: sequences [window_first, + batch)
    int64_t window_first;   // -1: empty
    cop_sample_rows asked;  // host: what the last request gave
    void *memory;           // the same on the device
    int64_t asked_tokens;   // room for so many
};

static cop_status open_file(cop_teacher_samples *samples, int64_t index, cop_error *err)
{
    const int64_t count = samples->files.range[index].count + 1;
    cop_status status = COP_OK;

    if (index == samples->open_file) {
        return COP_OK;
    }
    cop_array_reader_destroy(samples->reader);
    cop_free(samples->starts);
    samples->reader = NULL;
    samples->open_file = -1;
    samples->starts = cop_alloc((size_t)count, sizeof *samples->starts);
    if (samples->starts == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "teacher samples: no memory to read the cache");
    }
    COP_TRY(status, cop_cache_files_read(&samples->files, index, &samples->reader, err));
    COP_TRY(status, cop_array_reader_get(samples->reader, "starts", COP_I64, 1, &count,
                                         samples->starts, err));
    samples->open_file = index;

done:
    return status;
}

static cop_sample_rows rows_at(const cop_teacher_samples *samples, cop_sample_rows rows,
                               int64_t sequence)
{
    const int64_t row = sequence * samples->sequence;
    return (cop_sample_rows){.ids = rows.ids + row * samples->draws,
                             .weights = rows.weights + row * samples->draws,
                             .entropy = rows.entropy + row};
}

// Reads what the cache holds of the window; the last window of a cache may be a part.
static cop_status read_window(cop_teacher_samples *samples, int64_t first, cop_error *err)
{
    cop_status status = COP_OK;

    for (int64_t s = 0; s < samples->batch;) {
        const int64_t index = cop_cache_files_find(&samples->files, first + s);
        if (index < 0) {
            break;
        }
        const cop_cache_range *range = &samples->files.range[index];
        const int64_t here = range->first + range->count - (first + s);
        const int64_t count = here < samples->batch - s ? here : samples->batch - s;
        COP_TRY(status, open_file(samples, index, err));
        const cop_sample_file file = {.files = &samples->files,
                                      .range = range,
                                      .reader = samples->reader,
                                      .starts = samples->starts,
                                      .room = samples->room};
        COP_TRY(status, cop_sample_file_read(&file, first + s - range->first, count,
                                             rows_at(samples, samples->window, s), err));
        s += count;
    }

done:
    return status;
}

static cop_status load_window(cop_teacher_samples *samples, int64_t first, cop_error *err)
{
    samples->window_first = -1;
    const cop_status status =
        samples->is_cached ? read_window(samples, first, err)
                           : cop_sample_maker_run(&samples->maker, first, samples->window, err);
    samples->window_first = status == COP_OK ? first : -1;
    return status;
}

static cop_status check_range(const cop_teacher_samples *samples, int64_t first, int64_t count,
                              cop_error *err)
{
    if (first < 0 || count < 0) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "teacher samples: %" PRId64 " sequences from %" PRId64 " (allowed: from 0)",
                        count, first);
    }
    for (int64_t i = first; samples->is_cached && i < first + count; i++) {
        const int64_t index = cop_cache_files_find(&samples->files, i);
        if (index < 0) {
            return COP_FAIL(err, COP_ERR_SHAPE,
                            "%s: sequence %" PRId64 " is not in this cache (allowed: what was "
                            "asked for when it was opened)",
                            samples->files.directory, i);
        }
        i = samples->files.range[index].first + samples->files.range[index].count - 1;
    }
    return COP_OK;
}

// The device's copy of a request of `tokens` tokens, in one block; NULL: its size alone.
static cop_teacher_sample lay_out(const cop_teacher_samples *samples, uint64_t *bytes, char *base,
                                  int64_t tokens)
{
    const uint64_t ids = (uint64_t)(tokens * samples->draws) * sizeof(int32_t);
    cop_teacher_sample sample = {0};
    *bytes = 0;
    sample.ids = cop_layout_take(base, bytes, ids);
    sample.weights = cop_layout_matrix(base, bytes, COP_F32, tokens, samples->draws);
    sample.entropy = cop_layout_matrix(base, bytes, COP_F32, 1, tokens);
    return sample;
}

static cop_status reserve(cop_teacher_samples *samples, int64_t tokens, cop_error *err)
{
    uint64_t bytes = 0;
    cop_status status = COP_OK;

    if (tokens <= samples->asked_tokens) {
        return COP_OK;
    }
    cop_backend_free(samples->teacher->backend, samples->memory);
    cop_sample_rows_release(&samples->asked);
    samples->memory = NULL;
    samples->asked_tokens = 0;
    (void)lay_out(samples, &bytes, NULL, tokens);
    COP_TRY(status, cop_sample_rows_init(&samples->asked, tokens, samples->draws, err));
    COP_TRY(status, cop_backend_alloc(samples->teacher->backend, &samples->memory, bytes,
                                      "teacher: samples of a pass", err));
    samples->asked_tokens = tokens;

done:
    return status;
}

static cop_status upload(cop_teacher_samples *samples, int64_t tokens, cop_teacher_sample *out,
                         cop_error *err)
{
    cop_backend *backend = samples->teacher->backend;
    const uint64_t bytes = (uint64_t)(tokens * samples->draws) * sizeof(int32_t);
    uint64_t used = 0;
    cop_status status = COP_OK;
    const cop_teacher_sample to = lay_out(samples, &used, samples->memory, tokens);
    int32_t *ids = samples->memory; // the first of the block

    COP_TRY(status, cop_backend_to_device(backend, NULL, ids, samples->asked.ids, bytes, err));
    COP_TRY(status, cop_backend_to_device(backend, NULL, to.weights.data, samples->asked.weights,
                                          bytes, err));
    COP_TRY(status, cop_backend_to_device(backend, NULL, to.entropy.data, samples->asked.entropy,
                                          (uint64_t)tokens * sizeof(float), err));
    *out = to;

done:
    return status;
}

// Copies `count` sequences of the window, from its sequence `from` on, to sequence `to` of a request.
static void assemble(cop_teacher_samples *samples, int64_t from, int64_t to, int64_t count)
{
    const cop_sample_rows source = rows_at(samples, samples->window, from);
    const cop_sample_rows target = rows_at(samples, samples->asked, to);
    const size_t tokens = (size_t)(count * samples->sequence);
    const size_t entries = tokens * (size_t)samples->draws;
    memcpy(target.ids, source.ids, entries * sizeof *target.ids);
    memcpy(target.weights, source.weights, entries * sizeof *target.weights);
    memcpy(target.entropy, source.entropy, tokens * sizeof *target.entropy);
}

static cop_status samples_of(void *context, int64_t first, int64_t count, cop_teacher_sample *out,
                             cop_error *err)
{
    cop_teacher_samples *samples = context;
    const int64_t batch = samples->batch;
    cop_status status = COP_OK;

    *out = (cop_teacher_sample){0};
    COP_TRY(status, check_range(samples, first, count, err));
    COP_TRY(status, reserve(samples, count * samples->sequence, err));
    for (int64_t taken = 0; taken < count;) {
        const int64_t skip = (first + taken) % batch;
        const int64_t part = count - taken < batch - skip ? count - taken : batch - skip;
        if (samples->window_first != first + taken - skip) {
            COP_TRY(status, load_window(samples, first + taken - skip, err));
        }
        assemble(samples, skip, taken, part);
        taken += part;
    }
    COP_TRY(status, upload(samples, count * samples->sequence, out, err));

done:
    return status;
}

// --- Life ---------------------------------------------------------------------------------------

static cop_status check_options(const cop_teacher_model *teacher, const cop_sampler *sampler,
                                cop_error *err)
{
    const cop_teacher_options *options = &teacher->options;
    if (options->draws < 1 || options->draws > COP_SAMPLE_DRAWS_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "teacher samples: draws are %" PRId64 " (allowed: 1..%d)", options->draws,
                        (int)COP_SAMPLE_DRAWS_MAX);
    }
    if (cop_sampler_sequence(sampler) != options->sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "teacher samples: batches have sequences of %" PRId64
                        ", the teacher was made for %" PRId64,
                        cop_sampler_sequence(sampler), options->sequence);
    }
    return COP_OK;
}

static cop_status create(cop_teacher_samples **out, cop_teacher_model *teacher,
                         const cop_sampler *sampler, cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_samples *samples = NULL;

    *out = NULL;
    COP_TRY(status, check_options(teacher, sampler, err));
    samples = cop_alloc(1, sizeof *samples);
    if (samples == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "teacher samples: no memory");
        goto done;
    }
    samples->teacher = teacher;
    samples->draws = teacher->options.draws;
    samples->sequence = teacher->options.sequence;
    samples->batch = teacher->options.batch;
    samples->open_file = -1;
    samples->window_first = -1;
    COP_TRY(status, cop_sample_rows_init(&samples->window, samples->batch * samples->sequence,
                                         samples->draws, err));
    COP_TRY(status, reserve(samples, samples->batch * samples->sequence, err));
    *out = samples;
    samples = NULL;

done:
    cop_teacher_samples_destroy(samples);
    return status;
}

cop_status cop_teacher_samples_online(cop_teacher_samples **out, cop_teacher_model *teacher,
                                      cop_sampler *sampler, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_samples *samples = NULL;
    cop_network *network = NULL;

    *out = NULL;
    COP_TRY(status, create(&samples, teacher, sampler, err));
    // Loaded now, so that a teacher that cannot run is known before the first step.
    COP_TRY(status, cop_teacher_model_network(teacher, &network, err));
    COP_TRY(status, cop_sample_maker_init(&samples->maker, teacher, sampler, seed, err));
    *out = samples;
    samples = NULL;

done:
    cop_teacher_samples_destroy(samples);
    return status;
}

cop_status cop_teacher_samples_cached(cop_teacher_samples **out, cop_teacher_model *teacher,
                                      cop_sampler *sampler, uint64_t seed, const char *directory,
                                      int64_t count, cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_samples *samples = NULL;
    cop_array_reader *reader = NULL;

    *out = NULL;
    COP_TRY(status, create(&samples, teacher, sampler, err));
    samples->is_cached = true;
    samples->files.draws = samples->draws;
    samples->files.seed = seed;
    COP_TRY(status, cop_cache_files_open(&samples->files, teacher, sampler, directory, err));
    for (int64_t i = 0; i < samples->files.ranges; i++) { // refused before work starts
        COP_TRY(status, cop_cache_files_read(&samples->files, i, &reader, err));
        cop_array_reader_destroy(reader);
        reader = NULL;
    }
    COP_TRY(status, cop_cache_files_fill(&samples->files, teacher, sampler, count, err));
    samples->room = cop_alloc((size_t)(samples->batch * samples->sequence * samples->draws),
                              sizeof *samples->room);
    if (samples->room == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "teacher samples: no memory to read the cache");
        goto done;
    }
    *out = samples;
    samples = NULL;

done:
    cop_teacher_samples_destroy(samples);
    return status;
}

void cop_teacher_samples_destroy(cop_teacher_samples *samples)
{
    if (samples == NULL) {
        return;
    }
    cop_array_reader_destroy(samples->reader);
    cop_cache_files_release(&samples->files);
    cop_sample_maker_release(&samples->maker);
    cop_sample_rows_release(&samples->window);
    cop_sample_rows_release(&samples->asked);
    cop_backend_free(samples->teacher->backend, samples->memory);
    cop_free(samples->starts);
    cop_free(samples->room);
    cop_free(samples);
}

cop_sample_source cop_teacher_samples_source(cop_teacher_samples *samples)
{
    return (cop_sample_source){
        .context = samples,
        .draws = samples->draws,
        .sequence = samples->sequence,
        .samples = samples_of,
    };
}
