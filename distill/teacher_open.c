// What a cache file must say of itself before it is read.

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "distill/sample_internal.h"

static cop_status check_text(const cop_array_reader *reader, const char *path, const char *key,
                             const char *expected, cop_error *err)
{
    cop_status status = COP_OK;
    char *found = NULL;

    COP_TRY(status, cop_array_reader_text(reader, "", key, &found, err));
    if (strcmp(found, expected) != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: %s is %s (allowed: %s; remove the file to have it computed)", path,
                          key, found, expected);
    }

done:
    cop_free(found);
    return status;
}

static cop_status check_number(const cop_array_reader *reader, const char *path, const char *key,
                               int64_t expected, cop_error *err)
{
    int64_t found = 0;
    cop_status status = cop_array_reader_i64(reader, "", key, &found, err);
    if (status == COP_OK && found != expected) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: %s is %" PRId64 " (allowed: %" PRId64
                          "; remove the file to have it computed)",
                          path, key, found, expected);
    }
    return status;
}

static cop_status check_file(const cop_cache_files *files, const cop_cache_range *range,
                             const cop_array_reader *reader, cop_error *err)
{
    cop_status status = COP_OK;
    cop_dtype dtype = COP_F32;
    int rank = 0;
    int64_t shape[COP_ARRAY_RANK_MAX] = {0};

    COP_TRY(status, check_text(reader, range->path, "teacher_hash", files->teacher, err));
    COP_TRY(status, check_text(reader, range->path, "batches_hash", files->batches, err));
    COP_TRY(status, check_text(reader, range->path, "precision",
                               cop_precision_name(files->precision), err));
    COP_TRY(status, check_number(reader, range->path, "format", COP_CACHE_FORMAT, err));
    COP_TRY(status, check_number(reader, range->path, "first", range->first, err));
    COP_TRY(status, check_number(reader, range->path, "count", range->count, err));
    if (files->draws > 0) {
        COP_TRY(status, check_number(reader, range->path, "draws", files->draws, err));
        COP_TRY(status, check_number(reader, range->path, "seed", (int64_t)files->seed, err));
        COP_TRY(status, cop_sample_file_check(files, range, reader, err));
        goto done;
    }
    COP_TRY(status, cop_array_reader_shape(reader, "states", &dtype, &rank, shape, err));
    if (dtype != files->dtype || rank != 2 || shape[0] != range->count ||
        shape[1] != files->sequence * files->width) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT,
                     "%s: states are %s of rank %d with %" PRId64 " x %" PRId64
                     " (allowed: %s, %" PRId64 " x %" PRId64 ")",
                     range->path, cop_dtype_name(dtype), rank, shape[0], shape[1],
                     cop_dtype_name(files->dtype), range->count, files->sequence * files->width);
    }

done:
    return status;
}

cop_status cop_cache_files_read(const cop_cache_files *files, int64_t index, cop_array_reader **out,
                                cop_error *err)
{
    cop_status status = COP_OK;
    cop_array_reader *reader = NULL;

    *out = NULL;
    COP_TRY(status, cop_array_reader_open(&reader, files->range[index].path, err));
    COP_TRY(status, check_file(files, &files->range[index], reader, err));
    *out = reader;
    reader = NULL;

done:
    cop_array_reader_destroy(reader);
    return status;
}
