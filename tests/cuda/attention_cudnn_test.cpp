// How far attention through cuDNN comes without a device: an H200 is described to it, graphs are
// built and validated, and cuDNN's heuristics say how many engine configurations take them. What a
// driver loads, and so whether they run and with what workspace, is not seen here.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#include "kernels/cuda/attention_cudnn.h"

namespace {

// In cuDNN's own keys.
const char h200[] =
    "{\"deviceName\":\"NVIDIA H200\",\"deviceVer\":900,\"driverVer\":13000,\"cudaDeviceId\":0,"
    "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"multiProcessorCount\":132,"
    "\"warpSize\":32,\"regsPerBlock\":65536,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,"
    "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"maxSharedMemoryPerBlock\":49152,"
    "\"maxSharedMemoryPerBlockOptin\":232448,\"reservedSharedMemoryPerBlock\":1024,"
    "\"totalGlobalMem\":150754820096,\"l2CacheSize\":62914560,\"smClockRateKHz\":1980000,"
    "\"memClockRateKHz\":3201000,\"maxGridSize\":[2147483647,65535,65535],"
    "\"maxBlockSize\":[1024,1024,64]}";

struct size {
    int64_t batch;
    int64_t sequence;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
};

const size sizes[] = {
    {1, 128, 8, 8, 64},   {1, 1000, 8, 8, 64},  {1, 4096, 8, 8, 64},   {2, 128, 8, 2, 64},
    {1, 1000, 8, 2, 64},  {1, 4096, 8, 2, 64},  {2, 128, 8, 8, 128},   {1, 1000, 8, 8, 128},
    {1, 4096, 8, 8, 128}, {1, 128, 32, 8, 128}, {2, 1000, 32, 8, 128}, {2, 4096, 48, 8, 128},
};

cop_cuda_flash *flash;

} // namespace

static cop_matrix matrix(cop_dtype dtype, int64_t rows, int64_t cols, int64_t stride)
{
    cop_matrix m = {};
    m.dtype = dtype;
    m.rows = rows;
    m.cols = cols;
    m.stride = stride;
    return m;
}

// q, k, v are column parts of one matrix; data is not there: plans do not look at it.
static cop_attention_forward_args forward_args(size of)
{
    cop_attention_forward_args args = {};
    const int64_t n = of.batch * of.sequence;
    const int64_t width = of.heads * of.head_dim;
    const int64_t kv_width = of.kv_heads * of.head_dim;
    const int64_t packed = width + 2 * kv_width;
    args.batch = of.batch;
    args.sequence = of.sequence;
    args.heads = of.heads;
    args.kv_heads = of.kv_heads;
    args.head_dim = of.head_dim;
    args.scale = 1.0f / sqrtf(static_cast<float>(of.head_dim));
    args.q = matrix(COP_BF16, n, width, packed);
    args.k = matrix(COP_BF16, n, kv_width, packed);
    args.v = matrix(COP_BF16, n, kv_width, packed);
    args.o = matrix(COP_BF16, n, width, width);
    args.lse = matrix(COP_F32, of.batch * of.heads, of.sequence, of.sequence);
    return args;
}

static cop_attention_backward_args backward_args(size of)
{
    const cop_attention_forward_args from = forward_args(of);
    cop_attention_backward_args args = {};
    args.batch = from.batch;
    args.sequence = from.sequence;
    args.heads = from.heads;
    args.kv_heads = from.kv_heads;
    args.head_dim = from.head_dim;
    args.scale = from.scale;
    args.q = from.q;
    args.k = from.k;
    args.v = from.v;
    args.o = from.o;
    args.lse = from.lse;
    args.d_o = from.o;
    args.d_q = from.q;
    args.d_k = from.k;
    args.d_v = from.v;
    return args;
}

static void explain(const char *pass, size of, bool is_taken)
{
    (void)printf("%s, B %lld T %lld H %lld K %lld D %lld: %lld configurations%s%s\n", pass,
                 static_cast<long long>(of.batch), static_cast<long long>(of.sequence),
                 static_cast<long long>(of.heads), static_cast<long long>(of.kv_heads),
                 static_cast<long long>(of.head_dim),
                 static_cast<long long>(cop_cuda_flash_plan_count(flash)), is_taken ? "" : ": ",
                 is_taken ? "" : cop_cuda_flash_reason(flash));
}

static void a_forward_pass_is_offered_engines_for_an_h200(void **state)
{
    (void)state;
    for (const size &of : sizes) {
        cop_attention_forward_args args = forward_args(of);
        const bool is_taken = cop_cuda_flash_takes_forward(flash, &args);
        explain("forward", of, is_taken);
        assert_true(is_taken);
        assert_true(cop_cuda_flash_plan_count(flash) > 0);
        args.lse = matrix(COP_F32, 0, 0, 0); // without statistics
        assert_true(cop_cuda_flash_takes_forward(flash, &args));
    }
}

static void a_backward_pass_is_offered_engines_for_an_h200(void **state)
{
    (void)state;
    for (const size &of : sizes) {
        const cop_attention_backward_args args = backward_args(of);
        const bool is_taken = cop_cuda_flash_takes_backward(flash, &args);
        explain("backward", of, is_taken);
        assert_true(is_taken);
        assert_true(cop_cuda_flash_plan_count(flash) > 0);
    }
}

static void expect_refused(const cop_attention_forward_args *args, const char *reason)
{
    assert_false(cop_cuda_flash_takes_forward(flash, args));
    assert_string_equal(cop_cuda_flash_reason(flash), reason);
    assert_int_equal(cop_cuda_flash_forward_scratch(flash, args), 0);
}

static void what_cudnn_does_not_take_is_refused_with_a_reason(void **state)
{
    (void)state;
    const size good = {1, 128, 4, 2, 64};
    const char *const rows = "rows are not bf16 at multiples of 16 bytes";
    const char *const depth = "head_dim is not a multiple of 8 up to 128";
    cop_attention_forward_args args = forward_args(size{1, 128, 4, 2, 33});
    expect_refused(&args, depth);
    args = forward_args(size{1, 128, 4, 2, 256});
    expect_refused(&args, depth);
    args = forward_args(size{0, 128, 4, 2, 64});
    expect_refused(&args, "no rows");
    args = forward_args(good);
    args.q.dtype = COP_F32;
    expect_refused(&args, rows);
    args = forward_args(good);
    args.v.stride += 4;
    expect_refused(&args, rows);
    args = forward_args(good);
    args.k.data = reinterpret_cast<void *>(uintptr_t{8}); // NOLINT(performance-no-int-to-ptr)
    assert_false(cop_cuda_flash_takes_forward(flash, &args));
    assert_true(cop_cuda_flash_forward_scratch(flash, &args) > 0); // does not look at data
    args = forward_args(good);
    args.lse.stride += 1;
    expect_refused(&args, "lse is not dense");
    cop_attention_backward_args backward = backward_args(good);
    backward.d_k.stride += 2;
    assert_false(cop_cuda_flash_takes_backward(flash, &backward));
    assert_string_equal(cop_cuda_flash_reason(flash),
                        "rows of gradients are not bf16 at multiples of 16 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forward_pass_is_offered_engines_for_an_h200),
        cmocka_unit_test(a_backward_pass_is_offered_engines_for_an_h200),
        cmocka_unit_test(what_cudnn_does_not_take_is_refused_with_a_reason),
    };
    cop_error err = {};
    if (cop_cuda_flash_create_described(&flash, h200, 90, &err) != COP_OK) {
        // Another version of cuDNN describes devices in another way, or not at all.
        (void)fprintf(stderr, "skipped: %s: %s\n", cop_cuda_flash_name(), err.message);
        return 77;
    }
    const cop_attention_forward_args first = forward_args(sizes[0]);
    if (!cop_cuda_flash_takes_forward(flash, &first) &&
        strstr(cop_cuda_flash_reason(flash), "libcuda == nullptr") != NULL) {
        (void)fprintf(stderr, "skipped: %s: no libcuda.so.1, not even the toolkit's stub\n",
                      cop_cuda_flash_name());
        return 77;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cop_cuda_flash_destroy(flash);
    return failed;
}
