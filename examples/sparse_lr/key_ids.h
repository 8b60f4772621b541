#pragma once

#include <cstdint>
#include <vector>

#include "core/base/ids.h"
#include "core/base/random.h"

namespace shoal::sparse_lr {

/// A growing map from keys to small numbers: open addressing, at most half full.
class KeyIds {
 public:
  KeyIds() : cells_(kCellsMin) {}

  /// The number of `key`; if it has none yet, `fresh` from now on.
  std::uint32_t find_or_add(Key key, std::uint32_t fresh) {
    auto& cell = cells_[place_of(key)];
    if (cell.used) return cell.id;
    cell = {key, fresh, true};
    if (++count_ * 2 > cells_.size()) grow();
    return fresh;
  }

 private:
  static constexpr std::size_t kCellsMin = 1024;
  struct Cell {
    Key key = 0;
    std::uint32_t id = 0;
    bool used = false;
  };
  /// The key's cell, or the empty one that it would take.
  std::size_t place_of(Key key) const {
    const auto mask = cells_.size() - 1;
    auto at = mix64(key) & mask;
    while (cells_[at].used && cells_[at].key != key) at = (at + 1) & mask;
    return at;
  }
  void grow() {
    std::vector<Cell> old(cells_.size() * 2);
    old.swap(cells_);
    for (const auto& cell : old)
      if (cell.used) cells_[place_of(cell.key)] = cell;
  }

  std::vector<Cell> cells_;
  std::size_t count_ = 0;
};

}  // namespace shoal::sparse_lr
