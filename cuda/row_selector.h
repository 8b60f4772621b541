#pragma once

#include <cstdint>

#include "core/base/result.h"
#include "core/memory/device_memory.h"
#include "cuda/cuda_device.h"
#include "cuda/selection_entries.h"

namespace shoal::cuda {

/// Chooses among rows in a GPU's memory those that are worth sending, and packs them: rows that
/// changed by more than a threshold since they were last sent (the significantly modified filter:
/// Li et al., "Scaling distributed machine learning with the parameter server", OSDI'14), or the k
/// that changed most (top-k sparsification: Aji, Heafield, "Sparse communication for distributed
/// gradient descent", EMNLP'17). How much a row changed is the greatest difference of one of its
/// values; NaN is more than anything.
///
/// All work goes into the device's stream, and arrays are memory that kernels reach. Belongs to one
/// loop.
class RowSelector {
 public:
  /// For arrays of up to `rows_max` rows. Errors: no_memory.
  static Result<RowSelector> create(CudaDevice& device, std::uint32_t rows_max);

  /// Rows of which a value differs by more than `threshold` from that of `base`, an array like
  /// `rows`; null: from 0.
  void choose_above(const RowArray& rows, const std::byte* base, float threshold);
  /// The k rows that differ most; of equal ones the first. Fewer, if the others do not differ.
  void choose_top(const RowArray& rows, const std::byte* base, std::uint32_t k);

  // Of the last choice:
  /// How many rows: 4 bytes of device memory.
  ConstMemoryView count() const;
  /// Which: so many indices, ascending, in device memory.
  const std::uint32_t* chosen() const { return scratch_.chosen; }
  /// Packs them into `out`, which has room for all rows; see Taken for what becomes of them. `base`
  /// is for Taken::recorded alone.
  void take(const RowArray& rows, std::byte* base, Taken what, std::byte* out);
  /// Packs their keys; keys[r] is that of row r, of `rows`.
  void take_keys(const std::uint64_t* keys, std::uint32_t rows, std::uint64_t* out);

 private:
  explicit RowSelector(CudaDevice& device, std::uint32_t rows_max)
      : device_(&device), rows_max_(rows_max) {}

  CudaDevice* device_;
  std::uint32_t rows_max_;
  DeviceMemory memory_;
  SelectionScratch scratch_;
};

}  // namespace shoal::cuda
