// The owner's lock: flock() on <study>/study.lock. The kernel drops it when the owner dies, however it
// dies, so a stale lock cannot exist on one host; the text inside says whose it is.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "search/store_internal.h"

enum { OWNER_BYTES = 256, TRIES = 20 };

// A reader that looks whether the lock is held takes it for an instant: try for a second.
static bool try_lock(int fd, int kind, int tries)
{
    for (int i = 0; i < tries; i++) {
        if (flock(fd, kind | LOCK_NB) == 0) {
            return true;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return false;
        }
        if (i + 1 < tries) {
            cop_clock_pause(0.05);
        }
    }
    errno = EWOULDBLOCK;
    return false;
}

// "process 123 on host since 2025-01-31T12:00:00Z", or a placeholder for an unreadable file.
static void read_owner(char *out, size_t bytes, int fd)
{
    const ssize_t got = pread(fd, out, bytes - 1, 0);
    out[got > 0 ? (size_t)got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    for (char *c = out; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) {
            *c = '?';
        }
    }
    if (out[0] == '\0') {
        (void)snprintf(out, bytes, "an unnamed process");
    }
}

static cop_status write_owner(int fd, const char *path, cop_error *err)
{
    char host[128] = "unknown host";
    char date[COP_CLOCK_DATE_BYTES];
    char line[OWNER_BYTES];
    (void)gethostname(host, sizeof host);
    host[sizeof host - 1] = '\0';
    (void)snprintf(line, sizeof line, "process %ld on %s since %s\n", (long)getpid(), host,
                   cop_clock_date(date));
    const size_t bytes = strlen(line);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, line, bytes, 0) != (ssize_t)bytes) {
        char reason[128];
        return COP_FAIL(err, COP_ERR_IO, "%s: cannot write: %s", path,
                        strerror_r(errno, reason, sizeof reason) == 0 ? reason : "unknown");
    }
    return COP_OK;
}

cop_status cop_store_lock(int *out, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    char reason[128];
    int fd = -1;
    char *path = cop_file_join(directory, "study.lock");
    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", directory);
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = COP_FAIL(err, COP_ERR_IO, "%s: cannot open: %s", path,
                          strerror_r(errno, reason, sizeof reason) == 0 ? reason : "unknown");
        goto done;
    }
    if (!try_lock(fd, LOCK_EX, TRIES)) {
        if (errno == EWOULDBLOCK) {
            char owner[OWNER_BYTES];
            read_owner(owner, sizeof owner, fd);
            status = COP_FAIL(err, COP_ERR_IO,
                              "%s: the study is in use by %s (allowed: one search at a time)", path,
                              owner);
        } else {
            status = COP_FAIL(err, COP_ERR_IO, "%s: cannot lock: %s", path,
                              strerror_r(errno, reason, sizeof reason) == 0 ? reason : "unknown");
        }
        goto done;
    }
    COP_TRY(status, write_owner(fd, path, err));
    *out = fd;
    fd = -1;
done:
    if (fd >= 0) {
        (void)close(fd);
    }
    cop_free(path);
    return status;
}

void cop_store_unlock(int fd)
{
    if (fd >= 0) {
        (void)ftruncate(fd, 0);
        (void)close(fd);
    }
}

bool cop_store_owner(const char *directory, char *out, size_t bytes)
{
    bool is_owned = false;
    char *path = cop_file_join(directory, "study.lock");
    const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    out[0] = '\0';
    if (fd >= 0) {
        is_owned = !try_lock(fd, LOCK_SH, 1) && errno == EWOULDBLOCK;
        if (is_owned) {
            read_owner(out, bytes, fd);
        }
        (void)close(fd);
    }
    cop_free(path);
    return is_owned;
}
