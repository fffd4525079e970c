// The one file that calls MPI.

#include <inttypes.h>
#include <mpi.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/processes_internal.h"

enum { MESSAGE_TAG = 1, EXCHANGE_TAG = 2, POSTS_MAX = 64 };

// MPI counts in int.
static const uint64_t piece_bytes = (uint64_t)1 << 30;

// How long what is posted may take to be taken when all are there, and when some are not.
static const double whole_seconds = 60.0;
static const double part_seconds = 3.0;

// A message on its way.
typedef struct posted {
    struct posted *next;
    MPI_Request request;
    char *data;
} posted;

static struct {
    cop_processes self;
    bool is_started;
    bool has_parted;
    posted *posted;
    int posts; // since release_posted()
} world = {.self = {.size = 1, .local_size = 1}};

static cop_status fail_mpi(cop_error *err, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    (void)MPI_Error_string(code, text, &length);
    return COP_FAIL(err, COP_ERR_DEVICE, "processes: %s: %.256s", what, text);
}

#define TRY_MPI(status, err, what, call)                  \
    do {                                                  \
        const int mpi_code = (call);                      \
        if (mpi_code != MPI_SUCCESS) {                    \
            (status) = fail_mpi((err), (what), mpi_code); \
            goto done;                                    \
        }                                                 \
    } while (0)

static cop_status find_self(cop_error *err)
{
    cop_status status = COP_OK;
    MPI_Comm local = MPI_COMM_NULL;

    TRY_MPI(status, err, "rank", MPI_Comm_rank(MPI_COMM_WORLD, &world.self.rank));
    TRY_MPI(status, err, "size", MPI_Comm_size(MPI_COMM_WORLD, &world.self.size));
    TRY_MPI(status, err, "processes of this machine",
            MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.self.rank,
                                MPI_INFO_NULL, &local));
    TRY_MPI(status, err, "local rank", MPI_Comm_rank(local, &world.self.local_rank));
    TRY_MPI(status, err, "local size", MPI_Comm_size(local, &world.self.local_size));

done:
    if (local != MPI_COMM_NULL) {
        (void)MPI_Comm_free(&local);
    }
    return status;
}

cop_status cop_processes_start(cop_error *err)
{
    cop_status status = COP_OK;
    int64_t count = 1;
    int level = 0;

    COP_TRY(status, cop_processes_launched(&count, err));
    if (count <= 1 || world.is_started) {
        goto done;
    }
    TRY_MPI(status, err, "start", MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level));
    world.is_started = true;
    TRY_MPI(status, err, "start", MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    COP_TRY(status, find_self(err));

done:
    return status;
}

// Releases what has left. A request that fails has, too: its receiver is gone.
static void release_posted(void)
{
    posted **link = &world.posted;
    world.posts = 0;
    while (*link != NULL) {
        posted *p = *link;
        int is_done = 0;
        if (MPI_Test(&p->request, &is_done, MPI_STATUS_IGNORE) == MPI_SUCCESS && is_done == 0) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        cop_free(p->data);
        cop_free(p);
    }
}

// Nobody waits for ever for who does not listen: with a message left over there is no orderly end.
static void deliver_posted(void)
{
    const double start = cop_clock_seconds();
    release_posted();
    while (world.posted != NULL &&
           cop_clock_seconds() - start < (world.has_parted ? part_seconds : whole_seconds)) {
        cop_clock_pause(0.001);
        release_posted();
    }
    world.has_parted = world.has_parted || world.posted != NULL;
}

void cop_processes_part(void)
{
    world.has_parted = true;
}

void cop_processes_stop(void)
{
    if (world.is_started) {
        deliver_posted();
        if (!world.has_parted) {
            (void)MPI_Finalize();
        }
        world.is_started = false;
        world.self = (cop_processes){.size = 1, .local_size = 1};
    }
}

void cop_processes_abort(int exit_code)
{
    if (world.is_started) {
        (void)MPI_Abort(MPI_COMM_WORLD, exit_code);
    }
}

cop_processes cop_processes_self(void)
{
    return world.self;
}

// --- Collectives --------------------------------------------------------------------------------

cop_status cop_processes_barrier(cop_error *err)
{
    cop_status status = COP_OK;
    if (world.self.size > 1) {
        TRY_MPI(status, err, "barrier", MPI_Barrier(MPI_COMM_WORLD));
    }

done:
    return status;
}

static int piece_of(uint64_t bytes, uint64_t at)
{
    const uint64_t left = at < bytes ? bytes - at : 0;
    return (int)(left < piece_bytes ? left : piece_bytes);
}

cop_status cop_processes_broadcast(void *data, uint64_t bytes, int root, cop_error *err)
{
    cop_status status = COP_OK;
    for (uint64_t at = 0; world.self.size > 1 && at < bytes; at += piece_bytes) {
        TRY_MPI(status, err, "broadcast",
                MPI_Bcast((char *)data + at, piece_of(bytes, at), MPI_BYTE, root, MPI_COMM_WORLD));
    }

done:
    return status;
}

cop_status cop_processes_exchange(int to, const void *send, uint64_t send_bytes, int from,
                                  void *receive, uint64_t receive_bytes, cop_error *err)
{
    const uint64_t most = send_bytes > receive_bytes ? send_bytes : receive_bytes;
    cop_status status = COP_OK;
    for (uint64_t at = 0; at < most; at += piece_bytes) {
        const int out = piece_of(send_bytes, at);
        const int in = piece_of(receive_bytes, at);
        TRY_MPI(status, err, "exchange",
                MPI_Sendrecv((const char *)send + at, out, MPI_BYTE, out > 0 ? to : MPI_PROC_NULL,
                             EXCHANGE_TAG, (char *)receive + at, in, MPI_BYTE,
                             in > 0 ? from : MPI_PROC_NULL, EXCHANGE_TAG, MPI_COMM_WORLD,
                             MPI_STATUS_IGNORE));
    }

done:
    return status;
}

cop_status cop_processes_max(int64_t *value, cop_error *err)
{
    cop_status status = COP_OK;
    if (world.self.size > 1) {
        TRY_MPI(status, err, "maximum",
                MPI_Allreduce(MPI_IN_PLACE, value, 1, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD));
    }

done:
    return status;
}

cop_status cop_processes_agree(cop_status own, cop_error *err)
{
    const int size = world.self.size;
    cop_status status = COP_OK;
    cop_error none = {0};
    cop_error *message = err != NULL ? err : &none;
    // The lowest rank that failed has the largest number; 0: none did.
    int64_t first = own != COP_OK ? size - world.self.rank : 0;
    int32_t code = (int32_t)own;
    int rank = 0;

    if (size == 1) {
        return own;
    }
    COP_TRY(status, cop_processes_max(&first, err));
    if (first == 0) {
        return COP_OK;
    }
    rank = size - (int)first;
    COP_TRY(status, cop_processes_broadcast(&code, sizeof code, rank, err));
    COP_TRY(status, cop_processes_broadcast(message->message, sizeof message->message, rank, err));
    message->status = (cop_status)code;
    status = (cop_status)code;

done:
    return status;
}

// --- Messages -----------------------------------------------------------------------------------

static cop_status check_message(uint64_t bytes, cop_error *err)
{
    if (bytes > piece_bytes) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "processes: a message has %" PRIu64 " bytes (allowed: %" PRIu64 ")", bytes,
                        piece_bytes);
    }
    return COP_OK;
}

cop_status cop_processes_send(int to, const void *data, uint64_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_message(bytes, err));
    TRY_MPI(status, err, "send",
            MPI_Send(data, (int)bytes, MPI_BYTE, to, MESSAGE_TAG, MPI_COMM_WORLD));

done:
    return status;
}

cop_status cop_processes_post(int to, const void *data, uint64_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    posted *p = cop_alloc(1, sizeof *p);
    char *copy = cop_alloc((size_t)bytes, 1);

    if (p == NULL || copy == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM,
                          "processes: no memory for a message of %" PRIu64 " bytes", bytes);
        goto done;
    }
    COP_TRY(status, check_message(bytes, err));
    memcpy(copy, data, (size_t)bytes);
    TRY_MPI(status, err, "send",
            MPI_Isend(copy, (int)bytes, MPI_BYTE, to, MESSAGE_TAG, MPI_COMM_WORLD, &p->request));
    p->data = copy;
    p->next = world.posted;
    world.posted = p;
    p = NULL;
    copy = NULL;
    if (++world.posts >= POSTS_MAX) {
        release_posted();
    }

done:
    cop_free(copy);
    cop_free(p);
    return status;
}

cop_status cop_processes_poll(int *from, uint64_t *bytes, cop_error *err)
{
    cop_status status = COP_OK;
    MPI_Status found;
    int is_there = 0;
    int count = 0;

    *from = -1;
    *bytes = 0;
    if (world.self.size == 1) {
        return COP_OK;
    }
    TRY_MPI(status, err, "poll",
            MPI_Iprobe(MPI_ANY_SOURCE, MESSAGE_TAG, MPI_COMM_WORLD, &is_there, &found));
    if (is_there != 0) {
        TRY_MPI(status, err, "poll", MPI_Get_count(&found, MPI_BYTE, &count));
        *from = found.MPI_SOURCE;
        *bytes = (uint64_t)count;
    }

done:
    return status;
}

cop_status cop_processes_receive(int from, void *data, uint64_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_message(bytes, err));
    TRY_MPI(
        status, err, "receive",
        MPI_Recv(data, (int)bytes, MPI_BYTE, from, MESSAGE_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE));

done:
    return status;
}
