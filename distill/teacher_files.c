#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "base/text.h"
#include "distill/sample_internal.h"

enum { NAME_BYTES = 128 };

static const time_t leftover_seconds = 600;
static const uint64_t file_bytes_max = (uint64_t)256 << 20;  // what an interruption loses at most
static const uint64_t sample_bytes_max = (uint64_t)64 << 20; // the same, about a quarter on disk

// Of one sequence; of samples the most that it may take.
static uint64_t row_bytes(const cop_cache_files *files)
{
    if (files->draws > 0) {
        return (uint64_t)files->sequence * cop_teacher_sample_bytes(files->draws);
    }
    return (uint64_t)files->sequence * (uint64_t)files->width * cop_dtype_bytes(files->dtype);
}

// Number after `*at`, which then points behind it and the separator `end`.
static bool parse_number(const char **at, const char *end, int64_t *out)
{
    char digits[COP_TEXT_NUMBER_BYTES];
    const size_t length = strspn(*at, "0123456789");
    if (length == 0 || length >= sizeof digits || strncmp(*at + length, end, strlen(end)) != 0) {
        return false;
    }
    memcpy(digits, *at, length);
    digits[length] = '\0';
    *at += length + strlen(end);
    return cop_text_to_i64(digits, out);
}

static const char *kind_of(const cop_cache_files *files)
{
    return files->draws > 0 ? "samples-" : "";
}

// Whether `name` is "<key>-<first>-<count>.h5", or "<key>-samples-…". Temporary files have a longer
// ending.
static bool parse_name(const cop_cache_files *files, const char *name, cop_cache_range *range)
{
    const size_t key_length = strlen(files->key);
    const size_t kind_length = strlen(kind_of(files));
    if (strncmp(name, files->key, key_length) != 0 || name[key_length] != '-' ||
        strncmp(name + key_length + 1, kind_of(files), kind_length) != 0) {
        return false;
    }
    const char *at = name + key_length + 1 + kind_length;
    return parse_number(&at, "-", &range->first) && parse_number(&at, ".h5", &range->count) &&
           *at == '\0' && range->count > 0 && range->first <= INT64_MAX - range->count;
}

// Inserts a range in order of `first`; takes `path`.
static cop_status insert(cop_cache_files *files, int64_t first, int64_t count, char *path,
                         cop_error *err)
{
    cop_cache_range *grown =
        path == NULL ? NULL
                     : cop_realloc(files->range, (size_t)files->ranges + 1, sizeof *files->range);
    if (grown == NULL) {
        cop_free(path);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to list the teacher cache",
                        files->directory);
    }
    files->range = grown;
    int64_t at = files->ranges;
    for (; at > 0 && grown[at - 1].first > first; at--) {
        grown[at] = grown[at - 1];
    }
    grown[at] = (cop_cache_range){.first = first, .count = count, .path = path};
    files->ranges++;
    return COP_OK;
}

// Removes what a process that was killed while it filled this cache left behind: a temporary file that
// nobody has written to for a while. One that cannot be removed stays: it does no harm.
static void remove_leftover(const cop_cache_files *files, const char *name)
{
    struct stat info;
    const size_t key_length = strlen(files->key);
    if (strncmp(name, files->key, key_length) != 0 || strstr(name, ".h5.tmp.") == NULL) {
        return;
    }
    char *path = cop_file_join(files->directory, name);
    if (path != NULL && stat(path, &info) == 0 && time(NULL) - info.st_mtime > leftover_seconds) {
        (void)remove(path);
    }
    cop_free(path);
}

static cop_status list_files(cop_cache_files *files, cop_error *err)
{
    cop_status status = COP_OK;
    DIR *directory = opendir(files->directory);

    if (directory == NULL) {
        return COP_FAIL(err, COP_ERR_IO, "%s: the teacher cache cannot be listed: error %d",
                        files->directory, errno);
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
    for (const struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) { // NOLINT(concurrency-mt-unsafe): as above
        cop_cache_range range = {0};
        remove_leftover(files, entry->d_name);
        if (parse_name(files, entry->d_name, &range)) {
            COP_TRY(status, insert(files, range.first, range.count,
                                   cop_file_join(files->directory, entry->d_name), err));
        }
    }

done:
    (void)closedir(directory);
    return status;
}

static cop_status make_key(cop_cache_files *files, const cop_teacher_model *teacher,
                           const cop_sampler *sampler, cop_error *err)
{
    cop_status status = COP_OK;
    cop_hasher *hasher = NULL;
    cop_hash hash = {0};

    COP_TRY(status, cop_checkpoint_hash(teacher->checkpoint, &hash, err));
    cop_hash_text(files->teacher, hash);
    cop_hash_text(files->batches, cop_sampler_hash(sampler));
    COP_TRY(status, cop_hasher_create(&hasher, err));
    cop_hasher_add_text(hasher, files->teacher);
    cop_hasher_add_text(hasher, files->batches);
    cop_hasher_add_text(hasher, cop_precision_name(files->precision));
    if (files->draws > 0) {
        cop_hasher_add_text(hasher, "samples");
        cop_hasher_add_i64(hasher, files->draws);
        cop_hasher_add_i64(hasher, (int64_t)files->seed);
    }
    cop_hash_text(files->key, cop_hasher_value(hasher));

done:
    cop_hasher_destroy(hasher);
    return status;
}

cop_status cop_cache_files_open(cop_cache_files *files, const cop_teacher_model *teacher,
                                const cop_sampler *sampler, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;

    files->precision = teacher->options.precision;
    files->dtype = teacher->dtype;
    files->sequence = teacher->options.sequence;
    files->width = cop_checkpoint_arch(teacher->checkpoint)->hidden;
    files->vocab = cop_checkpoint_arch(teacher->checkpoint)->vocab;
    files->directory = cop_alloc_string(directory);
    if (files->directory == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open the teacher cache", directory);
    }
    COP_TRY(status, make_key(files, teacher, sampler, err));
    COP_TRY(status, cop_file_make_directory(directory, err));
    COP_TRY(status, list_files(files, err));

done:
    return status;
}

void cop_cache_files_release(cop_cache_files *files)
{
    for (int64_t i = 0; i < files->ranges; i++) {
        cop_free(files->range[i].path);
    }
    cop_free(files->range);
    cop_free(files->directory);
    *files = (cop_cache_files){0};
}

int64_t cop_cache_files_find(const cop_cache_files *files, int64_t index)
{
    for (int64_t i = 0; i < files->ranges && files->range[i].first <= index; i++) {
        if (index - files->range[i].first < files->range[i].count) {
            return i;
        }
    }
    return -1;
}

int64_t cop_cache_files_next(const cop_cache_files *files, int64_t from)
{
    if (cop_cache_files_find(files, from) >= 0) {
        return from;
    }
    for (int64_t i = 0; i < files->ranges; i++) {
        if (files->range[i].first >= from) {
            return files->range[i].first;
        }
    }
    return INT64_MAX;
}

// End of the hole in [from, count) that starts at `from`; moves `from` past what is there first.
static int64_t next_hole(const cop_cache_files *files, int64_t *from, int64_t count)
{
    int64_t index = -1;
    while (*from < count && (index = cop_cache_files_find(files, *from)) >= 0) {
        *from = files->range[index].first + files->range[index].count;
    }
    if (*from >= count) {
        *from = count;
        return count;
    }
    const int64_t next = cop_cache_files_next(files, *from);
    return next < count ? next : count;
}

int64_t cop_cache_files_missing(const cop_cache_files *files, int64_t count)
{
    int64_t missing = 0;
    for (int64_t at = 0; at < count;) {
        const int64_t end = next_hole(files, &at, count);
        missing += end - at;
        at = end;
    }
    return missing;
}

static cop_status check_disk(const cop_cache_files *files, int64_t missing, cop_error *err)
{
    const uint64_t free_bytes = cop_system_disk_free_bytes(files->directory); // 0: unknown
    if (free_bytes != 0 && (uint64_t)missing > free_bytes / row_bytes(files)) {
        char needed_text[COP_TEXT_NUMBER_BYTES];
        char free_text[COP_TEXT_NUMBER_BYTES];
        return COP_FAIL(err, COP_ERR_IO,
                        "%s: the teacher's %s of %" PRId64 " sequences need %s, %s are free "
                        "(allowed: what fits)",
                        files->directory, files->draws > 0 ? "samples" : "states", missing,
                        cop_text_bytes(needed_text, (uint64_t)missing * row_bytes(files)),
                        cop_text_bytes(free_text, free_bytes));
    }
    return COP_OK;
}

static cop_status put_attributes(const cop_cache_files *files, cop_array_writer *writer,
                                 int64_t first, int64_t count, cop_error *err)
{
    const struct {
        const char *key;
        const char *value;
    } texts[] = {
        {"content", files->draws > 0
                        ? "samples of the teacher's distributions: ids and counts of draws"
                        : "final hidden states of the teacher, one row of T * C per sequence"},
        {"teacher_hash", files->teacher},
        {"batches_hash", files->batches},
        {"precision", cop_precision_name(files->precision)},
    };

    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"format", COP_CACHE_FORMAT},   {"first", first},        {"count", count},
        {"sequence", files->sequence},  {"width", files->width}, {"draws", files->draws},
        {"seed", (int64_t)files->seed},
    };

    // The last two are of samples alone.
    const size_t numbers_count = sizeof numbers / sizeof numbers[0] - (files->draws > 0 ? 0 : 2);

    cop_status status = COP_OK;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        COP_TRY(status, cop_array_writer_text(writer, "", texts[i].key, texts[i].value, err));
    }
    for (size_t i = 0; i < numbers_count; i++) {
        COP_TRY(status, cop_array_writer_i64(writer, "", numbers[i].key, numbers[i].value, err));
    }

done:
    return status;
}

typedef struct filling {
    cop_cache_files *files;
    cop_teacher_model *teacher;
    cop_sampler *sampler;
    int32_t *ids;            // [batch, T]
    void *host;              // [batch, T * Ct]
    cop_sample_pack samples; // instead of states
    cop_progress progress;
    int64_t done_count;
} filling;

// The states of the window that starts at `window`, of which rows [at, stop) are written.
static cop_status put_states(filling *fill, cop_array_writer *writer, int64_t file_first,
                             int64_t window, int64_t at, int64_t stop, cop_error *err)
{
    const uint64_t bytes = row_bytes(fill->files);
    cop_status status = COP_OK;
    cop_matrix hidden = {0};

    COP_TRY(status,
            cop_teacher_run_window(fill->teacher, fill->sampler, window, fill->ids, &hidden, err));
    COP_TRY(status, cop_backend_to_host(fill->teacher->backend, NULL, fill->host, hidden.data,
                                        (uint64_t)fill->teacher->options.batch * bytes, err));
    COP_TRY(status, cop_backend_synchronize(fill->teacher->backend, NULL, err));
    COP_TRY(status, cop_array_writer_put_rows(
                        writer, "states", at - file_first, stop - at,
                        (const char *)fill->host + (uint64_t)(at - window) * bytes, err));

done:
    return status;
}

// Runs the window of sequence `at` and writes its rows below `end`; returns the first row after.
static cop_status put_window(filling *fill, cop_array_writer *writer, int64_t file_first,
                             int64_t at, int64_t end, int64_t *next, cop_error *err)
{
    const int64_t batch = fill->teacher->options.batch;
    const int64_t window = at - at % batch;
    const int64_t stop = window + batch < end ? window + batch : end;
    cop_status status = COP_OK;

    if (fill->files->draws > 0) {
        COP_TRY(status, cop_sample_pack_window(&fill->samples, window, at, stop, err));
    } else {
        COP_TRY(status, put_states(fill, writer, file_first, window, at, stop, err));
    }
    fill->done_count += stop - at;
    cop_progress_update(&fill->progress, fill->done_count, NULL);
    *next = stop;

done:
    return status;
}

// Computes and writes one file with sequences [first, end).
static cop_status write_file(filling *fill, int64_t first, int64_t end, cop_error *err)
{
    cop_cache_files *files = fill->files;
    const int64_t shape[] = {end - first, files->sequence * files->width};
    cop_status status = COP_OK;
    cop_array_writer *writer = NULL;
    char name[NAME_BYTES];
    char *path = NULL;

    (void)snprintf(name, sizeof name, "%s-%s%" PRId64 "-%" PRId64 ".h5", files->key, kind_of(files),
                   first, end - first);
    path = cop_file_join(files->directory, name);
    if (path == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for a file name", files->directory);
        goto done;
    }
    COP_TRY(status, cop_array_writer_create(&writer, path, err));
    if (files->draws > 0) {
        COP_TRY(status, cop_sample_pack_start(&fill->samples, end - first, err));
    } else {
        COP_TRY(status, cop_array_writer_make(writer, "states", files->dtype, 2, shape, err));
    }
    COP_TRY(status, put_attributes(files, writer, first, end - first, err));
    for (int64_t at = first; at < end;) {
        COP_TRY(status, put_window(fill, writer, first, at, end, &at, err));
    }
    if (files->draws > 0) {
        COP_TRY(status, cop_sample_pack_write(&fill->samples, writer, err));
    }
    COP_TRY(status, cop_array_writer_commit(writer, err));
    status = insert(files, first, end - first, path, err);
    path = NULL; // taken

done:
    cop_array_writer_destroy(writer);
    cop_free(path);
    return status;
}

// End of the file that starts at `first`: the hole's end, or a window boundary within the size limit.
static int64_t file_end(const filling *fill, int64_t first, int64_t hole_end)
{
    const int64_t batch = fill->teacher->options.batch;
    const uint64_t bytes_max = fill->files->draws > 0 ? sample_bytes_max : file_bytes_max;
    const uint64_t rows_max = bytes_max / row_bytes(fill->files);
    int64_t end = first + (rows_max > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)rows_max);
    end -= end % batch;
    end = end > first ? end : first - first % batch + batch;
    return end < hole_end ? end : hole_end;
}

cop_status cop_cache_files_fill(cop_cache_files *files, cop_teacher_model *teacher,
                                cop_sampler *sampler, int64_t count, cop_error *err)
{
    const int64_t missing = cop_cache_files_missing(files, count);
    const size_t batch = (size_t)teacher->options.batch;
    const bool had_network = teacher->network != NULL;
    cop_status status = COP_OK;
    filling fill = {.files = files, .teacher = teacher, .sampler = sampler};

    if (missing == 0) {
        return COP_OK;
    }
    COP_TRY(status, check_disk(files, missing, err));
    if (files->draws > 0) {
        COP_TRY(status, cop_sample_pack_open(&fill.samples, teacher, sampler, files->seed, err));
    }
    fill.ids = cop_alloc(batch * (size_t)files->sequence, sizeof *fill.ids);
    fill.host = cop_alloc(files->draws > 0 ? 1 : batch, row_bytes(files));
    if (fill.ids == NULL || fill.host == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to fill the teacher cache",
                          files->directory);
        goto done;
    }
    cop_progress_init(&fill.progress, "teacher", "sequence", missing, 0);
    for (int64_t at = 0; at < count;) {
        const int64_t hole_end = next_hole(files, &at, count);
        if (at < hole_end) {
            const int64_t end = file_end(&fill, at, hole_end);
            COP_TRY(status, write_file(&fill, at, end, err));
            at = end;
        }
    }
    cop_progress_finish(&fill.progress, "cached");

done:
    cop_sample_pack_release(&fill.samples);
    if (!had_network) { // only this needed it
        cop_teacher_model_drop_network(teacher);
    }
    cop_free(fill.ids);
    cop_free(fill.host);
    return status;
}
