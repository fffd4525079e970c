// The packed form: 32 bits for each distinct id of a token.

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "distill/sample_internal.h"

enum { ID_BITS = 22 };

_Static_assert(COP_ARCH_VOCAB_MAX <= 1 << ID_BITS, "an id has its place");
_Static_assert(COP_SAMPLE_DRAWS_MAX <= 1 << (32 - ID_BITS), "a count less one has its place");

uint64_t cop_teacher_sample_bytes(int64_t draws)
{
    return (uint64_t)draws * sizeof(int32_t) + sizeof(float);
}

// --- Writing ------------------------------------------------------------------------------------

cop_status cop_sample_pack_open(cop_sample_pack *pack, cop_teacher_model *teacher,
                                cop_sampler *sampler, uint64_t seed, cop_error *err)
{
    const cop_teacher_options *options = &teacher->options;
    cop_status status = COP_OK;

    COP_TRY(status, cop_sample_maker_init(&pack->maker, teacher, sampler, seed, err));
    COP_TRY(status, cop_sample_rows_init(&pack->window, options->batch * options->sequence,
                                         options->draws, err));

done:
    return status;
}

static void drop_file(cop_sample_pack *pack)
{
    cop_free(pack->draws);
    cop_free(pack->starts);
    cop_free(pack->entropy);
    pack->draws = NULL;
    pack->starts = NULL;
    pack->entropy = NULL;
}

void cop_sample_pack_release(cop_sample_pack *pack)
{
    drop_file(pack);
    cop_sample_rows_release(&pack->window);
    cop_sample_maker_release(&pack->maker);
}

cop_status cop_sample_pack_start(cop_sample_pack *pack, int64_t sequences, cop_error *err)
{
    const cop_teacher_options *options = &pack->maker.teacher->options;
    const size_t tokens = (size_t)(sequences * options->sequence);

    drop_file(pack);
    pack->sequences = sequences;
    pack->filled = 0;
    pack->draws = cop_alloc(tokens * (size_t)options->draws, sizeof *pack->draws);
    pack->starts = cop_alloc((size_t)sequences + 1, sizeof *pack->starts);
    pack->entropy = cop_alloc(tokens, sizeof *pack->entropy);
    if (pack->draws == NULL || pack->starts == NULL || pack->entropy == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "teacher samples: no memory for a file of %zu tokens",
                        tokens);
    }
    return COP_OK;
}

// Appends the samples of one token behind `at`; returns the place after them.
static int64_t pack_token(int32_t *packed, int64_t at, const int32_t *ids, const float *weights,
                          int64_t draws)
{
    for (int64_t k = 0; k < draws && ids[k] >= 0; k++) {
        const uint32_t count = (uint32_t)lrintf(weights[k] * (float)draws);
        const uint32_t word = (uint32_t)ids[k] | (count - 1) << ID_BITS;
        memcpy(&packed[at++], &word, sizeof word);
    }
    return at;
}

cop_status cop_sample_pack_window(cop_sample_pack *pack, int64_t window, int64_t from, int64_t end,
                                  cop_error *err)
{
    const int64_t sequence = pack->maker.teacher->options.sequence;
    const int64_t draws = pack->maker.teacher->options.draws;
    const cop_status status = cop_sample_maker_run(&pack->maker, window, pack->window, err);

    for (int64_t s = from - window; status == COP_OK && s < end - window; s++) {
        int64_t at = pack->starts[pack->filled];
        for (int64_t t = 0; t < sequence; t++) {
            const int64_t row = s * sequence + t;
            at = pack_token(pack->draws, at, pack->window.ids + row * draws,
                            pack->window.weights + row * draws, draws);
            pack->entropy[pack->filled * sequence + t] = pack->window.entropy[row];
        }
        pack->starts[++pack->filled] = at;
    }
    return status;
}

cop_status cop_sample_pack_write(cop_sample_pack *pack, cop_array_writer *writer, cop_error *err)
{
    const int64_t starts = pack->sequences + 1;
    const int64_t total = pack->starts[pack->sequences];
    const int64_t entropy[] = {pack->sequences, pack->maker.teacher->options.sequence};
    cop_status status = COP_OK;

    COP_TRY(status, cop_array_writer_put(writer, "draws", COP_I32, 1, &total, pack->draws, err));
    COP_TRY(status, cop_array_writer_put(writer, "starts", COP_I64, 1, &starts, pack->starts, err));
    COP_TRY(status,
            cop_array_writer_put(writer, "entropy", COP_F32, 2, entropy, pack->entropy, err));

done:
    return status;
}

// --- Reading ------------------------------------------------------------------------------------

static cop_status fail_shape(const cop_cache_range *range, const char *name, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: %s does not have the shape of %" PRId64
                    " sequences (allowed: a whole file; remove it to have it computed)",
                    range->path, name, range->count);
}

// Starts rise from 0 to the number of draws.
static cop_status check_starts(const cop_cache_files *files, const cop_cache_range *range,
                               const cop_array_reader *reader, int64_t total, cop_error *err)
{
    const int64_t count = range->count + 1;
    cop_status status = COP_OK;
    bool is_ok = false;
    int64_t *starts = cop_alloc((size_t)count, sizeof *starts);

    if (starts == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to check it", range->path);
    }
    COP_TRY(status, cop_array_reader_get(reader, "starts", COP_I64, 1, &count, starts, err));
    is_ok = starts[0] == 0 && starts[range->count] == total;
    for (int64_t i = 0; i < range->count; i++) {
        const int64_t length = starts[i + 1] - starts[i];
        is_ok = is_ok && starts[i] >= 0 && starts[i] <= total && length >= files->sequence &&
                length <= files->sequence * files->draws;
    }
    status = is_ok ? COP_OK : fail_shape(range, "starts", err);

done:
    cop_free(starts);
    return status;
}

cop_status cop_sample_file_check(const cop_cache_files *files, const cop_cache_range *range,
                                 const cop_array_reader *reader, cop_error *err)
{
    cop_status status = COP_OK;
    cop_dtype dtype = COP_F32;
    int rank = 0;
    int64_t shape[COP_ARRAY_RANK_MAX] = {0};
    int64_t total = 0;

    COP_TRY(status, cop_array_reader_shape(reader, "draws", &dtype, &rank, shape, err));
    total = shape[0];
    if (dtype != COP_I32 || rank != 1) {
        status = fail_shape(range, "draws", err);
        goto done;
    }
    COP_TRY(status, cop_array_reader_shape(reader, "entropy", &dtype, &rank, shape, err));
    if (dtype != COP_F32 || rank != 2 || shape[0] != range->count || shape[1] != files->sequence) {
        status = fail_shape(range, "entropy", err);
        goto done;
    }
    COP_TRY(status, cop_array_reader_shape(reader, "starts", &dtype, &rank, shape, err));
    if (dtype != COP_I64 || rank != 1 || shape[0] != range->count + 1) {
        status = fail_shape(range, "starts", err);
        goto done;
    }
    COP_TRY(status, check_starts(files, range, reader, total, err));

done:
    return status;
}

// Unpacks one token; returns the place after it, or -1 when what is there is no sample.
static int64_t unpack_token(const cop_cache_files *files, const int32_t *packed, int64_t at,
                            int64_t end, int32_t *ids, float *weights)
{
    int64_t used = 0;
    for (int64_t sum = 0; sum < files->draws; used++) {
        uint32_t word = 0;
        if (at == end) {
            return -1;
        }
        memcpy(&word, &packed[at++], sizeof word);
        const int64_t count = (int64_t)(word >> ID_BITS) + 1;
        ids[used] = (int32_t)(word & ((1U << ID_BITS) - 1));
        weights[used] = (float)count / (float)files->draws;
        sum += count;
        if (ids[used] >= files->vocab || sum > files->draws) {
            return -1;
        }
    }
    for (; used < files->draws; used++) {
        ids[used] = -1;
        weights[used] = 0.0F;
    }
    return at;
}

cop_status cop_sample_file_read(const cop_sample_file *file, int64_t from, int64_t count,
                                cop_sample_rows to, cop_error *err)
{
    const cop_cache_files *files = file->files;
    const int64_t first = file->starts[from];
    const int64_t total = file->starts[from + count] - first;
    cop_status status = COP_OK;
    int64_t at = 0;

    COP_TRY(status, cop_array_reader_get_rows(file->reader, "draws", COP_I32, first, total,
                                              file->room, err));
    COP_TRY(status, cop_array_reader_get_rows(file->reader, "entropy", COP_F32, from, count,
                                              to.entropy, err));
    for (int64_t row = 0; at >= 0 && row < count * files->sequence; row++) {
        at = unpack_token(files, file->room, at, total, to.ids + row * files->draws,
                          to.weights + row * files->draws);
    }
    if (at != total) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: draws of sequences from %" PRId64 " do not add up to %" PRId64
                          " per token (allowed: a whole file; remove it to have it computed)",
                          file->range->path, file->range->first + from, files->draws);
    }

done:
    return status;
}
