// What surrounds cuBLASLt: operands and layouts, plans made once, the choice among candidates and
// its file. The library itself is replaced by a stand-in.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "kernels/ops.h"
#include "tests/cuda/backend.h"
#include "tests/cuda/cublaslt_host.h"
#include "tests/cuda/product.h"
#include "tests/support.h"

enum { SIDE = 8, SPARE = 4 };

static char folder[4096]; // of the choices

static void set(const char *name, const char *value)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): this test has one thread
    assert_int_equal(value != NULL ? setenv(name, value, 1) : unsetenv(name), 0);
}

static cop_backend *backend_of(void)
{
    cop_backend *backend = NULL;
    cop_error err = {0};
    if (cop_test_cuda_backend(&backend, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return backend;
}

// Forgets all choices.
static void start_afresh(void)
{
    cop_error err = {0};
    if (cop_file_is_directory(folder)) {
        assert_int_equal(cop_file_remove_tree(folder, &err), COP_OK);
    }
    assert_int_equal(cop_file_make_directory(folder, &err), COP_OK);
    set("XDG_CACHE_HOME", folder);
    set("COP_CUDA_TUNE", NULL);
    const int live = cop_test_lt.live;
    cop_test_lt = (cop_test_lt_record){.live = live};
}

// One product of ones [8, 8] x [8, n], on the default stream; `skip` floats into its memory.
static void multiply(cop_backend *backend, int64_t n, int skip, float beta)
{
    static float host[3 * SIDE * 16 + SPARE];
    void *memory = NULL;
    void *scratch = NULL;
    cop_error err = {0};
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) {
        host[i] = 1.0F;
    }
    assert_int_equal(cop_backend_alloc(backend, &memory, sizeof host, "operands", &err), COP_OK);
    assert_int_equal(cop_backend_to_device(backend, NULL, memory, host, sizeof host, &err), COP_OK);
    float *at = (float *)memory + skip;
    cop_matmul_args args = {.a = cop_matrix_dense(at, COP_F32, SIDE, SIDE),
                            .b = cop_matrix_dense(at + SIDE * 16, COP_F32, SIDE, n),
                            .c = cop_matrix_dense(at + 2 * SIDE * 16, COP_F32, SIDE, n),
                            .alpha = 1.0F,
                            .beta = beta};
    const uint64_t bytes = backend->ops->scratch_bytes(backend, COP_OP_MATMUL, &args);
    assert_int_equal(cop_backend_alloc(backend, &scratch, bytes, "scratch", &err), COP_OK);
    args.scratch = scratch;
    if (backend->ops->matmul(backend, NULL, &args, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(cop_backend_to_host(backend, NULL, host, memory, sizeof host, &err), COP_OK);
    assert_int_equal(cop_backend_synchronize(backend, NULL, &err), COP_OK);
    for (int64_t i = 0; i < SIDE * n; i++) {
        assert_true(host[skip + 2 * SIDE * 16 + i] == (float)SIDE + beta);
    }
    cop_backend_free(backend, memory);
    cop_backend_free(backend, scratch);
}

static void products_agree_in_every_layout_tuned_or_not(void **state)
{
    (void)state;
    start_afresh();
    for (int tuned = 0; tuned < 2; tuned++) {
        set("COP_CUDA_TUNE", tuned != 0 ? "on" : "off");
        cop_backend *backend = backend_of();
        product_check(backend, 1, 1); // each with 32 MiB of workspace
        cop_backend_destroy(backend);
    }
    assert_int_equal(cop_test_lt.live, 0);
}

static void a_plan_is_made_once_per_shape(void **state)
{
    (void)state;
    start_afresh();
    set("COP_CUDA_TUNE", "off");
    cop_backend *backend = backend_of();
    for (int run = 0; run < 3; run++) {
        multiply(backend, 8, 0, 0.0F);
        multiply(backend, 7, 0, 0.0F);
        multiply(backend, 7, 0, 1.0F);
    }
    assert_int_equal(cop_test_lt.heuristics, 3);
    assert_int_equal(cop_test_lt.products, 9);
    assert_int_equal(cop_test_lt.candidate, 0);
    cop_backend_destroy(backend);
    assert_int_equal(cop_test_lt.live, 0);
}

// More shapes than the table of plans begins with.
static void many_shapes_keep_their_plans(void **state)
{
    (void)state;
    start_afresh();
    set("COP_CUDA_TUNE", "off");
    cop_backend *backend = backend_of();
    for (int round = 0; round < 2; round++) {
        for (int64_t n = 1; n <= 16; n++) {
            for (int skip = 0; skip < SPARE; skip++) {
                multiply(backend, n == COP_TEST_LT_REFUSED_COLUMNS ? 16 : n, skip, 1.0F);
            }
        }
    }
    assert_true(cop_test_lt.heuristics > 40 && cop_test_lt.heuristics <= 64);
    cop_backend_destroy(backend);
}

static void the_library_is_told_what_it_may_do(void **state)
{
    (void)state;
    start_afresh();
    cop_backend *backend = backend_of();
    multiply(backend, 8, 0, 0.0F);
    assert_int_equal(cop_test_lt.alignments[0], 256);
    assert_int_equal(cop_test_lt.workspace_bytes, 32U << 20);
    assert_int_equal(cop_test_lt.reductions, 2); // out of place, in the compute type
    multiply(backend, 8, 1, 0.0F);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cop_test_lt.alignments[i], 4);
    }
    cop_backend_destroy(backend);
}

static void a_product_without_candidates_is_done_by_the_plain_kernel(void **state)
{
    (void)state;
    start_afresh();
    cop_backend *backend = backend_of();
    multiply(backend, COP_TEST_LT_REFUSED_COLUMNS, 0, 0.0F);
    multiply(backend, COP_TEST_LT_REFUSED_COLUMNS, 0, 1.0F);
    assert_int_equal(cop_test_lt.products, 0);
    cop_backend_destroy(backend);
}

static void a_choice_is_made_once_and_kept(void **state)
{
    cop_error err = {0};
    char path[sizeof folder + 64];
    char *text = NULL;
    size_t bytes = 0;
    (void)state;
    start_afresh();
    cop_backend *backend = backend_of();
    multiply(backend, 8, 0, 1.0F);
    assert_true(cop_test_lt.products > 2); // timed
    assert_int_equal(cop_test_lt.candidate, 1);
    cop_backend_destroy(backend);
    (void)snprintf(path, sizeof path, "%s/coppice/cublaslt.txt", folder);
    assert_int_equal(cop_file_read(&text, &bytes, path, 10000, &err), COP_OK);
    assert_non_null(strstr(text, "|130000|8x8x8 nn ld 8,8,8 at 256,256,256 f32>f32+ 1\n"));

    // Another run takes it from there, untimed.
    cop_test_lt = (cop_test_lt_record){0};
    backend = backend_of();
    multiply(backend, 8, 0, 1.0F);
    assert_int_equal(cop_test_lt.products, 1);
    assert_int_equal(cop_test_lt.candidate, 1);
    cop_backend_destroy(backend);

    // Even where another choice would be faster; the first line that is whole counts.
    char *choice = strstr(text, "+ 1\n");
    assert_non_null(choice);
    choice[2] = '0';
    assert_int_equal(cop_file_write(path, text, bytes, &err), COP_OK);
    backend = backend_of();
    multiply(backend, 8, 0, 1.0F);
    assert_int_equal(cop_test_lt.candidate, 0);
    cop_backend_destroy(backend);
    cop_free(text);
}

static void a_shape_first_seen_while_recording_takes_the_first_for_good(void **state)
{
    cop_error err = {0};
    cop_graph *graph = NULL;
    cop_stream *stream = NULL;
    void *memory = NULL;
    (void)state;
    start_afresh();
    cop_backend *backend = backend_of();
    const uint64_t bytes = (64U << 20) + 3 * SIDE * SIDE * sizeof(float);
    assert_int_equal(cop_backend_alloc(backend, &memory, bytes, "all", &err), COP_OK);
    float *at = memory;
    cop_matmul_args args = {.a = cop_matrix_dense(at, COP_F32, SIDE, SIDE),
                            .b = cop_matrix_dense(at + 64, COP_F32, SIDE, SIDE),
                            .c = cop_matrix_dense(at + 128, COP_F32, SIDE, SIDE),
                            .alpha = 1.0F,
                            .scratch = at + 192};
    assert_int_equal(backend->type->stream_create(backend, &stream, &err), COP_OK);
    assert_int_equal(backend->type->graph_begin(backend, stream, &err), COP_OK);
    assert_int_equal(backend->ops->matmul(backend, stream, &args, &err), COP_OK);
    if (backend->type->graph_end(backend, stream, &graph, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(cop_test_lt.products, 1);
    assert_int_equal(cop_test_lt.candidate, 0);
    backend->type->graph_destroy(backend, graph);
    backend->type->stream_destroy(backend, stream);
    cop_backend_free(backend, memory);
    cop_backend_destroy(backend);

    backend = backend_of();
    multiply(backend, 8, 0, 0.0F);
    assert_int_equal(cop_test_lt.candidate, 0);
    cop_backend_destroy(backend);
}

static void without_a_place_for_choices_the_first_is_taken(void **state)
{
    (void)state;
    start_afresh();
    set("XDG_CACHE_HOME", "/proc/nowhere");
    cop_backend *backend = backend_of();
    multiply(backend, 8, 0, 0.0F);
    assert_int_equal(cop_test_lt.products, 1);
    assert_int_equal(cop_test_lt.candidate, 0);
    cop_backend_destroy(backend);
}

static void an_unknown_mode_is_refused(void **state)
{
    cop_backend *backend = NULL;
    cop_error err = {0};
    (void)state;
    start_afresh();
    set("COP_CUDA_TUNE", "maybe");
    assert_int_equal(cop_test_cuda_backend(&backend, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "COP_CUDA_TUNE is maybe (allowed: on, off)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_in_every_layout_tuned_or_not),
        cmocka_unit_test(a_plan_is_made_once_per_shape),
        cmocka_unit_test(many_shapes_keep_their_plans),
        cmocka_unit_test(the_library_is_told_what_it_may_do),
        cmocka_unit_test(a_product_without_candidates_is_done_by_the_plain_kernel),
        cmocka_unit_test(a_choice_is_made_once_and_kept),
        cmocka_unit_test(a_shape_first_seen_while_recording_takes_the_first_for_good),
        cmocka_unit_test(without_a_place_for_choices_the_first_is_taken),
        cmocka_unit_test(an_unknown_mode_is_refused),
    };
    char here[4000];
    assert_non_null(getcwd(here, sizeof here));
    (void)snprintf(folder, sizeof folder, "%s/cache", here);
    return cmocka_run_group_tests_name("matmul_lt", tests, NULL, NULL);
}
