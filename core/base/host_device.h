#pragma once

/// Before a function that compiles for the CPU's SIMD loops and for CUDA kernels alike.
#if defined(__CUDACC__)
#define SHOAL_HOST_DEVICE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define SHOAL_HOST_DEVICE __attribute__((always_inline)) inline
#else
#define SHOAL_HOST_DEVICE inline
#endif
