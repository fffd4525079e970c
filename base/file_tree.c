// Names, directories and whole trees of files.

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

cop_status cop_file_fail(cop_error *err, const char *path, const char *action)
{
    char reason[128] = "unknown error";
    (void)strerror_r(errno, reason, sizeof reason);
    return COP_FAIL(err, COP_ERR_IO, "%s: cannot %s: %s", path, action, reason);
}

bool cop_file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool cop_file_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

cop_status cop_file_make_directory(const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    char *partial = cop_alloc_string(path);
    if (partial == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
    }
    for (char *p = partial; status == COP_OK; p++) {
        if (p > partial && (*p == '/' || *p == '\0')) {
            const char held = *p;
            *p = '\0';
            if (mkdir(partial, 0777) != 0 && !(errno == EEXIST && cop_file_is_directory(partial))) {
                errno = errno == EEXIST ? ENOTDIR : errno; // a file stands in the way
                status = cop_file_fail(err, path, "create the directory");
            }
            *p = held;
        }
        if (*p == '\0') {
            break;
        }
    }
    cop_free(partial);
    return status;
}

// Removes everything in the directory open at `fd`, which it closes. 0, or -1 with errno.
static int empty_directory(int fd)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        (void)close(fd);
        return -1;
    }
    int result = 0;
    struct dirent *entry;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own
    while (result == 0 && (errno = 0, entry = readdir(directory)) != NULL) {
        const char *name = entry->d_name;
        if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'))) {
            continue;
        }
        if (unlinkat(dirfd(directory), name, 0) == 0) {
            continue;
        }
        const int inner =
            openat(dirfd(directory), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        result = inner < 0 ? -1 : empty_directory(inner);
        if (result == 0) {
            result = unlinkat(dirfd(directory), name, AT_REMOVEDIR);
        }
    }
    if (result == 0 && errno != 0) {
        result = -1;
    }
    const int reason = errno;
    (void)closedir(directory);
    errno = reason;
    return result;
}

cop_status cop_file_remove_tree(const char *path, cop_error *err)
{
    if (unlink(path) == 0 || errno == ENOENT) {
        return COP_OK;
    }
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || empty_directory(fd) != 0 || rmdir(path) != 0) {
        return cop_file_fail(err, path, "remove");
    }
    return COP_OK;
}

// fsync of the folder that holds `path`: only then is a new name in it safe from a power cut.
static cop_status sync_parent(const char *path, cop_error *err)
{
    const char *name = cop_file_name(path);
    char *parent = cop_alloc_string(path);
    if (parent == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
    }
    parent[name - path] = '\0';
    const cop_status status = cop_file_sync(parent[0] != '\0' ? parent : ".", err);
    cop_free(parent);
    return status;
}

cop_status cop_file_replace_directory(const char *to, const char *from, cop_error *err)
{
    cop_status status = COP_OK;
    cop_text aside = {0};
    const bool is_replaced = cop_file_exists(to);

    cop_text_appendf(&aside, "%s.old.%ld", to, (long)getpid());
    COP_TRY(status, cop_text_check(&aside, to, err));
    COP_TRY(status, cop_file_remove_tree(cop_text_view(&aside), err));
    if (is_replaced && rename(to, cop_text_view(&aside)) != 0) {
        status = cop_file_fail(err, to, "move aside");
        goto done;
    }
    if (rename(from, to) != 0) {
        status = cop_file_fail(err, to, "replace");
        if (is_replaced) {
            (void)rename(cop_text_view(&aside), to); // the first failure is the one to report
        }
        goto done;
    }
    COP_TRY(status, sync_parent(to, err));
    if (is_replaced) {
        COP_TRY(status, cop_file_remove_tree(cop_text_view(&aside), err));
    }

done:
    cop_text_release(&aside);
    return status;
}

cop_status cop_file_publish(const char *path, const char *temp_path, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_file_sync(temp_path, err));
    if (rename(temp_path, path) != 0) {
        status = cop_file_fail(err, path, "replace");
        goto done;
    }
    COP_TRY(status, sync_parent(path, err));

done:
    return status;
}

cop_status cop_file_sync(const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cop_file_fail(err, path, "open");
    }
    // Some file systems know no fsync of a directory: EINVAL says so.
    if (fsync(fd) != 0 && errno != EINVAL) {
        status = cop_file_fail(err, path, "sync");
    }
    (void)close(fd);
    return status;
}

static bool is_empty_directory(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return false;
    }
    size_t entries = 0;                                 // "." and ".." are always there
    while (entries < 3 && readdir(directory) != NULL) { // NOLINT(concurrency-mt-unsafe): as above
        entries++;
    }
    (void)closedir(directory);
    return entries < 3;
}

cop_status cop_file_check_absent(const char *path, bool force, cop_error *err)
{
    if (force || !cop_file_exists(path) || is_empty_directory(path)) {
        return COP_OK;
    }
    return COP_FAIL(err, COP_ERR_IO, "%s: exists already (allowed: a new path, or --force)", path);
}

char *cop_file_join(const char *directory, const char *name)
{
    const size_t length = strlen(directory);
    const bool has_slash = length > 0 && directory[length - 1] == '/';
    cop_text path = {0};
    cop_text_appendf(&path, "%s%s%s", directory, has_slash || length == 0 ? "" : "/", name);
    return path.data; // NULL when memory was exhausted
}

const char *cop_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}
