// The runtime of the CUDA backend: memory, copies, files, streams, graphs. Built for the host, where
// work waits in its stream until somebody waits for it, and for a device.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "kernels/ops.h"
#include "tests/cuda/backend.h"
#include "tests/support.h"

static cop_backend *cuda;

static void *device(uint64_t bytes, const char *name)
{
    void *memory = NULL;
    cop_error err = {0};
    must_succeed(cop_backend_alloc(cuda, &memory, bytes, name, &err), &err);
    return memory;
}

static void upload(cop_stream *stream, void *to, const void *from, uint64_t bytes)
{
    cop_error err = {0};
    must_succeed(cop_backend_to_device(cuda, stream, to, from, bytes, &err), &err);
}

static void download(cop_stream *stream, void *to, const void *from, uint64_t bytes)
{
    cop_error err = {0};
    must_succeed(cop_backend_to_host(cuda, stream, to, from, bytes, &err), &err);
}

static void synchronize(cop_stream *stream)
{
    cop_error err = {0};
    must_succeed(cop_backend_synchronize(cuda, stream, &err), &err);
}

static void pattern(unsigned char *out, size_t bytes, unsigned seed)
{
    uint32_t state = seed * 2654435761U + 1U;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525U + 1013904223U;
        out[i] = (unsigned char)(state >> 24);
    }
}

static cop_stream *stream_of(void)
{
    cop_stream *stream = NULL;
    cop_error err = {0};
    must_succeed(cuda->type->stream_create(cuda, &stream, &err), &err);
    return stream;
}

static void memory_is_zeroed_aligned_and_named(void **state)
{
    (void)state;
    unsigned char *host = malloc(100001);
    const uint64_t peak = cuda->memory_peak_bytes;
    cop_text report = {0};
    assert_non_null(host);
    void *first = device(100001, "test: first");
    void *second = device(0, "test: nothing");
    assert_int_equal((uintptr_t)first % 256, 0);
    assert_int_equal((uintptr_t)second % 256, 0);
    memset(host, 1, 100001);
    download(NULL, host, first, 100001);
    synchronize(NULL);
    for (size_t i = 0; i < 100001; i++) {
        assert_int_equal(host[i], 0);
    }
    assert_true(cuda->memory_peak_bytes >= 100001 && cuda->memory_peak_bytes >= peak);
    cop_backend_memory_report(cuda, &report);
    assert_non_null(strstr(cop_text_view(&report), "test: first"));
    assert_non_null(strstr(cop_text_view(&report), "most at once"));
    cop_text_release(&report);
    cop_backend_free(cuda, first);
    cop_backend_free(cuda, second);
    assert_int_equal(cuda->memory_used_bytes, 0);
    free(host);
}

static void too_much_memory_is_refused_with_what_is_free(void **state)
{
    void *memory = &memory;
    cop_device_info info;
    cop_error err = {0};
    char expected[96];
    (void)state;
    must_succeed(cop_backend_info(cuda, &info, &err), &err);
    assert_false(info.is_host_memory);
    assert_true(info.has_graphs);
    assert_int_equal(
        cop_backend_alloc(cuda, &memory, info.memory_bytes + (1U << 20), "too much", &err),
        COP_ERR_NOMEM);
    assert_null(memory);
    (void)snprintf(expected, sizeof expected, "cuda: device memory: %llu bytes (allowed: ",
                   (unsigned long long)info.memory_bytes + (1U << 20));
    assert_int_equal(strncmp(err.message, expected, strlen(expected)), 0);
    assert_non_null(strstr(err.message, " free)"));
    cop_backend_free(cuda, device(16, "test: after the refusal"));
}

// Of all sizes that take another way: one small buffer, one piece, several pieces.
static void a_host_buffer_may_be_reused_at_once(void **state)
{
    static const size_t sizes[] = {1, 65536, 65537, (4U << 20) + 3, (9U << 20) + 1};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t bytes = sizes[s];
        unsigned char *host = malloc(bytes);
        unsigned char *want = malloc(bytes);
        assert_non_null(host);
        assert_non_null(want);
        pattern(want, bytes, (unsigned)s);
        memcpy(host, want, bytes);
        void *memory = device(bytes, "test: copy");
        upload(NULL, memory, host, bytes);
        memset(host, 0x5A, bytes);
        download(NULL, host, memory, bytes);
        synchronize(NULL);
        assert_memory_equal(host, want, bytes);
        cop_backend_free(cuda, memory);
        free(host);
        free(want);
    }
}

// More copies under way than there are buffers.
static void many_small_copies_keep_their_order(void **state)
{
    enum { COUNT = 300 };

    static uint32_t back[COUNT];
    (void)state;
    uint32_t *memory = device(COUNT * sizeof *memory, "test: small");
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t value = i * 7919U;
        upload(NULL, memory + i, &value, sizeof value);
        download(NULL, &back[i], memory + i, sizeof value);
    }
    const uint32_t last = 42;
    upload(NULL, memory, &last, sizeof last);
    download(NULL, &back[0], memory, sizeof last);
    synchronize(NULL);
    assert_int_equal(back[0], 42);
    for (uint32_t i = 1; i < COUNT; i++) {
        assert_int_equal(back[i], i * 7919U);
    }
    cop_backend_free(cuda, memory);
}

static void files_are_read_at_any_offset_and_size(void **state)
{
    static const struct {
        uint64_t offset, bytes;
    } parts[] = {{0, 1},         {12345, 54321}, {7, (4U << 20) - 1},   {1, (4U << 20) + 1},
                 {0, 12582912U}, {13, 12000001}, {12582912U + 100U, 3}, {5, 0}};

    const size_t file_bytes = (12U << 20) + 103U;
    (void)state;
    unsigned char *content = malloc(file_bytes);
    unsigned char *back = malloc(file_bytes);
    assert_non_null(content);
    assert_non_null(back);
    pattern(content, file_bytes, 3);
    const int file = open(scratch_file("weights.bin", content, file_bytes), O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    void *memory = device(file_bytes, "test: file");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        cop_error err = {0};
        must_succeed(cop_backend_read_file(cuda, NULL, memory, file, parts[i].offset,
                                           parts[i].bytes, "weights.bin", &err),
                     &err);
        download(NULL, back, memory, parts[i].bytes);
        synchronize(NULL);
        assert_memory_equal(back, content + parts[i].offset, parts[i].bytes);
    }
    cop_backend_free(cuda, memory);
    (void)close(file);
    free(content);
    free(back);
}

static void a_file_that_ends_early_or_is_closed_is_refused(void **state)
{
    static const char text[1000] = "short";
    cop_error err = {0};
    (void)state;
    const int file = open(scratch_file("short.bin", text, sizeof text), O_RDONLY | O_CLOEXEC);
    void *memory = device(20U << 20, "test: file");
    assert_int_equal(
        cop_backend_read_file(cuda, NULL, memory, file, 900, 20U << 20, "short.bin", &err),
        COP_ERR_IO);
    assert_string_equal(err.message,
                        "short.bin: ends before byte 20972420 (allowed: a whole file)");
    (void)close(file);
    assert_int_equal(cop_backend_read_file(cuda, NULL, memory, file, 0, 10, "short.bin", &err),
                     COP_ERR_IO);
    assert_string_equal(err.message, "short.bin: cannot read: Bad file descriptor");
    synchronize(NULL);
    cop_backend_free(cuda, memory);
}

static void a_stream_waits_for_another_when_told_to(void **state)
{
    enum { COUNT = 1000 };

    float host[COUNT];
    cop_error err = {0};
    (void)state;
    cop_stream *first = stream_of();
    cop_stream *second = stream_of();
    float *a = device(sizeof host, "test: a");
    float *b = device(sizeof host, "test: b");
    for (int i = 0; i < COUNT; i++) {
        host[i] = (float)i;
    }
    upload(first, a, host, sizeof host);
    must_succeed(cuda->type->stream_wait(cuda, second, first, &err), &err);
    must_succeed(cop_backend_on_device(cuda, second, b, a, sizeof host, &err), &err);
    // What comes later on the first stream is not waited for; this one waits for the second.
    must_succeed(cuda->type->stream_wait(cuda, first, second, &err), &err);
    must_succeed(cop_backend_zero(cuda, first, a, sizeof host, &err), &err);
    memset(host, 0, sizeof host);
    download(second, host, b, sizeof host);
    synchronize(second);
    for (int i = 0; i < COUNT; i++) {
        assert_true(host[i] == (float)i);
    }
    synchronize(first);
    cuda->type->stream_destroy(cuda, first);
    cuda->type->stream_destroy(cuda, second);
    cuda->type->stream_destroy(cuda, NULL);
    cop_backend_free(cuda, a);
    cop_backend_free(cuda, b);
}

enum { SIDE = 24 };

// c = a b, c copied to d, c zeroed: a product, a copy and a fill.
static cop_status work(cop_stream *stream, float *const *m, void *scratch, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_matmul_args args = {.a = cop_matrix_dense(m[0], COP_F32, SIDE, SIDE),
                                  .b = cop_matrix_dense(m[1], COP_F32, SIDE, SIDE),
                                  .c = cop_matrix_dense(m[2], COP_F32, SIDE, SIDE),
                                  .alpha = 1.0F,
                                  .scratch = scratch};
    COP_TRY(status, cuda->ops->matmul(cuda, stream, &args, err));
    COP_TRY(status,
            cop_backend_on_device(cuda, stream, m[3], m[2], SIDE * SIDE * sizeof(float), err));
    COP_TRY(status, cop_backend_zero(cuda, stream, m[2], SIDE * SIDE * sizeof(float), err));

done:
    return status;
}

typedef struct operands {
    float *m[4];
    void *scratch;
    cop_stream *stream;
} operands;

static operands operands_of(void)
{
    operands self = {.stream = stream_of()};
    const cop_matrix square = cop_matrix_dense(NULL, COP_F32, SIDE, SIDE);
    const cop_matmul_args args = {.a = square, .b = square, .c = square, .alpha = 1.0F};
    for (int i = 0; i < 4; i++) {
        self.m[i] = device(SIDE * SIDE * sizeof(float), "test: matrix");
    }
    self.scratch = device(cuda->ops->scratch_bytes(cuda, COP_OP_MATMUL, &args), "test: scratch");
    return self;
}

static void operands_release(operands *self)
{
    for (int i = 0; i < 4; i++) {
        cop_backend_free(cuda, self->m[i]);
    }
    cop_backend_free(cuda, self->scratch);
    cuda->type->stream_destroy(cuda, self->stream);
}

static void fill(const operands *self, unsigned seed)
{
    float host[SIDE * SIDE];
    for (int which = 0; which < 2; which++) {
        for (unsigned i = 0; i < SIDE * SIDE; i++) {
            host[i] = (float)((i * 37U + seed * 11U + (unsigned)which) % 19U) - 9.0F;
        }
        upload(self->stream, self->m[which], host, sizeof host);
    }
}

static void a_graph_does_on_new_input_what_its_calls_did(void **state)
{
    static float want[SIDE * SIDE];
    static float got[SIDE * SIDE];
    cop_graph *graph = NULL;
    cop_error err = {0};
    (void)state;
    operands self = operands_of();
    fill(&self, 1);
    must_succeed(work(self.stream, self.m, self.scratch, &err), &err); // plans are made outside
    synchronize(self.stream);
    must_succeed(cuda->type->graph_begin(cuda, self.stream, &err), &err);
    must_succeed(work(self.stream, self.m, self.scratch, &err), &err);
    must_succeed(cuda->type->graph_end(cuda, self.stream, &graph, &err), &err);
    assert_non_null(graph);
    for (unsigned seed = 2; seed < 5; seed++) {
        fill(&self, seed);
        must_succeed(work(self.stream, self.m, self.scratch, &err), &err);
        download(self.stream, want, self.m[3], sizeof want);
        must_succeed(cop_backend_zero(cuda, self.stream, self.m[3], sizeof want, &err), &err);
        must_succeed(cuda->type->graph_run(cuda, self.stream, graph, &err), &err);
        download(self.stream, got, self.m[3], sizeof got);
        synchronize(self.stream);
        assert_memory_equal(got, want, sizeof got);
        assert_true(want[0] != 0.0F || want[1] != 0.0F);
    }
    cuda->type->graph_destroy(cuda, graph);
    cuda->type->graph_destroy(cuda, NULL);
    operands_release(&self);
}

// Each of these spoils a recording; afterwards the backend works as before.
static void a_failure_inside_ends_without_a_graph(void **state)
{
    (void)state;
    operands self = operands_of();
    fill(&self, 1);
    for (int what = 0; what < 6; what++) {
        cop_graph *graph = NULL;
        cop_error err = {0};
        char word[4] = {0};
        void *memory = NULL;
        cop_matmul_args bad = {.a = cop_matrix_dense(self.m[0], COP_F32, SIDE, SIDE - 1),
                               .b = cop_matrix_dense(self.m[1], COP_F32, SIDE, SIDE),
                               .c = cop_matrix_dense(self.m[2], COP_F32, SIDE, SIDE)};
        cop_status status = COP_OK;
        must_succeed(cuda->type->graph_begin(cuda, self.stream, &err), &err);
        must_succeed(work(self.stream, self.m, self.scratch, &err), &err);
        switch (what) {
        case 0: status = cop_backend_synchronize(cuda, self.stream, &err); break;
        case 1: status = cop_backend_to_device(cuda, self.stream, self.m[0], word, 4, &err); break;
        case 2: status = cop_backend_to_host(cuda, self.stream, word, self.m[0], 4, &err); break;
        case 3: status = cop_backend_alloc(cuda, &memory, 64, "test: inside", &err); break;
        case 4: status = cuda->ops->matmul(cuda, self.stream, &bad, &err); break;
        default: status = cuda->type->graph_begin(cuda, self.stream, &err); break;
        }
        assert_int_not_equal(status, COP_OK);
        assert_string_not_equal(err.message, "");
        assert_int_not_equal(cuda->type->graph_end(cuda, self.stream, &graph, &err), COP_OK);
        assert_null(graph);
        assert_string_equal(err.message, "cuda: graph: a call that was to be recorded failed "
                                         "(allowed: none)");
        must_succeed(work(self.stream, self.m, self.scratch, &err), &err);
        synchronize(self.stream);
    }
    cop_graph *graph = NULL;
    cop_error err = {0};
    assert_int_equal(cuda->type->graph_end(cuda, self.stream, &graph, &err), COP_ERR_DEVICE);
    assert_string_equal(err.message, "cuda: graph: nothing is recorded on this stream (allowed: "
                                     "after graph_begin())");
    operands_release(&self);
}

static void two_backends_work_side_by_side(void **state)
{
    cop_backend *other = NULL;
    cop_error err = {0};
    void *there = NULL;
    uint32_t here_value = 1;
    uint32_t there_value = 2;
    (void)state;
    must_succeed(cop_test_cuda_backend(&other, &err), &err);
    void *here = device(4, "test: here");
    must_succeed(cop_backend_alloc(other, &there, 4, "test: there", &err), &err);
    upload(NULL, here, &here_value, 4);
    must_succeed(cop_backend_to_device(other, NULL, there, &there_value, 4, &err), &err);
    here_value = there_value = 0;
    download(NULL, &here_value, here, 4);
    must_succeed(cop_backend_to_host(other, NULL, &there_value, there, 4, &err), &err);
    synchronize(NULL);
    must_succeed(cop_backend_synchronize(other, NULL, &err), &err);
    assert_int_equal(here_value, 1);
    assert_int_equal(there_value, 2);
    cop_backend_free(cuda, here);
    cop_backend_free(other, there);
    cop_backend_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_named),
        cmocka_unit_test(too_much_memory_is_refused_with_what_is_free),
        cmocka_unit_test(a_host_buffer_may_be_reused_at_once),
        cmocka_unit_test(many_small_copies_keep_their_order),
        cmocka_unit_test(files_are_read_at_any_offset_and_size),
        cmocka_unit_test(a_file_that_ends_early_or_is_closed_is_refused),
        cmocka_unit_test(a_stream_waits_for_another_when_told_to),
        cmocka_unit_test(a_graph_does_on_new_input_what_its_calls_did),
        cmocka_unit_test(a_failure_inside_ends_without_a_graph),
        cmocka_unit_test(two_backends_work_side_by_side),
    };
    cop_test_cuda_lazy_streams();
    const int unavailable = cop_test_cuda_open(&cuda);
    if (unavailable != 0) {
        return unavailable;
    }
    const int failed = cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
    cop_backend_destroy(cuda);
    return failed;
}
