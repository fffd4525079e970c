// Faults planted in kernels are found. Those that end the process run in a child.

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/host_shim/demo/demo.h"
#include "tests/host_shim/orders.h"
#include "tests/host_shim/sanitizer.h"

enum { COUNT = 64, REPORT_BYTES = 16384 };

// Runs one planted kernel in this process on x = 1, 2, ..., 64. y [64] is written.
static void run(float *y, cop_planted fault)
{
    float *x = floats(COUNT);
    cop_error err = {0};
    for (int i = 0; i < COUNT; i++) {
        x[i] = (float)(i + 1);
    }
    assert_int_equal(cop_demo_planted_cuda(y, x, fault, &err), COP_OK);
    free(x);
}

// Runs it in a child process and keeps what that prints on standard error. True when it fails.
static bool fails_in_child(char *report, cop_planted fault)
{
    int status = 0;
    FILE *log = tmpfile();
    assert_non_null(log);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(fileno(log), STDERR_FILENO);
        run(floats(COUNT), fault);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    rewind(log);
    report[fread(report, 1, REPORT_BYTES - 1, log)] = '\0';
    (void)fclose(log);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

// In how many of the thread orders some y[i] differs from the expected value.
static int wrong_order_count(cop_planted fault, float (*expected)(int i))
{
    int wrong_count = 0;
    float *y = floats(COUNT);
    for (int order = 0; order < ORDER_COUNT; order++) {
        bool is_wrong = false;
        order_set(orders[order]);
        run(y, fault);
        for (int i = 0; i < COUNT; i++) {
            is_wrong = is_wrong || !(y[i] == expected(i)); // NaN is wrong as well
        }
        wrong_count += is_wrong ? 1 : 0;
    }
    free(y);
    return wrong_count;
}

static float sum_expected(int i)
{
    (void)i;
    return 64.0f * 65.0f / 2.0f;
}

static float rotate_expected(int i)
{
    return (float)((i + 2) % COUNT + 1);
}

static void a_correct_kernel_is_right_in_every_order(void **state)
{
    (void)state;
    assert_int_equal(wrong_order_count(COP_PLANTED_NONE, sum_expected), 0);
}

static void a_missing_barrier_gives_wrong_results(void **state)
{
    (void)state;
    assert_true(wrong_order_count(COP_PLANTED_NO_BARRIER_AFTER_WRITE, sum_expected) > 0);
    assert_true(wrong_order_count(COP_PLANTED_NO_BARRIER_AFTER_READ, rotate_expected) > 0);
}

static void shared_memory_read_before_it_is_written_is_nan(void **state)
{
    static const cop_planted faults[] = {COP_PLANTED_STATIC_SHARED_READ,
                                         COP_PLANTED_DYNAMIC_SHARED_READ};
    (void)state;
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        float *y = floats(COUNT);
        run(y, faults[f]);
        for (int i = 0; i < COUNT; i++) {
            assert_true(isnan(y[i]));
        }
        free(y);
    }
}

static void misuse_ends_the_process_with_kernel_block_and_thread(void **state)
{
    static const struct {
        cop_planted fault;
        bool needs_sanitizer;
        const char *expected[3]; // each is a part of the report
    } cases[] = {
        {COP_PLANTED_EXIT_BEFORE_BARRIER,
         false,
         {"kernel barrier_kernel, block (0,0,0), thread (0,0,0): divergent __syncthreads at ",
          "planted.cu:", "thread (40,0,0) has returned"}},
        {COP_PLANTED_TWO_BARRIERS,
         false,
         {"kernel barrier_kernel, block (0,0,0), thread (0,0,0): divergent __syncthreads at ",
          "thread (32,0,0) waits in __syncthreads at ", "planted.cu:"}},
        {COP_PLANTED_LANES_ABSENT,
         false,
         {"kernel lanes_kernel, block (0,0,0), thread (0,0,0): __shfl_sync at ",
          "lanes of mask 0xffffffff do not arrive", "thread (16,0,0) waits in __syncthreads at "}},
        {COP_PLANTED_LANE_OUTSIDE_MASK,
         false,
         {"kernel lanes_kernel, block (0,0,0), thread (0,0,0): __shfl_sync at ",
          "reads lane 16, which is not in mask 0x0000ffff", ""}},
        {COP_PLANTED_PARTIAL_WARP,
         false,
         {"kernel lanes_kernel, block (0,0,0), thread (32,0,0): __shfl_xor_sync at ",
          "reads lane 16, which is not in mask 0xffffffff or has returned", ""}},
        {COP_PLANTED_GLOBAL_WRITE,
         true,
         {"heap-buffer-overflow", "bounds_kernel",
          "kernel bounds_kernel, block (0,0,0), thread (63,0,0): stopped by a sanitizer"}},
        {COP_PLANTED_STATIC_SHARED_INDEX,
         true,
         {"index 64 out of bounds for type", "planted.cu:",
          "kernel bounds_kernel, block (0,0,0), thread (63,0,0): stopped by a sanitizer"}},
        {COP_PLANTED_STATIC_SHARED_WRITE,
         true,
         {"global-buffer-overflow", "static_values",
          "kernel bounds_kernel, block (0,0,0), thread (63,0,0): stopped by a sanitizer"}},
        {COP_PLANTED_DYNAMIC_SHARED_WRITE,
         true,
         {"heap-buffer-overflow", "bounds_kernel",
          "kernel bounds_kernel, block (0,0,0), thread (63,0,0): stopped by a sanitizer"}},
    };

    char *report = malloc(REPORT_BYTES);
    (void)state;
    assert_non_null(report);
    order_set("forward");
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        if (cases[c].needs_sanitizer && !COP_HAS_ASAN) {
            continue;
        }
        const bool is_failed = fails_in_child(report, cases[c].fault);
        bool is_reported = true;
        for (int part = 0; part < 3; part++) {
            is_reported = is_reported && strstr(report, cases[c].expected[part]) != NULL;
        }
        if (!is_failed || !is_reported) {
            print_error("fault %d, reported as:\n%s\n", (int)cases[c].fault, report);
        }
        assert_true(is_failed);
        assert_true(is_reported);
    }
    free(report);
}

static void an_unknown_order_is_refused(void **state)
{
    static const char *const bad[] = {"backward", "random:", "random:x", "random:1x", ""};
    char *report = malloc(REPORT_BYTES);
    (void)state;
    assert_non_null(report);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char expected[128];
        (void)snprintf(expected, sizeof expected,
                       "COP_CUDA_ORDER is \"%s\" (allowed: forward, reverse, random:<seed>)",
                       bad[i]);
        order_set(bad[i]);
        assert_true(fails_in_child(report, COP_PLANTED_NONE));
        assert_non_null(strstr(report, expected));
    }
    free(report);
    order_set("forward");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_correct_kernel_is_right_in_every_order),
        cmocka_unit_test(a_missing_barrier_gives_wrong_results),
        cmocka_unit_test(shared_memory_read_before_it_is_written_is_nan),
        cmocka_unit_test(misuse_ends_the_process_with_kernel_block_and_thread),
        cmocka_unit_test(an_unknown_order_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
