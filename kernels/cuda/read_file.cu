// Reading a range of a file into device memory: threads take pieces in order, read each with
// pread() into a pinned buffer of their own, and let the device fetch it while they read the next.

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "kernels/cuda/upload.h"

namespace {

constexpr int THREADS_MAX = COP_PIECE_COUNT / 2;

// What the threads share: pieces are taken until one fails.
struct job {
    cop_cuda_uploads *uploads;
    cudaStream_t stream;
    char *to;
    int file;
    uint64_t offset;
    uint64_t bytes;
    pthread_mutex_t lock;
    uint64_t taken;
    int workers; // given their number
    int error;   // errno of the first failure; -1: the file ends before
    cudaError_t cuda_error;
};

bool take_piece(job *work, uint64_t *start, uint64_t *bytes)
{
    (void)pthread_mutex_lock(&work->lock);
    const bool is_there =
        work->taken < work->bytes && work->error == 0 && work->cuda_error == cudaSuccess;
    if (is_there) {
        const uint64_t left = work->bytes - work->taken;
        *start = work->taken;
        *bytes = left < COP_PIECE_BYTES ? left : COP_PIECE_BYTES;
        work->taken += *bytes;
    }
    (void)pthread_mutex_unlock(&work->lock);
    return is_there;
}

void note(job *work, int error, cudaError_t cuda_error)
{
    (void)pthread_mutex_lock(&work->lock);
    if (work->error == 0 && work->cuda_error == cudaSuccess) {
        work->error = error;
        work->cuda_error = cuda_error;
    }
    (void)pthread_mutex_unlock(&work->lock);
}

// 0, errno, or -1 when the file ends before.
int read_piece(const job *work, void *to, uint64_t start, uint64_t bytes)
{
    uint64_t done = 0;
    while (done < bytes) {
        const ssize_t got =
            pread(work->file, static_cast<char *>(to) + done, static_cast<size_t>(bytes - done),
                  static_cast<off_t>(work->offset + start + done));
        if (got > 0) {
            done += static_cast<uint64_t>(got);
        } else if (got == 0 || errno != EINTR) {
            return got == 0 ? -1 : errno;
        }
    }
    return 0;
}

void *read_pieces(void *context)
{
    job *work = static_cast<job *>(context);
    uint64_t start = 0;
    uint64_t bytes = 0;
    (void)pthread_mutex_lock(&work->lock);
    cop_cuda_slot *slots = work->uploads->pieces + 2 * work->workers++;
    (void)pthread_mutex_unlock(&work->lock);
    cudaError_t cuda_error = cudaSetDevice(work->uploads->device); // it belongs to the thread
    for (int turn = 0; cuda_error == cudaSuccess && take_piece(work, &start, &bytes); turn ^= 1) {
        cop_cuda_slot *slot = &slots[turn];
        cuda_error = cop_cuda_slot_take(slot, COP_PIECE_BYTES);
        if (cuda_error != cudaSuccess) {
            break;
        }
        const int error = read_piece(work, slot->buffer, start, bytes);
        if (error != 0) {
            note(work, error, cudaSuccess);
            return NULL;
        }
        cuda_error = cudaMemcpyAsync(work->to + start, slot->buffer, bytes, cudaMemcpyHostToDevice,
                                     work->stream);
        if (cuda_error == cudaSuccess) {
            cuda_error = cop_cuda_slot_pass(slot, work->stream);
        }
    }
    if (cuda_error != cudaSuccess) {
        (void)cudaGetLastError();
        note(work, 0, cuda_error);
    }
    return NULL;
}

} // namespace

cop_status cop_cuda_read_file(cop_cuda_uploads *uploads, cudaStream_t stream, void *to, int file,
                              uint64_t offset, uint64_t bytes, const char *path, cop_error *err)
{
    job work = {};
    pthread_t thread[THREADS_MAX];
    int started = 0;
    const uint64_t pieces = (bytes + COP_PIECE_BYTES - 1) / COP_PIECE_BYTES;
    work.uploads = uploads;
    work.stream = stream;
    work.to = static_cast<char *>(to);
    work.file = file;
    work.offset = offset;
    work.bytes = bytes;
    (void)pthread_mutex_init(&work.lock, NULL);
    // The calling thread reads too; where no thread can be had it reads alone.
    while (started < THREADS_MAX - 1 && static_cast<uint64_t>(started) + 1 < pieces &&
           pthread_create(&thread[started], NULL, read_pieces, &work) == 0) {
        started++;
    }
    (void)read_pieces(&work);
    for (int i = 0; i < started; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    (void)pthread_mutex_destroy(&work.lock);
    if (work.cuda_error != cudaSuccess) {
        return cop_cuda_fail(err, "copy of a file to the device", work.cuda_error);
    }
    if (work.error > 0) {
        errno = work.error;
        return cop_file_fail(err, path, "read");
    }
    if (work.error < 0) {
        return COP_FAIL(err, COP_ERR_IO, "%s: ends before byte %llu (allowed: a whole file)", path,
                        static_cast<unsigned long long>(offset + bytes));
    }
    return COP_OK;
}
