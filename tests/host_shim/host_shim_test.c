// Runs the demonstration kernels on the host, in every thread order, against double references.

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/host_shim/collectives.h"
#include "tests/host_shim/demo/demo.h"
#include "tests/host_shim/orders.h"

// --- References: the contract's formula in double, nothing else.

static void rmsnorm_reference(double *y, const float *x, const float *gain, int64_t cols, float eps)
{
    double sum = 0.0;
    for (int64_t c = 0; c < cols; c++) {
        sum += (double)x[c] * (double)x[c];
    }
    for (int64_t c = 0; c < cols; c++) {
        y[c] = (double)x[c] * (double)gain[c] / sqrt(sum / (double)cols + (double)eps);
    }
}

static double log_sum(const float *z, int64_t count, double temperature)
{
    double peak = -DBL_MAX;
    double sum = 0.0;
    for (int64_t v = 0; v < count; v++) {
        peak = fmax(peak, (double)z[v] / temperature);
    }
    for (int64_t v = 0; v < count; v++) {
        sum += exp((double)z[v] / temperature - peak);
    }
    return peak + log(sum);
}

// Returns the loss of one row and writes its gradient for d_loss = 1.
static double distill_reference(double *d_student, const float *student, const float *teacher,
                                int64_t count, double temperature)
{
    const double q_shift = log_sum(student, count, temperature);
    const double p_shift = log_sum(teacher, count, temperature);
    double loss = 0.0;
    for (int64_t v = 0; v < count; v++) {
        const double log_q = (double)student[v] / temperature - q_shift;
        const double log_p = (double)teacher[v] / temperature - p_shift;
        loss += exp(log_p) * (log_p - log_q);
        d_student[v] = temperature * (exp(log_q) - exp(log_p));
    }
    return temperature * temperature * loss;
}

// --- bf16 as bits, independent of what the kernels use.

static uint16_t bf16_from_float(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return (uint16_t)((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
}

static float bf16_to_float(uint16_t bits)
{
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

// --- Kernels

static void rmsnorm_agrees_with_its_reference_in_every_order(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 33}, {5, 257}, {9, 64}, {2, 4099}};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const int64_t rows = sizes[s][0];
        const int64_t cols = sizes[s][1];
        float *x = floats_random((size_t)(rows * cols), 7, 3.0f);
        float *gain = floats_random((size_t)cols, 8, 1.0f);
        float *y = floats((size_t)(rows * cols));
        double *expected = malloc((size_t)cols * sizeof *expected);
        for (int order = 0; order < ORDER_COUNT; order++) {
            cop_error err = {0};
            order_set(orders[order]);
            assert_int_equal(cop_demo_rmsnorm_cuda(y, x, gain, rows, cols, 1e-5f, NULL, &err),
                             COP_OK);
            for (int64_t i = 0; i < rows * cols; i++) {
                if (i % cols == 0) {
                    rmsnorm_reference(expected, x + i, gain, cols, 1e-5f);
                }
                const double want = expected[i % cols];
                assert_true(fabs((double)y[i] - want) <= 1e-5 * fabs(want)); // its contract
            }
        }
        free(expected);
        free(y);
        free(gain);
        free(x);
    }
}

static void matmul_agrees_with_its_reference_in_every_order(void **state)
{
    static const int64_t sizes[][3] = {
        {1, 1, 1}, {17, 19, 23}, {33, 5, 47}, {16, 16, 16}, {7, 65, 31}};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const int64_t m = sizes[s][0];
        const int64_t n = sizes[s][1];
        const int64_t k = sizes[s][2];
        float *a = floats_random((size_t)(m * k), 3, 1.0f);
        float *b = floats_random((size_t)(k * n), 4, 1.0f);
        float *c = floats((size_t)(m * n));
        for (int order = 0; order < ORDER_COUNT; order++) {
            cop_error err = {0};
            order_set(orders[order]);
            assert_int_equal(cop_demo_matmul_cuda(c, a, b, m, n, k, NULL, &err), COP_OK);
            for (int64_t i = 0; i < m * n; i++) {
                double want = 0.0;
                double size = 0.0;
                for (int64_t j = 0; j < k; j++) {
                    const double term = (double)a[i / n * k + j] * (double)b[j * n + i % n];
                    want += term;
                    size += fabs(term);
                }
                assert_true(fabs((double)c[i] - want) <= (double)k * 6e-8 * size);
            }
        }
        free(c);
        free(b);
        free(a);
    }
}

static void distill_loss_check(int64_t rows, int64_t count, cop_demo_type dtype, float temperature)
{
    const size_t total = (size_t)(rows * count);
    const size_t item_bytes = dtype == COP_DEMO_BF16 ? sizeof(uint16_t) : sizeof(float);
    const float d_loss = 0.25f;
    float *student = floats_random(total, 11, 6.0f);
    float *teacher = floats_random(total, 12, 6.0f);
    float *loss = floats((size_t)rows);
    void *student_dev = malloc(total * item_bytes);
    void *teacher_dev = malloc(total * item_bytes);
    double *d_student = malloc((size_t)count * sizeof *d_student);
    for (size_t i = 0; i < total && dtype == COP_DEMO_BF16; i++) {
        ((uint16_t *)teacher_dev)[i] = bf16_from_float(teacher[i]);
        teacher[i] = bf16_to_float(((uint16_t *)teacher_dev)[i]);
        student[i] = bf16_to_float(bf16_from_float(student[i]));
    }
    for (int order = 0; order < ORDER_COUNT; order++) {
        cop_error err = {0};
        order_set(orders[order]);
        for (size_t i = 0; i < total; i++) { // the last run left gradients here
            if (dtype == COP_DEMO_BF16) {
                ((uint16_t *)student_dev)[i] = bf16_from_float(student[i]);
            } else {
                ((float *)student_dev)[i] = student[i];
                ((float *)teacher_dev)[i] = teacher[i];
            }
        }
        assert_int_equal(cop_demo_distill_loss_cuda(loss, student_dev, teacher_dev, dtype, rows,
                                                    count, temperature, d_loss, NULL, &err),
                         COP_OK);
        for (int64_t r = 0; r < rows; r++) {
            const double want = distill_reference(d_student, student + r * count,
                                                  teacher + r * count, count, (double)temperature);
            assert_true(fabs((double)loss[r] - want) <= 2e-5 * (1.0 + fabs(want)));
            for (int64_t v = 0; v < count; v++) {
                const size_t i = (size_t)(r * count + v);
                const double slope = (double)d_loss * d_student[v];
                const double found = dtype == COP_DEMO_BF16
                                         ? (double)bf16_to_float(((uint16_t *)student_dev)[i])
                                         : (double)((float *)student_dev)[i];
                const double rounding = dtype == COP_DEMO_BF16 ? 1.0 / 256.0 : 0.0;
                assert_true(fabs(found - slope) <=
                            2e-6 * (double)(d_loss * temperature) + rounding * fabs(slope));
            }
        }
    }
    free(d_student);
    free(teacher_dev);
    free(student_dev);
    free(loss);
    free(teacher);
    free(student);
}

static void distill_loss_agrees_with_its_reference_in_every_order(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 2}, {2, 127}, {5, 1001}, {2, 5003}};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        distill_loss_check(sizes[s][0], sizes[s][1], COP_DEMO_F32, 1.0f);
        distill_loss_check(sizes[s][0], sizes[s][1], COP_DEMO_F32, 2.0f);
        distill_loss_check(sizes[s][0], sizes[s][1], COP_DEMO_BF16, 2.0f);
    }
}

// --- The shim itself

static void collectives_follow_the_programming_guide(void **state)
{
    (void)state;
    for (int order = 0; order < ORDER_COUNT; order++) {
        cop_collectives *out = calloc(1, sizeof *out);
        cop_error err = {0};
        order_set(orders[order]);
        assert_int_equal(cop_collectives_cuda(out, &err), COP_OK);
        for (int i = 0; i < COP_LANES; i++) {
            const int segment_lane = i / 8 * 8 + 1;
            const int down = i % 16 + 4 < 16 ? i + 4 : i;
            const int xor_segment = i % 16 < 8 ? i : i - 8; // a later segment is out of reach
            assert_int_equal(out->broadcast_i32[i], 3 * 5 + 1);
            assert_true(out->segment_f32[i] == (float)(3 * segment_lane + 1));
            assert_true(out->up_f64[i] == (double)(3 * (i < 3 ? i : i - 3) + 1));
            assert_int_equal(out->down_i64[i], 3 * down + 1);
            assert_int_equal(out->xor_u64[i], 3 * (i ^ 16) + 1);
            assert_true(out->xor_segment_f32[i] == (float)(3 * xor_segment + 1));
            assert_int_equal(out->half_u32[i], 3 * (i ^ 1) + 1);
            assert_int_equal(out->ballot[i], 0x49249249u);
            assert_int_equal(out->any_and_all[i], 5);
            assert_int_equal(out->sum_i32[i], -496);
            assert_int_equal((uint32_t)out->left_alone[i], i < 8 ? 0u : 0xffffff00u);
        }
        assert_true(out->atomic_f32 == 64.0f);
        assert_true(out->atomic_f64 == 4.0 * 496.0);
        assert_int_equal(out->atomic_i32, -4 * 496);
        assert_int_equal(out->atomic_u32, 128);
        assert_true(out->atomic_u64 == 128ull << 33);
        assert_int_equal(out->atomic_max_i32, 31);
        free(out);
    }
}

static void refuses_launches_that_a_device_refuses(void **state)
{
    static const struct {
        unsigned grid, block;
        size_t shared_bytes;
        bool is_opted_in;
        const char *message; // NULL: accepted
    } cases[] = {
        {1, 1024, (size_t)48 * 1024, false, NULL},
        {0, 32, 0, false, "probe: launch failed: invalid configuration argument"},
        {1, 0, 0, false, "probe: launch failed: invalid configuration argument"},
        {1, 1025, 0, false, "probe: launch failed: invalid configuration argument"},
        {1, 32, (size_t)48 * 1024 + 1, false, "probe: launch failed: invalid argument"},
        {1, 32, (size_t)200 * 1024, true, NULL},
        {1, 32, (size_t)228 * 1024, true, "probe: 233472 bytes refused: invalid argument"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_error err = {0};
        const cop_status status = cop_launch_probe_cuda(
            cases[i].grid, cases[i].block, cases[i].shared_bytes, cases[i].is_opted_in, &err);
        assert_int_equal(status, cases[i].message == NULL ? COP_OK : COP_ERR_DEVICE);
        assert_string_equal(err.message, cases[i].message == NULL ? "" : cases[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_agrees_with_its_reference_in_every_order),
        cmocka_unit_test(matmul_agrees_with_its_reference_in_every_order),
        cmocka_unit_test(distill_loss_agrees_with_its_reference_in_every_order),
        cmocka_unit_test(collectives_follow_the_programming_guide),
        cmocka_unit_test(refuses_launches_that_a_device_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
