#pragma once

#include <cstdint>
#include <vector>

#include "cuda/merge_entries.h"
#include "cuda/selection_entries.h"
#include "tests/kernels/target.h"

namespace shoal::test {

/// Who chooses rows.
class Chooser {
 public:
  virtual ~Chooser() = default;
  virtual void choose_above(const cuda::RowArray& rows, const std::byte* base, float threshold) = 0;
  virtual void choose_top(const cuda::RowArray& rows, const std::byte* base, std::uint32_t k) = 0;
  virtual void take(const cuda::RowArray& rows, std::byte* base, cuda::Taken what,
                    std::byte* out) = 0;
  virtual void take_keys(const std::uint64_t* keys, std::uint32_t rows, std::uint64_t* out) = 0;
  /// Of the last choice, when all that was launched is done.
  virtual std::vector<std::uint32_t> chosen() = 0;
};

/// Who makes lists distinct.
class Merger {
 public:
  virtual ~Merger() = default;
  struct Rows {
    std::vector<std::uint32_t> positions;  ///< as many as the list had
    std::vector<std::byte> sums;
  };
  /// Done when it returns.
  virtual Rows merge(const cuda::PushedList& list, Aggregate aggregate) = 0;
};

inline constexpr std::uint32_t kListMax = 3000;  ///< rows that these are asked for at once
inline constexpr std::size_t kSumsMax = std::size_t{kListMax} * 64 * sizeof(double);

/// Against a sort of all rows by what they differ: no rows, rows that are equal, ties, NaN, all
/// types of floats, widths and lengths at which warps and blocks end.
void check_choices(Target& target, Chooser& chooser, DType dtype);
/// Rows and keys are packed in order, nothing behind them is touched, and rows are left as was
/// asked.
void check_takes(Target& target, Chooser& chooser);
/// Bit for bit as the host's RowMerger, for all types and ways to combine.
void check_merges(Target& target, Merger& merger);

}  // namespace shoal::test
