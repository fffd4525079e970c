// Every call of the runtime fails in turn: the backend says so, leaks nothing, and works again.

#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/cuda/backend.h"
#include "tests/host_shim/cuda_host_control.h"
#include "tests/support.h"

// A bit of everything; the first failure ends it.
static cop_status everything(cop_backend *cuda, int file, cop_error *err)
{
    cop_status status = COP_OK;
    cop_stream *stream = NULL;
    cop_graph *graph = NULL;
    void *memory = NULL;
    float host[64] = {0};
    bool is_recording = false;
    COP_TRY(status, cuda->type->stream_create(cuda, &stream, err));
    COP_TRY(status, cop_backend_alloc(cuda, &memory, 1U << 20, "test", err));
    COP_TRY(status, cop_backend_to_device(cuda, stream, memory, host, sizeof host, err));
    COP_TRY(status, cop_backend_read_file(cuda, stream, memory, file, 0, 1000, "file", err));
    COP_TRY(status, cuda->type->stream_wait(cuda, NULL, stream, err));
    COP_TRY(status, cop_backend_zero(cuda, stream, memory, 100, err));
    COP_TRY(status, cop_backend_on_device(cuda, stream, (char *)memory + 512, memory, 100, err));
    COP_TRY(status, cuda->type->graph_begin(cuda, stream, err));
    is_recording = true;
    COP_TRY(status, cop_backend_zero(cuda, stream, memory, 100, err));
    is_recording = false;
    COP_TRY(status, cuda->type->graph_end(cuda, stream, &graph, err));
    COP_TRY(status, cuda->type->graph_run(cuda, stream, graph, err));
    COP_TRY(status, cop_backend_to_host(cuda, stream, host, memory, sizeof host, err));
    COP_TRY(status, cop_backend_synchronize(cuda, stream, err));

done:
    if (is_recording) {
        assert_int_not_equal(cuda->type->graph_end(cuda, stream, &graph, NULL), COP_OK);
        assert_null(graph);
    }
    cuda->type->graph_destroy(cuda, graph);
    cop_backend_free(cuda, memory);
    cuda->type->stream_destroy(cuda, stream);
    return status;
}

static int open_file(void)
{
    static const char content[1000] = "weights";
    const int file = open(scratch_file("file.bin", content, sizeof content), O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    return file;
}

static void every_failing_call_is_reported_and_leaks_nothing(void **state)
{
    const int file = open_file();
    const size_t live = cop_cuda_host_live();
    const size_t blocks = cop_alloc_live_blocks();
    bool is_done = false;
    int failures = 0;
    (void)state;
    for (size_t calls = 0; !is_done; calls++) {
        cop_backend *cuda = NULL;
        cop_error err = {0};
        assert_true(calls < 200);
        cop_cuda_host_fail_after(calls);
        cop_status status = cop_test_cuda_backend(&cuda, &err);
        if (status == COP_OK) {
            status = everything(cuda, file, &err);
        } else {
            assert_null(cuda);
        }
        cop_cuda_host_fail_after(SIZE_MAX);
        is_done = status == COP_OK;
        failures += is_done ? 0 : 1;
        if (!is_done) {
            assert_string_not_equal(err.message, "");
        }
        if (cuda != NULL) { // nothing sticks
            cop_error again = {0};
            if (everything(cuda, file, &again) != COP_OK) {
                fail_msg("after %zu calls: %s", calls, again.message);
            }
        }
        cop_backend_destroy(cuda);
        assert_int_equal(cop_cuda_host_live(), live);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
    }
    assert_true(failures > 20);
    (void)close(file);
}

static void every_failing_allocation_of_the_host_is_reported(void **state)
{
    const int file = open_file();
    const size_t live = cop_cuda_host_live();
    bool is_done = false;
    (void)state;
    for (size_t calls = 0; !is_done; calls++) {
        cop_backend *cuda = NULL;
        cop_error err = {0};
        assert_true(calls < 50);
        cop_alloc_fail_after(calls);
        cop_status status = cop_test_cuda_backend(&cuda, &err);
        if (status == COP_OK) {
            status = everything(cuda, file, &err);
        }
        cop_alloc_fail_after(SIZE_MAX);
        is_done = status == COP_OK;
        if (!is_done) {
            assert_int_equal(status, COP_ERR_NOMEM);
        }
        cop_backend_destroy(cuda);
        assert_int_equal(cop_cuda_host_live(), live);
    }
    (void)close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_call_is_reported_and_leaks_nothing),
        cmocka_unit_test(every_failing_allocation_of_the_host_is_reported),
    };
    return cmocka_run_group_tests_name("failure", tests, NULL, NULL);
}
