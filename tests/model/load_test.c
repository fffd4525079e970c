// How weights reach a device: from a checkpoint's file, in rows through the sink, by gathers, and by
// chance for benchmarks.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/tensor_load.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        fail_msg("%s", err->message);
    }
}

// A checkpoint of random weights in f32, stored as `dtype`. f64 cannot be written by the writer.
static cop_checkpoint *stored(const char *directory, const cop_arch *arch, cop_dtype dtype)
{
    const cop_network_options options = {.precision = COP_PRECISION_F32, .batch = 1, .sequence = 4};
    const cop_checkpoint_options write = {.dtype = dtype, .force = true};
    cop_error err = {0};
    cop_checkpoint *out = NULL;
    cop_checkpoint_writer *writer = NULL;
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(arch, &options, backend);
    tiny_fill(network, 5);
    must(cop_checkpoint_writer_create(&writer, directory, arch, &write, &err), &err);
    must(cop_network_save(network, cop_checkpoint_writer_sink(writer), &err), &err);
    must(cop_checkpoint_writer_commit(writer, &err), &err);
    cop_checkpoint_writer_destroy(writer);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
    must(cop_checkpoint_open(&out, directory, &err), &err);
    return out;
}

static int64_t elements_of(const cop_arch *arch, int64_t index)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, index);
    return spec.shape[0] * spec.shape[1];
}

static void a_location_is_where_the_bytes_are(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_NEMOTRON_BIASED);
    cop_checkpoint *checkpoint = stored("located", &arch, COP_BF16);
    cop_error err = {0};
    for (int64_t i = 0; i < cop_arch_tensor_count(&arch); i++) {
        cop_tensor_location at = {0};
        cop_dtype dtype = COP_F32;
        char data[1 << 16];
        const void *view = cop_checkpoint_view(checkpoint, i, &dtype);
        must(cop_checkpoint_locate(checkpoint, i, &at, &err), &err);
        assert_int_equal(at.dtype, COP_BF16);
        assert_int_equal(at.bytes, elements_of(&arch, i) * 2);
        assert_string_equal(at.path, "located/model.safetensors");
        assert_true(at.bytes <= sizeof data);
        must(cop_file_read_parallel(data, at.file, at.offset, at.bytes, at.path, &err), &err);
        assert_memory_equal(data, view, at.bytes);
    }
    cop_tensor_location at = {0};
    assert_int_equal(cop_checkpoint_locate(checkpoint, cop_arch_tensor_count(&arch), &at, &err),
                     COP_ERR_SHAPE);
    cop_checkpoint_destroy(checkpoint);
}

// Every stored type into every wanted one, through staging memory of any size: what the host reads.
static void loading_gives_what_the_host_reads(void **state)
{
    (void)state;
    static const cop_dtype from[] = {COP_F32, COP_BF16, COP_F16};
    static const cop_dtype to[] = {COP_F32, COP_BF16, COP_F64};
    static const uint64_t staging_bytes[] = {64, 1000, 1 << 20};
    const cop_arch arch = tiny_arch(TINY_NEMOTRON_BIASED);
    for (int f = 0; f < 3; f++) {
        cop_checkpoint *checkpoint = stored("typed", &arch, from[f]);
        for (int t = 0; t < 3; t++) {
            cop_backend *backend = tiny_backend(to[t] == COP_F64 ? "reference" : "cpu");
            for (int s = 0; s < 3; s++) {
                cop_error err = {0};
                cop_staging staging = {.bytes = staging_bytes[s]};
                must(cop_backend_alloc(backend, &staging.memory, staging.bytes, "staging", &err),
                     &err);
                for (int64_t i = 0; i < cop_arch_tensor_count(&arch); i++) {
                    const int64_t count = elements_of(&arch, i);
                    void *got = NULL;
                    void *want = cop_alloc((size_t)count, sizeof(double));
                    const size_t bytes = (size_t)count * cop_dtype_bytes(to[t]);
                    must(cop_backend_alloc(backend, &got, bytes, "tensor", &err), &err);
                    must(cop_tensor_load(backend, checkpoint, i,
                                         cop_matrix_dense(got, to[t], 1, count), staging, &err),
                         &err);
                    must(cop_checkpoint_read(checkpoint, i, to[t], want, &err), &err);
                    assert_memory_equal(got, want, bytes);
                    cop_backend_free(backend, got);
                    cop_free(want);
                }
                cop_backend_free(backend, staging.memory);
            }
            cop_backend_destroy(backend);
        }
        cop_checkpoint_destroy(checkpoint);
    }
}

static void a_wrong_size_or_a_replaced_file_is_refused(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    float values[64] = {0};
    cop_error err = {0};
    cop_checkpoint *checkpoint = stored("replaced", &arch, COP_F32);
    cop_backend *backend = tiny_backend("cpu");
    assert_int_equal(cop_tensor_load(backend, checkpoint, 0,
                                     cop_matrix_dense(values, COP_F32, 1, 3), (cop_staging){0},
                                     &err),
                     COP_ERR_SHAPE);
    assert_non_null(strstr(err.message, "replaced/model.safetensors: tensor 0 has "));
    cop_checkpoint_destroy(checkpoint);

    checkpoint = stored("replaced", &arch, COP_F32);
    must(cop_file_copy("replaced/copy", "replaced/model.safetensors", &err), &err);
    must(cop_file_copy("replaced/model.safetensors", "replaced/copy", &err), &err);
    cop_tensor_location at = {0};
    assert_int_equal(cop_checkpoint_locate(checkpoint, 0, &at, &err), COP_ERR_IO);
    assert_string_equal(err.message, "replaced/model.safetensors: was replaced while it was in use "
                                     "(allowed: the file that was opened)");
    cop_checkpoint_destroy(checkpoint);
    cop_backend_destroy(backend);
}

static const cop_network_options forms[] = {
    {.precision = COP_PRECISION_F32, .batch = 1, .sequence = 4},
    {.precision = COP_PRECISION_BF16, .batch = 1, .sequence = 4},
    {.precision = COP_PRECISION_BF16, .batch = 1, .sequence = 4, .is_training = true},
};

enum { FORMS = sizeof forms / sizeof forms[0] };

// Master and working copy of every parameter are the same bits in both networks.
static void expect_same_parameters(cop_network *a, cop_network *b)
{
    const cop_arch *arch = cop_network_arch(a);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_parameter_view x = cop_network_parameter(a, i);
        const cop_parameter_view y = cop_network_parameter(b, i);
        const size_t count = (size_t)elements_of(arch, i);
        assert_memory_equal(x.working.data, y.working.data,
                            count * cop_dtype_bytes(x.working.dtype));
        if (x.master.rows > 0) {
            assert_memory_equal(x.master.data, y.master.data,
                                count * cop_dtype_bytes(x.master.dtype));
        }
    }
}

static void loaded_put_in_rows_and_gathered_weights_are_the_same(void **state)
{
    (void)state;
    static const cop_dtype dtypes[] = {COP_F32, COP_BF16};
    const cop_arch arch = tiny_arch(TINY_NEMOTRON_BIASED);
    cop_backend *backend = tiny_backend("cpu");
    for (int d = 0; d < 2; d++) {
        cop_checkpoint *checkpoint = stored("three", &arch, dtypes[d]);
        for (int f = 0; f < FORMS; f++) {
            cop_error err = {0};
            cop_network *loaded = tiny_network(&arch, &forms[f], backend);
            cop_network *put = tiny_network(&arch, &forms[f], backend);
            cop_network *rows = tiny_network(&arch, &forms[f], backend);
            cop_network *gathered = tiny_network(&arch, &forms[f], backend);
            const cop_tensor_sink whole = cop_network_sink(put);
            const cop_tensor_sink parts = cop_network_sink(rows);
            must(cop_network_load(loaded, checkpoint, &err), &err);
            for (int64_t i = 0; i < cop_arch_tensor_count(&arch); i++) {
                const cop_tensor_spec spec = cop_arch_tensor(&arch, i);
                const int64_t count = elements_of(&arch, i);
                const size_t element = cop_dtype_bytes(dtypes[d]);
                char *data = cop_alloc((size_t)count, element);
                must(cop_checkpoint_read(checkpoint, i, dtypes[d], data, &err), &err);
                must(whole.put(whole.context, i, dtypes[d], data, &err), &err);
                for (int64_t r = 0; r < spec.shape[0]; r += 3) {
                    const int64_t left = spec.shape[0] - r;
                    must(parts.put_rows(parts.context, i, dtypes[d], r, left < 3 ? left : 3,
                                        data + (size_t)(r * spec.shape[1]) * element, &err),
                         &err);
                }
                const bool is_vector = spec.rank == 1;
                const cop_gather_args gather = {
                    .x = cop_matrix_dense(data, dtypes[d], is_vector ? 1 : spec.shape[0],
                                          is_vector ? count : spec.shape[1])};
                must(cop_network_gather(gathered, i, &gather, &err), &err);
                cop_free(data);
            }
            expect_same_parameters(put, loaded);
            expect_same_parameters(rows, loaded);
            expect_same_parameters(gathered, loaded);
            assert_int_equal(parts.put_rows(parts.context, 0, COP_F32, 1, arch.vocab, NULL, &err),
                             COP_ERR_SHAPE);
            const cop_gather_args none = {0};
            assert_int_equal(cop_network_gather(gathered, -1, &none, &err), COP_ERR_SHAPE);
            cop_network_destroy(gathered);
            cop_network_destroy(rows);
            cop_network_destroy(put);
            cop_network_destroy(loaded);
        }
        cop_checkpoint_destroy(checkpoint);
    }
    cop_backend_destroy(backend);
}

// Mean and deviation of n draws stray by 1 / sqrt(n) of the deviation; five times that is allowed.
static void fast_weights_have_the_deviation_of_slow_ones(void **state)
{
    (void)state;
    cop_arch arch = tiny_arch(TINY_LLAMA);
    arch.vocab = 5000;
    cop_backend *backend = tiny_backend("cpu");
    cop_error err = {0};
    cop_network *network = tiny_network(&arch, &forms[2], backend);
    cop_network *again = tiny_network(&arch, &forms[2], backend);
    must(cop_network_init_fast(network, 3, &err), &err);
    must(cop_network_init_fast(again, 3, &err), &err);
    expect_same_parameters(network, again);
    for (int64_t i = 0; i < cop_arch_tensor_count(&arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&arch, i);
        const int64_t count = elements_of(&arch, i);
        const bool is_into_residual = spec.role == COP_ROLE_O || spec.role == COP_ROLE_DOWN;
        const double want = spec.rank == 1 ? 0.0
                            : is_into_residual
                                ? arch.initializer_range / sqrt(2.0 * (double)arch.layers)
                                : arch.initializer_range;
        double *values = cop_alloc((size_t)count, sizeof *values);
        double sum = 0.0;
        double squares = 0.0;
        must(cop_network_read(network, i, COP_F64, values, &err), &err);
        for (int64_t k = 0; k < count; k++) {
            sum += values[k];
            squares += values[k] * values[k];
        }
        const double mean = sum / (double)count;
        const double deviation = sqrt(fmax(squares / (double)count - mean * mean, 0.0));
        const double allowed = 5.0 * want / sqrt((double)count);
        assert_true(fabs(mean - (spec.rank == 1 ? 1.0 : 0.0)) <= allowed);
        assert_true(fabs(deviation - want) <= allowed);
        cop_free(values);
    }
    cop_network_destroy(again);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

// A tensor above the size of a piece, saved and loaded: the same bits, and pieces really are used.
static int pieces;

static cop_tensor_sink counted;

static cop_status count_rows(void *context, int64_t index, cop_dtype dtype, int64_t first_row,
                             int64_t rows, const void *data, cop_error *err)
{
    pieces++;
    return counted.put_rows(context, index, dtype, first_row, rows, data, err);
}

static void a_large_tensor_is_saved_in_pieces(void **state)
{
    (void)state;
    cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_error err = {0};
    arch.vocab = (5 << 20) / (int64_t)arch.hidden;
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &forms[0], backend);
    cop_network *again = tiny_network(&arch, &forms[0], backend);
    must(cop_network_init_fast(network, 3, &err), &err);
    counted = cop_network_sink(again);
    cop_tensor_sink sink = counted;
    sink.put_rows = count_rows;
    must(cop_network_save(network, sink, &err), &err);
    assert_int_equal(pieces, 2 * (arch.is_tied ? 1 : 2));
    expect_same_parameters(again, network);
    cop_network_destroy(again);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_checkpoint *checkpoint = stored("failing", &arch, COP_F16);
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &forms[2], backend);
    const size_t live = cop_alloc_live_blocks();
    size_t allowed = 0;
    for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
        cop_alloc_fail_after(allowed);
        status = cop_network_load(network, checkpoint, NULL);
        status = status == COP_OK ? cop_network_init_fast(network, 1, NULL) : status;
        status = status == COP_OK ? cop_network_init(network, 1, NULL) : status;
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live);
        assert_true(allowed < 1000);
    }
    assert_true(allowed > 4);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
    cop_checkpoint_destroy(checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_location_is_where_the_bytes_are),
        cmocka_unit_test(loading_gives_what_the_host_reads),
        cmocka_unit_test(a_wrong_size_or_a_replaced_file_is_refused),
        cmocka_unit_test(loaded_put_in_rows_and_gathered_weights_are_the_same),
        cmocka_unit_test(fast_weights_have_the_deviation_of_slow_ones),
        cmocka_unit_test(a_large_tensor_is_saved_in_pieces),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
