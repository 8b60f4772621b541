#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/result.h"

namespace shoal::cuda {

/// Memory that a pass works in, and how much of it there is.
struct Scratch {
  std::byte* memory = nullptr;
  std::size_t bytes = 0;
};

/// Passes over arrays in memory that kernels reach, by CUB, in the order of a cudaStream_t. What
/// goes wrong is told by the device's next event.
struct Passes {
  /// What each needs, for up to `count` elements. Errors: those of CUDA; there must be a GPU.
  static Result<std::size_t> sum_scratch(std::uint64_t count);
  static Result<std::size_t> sort_scratch(std::uint64_t count);
  static Result<std::size_t> select_scratch(std::uint64_t count);

  /// to[i] = from[0] + ... + from[i - 1].
  static void exclusive_sum(Scratch scratch, const std::uint32_t* from, std::uint32_t* to,
                            std::uint64_t count, void* stream);
  /// Sorts by key, ascending; values of equal keys stay in their order.
  static void sort(Scratch scratch, const std::uint32_t* keys, std::uint32_t* sorted_keys,
                   const std::uint32_t* values, std::uint32_t* sorted_values, std::uint64_t count,
                   void* stream);
  /// The indices i of flags[i] != 0, ascending, and how many they are.
  static void select(Scratch scratch, const std::uint8_t* flags, std::uint32_t* indices,
                     std::uint32_t* selected, std::uint64_t count, void* stream);
};

}  // namespace shoal::cuda
