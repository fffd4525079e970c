// Rows of finished files, read before they are asked for: a thread fills the next windows while the
// current one is in use. A window is `window` rows from a multiple of it; rows lie side by side in
// ranges of files at known offsets. The thread makes no call but pread(): whatever library wrote the
// files need not be safe to call from it.
//
// Whoever takes windows in rising order, wrapping to the first, waits for none of them as long as the
// disk keeps up. Another order is right too: what was read in vain is dropped.

#ifndef COP_DISTILL_READ_AHEAD_H
#define COP_DISTILL_READ_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct cop_read_ahead cop_read_ahead;

// Rows [first, first + count), from byte `offset` of a file.
typedef struct cop_read_range {
    int64_t first;
    int64_t count;
    const char *path; // borrowed for the life of the reader
    uint64_t offset;
} cop_read_range;

typedef struct cop_read_ahead_options {
    const cop_read_range *ranges; // [range_count], rising, without overlap; copied
    int64_t range_count;
    uint64_t row_bytes;
    int64_t window; // rows
} cop_read_ahead_options;

enum { COP_READ_AHEAD_SLOTS = 2 }; // the window in use, and the next one

// Starts the thread. `slots`: memory for a window each; borrowed until destroy(). Rows that no range
// holds keep what their slot held before. COP_ERR_NOMEM when no thread can be had.
COP_MUST_CHECK cop_status cop_read_ahead_create(cop_read_ahead **out,
                                                const cop_read_ahead_options *options,
                                                void *const slots[COP_READ_AHEAD_SLOTS],
                                                cop_error *err);
// Ends the thread, whatever it is doing: after the piece of some MiB that it reads now.
void cop_read_ahead_destroy(cop_read_ahead *reader);

// Waits for the window that begins with row `first`, and has the next one read. `*slot` holds it until
// the next take. COP_ERR_IO names the file that could not be read; asking again tries again.
COP_MUST_CHECK cop_status cop_read_ahead_take(cop_read_ahead *reader, int64_t first, void **slot,
                                              cop_error *err);
// Whether the window has been read, so that to take it waits for nothing; false too when reading it
// failed, which take() reports.
bool cop_read_ahead_is_ready(cop_read_ahead *reader, int64_t first);
// The window that is read ahead of the one at `first`: the following one, or the first there is.
int64_t cop_read_ahead_next(const cop_read_ahead *reader, int64_t first);

#endif
