// Fences, cached loads and atomics on the host. One thread runs at a time and gives way only where
// it waits, so a fence orders nothing and an atomic is a plain read and write. Which thread comes
// first follows COP_CUDA_ORDER: floating-point sums by atomicAdd differ in their last bits, as they
// do on a device.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_ATOMIC_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_ATOMIC_H

// NOLINTBEGIN(readability-identifier-naming): the names are CUDA's.

// T, but not deduced from the argument: atomicAdd(&float_sum, 1) adds 1.0f, as CUDA's overloads do.
template <typename T> struct cop_cuda_as_written {
    using type = T;
};

template <typename T> using cop_cuda_value = typename cop_cuda_as_written<T>::type;

static inline void __threadfence(void)
{
}

static inline void __threadfence_block(void)
{
}

template <typename T> T __ldg(const T *address)
{
    return *address;
}

template <typename T> T atomicAdd(T *address, cop_cuda_value<T> value)
{
    const T old = *address;
    *address = static_cast<T>(old + value);
    return old;
}

template <typename T> T atomicMax(T *address, cop_cuda_value<T> value)
{
    const T old = *address;
    *address = old < value ? value : old;
    return old;
}

template <typename T> T atomicMin(T *address, cop_cuda_value<T> value)
{
    const T old = *address;
    *address = value < old ? value : old;
    return old;
}

template <typename T> T atomicExch(T *address, cop_cuda_value<T> value)
{
    const T old = *address;
    *address = value;
    return old;
}

template <typename T> T atomicCAS(T *address, cop_cuda_value<T> expected, cop_cuda_value<T> value)
{
    const T old = *address;
    *address = old == expected ? value : old;
    return old;
}

// NOLINTEND(readability-identifier-naming)

#endif
