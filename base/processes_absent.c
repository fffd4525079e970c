// A build without MPI: processes are alone.

#include <inttypes.h>

#include "base/processes_internal.h"

cop_status cop_processes_start(cop_error *err)
{
    int64_t count = 1;
    const cop_status status = cop_processes_launched(&count, err);
    if (status == COP_OK && count > 1) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "processes: %" PRId64 " were started together, and this program was built "
                        "without MPI (allowed: one, or a build with libopenmpi-dev)",
                        count);
    }
    return status;
}

void cop_processes_stop(void)
{
}

void cop_processes_abort(int exit_code)
{
    (void)exit_code;
}

cop_processes cop_processes_self(void)
{
    return (cop_processes){.size = 1, .local_size = 1};
}

cop_status cop_processes_barrier(cop_error *err)
{
    (void)err;
    return COP_OK;
}

cop_status cop_processes_broadcast(void *data, uint64_t bytes, int root, cop_error *err)
{
    (void)data;
    (void)bytes;
    (void)root;
    (void)err;
    return COP_OK;
}

static cop_status fail_alone(int rank, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "processes: there is no rank %d (allowed: none)",
                    rank);
}

cop_status cop_processes_exchange(int to, const void *send, uint64_t send_bytes, int from,
                                  void *receive, uint64_t receive_bytes, cop_error *err)
{
    (void)send;
    (void)send_bytes;
    (void)from;
    (void)receive;
    (void)receive_bytes;
    return fail_alone(to, err);
}

cop_status cop_processes_max(int64_t *value, cop_error *err)
{
    (void)value;
    (void)err;
    return COP_OK;
}

cop_status cop_processes_agree(cop_status own, cop_error *err)
{
    (void)err;
    return own;
}

cop_status cop_processes_send(int to, const void *data, uint64_t bytes, cop_error *err)
{
    (void)data;
    (void)bytes;
    return fail_alone(to, err);
}

cop_status cop_processes_post(int to, const void *data, uint64_t bytes, cop_error *err)
{
    (void)data;
    (void)bytes;
    return fail_alone(to, err);
}

void cop_processes_part(void)
{
}

cop_status cop_processes_poll(int *from, uint64_t *bytes, cop_error *err)
{
    (void)err;
    *from = -1;
    *bytes = 0;
    return COP_OK;
}

cop_status cop_processes_receive(int from, void *data, uint64_t bytes, cop_error *err)
{
    (void)data;
    (void)bytes;
    return fail_alone(from, err);
}
