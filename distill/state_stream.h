// Windows of rows from cache files on the device, there before they are asked for: read ahead by a
// thread (distill/read_ahead.h), and on a device with its own memory uploaded on a stream of their own
// while the step before them runs, so that a step waits neither for the disk nor for the bus.
//
// Memory: where the device's is the host's, two windows. Else three on the device (in use, in use by
// the step before, which may still run, and on its way) and two on the host. An upload is ordered
// behind the step before the last, so that a backend that has to wait before it can copy the host's
// pages waits while the last one still keeps the device busy.

#ifndef COP_DISTILL_STATE_STREAM_H
#define COP_DISTILL_STATE_STREAM_H

#include "distill/read_ahead.h"
#include "kernels/backend.h"

typedef struct cop_state_stream cop_state_stream;

enum { COP_STATE_STREAM_WINDOWS = 3 };

// Windows on this device: 2 or 3.
int cop_state_stream_windows(cop_backend *backend);

// The backend is borrowed; `name` is that of the device memory. The ranges' paths are borrowed.
COP_MUST_CHECK cop_status cop_state_stream_create(cop_state_stream **out,
                                                  const cop_read_ahead_options *options,
                                                  cop_backend *backend, const char *name,
                                                  cop_error *err);
void cop_state_stream_destroy(cop_state_stream *stream);

// Device view of the window that begins with row `first`, a multiple of the window: valid for work on
// the default stream that is enqueued before the next call. COP_ERR_IO names the file.
COP_MUST_CHECK cop_status cop_state_stream_window(cop_state_stream *stream, int64_t first,
                                                  void **out, cop_error *err);

#endif
