#include <thrust/iterator/counting_iterator.h>

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <cub/device/device_select.cuh>

#include "cuda/error.h"
#include "cuda/passes.h"

namespace shoal::cuda {

namespace {

using Indices = thrust::counting_iterator<std::uint32_t>;

/// CUB says how much a pass needs if it is given none.
template <class Pass>
Result<std::size_t> ask(const char* name, const Pass& pass) {
  std::size_t bytes = 0;
  if (const cudaError_t code = pass(bytes); code != cudaSuccess) return cuda_error(name, code);
  return bytes;
}

std::int64_t signed_count(std::uint64_t count) { return static_cast<std::int64_t>(count); }

}  // namespace

Result<std::size_t> Passes::sum_scratch(std::uint64_t count) {
  const std::uint32_t* from = nullptr;
  std::uint32_t* to = nullptr;
  return ask("cub::DeviceScan::ExclusiveSum", [&](std::size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(nullptr, bytes, from, to, signed_count(count));
  });
}

void Passes::exclusive_sum(Scratch scratch, const std::uint32_t* from, std::uint32_t* to,
                           std::uint64_t count, void* stream) {
  (void)cub::DeviceScan::ExclusiveSum(scratch.memory, scratch.bytes, from, to, signed_count(count),
                                      static_cast<cudaStream_t>(stream));
}

Result<std::size_t> Passes::sort_scratch(std::uint64_t count) {
  const std::uint32_t* from = nullptr;
  std::uint32_t* to = nullptr;
  return ask("cub::DeviceRadixSort::SortPairs", [&](std::size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(nullptr, bytes, from, to, from, to, signed_count(count));
  });
}

void Passes::sort(Scratch scratch, const std::uint32_t* keys, std::uint32_t* sorted_keys,
                  const std::uint32_t* values, std::uint32_t* sorted_values, std::uint64_t count,
                  void* stream) {
  (void)cub::DeviceRadixSort::SortPairs(
      scratch.memory, scratch.bytes, keys, sorted_keys, values, sorted_values, signed_count(count),
      0, 8 * sizeof(std::uint32_t), static_cast<cudaStream_t>(stream));
}

Result<std::size_t> Passes::select_scratch(std::uint64_t count) {
  const std::uint8_t* flags = nullptr;
  std::uint32_t* to = nullptr;
  return ask("cub::DeviceSelect::Flagged", [&](std::size_t& bytes) {
    return cub::DeviceSelect::Flagged(nullptr, bytes, Indices(0), flags, to, to,
                                      signed_count(count));
  });
}

void Passes::select(Scratch scratch, const std::uint8_t* flags, std::uint32_t* indices,
                    std::uint32_t* selected, std::uint64_t count, void* stream) {
  (void)cub::DeviceSelect::Flagged(scratch.memory, scratch.bytes, Indices(0), flags, indices,
                                   selected, signed_count(count),
                                   static_cast<cudaStream_t>(stream));
}

}  // namespace shoal::cuda
