#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/system.h"
#include "search/workers_internal.h"

cop_status cop_message_send(int to, const cop_message *message, const double *values, int64_t count,
                            cop_error *err)
{
    const size_t tail = (size_t)count * sizeof *values;
    char *packet = NULL;
    cop_status status = COP_OK;

    if (count == 0) {
        return cop_processes_post(to, message, sizeof *message, err);
    }
    packet = cop_alloc(sizeof *message + tail, 1);
    if (packet == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for a message of %zu bytes",
                        sizeof *message + tail);
    }
    memcpy(packet, message, sizeof *message);
    memcpy(packet + sizeof *message, values, tail);
    status = cop_processes_post(to, packet, sizeof *message + tail, err);
    cop_free(packet);
    return status;
}

cop_status cop_message_take(int *from, cop_message *out, double **values, int64_t *count,
                            cop_error *err)
{
    cop_status status = COP_OK;
    uint64_t bytes = 0;
    char *packet = NULL;

    *values = NULL;
    *count = 0;
    COP_TRY(status, cop_processes_poll(from, &bytes, err));
    if (*from < 0) {
        goto done;
    }
    if (bytes < sizeof *out || (bytes - sizeof *out) % sizeof **values != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "search: a message of rank %d has %" PRIu64 " bytes (allowed: %zu, and "
                          "numbers behind; is it the same program?)",
                          *from, bytes, sizeof *out);
        goto done;
    }
    packet = cop_alloc((size_t)bytes, 1);
    if (packet == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM,
                          "search: no memory for a message of %" PRIu64 " bytes", bytes);
        goto done;
    }
    COP_TRY(status, cop_processes_receive(*from, packet, bytes, err));
    memcpy(out, packet, sizeof *out);
    *count = (int64_t)((bytes - sizeof *out) / sizeof **values);
    if (*count > 0) {
        *values = cop_alloc((size_t)*count, sizeof **values);
        if (*values == NULL) {
            status =
                COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for %" PRId64 " numbers", *count);
            goto done;
        }
        memcpy(*values, packet + sizeof *out, (size_t)*count * sizeof **values);
    }

done:
    cop_free(packet);
    return status;
}

void cop_message_pause(int *idle)
{
    const long milliseconds = *idle < 100 ? 1 : *idle < 200 ? 5 : 20;
    (*idle)++;
    cop_clock_pause(1e-3 * (double)milliseconds);
}

void cop_message_host(char out[COP_HOST_BYTES])
{
    char name[256] = "unknown";
    (void)gethostname(name, sizeof name);
    name[sizeof name - 1] = '\0';
    name[strcspn(name, ".")] = '\0';
    (void)snprintf(out, COP_HOST_BYTES, "%.*s", COP_HOST_BYTES - 1, name);
}

void cop_message_crowd(char out[COP_CROWD_BYTES], const char *backend)
{
    const cop_processes self = cop_processes_self();
    out[0] = '\0';
    if (self.local_rank == 0 && strcmp(backend, "cuda") != 0) {
        (void)cop_processes_crowd(out, COP_CROWD_BYTES, self.local_size, cop_system_threads(),
                                  (int)sysconf(_SC_NPROCESSORS_ONLN));
    }
}
