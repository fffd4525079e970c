#include "distill/read_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

// Between two pieces the thread sees that it is to stop, or that nobody wants the window any more.
enum { PIECE_BYTES = 32 << 20 };

typedef enum slot_state {
    SLOT_EMPTY = 0,
    SLOT_WANTED,
    SLOT_READ, // `status` says how it went
} slot_state;

typedef struct slot {
    void *memory;
    slot_state state;
    int64_t first;
    cop_status status;
    cop_error error;
} slot;

struct cop_read_ahead {
    cop_read_range *ranges; // owned
    int64_t range_count;
    uint64_t row_bytes;
    int64_t window;

    pthread_t thread;
    pthread_mutex_t lock; // of all below but `file` and `open_range`
    pthread_cond_t changed;
    slot slots[COP_READ_AHEAD_SLOTS];
    int taken; // slot of the window in use; -1: none
    bool is_stopping;

    // The thread's own.
    int file; // of range `open_range`
    int64_t open_range;
};

// --- The thread ---------------------------------------------------------------------------------

static int64_t find_range(const cop_read_ahead *reader, int64_t row)
{
    for (int64_t i = 0; i < reader->range_count && reader->ranges[i].first <= row; i++) {
        if (row - reader->ranges[i].first < reader->ranges[i].count) {
            return i;
        }
    }
    return -1;
}

static void close_file(cop_read_ahead *reader)
{
    if (reader->open_range >= 0) {
        (void)close(reader->file); // read-only: nothing can be lost
        reader->open_range = -1;
    }
}

static cop_status open_range(cop_read_ahead *reader, int64_t range, cop_error *err)
{
    if (reader->open_range != range) {
        close_file(reader);
        reader->file = open(reader->ranges[range].path, O_RDONLY | O_CLOEXEC);
        if (reader->file < 0) {
            return cop_file_fail(err, reader->ranges[range].path, "open");
        }
        reader->open_range = range;
    }
    return COP_OK;
}

static bool is_wanted(cop_read_ahead *reader, const slot *at, int64_t first)
{
    (void)pthread_mutex_lock(&reader->lock);
    const bool is = !reader->is_stopping && at->state == SLOT_WANTED && at->first == first;
    (void)pthread_mutex_unlock(&reader->lock);
    return is;
}

// Rows [row, row + count) of one range, in pieces.
static cop_status read_rows(cop_read_ahead *reader, const slot *at, int64_t first, int64_t row,
                            int64_t count, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t index = find_range(reader, row);
    const cop_read_range *range = &reader->ranges[index];
    const uint64_t bytes = (uint64_t)count * reader->row_bytes;
    const uint64_t from = range->offset + (uint64_t)(row - range->first) * reader->row_bytes;
    char *to = (char *)at->memory + (uint64_t)(row - first) * reader->row_bytes;

    COP_TRY(status, open_range(reader, index, err));
    for (uint64_t done = 0; done < bytes && is_wanted(reader, at, first); done += PIECE_BYTES) {
        const uint64_t left = bytes - done;
        const uint64_t now = left < PIECE_BYTES ? left : (uint64_t)PIECE_BYTES;
        COP_TRY(status, cop_file_read_parallel(to + done, reader->file, from + done, now,
                                               range->path, err));
    }

done:
    if (status != COP_OK) {
        close_file(reader); // the next attempt finds the file as it is then
    }
    return status;
}

static cop_status read_window(cop_read_ahead *reader, const slot *at, int64_t first, cop_error *err)
{
    cop_status status = COP_OK;
    for (int64_t row = first; row < first + reader->window && status == COP_OK;) {
        const int64_t index = find_range(reader, row);
        if (index < 0) { // the last window may be a part
            break;
        }
        const cop_read_range *range = &reader->ranges[index];
        const int64_t here = range->first + range->count - row;
        const int64_t left = first + reader->window - row;
        const int64_t count = here < left ? here : left;
        status = read_rows(reader, at, first, row, count, err);
        row += count;
    }
    return status;
}

static slot *next_wanted(cop_read_ahead *reader)
{
    for (int i = 0; i < COP_READ_AHEAD_SLOTS; i++) {
        if (reader->slots[i].state == SLOT_WANTED) {
            return &reader->slots[i];
        }
    }
    return NULL;
}

static void *run(void *context)
{
    cop_read_ahead *reader = context;
    (void)pthread_mutex_lock(&reader->lock);
    while (!reader->is_stopping) {
        slot *at = next_wanted(reader);
        if (at == NULL) {
            (void)pthread_cond_wait(&reader->changed, &reader->lock);
            continue;
        }
        const int64_t first = at->first;
        cop_error error = {0};
        (void)pthread_mutex_unlock(&reader->lock);
        const cop_status status = read_window(reader, at, first, &error);
        (void)pthread_mutex_lock(&reader->lock);
        if (at->state == SLOT_WANTED && at->first == first) {
            at->state = SLOT_READ;
            at->status = status;
            at->error = error;
            (void)pthread_cond_broadcast(&reader->changed);
        }
    }
    (void)pthread_mutex_unlock(&reader->lock);
    close_file(reader);
    return NULL;
}

// --- The user -----------------------------------------------------------------------------------

static int slot_of(const cop_read_ahead *reader, int64_t first)
{
    for (int i = 0; i < COP_READ_AHEAD_SLOTS; i++) {
        if (reader->slots[i].state != SLOT_EMPTY && reader->slots[i].first == first) {
            return i;
        }
    }
    return -1;
}

int64_t cop_read_ahead_next(const cop_read_ahead *reader, int64_t first)
{
    const int64_t next = first + reader->window;
    if (find_range(reader, next) >= 0 || reader->range_count == 0) {
        return next;
    }
    const int64_t start = reader->ranges[0].first;
    return start - start % reader->window;
}

static void want(cop_read_ahead *reader, int index, int64_t first)
{
    reader->slots[index].state = SLOT_WANTED;
    reader->slots[index].first = first;
    (void)pthread_cond_broadcast(&reader->changed);
}

static int other_slot(int index)
{
    return index == 0 ? 1 : 0;
}

cop_status cop_read_ahead_take(cop_read_ahead *reader, int64_t first, void **slot_out,
                               cop_error *err)
{
    cop_status status = COP_OK;

    *slot_out = NULL;
    (void)pthread_mutex_lock(&reader->lock);
    int index = slot_of(reader, first);
    if (index < 0) {
        // Guessed wrong, or the first window of all: in the place of the one read in vain.
        index = reader->taken < 0 ? 0 : other_slot(reader->taken);
        want(reader, index, first);
    }
    const slot *at = &reader->slots[index];
    while (at->state == SLOT_WANTED) {
        (void)pthread_cond_wait(&reader->changed, &reader->lock);
    }
    status = at->status;
    if (status == COP_OK) {
        const int64_t next = cop_read_ahead_next(reader, first);
        const int other = other_slot(index);
        reader->taken = index;
        if (next != first && slot_of(reader, next) < 0) {
            want(reader, other, next);
        }
        *slot_out = at->memory;
    } else {
        status = COP_FAIL(err, status, "%s", at->error.message);
        reader->slots[index].state = SLOT_EMPTY;
        reader->taken = reader->taken == index ? -1 : reader->taken;
    }
    (void)pthread_mutex_unlock(&reader->lock);
    return status;
}

bool cop_read_ahead_is_ready(cop_read_ahead *reader, int64_t first)
{
    (void)pthread_mutex_lock(&reader->lock);
    const int index = slot_of(reader, first);
    const bool is_ready = index >= 0 && reader->slots[index].state == SLOT_READ &&
                          reader->slots[index].status == COP_OK;
    (void)pthread_mutex_unlock(&reader->lock);
    return is_ready;
}

// --- Life cycle ---------------------------------------------------------------------------------

cop_status cop_read_ahead_create(cop_read_ahead **out, const cop_read_ahead_options *options,
                                 void *const slots[COP_READ_AHEAD_SLOTS], cop_error *err)
{
    const size_t ranges = (size_t)options->range_count;
    cop_read_ahead *reader = cop_alloc(1, sizeof *reader);

    *out = NULL;
    if (reader == NULL ||
        (reader->ranges = cop_alloc(ranges + 1, sizeof *reader->ranges)) == NULL) {
        cop_free(reader);
        return COP_FAIL(err, COP_ERR_NOMEM, "teacher states: no memory to read ahead");
    }
    memcpy(reader->ranges, options->ranges, ranges * sizeof *reader->ranges);
    reader->range_count = options->range_count;
    reader->row_bytes = options->row_bytes;
    reader->window = options->window;
    reader->taken = -1;
    reader->open_range = -1;
    for (int i = 0; i < COP_READ_AHEAD_SLOTS; i++) {
        reader->slots[i].memory = slots[i];
    }
    (void)pthread_mutex_init(&reader->lock, NULL);
    (void)pthread_cond_init(&reader->changed, NULL);
    const int failure = pthread_create(&reader->thread, NULL, run, reader);
    if (failure != 0) {
        (void)pthread_cond_destroy(&reader->changed);
        (void)pthread_mutex_destroy(&reader->lock);
        cop_free(reader->ranges);
        cop_free(reader);
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "teacher states: no thread to read ahead: error %d (allowed: what the "
                        "system's limits leave)",
                        failure);
    }
    *out = reader;
    return COP_OK;
}

void cop_read_ahead_destroy(cop_read_ahead *reader)
{
    if (reader == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&reader->lock);
    reader->is_stopping = true;
    (void)pthread_cond_broadcast(&reader->changed);
    (void)pthread_mutex_unlock(&reader->lock);
    (void)pthread_join(reader->thread, NULL);
    (void)pthread_cond_destroy(&reader->changed);
    (void)pthread_mutex_destroy(&reader->lock);
    cop_free(reader->ranges);
    cop_free(reader);
}
