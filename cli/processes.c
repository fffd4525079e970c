// Commands that several processes run together.

#include "base/processes.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "kernels/backend.h"

// Processes that are bound to cores of their own have their share; others divide what is there.
static void share_threads(const cop_cli_common *common, int processes)
{
    const int cores = omp_get_num_procs();
    const bool is_bound = cores < (int)sysconf(_SC_NPROCESSORS_ONLN);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread exists
    if (common->threads == 0 && !is_bound && getenv("OMP_NUM_THREADS") == NULL) {
        omp_set_num_threads(cores > processes ? cores / processes : 1);
    }
}

static void warn_of_crowds(int processes)
{
    char line[160];
    const int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    const int devices = cop_backend_devices();
    if (devices > 0 && processes > devices) {
        cop_log(COP_LOG_WARNING, "%d processes share %d GPUs of this machine", processes, devices);
    } else if (cop_processes_crowd(line, sizeof line, processes, omp_get_max_threads(), cores)) {
        cop_log(COP_LOG_WARNING, "%s", line);
    }
}

cop_status cop_cli_join(const cop_cli_common *common, cop_error *err)
{
    const cop_status status = cop_processes_start(err);
    const cop_processes self = cop_processes_self();

    if (status != COP_OK || self.size == 1) {
        return status;
    }
    if (self.rank > 0) {
        cop_log_set_sink(NULL, NULL);
    }
    share_threads(common, self.local_size);
    warn_of_crowds(self.local_size);
    return COP_OK;
}

bool cop_cli_is_speaker(void)
{
    return cop_processes_self().rank == 0;
}

int cop_cli_leave(cop_status status, int code, const cop_error *err, bool do_all_know)
{
    const cop_processes self = cop_processes_self();

    if (status != COP_OK && do_all_know && self.rank > 0) {
        code = COP_EXIT_FAILED;
    } else if (status != COP_OK) {
        code = cop_cli_fail(err);
    }
    if (status != COP_OK && !do_all_know) {
        cop_processes_abort(code);
    }
    cop_processes_stop();
    return code;
}
