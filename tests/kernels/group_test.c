// Collectives of several processes on host memory. Run alone and, by mpirun, with 2 and 3 processes.

#include "kernels/group.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/processes.h"
#include "tests/cuda/backend.h"
#include "tests/support.h"

enum { COUNT_MAX = 100003 }; // more than a chunk of the exchange, and divisible by nothing

static cop_group *group;

// What rank `rank` holds at `i`: sums that depend on their order, were they made in f32.
static double value(int rank, int64_t i)
{
    return ldexp(1.0 + (double)((i * 7 + rank * 13) % 101) / 128.0, (int)((i + rank * 5) % 9) - 4) *
           ((i + rank) % 2 == 0 ? 1.0 : -1.0);
}

static void fill(void *data, cop_dtype dtype, int rank, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const double v = value(rank, i);
        cop_dtype_convert((char *)data + (size_t)i * cop_dtype_bytes(dtype), dtype, &v, COP_F64, 1);
    }
}

// The sum in the order of ranks, in f64, of what each holds in its type, rounded once.
static void expect_sum(void *out, cop_dtype dtype, int64_t i)
{
    double sum = 0.0;
    for (int rank = 0; rank < group->size; rank++) {
        const double exact = value(rank, i);
        double held = 0.0;
        unsigned char narrow[8];
        cop_dtype_convert(narrow, dtype, &exact, COP_F64, 1);
        cop_dtype_convert(&held, COP_F64, narrow, dtype, 1);
        sum = rank == 0 ? held : sum + held;
    }
    cop_dtype_convert(out, dtype, &sum, COP_F64, 1);
}

static void check_sums(const void *data, cop_dtype dtype, int64_t first, int64_t end)
{
    const size_t width = cop_dtype_bytes(dtype);
    for (int64_t i = first; i < end; i++) {
        unsigned char wanted[8];
        expect_sum(wanted, dtype, i);
        assert_memory_equal((const char *)data + (size_t)i * width, wanted, width);
    }
}

static const cop_dtype types[] = {COP_F32, COP_BF16, COP_F64};
static const int64_t counts[] = {0, 1, 2, 5, 32, 97, 4096, COUNT_MAX};

static void sums_are_made_in_the_order_of_ranks_and_rounded_once(void **state)
{
    (void)state;
    void *data = cop_alloc(COUNT_MAX, sizeof(double));
    for (size_t t = 0; t < 3; t++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            fill(data, types[t], group->rank, counts[c]);
            assert_int_equal(cop_group_all_reduce(group, NULL, data, counts[c], types[t], NULL),
                             COP_OK);
            check_sums(data, types[t], 0, counts[c]);
        }
    }
    cop_free(data);
}

static void scattered_and_gathered_parts_are_the_whole_sum(void **state)
{
    (void)state;
    void *data = cop_alloc(COUNT_MAX, sizeof(double));
    for (size_t t = 0; t < 3; t++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            const int64_t count = counts[c];
            const int64_t share = cop_group_share(count, group->size, 32);
            const int64_t first = cop_group_part(count, share, group->rank, group->size);
            const int64_t end = cop_group_part(count, share, group->rank + 1, group->size);
            fill(data, types[t], group->rank, count);
            assert_int_equal(
                cop_group_reduce_scatter(group, NULL, data, count, share, types[t], NULL), COP_OK);
            check_sums(data, types[t], first, end);
            assert_int_equal(cop_group_all_gather(group, NULL, data, count, share, types[t], NULL),
                             COP_OK);
            check_sums(data, types[t], 0, count);
        }
    }
    cop_free(data);
}

static void parts_cover_everything_once(void **state)
{
    (void)state;
    for (int size = 1; size <= 9; size++) {
        for (int64_t count = 0; count < 700; count += 13) {
            const int64_t share = cop_group_share(count, size, 32);
            assert_int_equal(cop_group_part(count, share, 0, size), 0);
            assert_int_equal(cop_group_part(count, share, size, size), count);
            for (int rank = 0; rank < size; rank++) {
                assert_true(cop_group_part(count, share, rank, size) <=
                            cop_group_part(count, share, rank + 1, size));
            }
        }
    }
}

static void any_member_can_broadcast(void **state)
{
    (void)state;
    double data[100];
    for (int root = 0; root < group->size; root++) {
        fill(data, COP_F64, group->rank, 100);
        assert_int_equal(cop_group_broadcast(group, NULL, data, sizeof data, root, NULL), COP_OK);
        for (int64_t i = 0; i < 100; i++) {
            assert_true(data[i] == value(root, i));
        }
    }
}

static void misuse_is_refused_before_anything_is_exchanged(void **state)
{
    (void)state;
    cop_error err = {0};
    char wanted[160];
    int32_t data[8] = {0};
    assert_int_equal(cop_group_all_reduce(group, NULL, data, 8, COP_I32, &err),
                     COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "all_reduce: type is i32 (allowed: f32, bf16, f64)");
    assert_int_equal(cop_group_all_gather(group, NULL, data, 8, 9, COP_F32, &err), COP_ERR_SHAPE);
    (void)snprintf(wanted, sizeof wanted,
                   "all_gather: parts of 9 of 8 elements for %d processes (allowed: 0..%d)",
                   group->size, 8 / group->size);
    assert_string_equal(err.message, wanted);
    assert_int_equal(cop_group_broadcast(group, NULL, data, 8, group->size, &err), COP_ERR_SHAPE);
}

static void all_hear_of_the_first_failure(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_status own = COP_OK;
    assert_int_equal(cop_processes_agree(own, &err), COP_OK);
    if (group->size > 1) {
        if (group->rank > 0) {
            own = COP_FAIL(&err, COP_ERR_FORMAT, "rank %d failed", group->rank);
        }
        assert_int_equal(cop_processes_agree(own, &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, "rank 1 failed");
    }
}

static void messages_arrive_in_order_and_whole(void **state)
{
    (void)state;

    enum { LARGE = 200000, MESSAGES = 5 };

    cop_error err = {0};
    char *data = cop_alloc(LARGE, 1);
    if (group->rank > 0) {
        for (int i = 0; i < MESSAGES; i++) {
            memset(data, group->rank * 16 + i, LARGE);
            assert_int_equal(cop_processes_send(0, data, i % 2 == 0 ? 10 : LARGE, &err), COP_OK);
        }
    }
    int received[16] = {0};
    for (int left = group->rank == 0 ? (group->size - 1) * MESSAGES : 0; left > 0;) {
        int from = -1;
        uint64_t bytes = 0;
        assert_int_equal(cop_processes_poll(&from, &bytes, &err), COP_OK);
        if (from < 0) {
            continue;
        }
        assert_int_equal(bytes, received[from] % 2 == 0 ? 10 : LARGE);
        assert_int_equal(cop_processes_receive(from, data, bytes, &err), COP_OK);
        assert_int_equal(data[bytes - 1], from * 16 + received[from]++);
        left--;
    }
    assert_int_equal(cop_processes_barrier(&err), COP_OK);
    cop_free(data);
}

static cop_status open_backend(cop_backend **out, cop_error *err)
{
#ifdef COP_TEST_CUDA
    return cop_test_cuda_backend(out, err);
#else
    return cop_backend_create(out, "reference", err);
#endif
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_made_in_the_order_of_ranks_and_rounded_once),
        cmocka_unit_test(scattered_and_gathered_parts_are_the_whole_sum),
        cmocka_unit_test(parts_cover_everything_once),
        cmocka_unit_test(any_member_can_broadcast),
        cmocka_unit_test(misuse_is_refused_before_anything_is_exchanged),
        cmocka_unit_test(all_hear_of_the_first_failure),
        cmocka_unit_test(messages_arrive_in_order_and_whole),
    };
    cop_error err = {0};
    cop_backend *backend = NULL;
    if (cop_processes_start(&err) != COP_OK || open_backend(&backend, &err) != COP_OK ||
        cop_group_create(&group, backend, &err) != COP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cop_group_destroy(group);
    cop_backend_destroy(backend);
    if (failed != 0) {
        cop_processes_abort(1);
    }
    cop_processes_stop();
    return failed;
}
