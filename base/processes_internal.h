// How processes find out, without MPI, that they were started together. For base/processes*.c.

#ifndef COP_BASE_PROCESSES_INTERNAL_H
#define COP_BASE_PROCESSES_INTERNAL_H

#include "base/processes.h"

// How many processes the environment speaks of; 1: this one alone. COP_ERR_UNSUPPORTED: srun started
// several without telling them how to find one another.
COP_MUST_CHECK cop_status cop_processes_launched(int64_t *count, cop_error *err);

#endif
