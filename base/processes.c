#include "base/processes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/processes_internal.h"
#include "base/text.h"

// NOLINTBEGIN(concurrency-mt-unsafe): before any thread exists
static bool is_set(const char *name)
{
    return getenv(name) != NULL;
}

static int64_t number_of(const char *name)
{
    const char *text = getenv(name);
    int64_t value = 0;
    return text != NULL && cop_text_to_i64(text, &value) ? value : 0;
}

// NOLINTEND(concurrency-mt-unsafe)

cop_status cop_processes_launched(int64_t *count, cop_error *err)
{
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    const int64_t tasks = number_of("SLURM_STEP_NUM_TASKS");

    *count = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (number_of(sizes[i]) > 0) {
            *count = number_of(sizes[i]);
            return COP_OK;
        }
    }
    // A batch script is a step of one task, whatever the size of its allocation.
    if (tasks <= 1 || !is_set("SLURM_PROCID")) {
        return COP_OK;
    }
    if (!is_set("PMIX_RANK") && !is_set("PMI_RANK")) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "processes: srun started %" PRId64 " that cannot find one another "
                        "(allowed: srun --mpi=pmix, or mpirun)",
                        tasks);
    }
    *count = tasks;
    return COP_OK;
}

bool cop_processes_crowd(char *out, size_t bytes, int processes, int threads, int cores)
{
    const int64_t busy = (int64_t)processes * threads;

    out[0] = '\0';
    if (busy <= cores) {
        return false;
    }
    if (processes <= cores) {
        (void)snprintf(out, bytes,
                       "%d processes of %d threads share %d cores of this machine: set "
                       "OMP_NUM_THREADS=%d",
                       processes, threads, cores, cores / processes);
    } else {
        (void)snprintf(out, bytes,
                       "%d processes share %d cores of this machine: start at most %d, with "
                       "OMP_NUM_THREADS=1",
                       processes, cores, cores);
    }
    return true;
}
