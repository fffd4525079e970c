#include "base/system.h"

#include <gsl/gsl_errno.h>
#include <hdf5.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"

enum { LINE_BYTES = 512 };

void cop_system_silence_libraries(void)
{
    (void)gsl_set_error_handler_off();
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

int cop_system_threads(void)
{
    const int threads = omp_get_max_threads();
    return threads >= 1 ? threads : 1;
}

// The text behind "<key>" and ':' or white space in a file of such lines; false when absent.
static bool read_field(const char *path, const char *key, char *out, size_t bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool is_found = false;
    char line[LINE_BYTES];
    const size_t key_length = strlen(key);
    while (!is_found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, key_length) == 0) {
            const char *value = line + key_length;
            value += strspn(value, ": \t");
            (void)snprintf(out, bytes, "%.*s", (int)strcspn(value, "\n"), value);
            is_found = true;
        }
    }
    (void)fclose(file);
    return is_found;
}

// "<key>: <number> kB" of /proc, in bytes; 0 when absent.
static uint64_t read_kilobytes(const char *path, const char *key)
{
    char text[LINE_BYTES];
    unsigned long long kilobytes = 0;
    if (!read_field(path, key, text, sizeof text) || sscanf(text, "%llu", &kilobytes) != 1) {
        return 0;
    }
    return (uint64_t)kilobytes * 1024;
}

void cop_system_cpu_name(char *out, int bytes)
{
    if (!read_field("/proc/cpuinfo", "model name", out, (size_t)bytes)) {
        (void)snprintf(out, (size_t)bytes, "unknown");
    }
}

// A number in a file of its own; UINT64_MAX when it is absent or "max".
static uint64_t read_limit(const char *path)
{
    char text[LINE_BYTES];
    unsigned long long value = 0;
    if (!read_field(path, "", text, sizeof text) || sscanf(text, "%llu", &value) != 1) {
        return UINT64_MAX;
    }
    return value;
}

// The process's folder below the mount point of control groups, version 2; "" when unknown.
static void find_cgroup(char *out, size_t bytes)
{
    if (!read_field("/proc/self/cgroup", "0::", out, bytes)) {
        (void)snprintf(out, bytes, "%s", "");
    }
}

// The lowest limit on the way from the process's group to the root (version 2), or the limit of
// version 1, and what is used under it.
static void read_cgroup(uint64_t *limit_bytes, uint64_t *used_bytes)
{
    char group[LINE_BYTES];
    char path[2 * LINE_BYTES];
    *limit_bytes = read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    *used_bytes = read_limit("/sys/fs/cgroup/memory/memory.usage_in_bytes");
    find_cgroup(group, sizeof group);
    for (;;) {
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
        const uint64_t limit = read_limit(path);
        if (limit < *limit_bytes) {
            *limit_bytes = limit;
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", group);
            *used_bytes = read_limit(path);
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            break;
        }
        *slash = '\0';
    }
}

uint64_t cop_system_memory_bytes(void)
{
    uint64_t limit;
    uint64_t used;
    read_cgroup(&limit, &used);
    const uint64_t physical = read_kilobytes("/proc/meminfo", "MemTotal");
    return limit < physical ? limit : physical;
}

uint64_t cop_system_memory_free_bytes(void)
{
    uint64_t limit;
    uint64_t used;
    read_cgroup(&limit, &used);
    const uint64_t available = read_kilobytes("/proc/meminfo", "MemAvailable");
    if (limit == UINT64_MAX || used == UINT64_MAX) {
        return available;
    }
    const uint64_t left = limit > used ? limit - used : 0;
    return left < available ? left : available;
}

uint64_t cop_system_resident_bytes(void)
{
    return read_kilobytes("/proc/self/status", "VmRSS");
}

uint64_t cop_system_resident_peak_bytes(void)
{
    return read_kilobytes("/proc/self/status", "VmHWM");
}

uint64_t cop_system_disk_free_bytes(const char *path)
{
    struct statvfs info;
    if (statvfs(path, &info) != 0) {
        return 0;
    }
    return (uint64_t)info.f_bavail * info.f_frsize;
}
