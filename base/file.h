// Files: read-only mappings, whole reads, positioned reads, and writes that are finished or absent.
// Every failure names the file and the reason of the operating system.

#ifndef COP_BASE_FILE_H
#define COP_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// COP_ERR_IO "<path>: cannot <action>: <reason>", the reason taken from errno.
cop_status cop_file_fail(cop_error *err, const char *path, const char *action);

// Zero-initialize with `= {0}`: releasing such a map does nothing.
typedef struct cop_file_map {
    void *data; // page-aligned, read-only: writing faults; NULL when the file is empty
    size_t bytes;
    uint64_t device; // of the file, with `inode`: what it is, whatever its name becomes
    uint64_t inode;
} cop_file_map;

// Maps the whole file. COP_ERR_IO if it is no regular file, or cannot be opened or mapped.
COP_MUST_CHECK cop_status cop_file_map_open(cop_file_map *map, const char *path, cop_error *err);

// Opens the file at `path` once more for reading, for pread(); owned: close(). COP_ERR_IO when it is
// not the file that was mapped.
COP_MUST_CHECK cop_status cop_file_map_reopen(const cop_file_map *map, int *out, const char *path,
                                              cop_error *err);

// Tells the system that bytes [offset, offset + bytes) are not needed any more, so that a scan of
// a large file does not grow the resident set. Advice only.
void cop_file_map_forget(const cop_file_map *map, size_t offset, size_t bytes);

// Unmaps and zeroes `map`.
void cop_file_map_release(cop_file_map *map);

// Reads a whole file of at most `bytes_max` bytes into a NUL-terminated block owned by the caller
// (cop_free). COP_ERR_FORMAT when it is larger. `bytes_out` may be NULL.
COP_MUST_CHECK cop_status cop_file_read(char **out, size_t *bytes_out, const char *path,
                                        size_t bytes_max, cop_error *err);

// Reads bytes [offset, offset + bytes) of an open file into `to`, in pieces of 4 MiB by a few threads
// at once: what a fast disk needs, and faster than page faults on a mapping. COP_ERR_IO: the
// system's error, or the file ends before; then `to` holds anything. `path` is for the message.
COP_MUST_CHECK cop_status cop_file_read_parallel(void *to, int file, uint64_t offset,
                                                 uint64_t bytes, const char *path, cop_error *err);

// Writing: bytes go to `<path>.tmp.<pid>`; commit flushes, fsyncs, renames over `path` and fsyncs
// the folder. Release without commit removes the temporary file: a reader sees the old file or
// the new one, never a part.
typedef struct cop_file_writer {
    int fd;          // -1 when closed
    char *path;      // owned
    char *temp_path; // owned
    unsigned char *buffer;
    size_t buffered_bytes;
    uint64_t bytes; // written so far
} cop_file_writer;

#define COP_FILE_WRITER_CLOSED \
    (cop_file_writer)          \
    {                          \
        .fd = -1               \
    }

COP_MUST_CHECK cop_status cop_file_writer_open(cop_file_writer *writer, const char *path,
                                               cop_error *err);
COP_MUST_CHECK cop_status cop_file_writer_write(cop_file_writer *writer, const void *data,
                                                size_t bytes, cop_error *err);
COP_MUST_CHECK cop_status cop_file_writer_commit(cop_file_writer *writer, cop_error *err);
void cop_file_writer_release(cop_file_writer *writer);

// Open, write, commit in one call.
COP_MUST_CHECK cop_status cop_file_write(const char *path, const void *data, size_t bytes,
                                         cop_error *err);

// Copies a file atomically.
COP_MUST_CHECK cop_status cop_file_copy(const char *to, const char *from, cop_error *err);

bool cop_file_exists(const char *path);
bool cop_file_is_directory(const char *path);

// Creates a directory and its missing parents; an existing directory is fine.
COP_MUST_CHECK cop_status cop_file_make_directory(const char *path, cop_error *err);

// Removes a file, or a directory with all it holds. A missing path is fine. Symbolic links are
// removed, not followed.
COP_MUST_CHECK cop_status cop_file_remove_tree(const char *path, cop_error *err);

// Moves `from` to `to`, replacing a directory there (`to` is moved aside first, removed last), and
// fsyncs the parent folder. Both must lie on one file system.
COP_MUST_CHECK cop_status cop_file_replace_directory(const char *to, const char *from,
                                                     cop_error *err);

// The last step of an atomic write by other means: fsyncs the finished `temp_path`, renames it to
// `path`, fsyncs the folder. On failure `temp_path` is left for the caller to remove.
COP_MUST_CHECK cop_status cop_file_publish(const char *path, const char *temp_path, cop_error *err);

// Makes sure that the file open at `fd` can grow to `bytes` bytes, without changing its size: room
// is reserved on the disk where the file system can, looked for where it cannot. `path` is for the
// message.
COP_MUST_CHECK cop_status cop_file_reserve(int fd, const char *path, uint64_t bytes,
                                           cop_error *err);

// fsync of a file or directory by name.
COP_MUST_CHECK cop_status cop_file_sync(const char *path, cop_error *err);

// COP_ERR_IO "<path>: exists already (allowed: a new path, or --force)" when `path` exists and
// `force` is false. An empty directory counts as absent.
COP_MUST_CHECK cop_status cop_file_check_absent(const char *path, bool force, cop_error *err);

// "<directory>/<name>", owned by the caller (cop_free), or NULL when memory is exhausted.
char *cop_file_join(const char *directory, const char *name);

// Part behind the last '/'; borrowed.
const char *cop_file_name(const char *path);

#ifdef __cplusplus
}
#endif

#endif
