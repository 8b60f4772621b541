#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/ids.h"

namespace shoal::sparse_lr {

/// Replaces the keys of a batch by columns: the distinct keys, ascending, and for each entry the
/// place of its key among them. A pull or push of the batch moves each key once, and the arithmetic
/// on columns is a gather and scatter in small arrays.
///
/// An open-addressing table finds the distinct keys, a radix sort orders them: a few nanoseconds an
/// entry, and no allocation once the largest batch has been seen.
class KeyCompactor {
 public:
  /// `entries`: fewer than 2^32. What the accessors return is valid until the next call.
  void compact(std::span<const Key> entries);

  std::span<const Key> keys() const { return keys_; }
  std::span<const std::uint32_t> columns() const { return columns_; }

 private:
  struct Cell {
    Key key;
    std::uint32_t stamp;  ///< the call that filled the cell; others count as empty
    std::uint32_t id;
  };
  struct Item {
    Key key;
    std::uint32_t id;  ///< in order of first appearance
  };
  void reserve(std::size_t entries);
  void sort_items();

  std::vector<Cell> cells_;
  std::uint32_t stamp_ = 0;
  std::vector<Item> items_;
  std::vector<Item> sorted_;
  std::vector<std::uint32_t> column_of_id_;
  std::vector<Key> keys_;
  std::vector<std::uint32_t> columns_;
};

}  // namespace shoal::sparse_lr
