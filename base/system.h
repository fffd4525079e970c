// What the process runs on: cores, memory, and what it uses of them.

#ifndef COP_BASE_SYSTEM_H
#define COP_BASE_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Switches off the libraries' own error printing and aborting (GSL, HDF5): their failures come
// back as status codes. Called first in every main().
void cop_system_silence_libraries(void);

int cop_system_threads(void);                   // threads of OpenMP regions, at least 1
void cop_system_cpu_name(char *out, int bytes); // "AMD EPYC …", or "unknown"
uint64_t cop_system_memory_bytes(void);         // physical, or the cgroup's limit when lower
uint64_t cop_system_memory_free_bytes(void);    // available without swapping, cgroup considered
uint64_t cop_system_resident_bytes(void);       // of this process, now
uint64_t cop_system_resident_peak_bytes(void);  // of this process, since its start
uint64_t cop_system_disk_free_bytes(const char *path); // 0 when unknown

#ifdef __cplusplus
}
#endif

#endif
