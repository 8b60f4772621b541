#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"
#include "core/memory/device_memory.h"
#include "core/ops/rule_kind.h"
#include "cuda/cuda_device.h"
#include "cuda/merge_entries.h"

namespace shoal::cuda {

/// Makes the rows of a push distinct, as the host's RowMerger does: rows that repeat are combined
/// in the order of the list, so that equal pushes give equal bits. Also what a deterministic
/// scatter-add is made of. All work goes into the device's stream; lists are memory that kernels
/// reach. Belongs to one loop.
class RowMerger {
 public:
  /// For lists of up to `rows_max` rows and `bytes_max` bytes of sums. Errors: no_memory.
  static Result<RowMerger> create(CudaDevice& device, std::uint32_t rows_max,
                                  std::size_t bytes_max);

  struct Rows {
    std::span<const std::uint32_t> positions;  ///< kAbsentRow behind the last
    RuleInputs inputs;
  };
  /// Device memory, until the next call. Errors: overloaded, if the list is larger than what was
  /// asked for at the start.
  Result<Rows> merge(const PushedList& list, Aggregate aggregate);

 private:
  RowMerger(CudaDevice& device, std::uint32_t rows_max, std::size_t bytes_max)
      : device_(&device), rows_max_(rows_max), bytes_max_(bytes_max) {}

  CudaDevice* device_;
  std::uint32_t rows_max_;
  std::size_t bytes_max_;
  DeviceMemory memory_;
  MergeScratch scratch_;
  Scratch sort_, sum_;
  std::byte* sums_ = nullptr;
};

}  // namespace shoal::cuda
