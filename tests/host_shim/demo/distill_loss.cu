#include <float.h>

#include "kernels/cuda/launch.h"
#include "tests/host_shim/demo/demo.h"

namespace {

constexpr int THREADS = 128; // a power of two, for the tree reductions

// Sum of exp(z - peak) over the part of a row seen so far.
struct softmax_sum {
    float peak; // largest z, -FLT_MAX when there is none: exp(peak - peak) stays defined
    float sum;
};

__device__ float load(const float *from)
{
    return *from;
}

__device__ float load(const __nv_bfloat16 *from)
{
    return __bfloat162float(*from);
}

__device__ void store(float *to, float value)
{
    *to = value;
}

__device__ void store(__nv_bfloat16 *to, float value)
{
    *to = __float2bfloat16(value);
}

__device__ softmax_sum merge(softmax_sum a, softmax_sum b)
{
    const float peak = fmaxf(a.peak, b.peak);
    return softmax_sum{peak, a.sum * expf(a.peak - peak) + b.sum * expf(b.peak - peak)};
}

// Two passes over one row by one block: the sums of both softmaxes, merged in shared memory by a
// tree; then loss and gradient of each entry, the gradient over the logit just read.
template <typename T, int COUNT>
__global__ void __launch_bounds__(COUNT)
    distill_loss_kernel(float *__restrict__ loss, T *__restrict__ student,
                        const T *__restrict__ teacher, int64_t vocabulary, float temperature,
                        float d_loss)
{
    COP_DYNAMIC_SHARED(softmax_sum, sums); // [2, COUNT]: student, teacher
    softmax_sum *const student_sums = sums;
    softmax_sum *const teacher_sums = sums + COUNT;
    const int id = (int)threadIdx.x;
    T *const student_row = student + (int64_t)blockIdx.x * vocabulary;       // [V]
    const T *const teacher_row = teacher + (int64_t)blockIdx.x * vocabulary; // [V]
    const float inverse = 1.0f / temperature;

    softmax_sum own_student = {-FLT_MAX, 0.0f};
    softmax_sum own_teacher = {-FLT_MAX, 0.0f};
    for (int64_t v = id; v < vocabulary; v += COUNT) {
        own_student = merge(own_student, softmax_sum{load(student_row + v) * inverse, 1.0f});
        own_teacher = merge(own_teacher, softmax_sum{load(teacher_row + v) * inverse, 1.0f});
    }
    student_sums[id] = own_student;
    teacher_sums[id] = own_teacher;
    __syncthreads();
    for (int half = COUNT / 2; half > 0; half /= 2) {
        if (id < half) {
            student_sums[id] = merge(student_sums[id], student_sums[id + half]);
            teacher_sums[id] = merge(teacher_sums[id], teacher_sums[id + half]);
        }
        __syncthreads();
    }
    const float log_q_shift = student_sums[0].peak + logf(student_sums[0].sum);
    const float log_p_shift = teacher_sums[0].peak + logf(teacher_sums[0].sum);
    __syncthreads(); // the buffer is used again below

    float own_loss = 0.0f;
    for (int64_t v = id; v < vocabulary; v += COUNT) {
        const float log_q = load(student_row + v) * inverse - log_q_shift;
        const float log_p = load(teacher_row + v) * inverse - log_p_shift;
        const float p = expf(log_p);
        own_loss += p * (log_p - log_q);
        store(student_row + v, d_loss * temperature * (expf(log_q) - p));
    }
    float *const losses = reinterpret_cast<float *>(sums); // [COUNT]
    losses[id] = own_loss;
    __syncthreads();
    for (int half = COUNT / 2; half > 0; half /= 2) {
        if (id < half) {
            losses[id] += losses[id + half];
        }
        __syncthreads();
    }
    if (id == 0) {
        loss[blockIdx.x] = temperature * temperature * losses[0];
    }
}

template <typename T>
void distill_loss_launch(float *loss, void *student, const void *teacher, int64_t rows,
                         int64_t vocabulary, float temperature, float d_loss, cudaStream_t stream)
{
    COP_LAUNCH((distill_loss_kernel<T, THREADS>), (unsigned)rows, THREADS,
               sizeof(softmax_sum) * 2 * THREADS, stream, loss, (T *)student, (const T *)teacher,
               vocabulary, temperature, d_loss);
}

} // namespace

cop_status cop_demo_distill_loss_cuda(float *loss, void *student, const void *teacher,
                                      cop_demo_type dtype, int64_t rows, int64_t vocabulary,
                                      float temperature, float d_loss, void *stream, cop_error *err)
{
    if (rows < 1 || rows > INT32_MAX || vocabulary < 1 || !(temperature > 0.0f)) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "distill_loss: logits are [%lld, %lld], temperature is %g (allowed: > 0)",
                        (long long)rows, (long long)vocabulary, (double)temperature);
    }
    switch (dtype) {
    case COP_DEMO_F32:
        distill_loss_launch<float>(loss, student, teacher, rows, vocabulary, temperature, d_loss,
                                   (cudaStream_t)stream);
        break;
    case COP_DEMO_BF16:
        distill_loss_launch<__nv_bfloat16>(loss, student, teacher, rows, vocabulary, temperature,
                                           d_loss, (cudaStream_t)stream);
        break;
    }
    const cudaError_t launch = cudaGetLastError();
    if (launch != cudaSuccess) {
        return COP_FAIL(err, COP_ERR_DEVICE, "distill_loss: launch for [%lld, %lld] failed: %s",
                        (long long)rows, (long long)vocabulary, cudaGetErrorString(launch));
    }
    return COP_OK;
}
