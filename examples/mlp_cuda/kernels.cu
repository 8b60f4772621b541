#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "examples/mlp_cuda/kernels.h"

namespace shoal::mlp {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarp = 32;
constexpr unsigned kWarps = kThreads / kWarp;
constexpr std::size_t kBlocksMax = 1u << 16;
constexpr unsigned kWholeWarp = 0xffffffffu;

unsigned blocks_for(std::size_t work, std::size_t per_block) {
  return static_cast<unsigned>(
      std::clamp<std::size_t>((work + per_block - 1) / per_block, 1, kBlocksMax));
}

__device__ std::size_t thread_index() { return std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ std::size_t thread_count() { return std::size_t{gridDim.x} * blockDim.x; }

__global__ void take_images(const TakeImages work) {
  for (auto i = thread_index(); i < work.rows * work.columns; i += thread_count()) {
    const auto row = i / work.columns;
    const auto column = i % work.columns;
    const std::size_t number = work.order[row];
    const float value = work.images[number * work.columns + column];
    work.pixels[i] = (value - work.mean) * work.factor;
    if (column == 0) work.classes[row] = static_cast<float>(work.image_classes[number]);
  }
}

__global__ void add_bias(const AddBias work) {
  for (auto i = thread_index(); i < work.rows * work.columns; i += thread_count()) {
    const float value = work.values[i] + work.bias[i % work.columns];
    work.values[i] = work.relu ? fmaxf(value, 0.0f) : value;
  }
}

__global__ void mask_gradients(const MaskGradients work) {
  for (auto i = thread_index(); i < work.count; i += thread_count())
    if (!(work.outputs[i] > 0)) work.gradients[i] = 0;
}

/// A block for 32 columns, whose warps share the rows: lanes read neighbours.
__global__ void sum_columns(const SumColumns work) {
  __shared__ float parts[kWarps][kWarp];
  const auto lane = threadIdx.x % kWarp;
  const auto warp = threadIdx.x / kWarp;
  for (auto first = std::size_t{blockIdx.x} * kWarp; first < work.columns;
       first += std::size_t{gridDim.x} * kWarp) {
    const auto column = first + lane;
    float sum = 0;
    if (column < work.columns)
      for (std::size_t row = warp; row < work.rows; row += kWarps)
        sum += work.values[row * work.columns + column];
    parts[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < work.columns) {
      for (unsigned other = 1; other < kWarps; ++other) sum += parts[other][lane];
      work.sums[column] = sum;
    }
    __syncthreads();
  }
}

__device__ float sum_of_warp(float value) {
  for (unsigned step = kWarp / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(kWholeWarp, value, static_cast<int>(step));
  return value;
}

/// The greatest value of the warp, and the least of the columns that have it.
__device__ void greatest_of_warp(float& value, std::size_t& column) {
  for (unsigned step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kWholeWarp, value, static_cast<int>(step));
    const auto other_column = static_cast<std::size_t>(__shfl_xor_sync(
        kWholeWarp, static_cast<unsigned long long>(column), static_cast<int>(step)));
    if (other > value || (other == value && other_column < column)) {
      value = other;
      column = other_column;
    }
  }
}

/// A warp for each row.
__global__ void softmax(const Softmax work) {
  const auto lane = threadIdx.x % kWarp;
  for (auto row = thread_index() / kWarp; row < work.rows; row += thread_count() / kWarp) {
    float* scores = work.scores + row * work.columns;
    const auto label = static_cast<std::size_t>(work.classes[row]);
    float greatest = -INFINITY;
    std::size_t column_of_greatest = work.columns;
    for (std::size_t i = lane; i < work.columns; i += kWarp)
      if (scores[i] > greatest) {
        greatest = scores[i];
        column_of_greatest = i;
      }
    greatest_of_warp(greatest, column_of_greatest);
    const float offset_of_label = scores[label] - greatest;
    float sum = 0;
    for (std::size_t i = lane; i < work.columns; i += kWarp) sum += expf(scores[i] - greatest);
    sum = sum_of_warp(sum);
    __syncwarp();  // all have read the label's score
    for (std::size_t i = lane; i < work.columns; i += kWarp)
      scores[i] = work.scale * (expf(scores[i] - greatest) / sum - (i == label ? 1.0f : 0.0f));
    if (lane == 0) {
      atomicAdd(&work.tally[0], logf(sum) - offset_of_label);
      atomicAdd(&work.tally[1], column_of_greatest == label ? 1.0f : 0.0f);
    }
  }
}

}  // namespace

void launch(const TakeImages& work, cudaStream_t stream) {
  take_images<<<blocks_for(work.rows * work.columns, kThreads), kThreads, 0, stream>>>(work);
}
void launch(const AddBias& work, cudaStream_t stream) {
  add_bias<<<blocks_for(work.rows * work.columns, kThreads), kThreads, 0, stream>>>(work);
}
void launch(const MaskGradients& work, cudaStream_t stream) {
  mask_gradients<<<blocks_for(work.count, kThreads), kThreads, 0, stream>>>(work);
}
void launch(const SumColumns& work, cudaStream_t stream) {
  sum_columns<<<blocks_for(work.columns, kWarp), kThreads, 0, stream>>>(work);
}
void launch(const Softmax& work, cudaStream_t stream) {
  softmax<<<blocks_for(work.rows, kWarps), kThreads, 0, stream>>>(work);
}

}  // namespace shoal::mlp
