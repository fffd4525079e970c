// Which devices there are, and what they are.

#include <stdio.h>

#include "kernels/cuda/ops.h"

// The oldest that has bf16 and asynchronous copies to shared memory: Ampere.
enum { COMPUTE_LEAST = 80 };

cop_status cop_cuda_device_count(int *out, cop_error *err)
{
    int driver = 0;
    *out = 0;
    const cudaError_t driver_error = cudaDriverGetVersion(&driver);
    const cudaError_t error = cudaGetDeviceCount(out);
    (void)cudaGetLastError();
    if (error == cudaSuccess && *out > 0) {
        return COP_OK;
    }
    *out = 0;
    if (driver_error != cudaSuccess || driver == 0) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: driver: not there (libcuda.so.1 of the NVIDIA driver is missing)");
    }
    int runtime = 0;
    if (cudaRuntimeGetVersion(&runtime) == cudaSuccess && driver / 1000 < runtime / 1000) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: driver: for CUDA %d.%d (allowed: %d.0 or later)", driver / 1000,
                        driver % 1000 / 10, runtime / 1000);
    }
    if (error == cudaSuccess || error == cudaErrorNoDevice) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: device: the driver finds none (see CUDA_VISIBLE_DEVICES)");
    }
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "cuda: device: %s: %s", cudaGetErrorName(error),
                    cudaGetErrorString(error));
}

cop_status cop_cuda_device_describe(cop_cuda_device *out, int device, cop_error *err)
{
    cop_status status = COP_OK;
    cudaDeviceProp properties = {};
    COP_CUDA_TRY(status, err, "properties of the device",
                 cudaGetDeviceProperties(&properties, device));
    *out = cop_cuda_device{};
    (void)snprintf(out->name, sizeof out->name, "%.95s", properties.name);
    out->compute = properties.major * 10 + properties.minor;
    out->multiprocessors = properties.multiProcessorCount;
    out->memory_bytes = properties.totalGlobalMem;

done:
    return status;
}

cop_status cop_cuda_device_use(cop_cuda *cuda, int device, cop_error *err)
{
    cop_status status = COP_OK;
    cop_cuda_device about = {};
    int count = 0;
    int shared_bytes = 0;
    COP_TRY(status, cop_cuda_device_count(&count, err));
    if (device < 0 || device >= count) {
        status = COP_FAIL(err, COP_ERR_UNSUPPORTED, "cuda: device is %d (allowed: 0..%d)", device,
                          count - 1);
        goto done;
    }
    COP_TRY(status, cop_cuda_device_describe(&about, device, err));
    if (about.compute < COMPUTE_LEAST) {
        status = COP_FAIL(err, COP_ERR_UNSUPPORTED,
                          "cuda: device %d, %s: compute capability is %d.%d (allowed: 8.0 or more)",
                          device, about.name, about.compute / 10, about.compute % 10);
        goto done;
    }
    COP_CUDA_TRY(status, err, "device", cudaSetDevice(device));
    COP_CUDA_TRY(
        status, err, "shared memory of the device",
        cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    cuda->device = device;
    cuda->compute = about.compute;
    cuda->multiprocessors = about.multiprocessors;
    cuda->shared_bytes_max = static_cast<size_t>(shared_bytes);
    (void)snprintf(cuda->name, sizeof cuda->name, "%s", about.name);

done:
    return status;
}
