#include "distill/state_stream.h"

#include "base/alloc.h"

struct cop_state_stream {
    cop_backend *backend; // borrowed
    cop_read_ahead *reader;
    uint64_t window_bytes;
    int windows;                             // on the device
    bool is_host_memory;                     // the thread reads into device memory itself
    void *device[COP_STATE_STREAM_WINDOWS];  // [windows]
    void *host[COP_READ_AHEAD_SLOTS];        // owned; a device of its own memory only
    cop_stream *copies;                      // uploads; likewise
    int64_t first[COP_STATE_STREAM_WINDOWS]; // what a device window holds; -1: nothing
    int current;                             // the one given out last
    int previous;                            // the one before
};

static bool has_host_memory(cop_backend *backend)
{
    cop_device_info info = {0};
    return cop_backend_info(backend, &info, NULL) == COP_OK && info.is_host_memory;
}

int cop_state_stream_windows(cop_backend *backend)
{
    return has_host_memory(backend) ? COP_READ_AHEAD_SLOTS : COP_STATE_STREAM_WINDOWS;
}

// The window that neither of the last two steps uses: the copies' stream is behind all before them.
static int idle_window(const cop_state_stream *stream)
{
    return COP_STATE_STREAM_WINDOWS - stream->current - stream->previous;
}

// Takes a window from the reader and sends it to the idle device window.
static cop_status upload(cop_state_stream *stream, int64_t first, cop_error *err)
{
    cop_status status = COP_OK;
    const int to = idle_window(stream);
    void *from = NULL;

    stream->first[to] = -1;
    COP_TRY(status, cop_read_ahead_take(stream->reader, first, &from, err));
    COP_TRY(status, cop_backend_to_device(stream->backend, stream->copies, stream->device[to], from,
                                          stream->window_bytes, err));
    stream->first[to] = first;

done:
    return status;
}

// Puts the window after `first` on its way. Its failure is for the call that asks for it.
static void send_next(cop_state_stream *stream, int64_t first, bool may_wait)
{
    const int64_t next = cop_read_ahead_next(stream->reader, first);
    for (int i = 0; i < stream->windows; i++) {
        if (stream->first[i] == next) {
            return;
        }
    }
    if (may_wait || cop_read_ahead_is_ready(stream->reader, next)) {
        (void)!upload(stream, next, NULL);
    }
}

static int window_of(const cop_state_stream *stream, int64_t first)
{
    for (int i = 0; i < stream->windows; i++) {
        if (stream->first[i] == first) {
            return i;
        }
    }
    return -1;
}

static cop_status device_window(cop_state_stream *stream, int64_t first, void **out, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = stream->backend;
    int index = window_of(stream, first);
    const bool is_late = index < 0;
    const bool is_new = index != stream->current;

    if (is_late) {
        index = idle_window(stream);
        COP_TRY(status, upload(stream, first, err));
    }
    if (is_new) {
        COP_TRY(status, backend->type->stream_wait(backend, NULL, stream->copies, err));
        stream->previous = stream->current;
        stream->current = index;
    }
    *out = stream->device[index];
    // One window ahead of use at the disk is two ahead at the device: who was late once waits for the
    // next one too, and then never again while the disk keeps up.
    send_next(stream, first, is_late);
    if (is_new) { // for the uploads of the next call: the step before this one may use its window
        COP_TRY(status, backend->type->stream_wait(backend, stream->copies, NULL, err));
    }

done:
    return status;
}

cop_status cop_state_stream_window(cop_state_stream *stream, int64_t first, void **out,
                                   cop_error *err)
{
    *out = NULL;
    return stream->is_host_memory ? cop_read_ahead_take(stream->reader, first, out, err)
                                  : device_window(stream, first, out, err);
}

static cop_status allocate(cop_state_stream *stream, const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = stream->backend;

    for (int i = 0; i < stream->windows; i++) {
        stream->first[i] = -1;
        COP_TRY(status,
                cop_backend_alloc(backend, &stream->device[i], stream->window_bytes, name, err));
    }
    for (int i = 0; i < COP_READ_AHEAD_SLOTS && !stream->is_host_memory; i++) {
        stream->host[i] = cop_alloc((size_t)stream->window_bytes, 1);
        if (stream->host[i] == NULL) {
            status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to read ahead", name);
            goto done;
        }
    }
    if (!stream->is_host_memory) {
        COP_TRY(status, backend->type->stream_create(backend, &stream->copies, err));
    }

done:
    return status;
}

cop_status cop_state_stream_create(cop_state_stream **out, const cop_read_ahead_options *options,
                                   cop_backend *backend, const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    cop_state_stream *stream = cop_alloc(1, sizeof *stream);

    *out = NULL;
    if (stream == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to read ahead", name);
    }
    stream->backend = backend;
    stream->window_bytes = (uint64_t)options->window * options->row_bytes;
    stream->is_host_memory = has_host_memory(backend);
    stream->windows = cop_state_stream_windows(backend);
    stream->previous = 1;
    COP_TRY(status, allocate(stream, name, err));
    COP_TRY(status,
            cop_read_ahead_create(&stream->reader, options,
                                  stream->is_host_memory ? stream->device : stream->host, err));
    *out = stream;
    stream = NULL;

done:
    cop_state_stream_destroy(stream);
    return status;
}

void cop_state_stream_destroy(cop_state_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    cop_read_ahead_destroy(stream->reader);
    if (stream->copies != NULL) {
        // An upload on its way still writes to the device's memory.
        (void)!cop_backend_synchronize(stream->backend, stream->copies, NULL);
        stream->backend->type->stream_destroy(stream->backend, stream->copies);
    }
    for (int i = 0; i < stream->windows; i++) {
        cop_backend_free(stream->backend, stream->device[i]);
    }
    for (int i = 0; i < COP_READ_AHEAD_SLOTS; i++) {
        cop_free(stream->host[i]);
    }
    cop_free(stream);
}
