// Reading a range of a file by several threads.

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { THREADS_MAX = 8, PIECE_BYTES = 4 << 20 };

// What the threads share: pieces are taken in order until one fails.
typedef struct job {
    char *to;
    int file;
    uint64_t offset;
    uint64_t bytes;
    pthread_mutex_t lock;
    uint64_t taken;
    int error; // errno of the first failure; -1: the file ends before
} job;

static bool take_piece(job *work, uint64_t *start, uint64_t *bytes)
{
    (void)pthread_mutex_lock(&work->lock);
    const bool is_there = work->taken < work->bytes && work->error == 0;
    if (is_there) {
        const uint64_t left = work->bytes - work->taken;
        *start = work->taken;
        *bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
        work->taken += *bytes;
    }
    (void)pthread_mutex_unlock(&work->lock);
    return is_there;
}

static void note_error(job *work, int error)
{
    (void)pthread_mutex_lock(&work->lock);
    work->error = work->error == 0 ? error : work->error;
    (void)pthread_mutex_unlock(&work->lock);
}

static void *read_pieces(void *context)
{
    job *work = context;
    uint64_t start = 0;
    uint64_t bytes = 0;
    while (take_piece(work, &start, &bytes)) {
        uint64_t done = 0;
        while (done < bytes) {
            const ssize_t got = pread(work->file, work->to + start + done, (size_t)(bytes - done),
                                      (off_t)(work->offset + start + done));
            if (got > 0) {
                done += (uint64_t)got;
            } else if (got == 0 || errno != EINTR) {
                note_error(work, got == 0 ? -1 : errno);
                return NULL;
            }
        }
    }
    return NULL;
}

cop_status cop_file_read_parallel(void *to, int file, uint64_t offset, uint64_t bytes,
                                  const char *path, cop_error *err)
{
    job work = {.to = to, .file = file, .offset = offset, .bytes = bytes};
    pthread_t thread[THREADS_MAX];
    int started = 0;
    const uint64_t pieces = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;

    (void)pthread_mutex_init(&work.lock, NULL);
    // The calling thread reads too; where no thread can be had it reads alone.
    while (started < THREADS_MAX - 1 && (uint64_t)started + 1 < pieces &&
           pthread_create(&thread[started], NULL, read_pieces, &work) == 0) {
        started++;
    }
    (void)read_pieces(&work);
    for (int i = 0; i < started; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    (void)pthread_mutex_destroy(&work.lock);
    if (work.error > 0) {
        errno = work.error;
        return cop_file_fail(err, path, "read");
    }
    if (work.error < 0) {
        return COP_FAIL(err, COP_ERR_IO, "%s: ends before byte %llu (allowed: a whole file)", path,
                        (unsigned long long)(offset + bytes));
    }
    return COP_OK;
}
