#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/base/assert.h"
#include "core/table/geometry.h"

namespace shoal {

/// How a range of rows is shared out to the members of a group: in order of rank, without gaps, and
/// equally but for a unit. A value: equal arguments give equal shares in every process.
class Shares {
 public:
  /// From so many units a member on, shares begin and end between units; a smaller range is shared
  /// out row by row, since then a unit more or less is much: at 8 the largest share is at most 1/8
  /// above the mean.
  static constexpr std::uint64_t kUnitsMin = 8;

  /// `unit` rows that are best not divided, counted from row 0: a segment of a table.
  Shares(RowRange rows, std::uint32_t members, std::uint64_t unit = 1)
      : rows_(rows), unit_(unit), members_(members) {
    SHOAL_ASSERT(rows.begin <= rows.end && members > 0 && unit > 0, "shares of rows");
    const auto first = rows.begin / unit;
    if ((rows.end + unit - 1) / unit - first < kUnitsMin * members) unit_ = 1;
  }

  RowRange of(std::uint32_t member) const { return {boundary(member), boundary(member + 1)}; }
  RowRange rows() const { return rows_; }
  /// Rows that are not divided: 1, where so few are shared out that they are.
  std::uint64_t unit() const { return unit_; }
  std::uint32_t members() const { return members_; }
  /// Rows of the largest share, and of the smallest.
  std::uint64_t largest() const { return extent().second; }
  bool equal() const { return extent().first == extent().second; }

  friend bool operator==(const Shares&, const Shares&) = default;

 private:
  Row boundary(std::uint32_t member) const {
    if (member == 0) return rows_.begin;
    if (member == members_) return rows_.end;
    const auto first = rows_.begin / unit_;
    const auto units = (rows_.end + unit_ - 1) / unit_ - first;
    // units * member / members without the product, which may not fit.
    const auto whole = units / members_ * member + units % members_ * member / members_;
    return std::clamp((first + whole) * unit_, rows_.begin, rows_.end);
  }
  std::pair<std::uint64_t, std::uint64_t> extent() const {
    std::uint64_t least = rows_.size(), most = 0;
    for (std::uint32_t m = 0; m < members_; ++m) {
      least = std::min(least, of(m).size());
      most = std::max(most, of(m).size());
    }
    return {least, most};
  }

  RowRange rows_;
  std::uint64_t unit_;
  std::uint32_t members_;
};

}  // namespace shoal
