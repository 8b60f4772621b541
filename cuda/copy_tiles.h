#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ops/copy_rows.h"
#include "cuda/listed_tiles.h"

namespace shoal::cuda {

/// Copies the weights of listed rows to `packed` rows (gather_rows), or from there (scatter_rows;
/// distinct rows), in units of `Unit`, of which rows and addresses are made.
template <class Unit, bool Gather>
class CopyTiles {
 public:
  CopyTiles(const ListedRows& rows, std::size_t row_bytes, std::byte* packed)
      : places_(rows), row_units_(row_bytes / sizeof(Unit)), teams_(row_units_), packed_(packed) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(places_.rows); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = teams_.row(tile, thread);
    if (r >= places_.rows) return;
    const auto position = places_.positions[r];
    if (position == kAbsentRow) return;
    auto* row = reinterpret_cast<Unit*>(places_.page(position).weights) +
                places_.row(position) * row_units_;
    auto* out = reinterpret_cast<Unit*>(packed_) + r * row_units_;
    for (std::size_t i = teams_.member(thread); i < row_units_; i += teams_.size()) {
      if constexpr (Gather)
        out[i] = row[i];
      else
        row[i] = out[i];
    }
  }

 private:
  ListedPlaces places_;
  std::size_t row_units_;
  RowTeams teams_;
  std::byte* packed_;
};

}  // namespace shoal::cuda
