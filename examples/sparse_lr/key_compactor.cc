#include "examples/sparse_lr/key_compactor.h"

#include <array>
#include <bit>

#include "core/base/random.h"

namespace shoal::sparse_lr {

void KeyCompactor::reserve(std::size_t entries) {
  // At most half full, so that probes stay short.
  const auto wanted = std::bit_ceil(entries * 2 + 2);
  if (cells_.size() < wanted) {
    cells_.assign(wanted, Cell{});
    stamp_ = 0;
  }
  if (++stamp_ == 0) {  // after 2^32 calls the stamps begin anew
    cells_.assign(cells_.size(), Cell{});
    stamp_ = 1;
  }
}

void KeyCompactor::compact(std::span<const Key> entries) {
  reserve(entries.size());
  items_.clear();
  columns_.resize(entries.size());
  const auto mask = cells_.size() - 1;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    auto at = mix64(entries[i]) & mask;
    while (cells_[at].stamp == stamp_ && cells_[at].key != entries[i]) at = (at + 1) & mask;
    auto& cell = cells_[at];
    if (cell.stamp != stamp_) {
      cell = {entries[i], stamp_, static_cast<std::uint32_t>(items_.size())};
      items_.push_back({entries[i], cell.id});
    }
    columns_[i] = cell.id;
  }
  sort_items();
  keys_.resize(items_.size());
  column_of_id_.resize(items_.size());
  for (std::size_t column = 0; column < items_.size(); ++column) {
    keys_[column] = items_[column].key;
    column_of_id_[items_[column].id] = static_cast<std::uint32_t>(column);
  }
  for (auto& column : columns_) column = column_of_id_[column];
}

/// Least significant digit first, over the digits in which keys differ at all.
void KeyCompactor::sort_items() {
  constexpr unsigned kDigitBits = 11;
  constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;
  Key differing = 0;
  for (const auto& item : items_) differing |= item.key ^ items_.front().key;
  sorted_.resize(items_.size());
  for (unsigned shift = 0; shift < 64; shift += kDigitBits) {
    if (((differing >> shift) & (kDigits - 1)) == 0) continue;
    std::array<std::uint32_t, kDigits> place{};
    for (const auto& item : items_) ++place[(item.key >> shift) & (kDigits - 1)];
    std::uint32_t begin = 0;
    for (auto& count : place) {
      const auto next = begin + count;
      count = begin;
      begin = next;
    }
    for (const auto& item : items_) sorted_[place[(item.key >> shift) & (kDigits - 1)]++] = item;
    items_.swap(sorted_);
  }
}

}  // namespace shoal::sparse_lr
