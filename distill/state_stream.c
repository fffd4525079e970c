#include "distill/state_stream.h"

#include "base/alloc.h"

struct cop_state_stream {
    cop_backend *backend; // borrowed
    cop_read_ahead *reader;
    uint64_t window_bytes;
    bool is_host_memory;                     // the thread reads into device memory itself
    void *device[COP_STATE_STREAM_WINDOWS];  // windows on the device
    void *host[COP_READ_AHEAD_SLOTS];        // owned; a device of its own memory only
    cop_stream *copies;                      // uploads; likewise
    int64_t first[COP_STATE_STREAM_WINDOWS]; // what a device window holds; -1: nothing
    int current;                             // the one given out last
};

// Sends a window that has been taken from the reader to device window `to`, behind the work that may
// still read what is there.
static cop_status upload(cop_state_stream *stream, int to, int64_t first, const void *from,
                         cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = stream->backend;

    stream->first[to] = -1;
    COP_TRY(status, backend->type->stream_wait(backend, stream->copies, NULL, err));
    COP_TRY(status, cop_backend_to_device(backend, stream->copies, stream->device[to], from,
                                          stream->window_bytes, err));
    stream->first[to] = first;

done:
    return status;
}

// Puts the window after `first` on its way. Its failure is for the call that asks for it.
static void send_next(cop_state_stream *stream, int64_t first, bool may_wait)
{
    const int other = stream->current == 0 ? 1 : 0;
    const int64_t next = cop_read_ahead_next(stream->reader, first);
    void *from = NULL;

    if (next == first || stream->first[other] == next ||
        (!may_wait && !cop_read_ahead_is_ready(stream->reader, next))) {
        return;
    }
    if (cop_read_ahead_take(stream->reader, next, &from, NULL) != COP_OK ||
        upload(stream, other, next, from, NULL) != COP_OK) {
        stream->first[other] = -1;
    }
}

static cop_status device_window(cop_state_stream *stream, int64_t first, void **out, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = stream->backend;
    const int other = stream->current == 0 ? 1 : 0;
    bool is_late = false;

    if (stream->first[stream->current] != first) {
        is_late = stream->first[other] != first;
        if (is_late) {
            void *from = NULL;
            COP_TRY(status, cop_read_ahead_take(stream->reader, first, &from, err));
            COP_TRY(status, upload(stream, other, first, from, err));
        }
        COP_TRY(status, backend->type->stream_wait(backend, NULL, stream->copies, err));
        stream->current = other;
    }
    *out = stream->device[stream->current];
    // One window ahead of use at the disk is two ahead at the device: who was late once waits for the
    // next one too, and then never again while the disk keeps up.
    send_next(stream, first, is_late);

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

    for (int i = 0; i < COP_STATE_STREAM_WINDOWS; i++) {
        stream->first[i] = -1;
        COP_TRY(status,
                cop_backend_alloc(backend, &stream->device[i], stream->window_bytes, name, err));
        if (!stream->is_host_memory) {
            stream->host[i] = cop_alloc((size_t)stream->window_bytes, 1);
            if (stream->host[i] == NULL) {
                status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to read ahead", name);
                goto done;
            }
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
    cop_device_info info = {0};
    cop_state_stream *stream = cop_alloc(1, sizeof *stream);

    *out = NULL;
    if (stream == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to read ahead", name);
    }
    stream->backend = backend;
    stream->window_bytes = (uint64_t)options->window * options->row_bytes;
    COP_TRY(status, cop_backend_info(backend, &info, err));
    stream->is_host_memory = info.is_host_memory;
    COP_TRY(status, allocate(stream, name, err));
    COP_TRY(status,
            cop_read_ahead_create(&stream->reader, options,
                                  info.is_host_memory ? stream->device : stream->host, err));
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
    for (int i = 0; i < COP_STATE_STREAM_WINDOWS; i++) {
        cop_backend_free(stream->backend, stream->device[i]);
        cop_free(stream->host[i]);
    }
    cop_free(stream);
}
