#pragma once

#include <cstddef>
#include <cstdint>

#include "core/memory/dtype.h"
#include "core/ops/combine.h"
#include "core/ops/copy_rows.h"
#include "core/ops/rule_kind.h"
#include "cuda/listed_tiles.h"
#include "cuda/tiles.h"

// Sums of pushes, before an update rule sees them.

namespace shoal::cuda {

/// For DenseTiles, whose weights are then sums.
template <Aggregate A>
struct CombineElement {
  template <class S>
  SHOAL_HOST_DEVICE void operator()(S& sum, S pushed) const {
    sum = math::combine<A>(sum, pushed);
  }
};

/// Sets sums to what changes nothing.
template <Aggregate A, class S>
class ClearTiles : public OneEach {
 public:
  ClearTiles(S* sums, std::uint64_t count) : OneEach(count), sums_(sums) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    if (const auto i = element(tile, thread); has(i)) sums_[i] = math::identity<A, S>();
  }

 private:
  S* sums_;
};

/// Combines packed rows of In with the sums of distinct listed rows.
template <Aggregate A, class S, class In>
class ListedSumTiles {
 public:
  ListedSumTiles(std::byte* const* pages, std::uint32_t page_shift, std::size_t row_values,
                 std::span<const std::uint32_t> positions, const In* pushed)
      : pages_(pages),
        positions_(positions.data()),
        rows_(positions.size()),
        row_values_(row_values),
        page_shift_(page_shift),
        teams_((row_values + kRun<S> - 1) / kRun<S>),
        pushed_(pushed) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(rows_); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = teams_.row(tile, thread);
    if (r >= rows_ || positions_[r] == kAbsentRow) return;
    const auto row = positions_[r] & ((1u << page_shift_) - 1);
    auto* sums = reinterpret_cast<S*>(pages_[positions_[r] >> page_shift_]) + row * row_values_;
    for (std::size_t v = teams_.member(thread); v < row_values_; v += teams_.size())
      sums[v] = math::combine<A>(sums[v], static_cast<S>(pushed_[r * row_values_ + v]));
  }

 private:
  std::byte* const* pages_;
  const std::uint32_t* positions_;
  std::uint64_t rows_;
  std::size_t row_values_;
  std::uint32_t page_shift_;
  RowTeams teams_;
  const In* pushed_;
};

}  // namespace shoal::cuda
