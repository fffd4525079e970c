// The one door through which a .cu file of this project meets CUDA.
//
// A .cu file includes this header instead of <cuda_runtime.h>. nvcc then sees the toolkit and real
// launches. A host compiler with -DCOP_CUDA_HOST sees the header <cuda_host.h> of tests/host_shim:
// the same source, run thread by thread on the CPU, so that kernels are tested where there is no
// GPU.
//
// The two constructs that a host compiler cannot parse are written as macros, in both worlds:
//
//   COP_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...);
//       kernel<<<grid, block, shared_bytes, stream>>>(arguments...). grid and block are dim3 or
//       integers. A kernel whose template arguments hold a comma goes in parentheses:
//       COP_LAUNCH((softmax<float, 256>), ...). At least one argument. As with <<<>>>, errors of
//       the launch itself are read with cudaGetLastError() afterwards.
//
//   COP_DYNAMIC_SHARED(type, name);
//       declares `type *name`, the start of the block's dynamic shared memory (shared_bytes of the
//       launch), aligned to 16 bytes. Several arrays: cut them from this one pointer.
//
// Static shared memory keeps its CUDA spelling, `__shared__ float tile[16][17];`, as the first
// word of its own declaration inside a function, without `static` or `extern` in front.

#ifndef COP_KERNELS_CUDA_LAUNCH_H
#define COP_KERNELS_CUDA_LAUNCH_H

#ifdef COP_CUDA_HOST

#    include <cuda_host.h>

#    define COP_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                      \
        cop_cuda_host::launch(#kernel, (kernel), (grid), (block), (shared_bytes), (stream), \
                              __VA_ARGS__)

#    define COP_DYNAMIC_SHARED(type, name) \
        type *const name = static_cast<type *>(cop_cuda_host_dynamic_shared())

#else

#    include <cuda_bf16.h>
#    include <cuda_runtime.h>

#    define COP_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
        (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

// One array under one name for all kernels: an extern array of each element type would clash.
#    define COP_DYNAMIC_SHARED(type, name)                                  \
        extern __shared__ __align__(16) unsigned char cop_dynamic_shared[]; \
        type *const name = reinterpret_cast<type *>(cop_dynamic_shared)

#endif

#endif
