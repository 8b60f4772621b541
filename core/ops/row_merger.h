#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/memory/device_memory.h"
#include "core/memory/dtype.h"
#include "core/ops/aggregate.h"
#include "core/ops/rule_kind.h"

namespace shoal {

/// Makes the rows of a push distinct: rows that repeat are combined into their first occurrence, so
/// that a rule which is not linear sees the sum of a push, once. Sized at the start for one part;
/// nothing is allocated afterwards. Belongs to one loop.
class RowMerger {
 public:
  /// For parts of up to `rows_max` rows and `bytes_max` bytes of sums. Errors: no_memory,
  /// invalid_argument.
  static Result<RowMerger> create(Device& device, std::size_t rows_max, std::size_t bytes_max);

  struct Rows {
    std::span<const std::uint32_t> positions;
    RuleInputs inputs;
  };
  /// Returns `rows`, as they were pushed, if no position repeats (nothing is copied), else its
  /// distinct rows in the order of their first occurrence, summed, valid until the next call.
  /// `row_values` = width x inputs. Errors: overloaded, if the part is larger than what was asked
  /// for at the start.
  Result<Rows> merge(Rows rows, const AggregateKernels& aggregate, DType dtype,
                     std::size_t row_values);

  /// The distinct positions, in the order in which they first occur, and which rows go to each:
  /// begins[r] to begins[r + 1] of `order`. There is room in all for `positions`, in `begins` for
  /// one more. How many there are. Errors: overloaded.
  Result<std::size_t> group(std::span<const std::uint32_t> positions,
                            std::span<std::uint32_t> distinct, std::span<std::uint32_t> begins,
                            std::span<std::uint32_t> order);

  /// Of positions that repeat the last stays, the others become kAbsentRow.
  void keep_last(std::span<std::uint32_t> positions);

  /// Whether a position occurs twice; a key list's answer can be kept with its positions.
  Result<bool> repeats(std::span<const std::uint32_t> positions);

 private:
  /// A position seen in the present call, and which distinct row it became.
  struct Seen {
    std::uint32_t stamp = 0;
    std::uint32_t position = 0;
    std::uint32_t row = 0;
  };
  RowMerger(DeviceMemory values, std::size_t rows_max);
  Status begin(std::size_t rows);
  Seen& look_up(std::uint32_t position);

  DeviceMemory values_;
  std::size_t rows_max_;
  std::vector<std::uint32_t> positions_;
  std::vector<Seen> seen_;  ///< Open addressing, at most half full; an old stamp is an empty place.
  std::uint32_t stamp_ = 0;
};

}  // namespace shoal
