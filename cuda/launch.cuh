#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/tiles.h"

// Bodies of kernels in a grid of blocks (see tiles.h).

namespace shoal::cuda {

/// Blocks of a grid: each takes the next of its tiles when it has done one.
inline constexpr std::uint32_t kGridMax = 1u << 16;

template <class Body>
__global__ __launch_bounds__(kBlockThreads) void run_tiles(const __grid_constant__ Body body) {
  for (std::uint32_t tile = blockIdx.x; tile < body.tiles(); tile += gridDim.x)
    body(tile, threadIdx.x);
}

/// Launches into a cudaStream_t. What goes wrong is told by the device's next event.
struct Launcher {
  template <class Body>
  static void run(const Body& body, void* stream) {
    static_assert(sizeof(Body) <= kBodyBytesMax + 1024);
    if (body.tiles() == 0) return;
    const auto blocks = std::min(body.tiles(), kGridMax);
    run_tiles<<<blocks, kBlockThreads, 0, static_cast<cudaStream_t>(stream)>>>(body);
  }
};

}  // namespace shoal::cuda
