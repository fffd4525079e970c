// Rows that are read ahead are the rows of the files, in whatever order they are asked for, on a device
// with the host's memory and on one with its own; what goes wrong is told by the call that needs it.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "distill/state_stream.h"
#include "tests/distill/fixture.h"

enum { ROW = 1001, WINDOW = 3, RANGES = 3, ROWS = 20 };

// Rows 0 … 19 in three files, at odd offsets; windows cross the files' boundaries.
static const cop_read_range layout[RANGES] = {
    {.first = 0, .count = 4, .path = "rows-a", .offset = 17},
    {.first = 4, .count = 9, .path = "rows-b", .offset = 0},
    {.first = 13, .count = 7, .path = "rows-c", .offset = 4099},
};

static unsigned char byte_of(int64_t row, int64_t at)
{
    return (unsigned char)((uint64_t)(row * ROW + at) * 2654435761U >> 11);
}

static void write_file(const cop_read_range *range)
{
    const size_t bytes = (size_t)range->offset + (size_t)range->count * ROW;
    unsigned char *data = cop_alloc(bytes, 1);
    assert_non_null(data);
    for (int64_t i = 0; i < range->count * ROW; i++) {
        data[range->offset + (uint64_t)i] = byte_of(range->first + i / ROW, i % ROW);
    }
    (void)scratch_file(range->path, data, bytes);
    cop_free(data);
}

static void write_files(void)
{
    for (int i = 0; i < RANGES; i++) {
        write_file(&layout[i]);
    }
}

static cop_read_ahead_options options_of(void)
{
    return (cop_read_ahead_options){
        .ranges = layout, .range_count = RANGES, .row_bytes = ROW, .window = WINDOW};
}

static void expect_window(const void *data, int64_t first)
{
    const unsigned char *bytes = data;
    int64_t wrong = 0;
    for (int64_t row = first; row < first + WINDOW && row < ROWS; row++) {
        for (int64_t i = 0; i < ROW; i++) {
            wrong += bytes[(row - first) * ROW + i] != byte_of(row, i) ? 1 : 0;
        }
    }
    assert_int_equal(wrong, 0);
}

// --- A device with its own memory ---------------------------------------------------------------

// The CPU's, but uploads on another stream arrive only when somebody waits for them, as on a GPU.
typedef struct late_copy {
    void *to;
    void *data; // owned
    uint64_t bytes;
} late_copy;

static late_copy pending[8];
static int pending_count;
static int uses;         // windows given out so far
static int ordered_uses; // the copies' stream runs behind the steps of these
static const void *used[COP_STATE_STREAM_WINDOWS]; // memory of the last ones, by number of use
static const cop_backend_type *host_type;

static cop_status late_info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    const cop_status status = host_type->info(backend, out, err);
    out->is_host_memory = false;
    return status;
}

static cop_status late_copy_to_device(cop_backend *backend, cop_stream *stream, void *to,
                                      const void *from, uint64_t bytes, cop_error *err)
{
    if (stream == NULL) {
        return host_type->copy_to_device(backend, stream, to, from, bytes, err);
    }
    for (int i = 0; i < COP_STATE_STREAM_WINDOWS; i++) {
        const int use = uses - 1 - i; // a step that may still read what is overwritten?
        assert_false(use >= ordered_uses && used[use % COP_STATE_STREAM_WINDOWS] == to);
    }
    assert_in_range(pending_count, 0, 7);
    late_copy *at = &pending[pending_count++];
    *at = (late_copy){.to = to, .data = cop_alloc((size_t)bytes, 1), .bytes = bytes};
    assert_non_null(at->data);
    memcpy(at->data, from, (size_t)bytes); // `from` may be reused
    memset(to, 0xee, (size_t)bytes);       // whoever reads it now reads too early
    return COP_OK;
}

static void arrive(void)
{
    for (int i = 0; i < pending_count; i++) {
        memcpy(pending[i].to, pending[i].data, (size_t)pending[i].bytes);
        cop_free(pending[i].data);
    }
    pending_count = 0;
}

static cop_status late_stream_wait(cop_backend *backend, cop_stream *stream, cop_stream *other,
                                   cop_error *err)
{
    (void)backend;
    (void)err;
    if (stream != NULL && other == NULL) {
        ordered_uses = uses;
    }
    if (stream == NULL && other != NULL) {
        arrive();
    }
    return COP_OK;
}

static cop_status late_synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    if (stream != NULL) {
        arrive();
    }
    return host_type->synchronize(backend, stream, err);
}

static cop_backend *make_backend(bool is_discrete)
{
    static cop_backend_type late;
    cop_error err = {0};
    cop_backend *backend = NULL;
    must(cop_backend_create(&backend, "cpu", &err), &err);
    if (is_discrete) {
        host_type = backend->type;
        late = *host_type;
        late.info = late_info;
        late.copy_to_device = late_copy_to_device;
        late.stream_wait = late_stream_wait;
        late.synchronize = late_synchronize;
        backend->type = &late;
    }
    uses = 0;
    ordered_uses = 0;
    return backend;
}

// --- Order --------------------------------------------------------------------------------------

static void any_order_gives_the_rows_of_the_files(void **state)
{
    (void)state;
    write_files();
    for (int discrete = 0; discrete < 2; discrete++) {
        const cop_read_ahead_options options = options_of();
        cop_error err = {0};
        cop_rng *rng = NULL;
        cop_state_stream *stream = NULL;
        cop_backend *backend = make_backend(discrete == 1);
        must(cop_rng_create(&rng, 3, COP_RNG_TEST, 0, &err), &err);
        must(cop_state_stream_create(&stream, &options, backend, "states", &err), &err);
        assert_int_equal(backend->memory_used_bytes, (2 + discrete) * WINDOW * ROW);
        for (int i = 0; i < 300; i++) {
            // Twice through in order, each window asked for twice; then by chance.
            const int64_t windows = (ROWS + WINDOW - 1) / WINDOW;
            const int64_t window =
                i < 4 * windows ? i / 2 % windows : (int64_t)cop_rng_below(rng, (uint64_t)windows);
            void *data = NULL;
            must(cop_state_stream_window(stream, window * WINDOW, &data, &err), &err);
            expect_window(data, window * WINDOW);
            used[uses++ % COP_STATE_STREAM_WINDOWS] = data;
        }
        cop_state_stream_destroy(stream);
        assert_int_equal(backend->memory_used_bytes, 0);
        cop_rng_destroy(rng);
        cop_backend_destroy(backend);
    }
}

// Who has been late once is never late again while the disk keeps up: every later window is on the
// device, or on its way, before it is asked for.
static void the_next_window_is_there_before_it_is_asked_for(void **state)
{
    (void)state;
    void *slots[COP_READ_AHEAD_SLOTS];
    unsigned char memory[COP_READ_AHEAD_SLOTS][WINDOW * ROW];
    const cop_read_ahead_options options = options_of();
    cop_error err = {0};
    cop_read_ahead *reader = NULL;
    write_files();
    for (int i = 0; i < COP_READ_AHEAD_SLOTS; i++) {
        slots[i] = memory[i];
    }
    must(cop_read_ahead_create(&reader, &options, slots, &err), &err);
    assert_false(cop_read_ahead_is_ready(reader, 0)); // nobody has asked
    assert_int_equal(cop_read_ahead_next(reader, 0), 3);
    assert_int_equal(cop_read_ahead_next(reader, 18), 0); // the last window, a part
    for (int i = 0; i < 20; i++) {
        const int64_t first = (int64_t)(i % 7) * WINDOW;
        void *data = NULL;
        must(cop_read_ahead_take(reader, first, &data, &err), &err);
        expect_window(data, first);
        const int64_t next = cop_read_ahead_next(reader, first);
        while (!cop_read_ahead_is_ready(reader, next)) { // it is read without being asked for
            (void)usleep(100);
        }
        expect_window(data, first); // what is in use is left alone
    }
    cop_read_ahead_destroy(reader);
}

// --- What can go wrong --------------------------------------------------------------------------

static void a_file_that_is_gone_or_cut_is_named_by_the_call_that_needs_it(void **state)
{
    (void)state;
    for (int discrete = 0; discrete < 2; discrete++) {
        const cop_read_ahead_options options = options_of();
        cop_error err = {0};
        void *data = NULL;
        cop_state_stream *stream = NULL;
        cop_backend *backend = make_backend(discrete == 1);
        write_files();
        must(cop_file_remove_tree("rows-c", &err), &err);
        assert_int_equal(truncate("rows-b", (off_t)3 * ROW), 0); // rows 4 … 6
        must(cop_state_stream_create(&stream, &options, backend, "states", &err), &err);
        must(cop_state_stream_window(stream, 0, &data, &err), &err);
        must(cop_state_stream_window(stream, 3, &data, &err), &err);
        // Window 6 fails while it is read ahead: the call before it does not suffer.
        expect_window(data, 3);
        assert_int_equal(cop_state_stream_window(stream, 6, &data, &err), COP_ERR_IO);
        assert_string_equal(err.message, "rows-b: ends before byte 5005 (allowed: a whole file)");
        assert_null(data);
        assert_int_equal(cop_state_stream_window(stream, 15, &data, &err), COP_ERR_IO);
        assert_string_equal(err.message, "rows-c: cannot open: No such file or directory");
        assert_int_equal(cop_state_stream_window(stream, 15, &data, &err), COP_ERR_IO);
        // What works still works, and what is mended is read.
        must(cop_state_stream_window(stream, 0, &data, &err), &err);
        expect_window(data, 0);
        write_files();
        must(cop_state_stream_window(stream, 6, &data, &err), &err);
        expect_window(data, 6);
        must(cop_state_stream_window(stream, 15, &data, &err), &err);
        expect_window(data, 15);
        cop_state_stream_destroy(stream);
        cop_backend_destroy(backend);
    }
}

static void can_be_destroyed_at_any_moment(void **state)
{
    (void)state;

    enum { LARGE_ROWS = 24, LARGE_ROW = 1 << 20 };

    // Sparse: windows of 8 MiB, so that the thread is in the middle of one.
    const cop_read_range range = {
        .first = 0, .count = LARGE_ROWS, .path = "rows-large", .offset = 0};
    const cop_read_ahead_options options = {
        .ranges = &range, .range_count = 1, .row_bytes = LARGE_ROW, .window = 8};
    (void)scratch_file("rows-large", "", 0);
    assert_int_equal(truncate("rows-large", (off_t)LARGE_ROWS * LARGE_ROW), 0);
    for (int i = 0; i < 24; i++) {
        cop_error err = {0};
        cop_state_stream *stream = NULL;
        cop_backend *backend = make_backend(i % 2 == 1);
        must(cop_state_stream_create(&stream, &options, backend, "states", &err), &err);
        for (int64_t k = 0; k < i / 4; k++) {
            void *data = NULL;
            must(cop_state_stream_window(stream, k % 3 * 8, &data, &err), &err);
        }
        cop_state_stream_destroy(stream);
        assert_int_equal(pending_count, 0);
        cop_backend_destroy(backend);
    }
    cop_state_stream_destroy(NULL);
    cop_read_ahead_destroy(NULL);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_read_ahead_options options = options_of();
    write_files();
    for (int discrete = 0; discrete < 2; discrete++) {
        cop_backend *backend = make_backend(discrete == 1);
        const size_t live = cop_alloc_live_blocks();
        size_t allowed = 0;
        for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
            cop_error err = {0};
            cop_state_stream *stream = NULL;
            cop_alloc_fail_after(allowed);
            status = cop_state_stream_create(&stream, &options, backend, "states", &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_true(status == COP_OK || (status == COP_ERR_NOMEM && err.message[0] != '\0'));
            cop_state_stream_destroy(stream);
            assert_int_equal(cop_alloc_live_blocks(), live);
            assert_true(allowed < 100);
        }
        assert_true(allowed > 4);
        cop_backend_destroy(backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_gives_the_rows_of_the_files),
        cmocka_unit_test(the_next_window_is_there_before_it_is_asked_for),
        cmocka_unit_test(a_file_that_is_gone_or_cut_is_named_by_the_call_that_needs_it),
        cmocka_unit_test(can_be_destroyed_at_any_moment),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("read_ahead", tests, NULL, NULL);
}
