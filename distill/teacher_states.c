#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "distill/state_stream.h"
#include "distill/teacher_internal.h"

struct cop_teacher_states {
    cop_teacher_model *teacher; // borrowed
    cop_sampler *sampler;       // borrowed
    bool is_cached;
    cop_cache_files files;    // cached
    cop_state_stream *stream; // cached: windows read from the files
    int32_t *ids;             // [batch, T] host, online
    void *computed;           // [batch, T * Ct] device, online

    void *window;         // [batch, T * Ct] device: sequences [window_first, + batch); borrowed
    int64_t window_first; // -1: empty
    void *assembled;      // [assembled_rows, T * Ct] device, for requests across windows
    int64_t assembled_rows;
};

static uint64_t row_bytes(const cop_teacher_states *states)
{
    return (uint64_t)cop_teacher_row(states->teacher) * cop_dtype_bytes(states->teacher->dtype);
}

static void *row_of(const cop_teacher_states *states, void *memory, int64_t row)
{
    return (char *)memory + (uint64_t)row * row_bytes(states);
}

static cop_status compute_window(cop_teacher_states *states, int64_t first, cop_error *err)
{
    cop_status status = COP_OK;
    cop_matrix hidden = {0};
    cop_convert_args copy = {0};

    COP_TRY(status, cop_teacher_run_window(states->teacher, states->sampler, first, states->ids,
                                           &hidden, err));
    // Copied: others may run the network before this window is used up.
    copy.x = hidden;
    copy.y = cop_matrix_dense(states->computed, hidden.dtype, hidden.rows, hidden.cols);
    COP_TRY(status,
            states->teacher->backend->ops->convert(states->teacher->backend, NULL, &copy, err));
    states->window = states->computed;

done:
    return status;
}

static cop_status load_window(cop_teacher_states *states, int64_t first, cop_error *err)
{
    states->window_first = -1;
    const cop_status status =
        states->is_cached ? cop_state_stream_window(states->stream, first, &states->window, err)
                          : compute_window(states, first, err);
    if (status == COP_OK) {
        states->window_first = first;
    }
    return status;
}

static cop_status reserve(cop_teacher_states *states, int64_t rows, cop_error *err)
{
    cop_backend *backend = states->teacher->backend;
    if (rows <= states->assembled_rows) {
        return COP_OK;
    }
    cop_backend_free(backend, states->assembled);
    states->assembled = NULL;
    states->assembled_rows = 0;
    const cop_status status =
        cop_backend_alloc(backend, &states->assembled, (uint64_t)rows * row_bytes(states),
                          "teacher: states of a pass", err);
    states->assembled_rows = status == COP_OK ? rows : 0;
    return status;
}

static cop_status check_range(const cop_teacher_states *states, int64_t first, int64_t count,
                              cop_error *err)
{
    for (int64_t i = first; states->is_cached && i < first + count; i++) {
        const int64_t index = cop_cache_files_find(&states->files, i);
        if (index < 0) {
            return COP_FAIL(err, COP_ERR_SHAPE,
                            "%s: sequence %" PRId64 " is not in this cache (allowed: what was "
                            "asked for when it was opened)",
                            states->files.directory, i);
        }
        const cop_cache_range *range = &states->files.range[index];
        i = range->first + range->count - 1;
    }
    if (first < 0 || count < 0) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "teacher states: %" PRId64 " sequences from %" PRId64 " (allowed: from 0)",
                        count, first);
    }
    return COP_OK;
}

// Copies `rows` rows of the window to `assembled`.
static cop_status assemble(cop_teacher_states *states, int64_t from_row, int64_t to_row,
                           int64_t rows, cop_error *err)
{
    const int64_t row = cop_teacher_row(states->teacher);
    const cop_dtype dtype = states->teacher->dtype;
    const cop_convert_args copy = {
        .x = cop_matrix_dense(row_of(states, states->window, from_row), dtype, rows, row),
        .y = cop_matrix_dense(row_of(states, states->assembled, to_row), dtype, rows, row),
    };
    return states->teacher->backend->ops->convert(states->teacher->backend, NULL, &copy, err);
}

static cop_status states_of(void *context, int64_t first, int64_t count, cop_matrix *hidden,
                            cop_error *err)
{
    cop_teacher_states *states = context;
    const int64_t batch = states->teacher->options.batch;
    const int64_t sequence = states->teacher->options.sequence;
    const bool is_one_window = count <= batch - first % batch;
    cop_status status = COP_OK;

    *hidden = (cop_matrix){0};
    COP_TRY(status, check_range(states, first, count, err));
    if (!is_one_window) {
        COP_TRY(status, reserve(states, count, err));
    }
    for (int64_t taken = 0; taken < count;) {
        const int64_t skip = (first + taken) % batch;
        const int64_t part = count - taken < batch - skip ? count - taken : batch - skip;
        if (states->window_first != first + taken - skip) {
            COP_TRY(status, load_window(states, first + taken - skip, err));
        }
        if (!is_one_window) {
            COP_TRY(status, assemble(states, skip, taken, part, err));
        }
        taken += part;
    }
    *hidden = cop_matrix_dense(
        is_one_window ? row_of(states, states->window, first % batch) : states->assembled,
        states->teacher->dtype, count * sequence, cop_teacher_row(states->teacher) / sequence);

done:
    return status;
}

static cop_status create(cop_teacher_states **out, cop_teacher_model *teacher, cop_sampler *sampler,
                         cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_states *states = NULL;

    *out = NULL;
    if (cop_sampler_sequence(sampler) != teacher->options.sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "teacher states: batches have sequences of %" PRId64
                        ", the teacher was made for %" PRId64,
                        cop_sampler_sequence(sampler), teacher->options.sequence);
    }
    states = cop_alloc(1, sizeof *states);
    if (states == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "teacher states: no memory");
        goto done;
    }
    states->teacher = teacher;
    states->sampler = sampler;
    states->window_first = -1;
    *out = states;
    states = NULL;

done:
    cop_teacher_states_destroy(states);
    return status;
}

cop_status cop_teacher_states_online(cop_teacher_states **out, cop_teacher_model *teacher,
                                     cop_sampler *sampler, cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_states *states = NULL;
    cop_network *network = NULL;

    *out = NULL;
    COP_TRY(status, create(&states, teacher, sampler, err));
    assert(states != NULL); // or the status says why not
    // Loaded now, so that a teacher that cannot run is known before the first step.
    COP_TRY(status, cop_teacher_model_network(teacher, &network, err));
    COP_TRY(status, cop_backend_alloc(teacher->backend, &states->computed,
                                      (uint64_t)teacher->options.batch * row_bytes(states),
                                      "teacher: states of a batch", err));
    states->ids = cop_alloc((size_t)(teacher->options.batch * teacher->options.sequence),
                            sizeof *states->ids);
    if (states->ids == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "teacher states: no memory for ids");
        goto done;
    }
    *out = states;
    states = NULL;

done:
    cop_teacher_states_destroy(states);
    return status;
}

// Every file of the cache as a range of bytes, for the thread that reads ahead.
static cop_status open_stream(cop_teacher_states *states, cop_error *err)
{
    cop_status status = COP_OK;
    cop_array_reader *reader = NULL;
    const int64_t count = states->files.ranges;
    cop_read_ahead_options options = {
        .range_count = count,
        .row_bytes = row_bytes(states),
        .window = states->teacher->options.batch,
    };
    cop_read_range *ranges = cop_alloc((size_t)count + 1, sizeof *ranges);

    if (ranges == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "teacher states: no memory to list the cache");
    }
    for (int64_t i = 0; i < count; i++) {
        const cop_cache_range *from = &states->files.range[i];
        ranges[i] =
            (cop_read_range){.first = from->first, .count = from->count, .path = from->path};
        COP_TRY(status, cop_cache_files_read(&states->files, i, &reader, err));
        COP_TRY(status, cop_array_reader_locate(reader, "states", states->teacher->dtype,
                                                &ranges[i].offset, err));
        cop_array_reader_destroy(reader);
        reader = NULL;
    }
    options.ranges = ranges;
    COP_TRY(status, cop_state_stream_create(&states->stream, &options, states->teacher->backend,
                                            "teacher: states of a batch", err));

done:
    cop_array_reader_destroy(reader);
    cop_free(ranges);
    return status;
}

cop_status cop_teacher_states_cached(cop_teacher_states **out, cop_teacher_model *teacher,
                                     cop_sampler *sampler, const char *directory, int64_t count,
                                     cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_states *states = NULL;
    cop_array_reader *reader = NULL;

    *out = NULL;
    COP_TRY(status, create(&states, teacher, sampler, err));
    assert(states != NULL); // or the status says why not
    states->is_cached = true;
    COP_TRY(status, cop_cache_files_open(&states->files, teacher, sampler, directory, err));
    for (int64_t i = 0; i < states->files.ranges;
         i++) { // a wrong file is refused before work starts
        COP_TRY(status, cop_cache_files_read(&states->files, i, &reader, err));
        cop_array_reader_destroy(reader);
        reader = NULL;
    }
    COP_TRY(status, cop_cache_files_fill(&states->files, teacher, sampler, count, err));
    // Made last: the memory is not there yet while the teacher's network is.
    COP_TRY(status, open_stream(states, err));
    *out = states;
    states = NULL;

done:
    cop_teacher_states_destroy(states);
    return status;
}

void cop_teacher_states_destroy(cop_teacher_states *states)
{
    if (states == NULL) {
        return;
    }
    cop_state_stream_destroy(states->stream);
    cop_cache_files_release(&states->files);
    cop_backend_free(states->teacher->backend, states->computed);
    cop_backend_free(states->teacher->backend, states->assembled);
    cop_free(states->ids);
    cop_free(states);
}

cop_state_source cop_teacher_states_source(cop_teacher_states *states)
{
    return (cop_state_source){
        .context = states,
        .width = cop_teacher_row(states->teacher) / states->teacher->options.sequence,
        .sequence = states->teacher->options.sequence,
        .states = states_of,
    };
}
