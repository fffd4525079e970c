// Compiled with GNU extensions, for fallocate().

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"

// 0, or the reason as errno has it.
static int look_for_room(int fd, uint64_t bytes)
{
    struct stat info;
    struct statvfs disk;
    if (fstat(fd, &info) != 0 || fstatvfs(fd, &disk) != 0) {
        return 0; // nothing is known: the write itself will tell
    }
    const uint64_t held_bytes = (uint64_t)info.st_blocks * 512;
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return bytes > held_bytes && bytes - held_bytes > free_bytes ? ENOSPC : 0;
}

cop_status cop_file_reserve(int fd, const char *path, uint64_t bytes, cop_error *err)
{
    struct rlimit limit;
    int reason = 0;
    if (bytes > INT64_MAX || (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                              limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur)) {
        reason = EFBIG;
    } else if (bytes > 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0) {
        const bool is_unknown = errno == EOPNOTSUPP || errno == ENOSYS;
        reason = is_unknown ? look_for_room(fd, bytes) : errno;
    }
    if (reason == 0) {
        return COP_OK;
    }
    errno = reason;
    return cop_file_fail(err, path, "reserve room");
}
