#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"

enum { WRITER_BUFFER_BYTES = 1 << 20 };

static cop_status fail_with_nomem(cop_error *err, const char *path)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
}

// Opens a regular file for reading. Non-blocking: opening a FIFO by mistake must not hang.
static cop_status open_regular(int *out, struct stat *info, const char *path, cop_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *out = -1;
    if (fd < 0) {
        return cop_file_fail(err, path, "open");
    }
    if (fstat(fd, info) != 0) {
        const cop_status status = cop_file_fail(err, path, "stat");
        (void)close(fd);
        return status;
    }
    if (!S_ISREG(info->st_mode)) {
        (void)close(fd);
        return COP_FAIL(err, COP_ERR_IO, "%s: is a %s (allowed: a regular file)", path,
                        S_ISDIR(info->st_mode) ? "directory" : "device or pipe");
    }
    *out = fd;
    return COP_OK;
}

cop_status cop_file_map_open(cop_file_map *map, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    struct stat info;
    int fd = -1;

    *map = (cop_file_map){0};
    COP_TRY(status, open_regular(&fd, &info, path, err));
    map->device = (uint64_t)info.st_dev;
    map->inode = (uint64_t)info.st_ino;
    if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = cop_file_fail(err, path, "map");
            goto done;
        }
        map->data = data;
        map->bytes = (size_t)info.st_size;
    }

done:
    if (fd >= 0) {
        (void)close(fd); // read-only: nothing can be lost
    }
    return status;
}

cop_status cop_file_map_reopen(const cop_file_map *map, int *out, const char *path, cop_error *err)
{
    struct stat info;
    int fd = -1;

    *out = -1;
    const cop_status status = open_regular(&fd, &info, path, err);
    if (status != COP_OK) {
        return status;
    }
    if ((uint64_t)info.st_dev != map->device || (uint64_t)info.st_ino != map->inode) {
        (void)close(fd);
        return COP_FAIL(err, COP_ERR_IO,
                        "%s: was replaced while it was in use (allowed: the file that was opened)",
                        path);
    }
    *out = fd;
    return COP_OK;
}

void cop_file_map_forget(const cop_file_map *map, size_t offset, size_t bytes)
{
    const long page_size = sysconf(_SC_PAGESIZE);
    if (map->data == NULL || page_size <= 0 || offset >= map->bytes) {
        return;
    }
    // Only pages that lie inside the range: the neighbours may still be in use.
    const size_t page = (size_t)page_size;
    const size_t end_limit = bytes < map->bytes - offset ? offset + bytes : map->bytes;
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = end_limit == map->bytes ? map->bytes : end_limit / page * page;
    if (begin < end) {
        (void)madvise((char *)map->data + begin, end - begin, MADV_DONTNEED);
    }
}

void cop_file_map_release(cop_file_map *map)
{
    if (map->data != NULL) {
        (void)munmap(map->data, map->bytes);
    }
    *map = (cop_file_map){0};
}

static cop_status read_fully(int fd, char *data, size_t bytes, size_t *bytes_read, const char *path,
                             cop_error *err)
{
    size_t done_bytes = 0;
    while (done_bytes < bytes) {
        const ssize_t got = read(fd, data + done_bytes, bytes - done_bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return cop_file_fail(err, path, "read");
        }
        if (got == 0) {
            break;
        }
        done_bytes += (size_t)got;
    }
    *bytes_read = done_bytes;
    return COP_OK;
}

cop_status cop_file_read(char **out, size_t *bytes_out, const char *path, size_t bytes_max,
                         cop_error *err)
{
    cop_status status = COP_OK;
    struct stat info;
    int fd = -1;
    char *data = NULL;
    size_t bytes = 0;

    *out = NULL;
    COP_TRY(status, open_regular(&fd, &info, path, err));
    if ((uintmax_t)info.st_size > bytes_max) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: has %lld bytes (allowed: at most %zu)", path,
                          (long long)info.st_size, bytes_max);
        goto done;
    }
    data = cop_alloc((size_t)info.st_size + 1, 1);
    if (data == NULL) {
        status = fail_with_nomem(err, path);
        goto done;
    }
    COP_TRY(status, read_fully(fd, data, (size_t)info.st_size, &bytes, path, err));
    data[bytes] = '\0';
    if (bytes_out != NULL) {
        *bytes_out = bytes;
    }
    *out = data;
    data = NULL;

done:
    cop_free(data);
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}

cop_status cop_file_writer_open(cop_file_writer *writer, const char *path, cop_error *err)
{
    cop_text temp_path = {0};
    *writer = COP_FILE_WRITER_CLOSED;
    cop_text_appendf(&temp_path, "%s.tmp.%ld", path, (long)getpid());
    writer->path = cop_alloc_string(path);
    writer->buffer = cop_alloc(WRITER_BUFFER_BYTES, 1);
    if (temp_path.is_broken || writer->path == NULL || writer->buffer == NULL) {
        cop_text_release(&temp_path);
        cop_file_writer_release(writer);
        return fail_with_nomem(err, path);
    }
    writer->temp_path = temp_path.data;
    writer->fd = open(writer->temp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        const cop_status status = cop_file_fail(err, path, "create");
        cop_file_writer_release(writer);
        return status;
    }
    return COP_OK;
}

static cop_status write_fully(cop_file_writer *writer, const void *data, size_t bytes,
                              cop_error *err)
{
    const char *rest = data;
    while (bytes > 0) {
        const ssize_t put = write(writer->fd, rest, bytes);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return cop_file_fail(err, writer->path, "write");
        }
        rest += put;
        bytes -= (size_t)put;
    }
    return COP_OK;
}

static cop_status flush(cop_file_writer *writer, cop_error *err)
{
    const size_t bytes = writer->buffered_bytes;
    writer->buffered_bytes = 0;
    return write_fully(writer, writer->buffer, bytes, err);
}

cop_status cop_file_writer_write(cop_file_writer *writer, const void *data, size_t bytes,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    assert(writer->fd >= 0);
    if (bytes > WRITER_BUFFER_BYTES - writer->buffered_bytes) {
        COP_TRY(status, flush(writer, err));
    }
    if (bytes >= WRITER_BUFFER_BYTES) {
        COP_TRY(status, write_fully(writer, data, bytes, err));
    } else if (bytes > 0) {
        memcpy(writer->buffer + writer->buffered_bytes, data, bytes);
        writer->buffered_bytes += bytes;
    }
    writer->bytes += bytes;

done:
    return status;
}

cop_status cop_file_writer_commit(cop_file_writer *writer, cop_error *err)
{
    cop_status status = COP_OK;
    int fd = -1;
    assert(writer->fd >= 0);
    COP_TRY(status, flush(writer, err));
    fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) {
        status = cop_file_fail(err, writer->path, "close");
        goto done;
    }
    COP_TRY(status, cop_file_publish(writer->path, writer->temp_path, err));
    cop_free(writer->temp_path); // it is the file now: nothing is left to remove
    writer->temp_path = NULL;

done:
    cop_file_writer_release(writer);
    return status;
}

void cop_file_writer_release(cop_file_writer *writer)
{
    const bool is_open = writer->fd >= 0;
    if (is_open) {
        (void)close(writer->fd); // given up: what is lost was not wanted
    }
    if (writer->temp_path != NULL) {
        (void)unlink(writer->temp_path);
    }
    cop_free(writer->temp_path);
    cop_free(writer->path);
    cop_free(writer->buffer);
    *writer = COP_FILE_WRITER_CLOSED;
}

cop_status cop_file_write(const char *path, const void *data, size_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    cop_file_writer writer = COP_FILE_WRITER_CLOSED;
    COP_TRY(status, cop_file_writer_open(&writer, path, err));
    COP_TRY(status, cop_file_writer_write(&writer, data, bytes, err));
    COP_TRY(status, cop_file_writer_commit(&writer, err));

done:
    cop_file_writer_release(&writer);
    return status;
}

cop_status cop_file_copy(const char *to, const char *from, cop_error *err)
{
    cop_status status = COP_OK;
    cop_file_writer writer = COP_FILE_WRITER_CLOSED;
    struct stat info;
    int fd = -1;
    char *piece = NULL;
    size_t bytes = 0;

    COP_TRY(status, open_regular(&fd, &info, from, err));
    piece = cop_alloc(WRITER_BUFFER_BYTES, 1);
    if (piece == NULL) {
        status = fail_with_nomem(err, from);
        goto done;
    }
    COP_TRY(status, cop_file_writer_open(&writer, to, err));
    do {
        COP_TRY(status, read_fully(fd, piece, WRITER_BUFFER_BYTES, &bytes, from, err));
        COP_TRY(status, cop_file_writer_write(&writer, piece, bytes, err));
    } while (bytes == WRITER_BUFFER_BYTES);
    COP_TRY(status, cop_file_writer_commit(&writer, err));

done:
    cop_file_writer_release(&writer);
    cop_free(piece);
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}
