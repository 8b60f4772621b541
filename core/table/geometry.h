#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/base/divisor.h"
#include "core/base/ids.h"
#include "core/base/random.h"
#include "core/table/table_spec.h"

namespace shoal {

/// The unit of data: about this many bytes of consecutive rows. Small enough that a segment which
/// was just received is still in a core's cache when it is applied, large enough that the cost of a
/// frame vanishes (docs/performance.md).
inline constexpr std::size_t kSegmentBytes = 256u << 10;

inline constexpr std::uint32_t kInputsMax = 4;
/// Optimizer values that an update rule keeps for each weight.
inline constexpr std::size_t kRuleStatesMax = 8;
inline constexpr std::size_t kTableNameBytesMax = 256;
inline constexpr std::uint64_t kDenseRowsMax = std::uint64_t{1} << 48;
inline constexpr std::uint64_t kSegmentsMax = std::uint64_t{1} << 31;
inline constexpr std::uint32_t kSlotsMax = 1u << 20;
/// Beyond this nobody waits for anybody: a table says `unbounded` instead.
inline constexpr std::int64_t kStalenessMax = 1 << 20;

/// Half-open range of rows, [begin, end).
struct RowRange {
  Row begin = 0;
  Row end = 0;

  std::uint64_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
  RowRange intersect(RowRange other) const {
    const auto from = std::max(begin, other.begin);
    return {from, std::max(from, std::min(end, other.end))};
  }
  friend bool operator==(RowRange, RowRange) = default;
};

/// Where a table's rows live: the arithmetic of segments and slots, the same in every process.
/// Fixed when the table is made. See docs/design/protocol.md, "Units and names".
///
/// Dense: segment i holds rows [i*rows_per_segment, ...); slot k holds the equal run of segments
/// [k*segments/slots, (k+1)*segments/slots), so a range of rows splits into ranges without copies.
/// Sparse: slot = the top bits of mix64(key); a part holds at most rows_per_segment rows.
class Geometry {
 public:
  /// `slots` as in the catalogue: not 0; dense: at most one per segment; sparse: a power of two.
  Geometry(const TableSpec& spec, std::uint32_t slots)
      : layout_(spec.layout),
        rows_(spec.rows),
        row_bytes_(spec.row_bytes()),
        rows_per_segment_(rows_per_segment(spec)),
        segments_(segment_count(spec)),
        slots_(slots),
        by_rows_per_segment_(rows_per_segment_),
        by_segments_(segments_),
        by_slots_(slots_) {}

  static std::uint64_t rows_per_segment(const TableSpec& spec) {
    const auto bytes = spec.segment_bytes != 0 ? spec.segment_bytes : kSegmentBytes;
    return std::max<std::uint64_t>(1, bytes / spec.row_bytes());
  }
  static std::uint64_t segment_count(const TableSpec& spec) {
    const auto per = rows_per_segment(spec);
    return spec.layout == Layout::dense ? (spec.rows + per - 1) / per : 0;
  }
  /// The number of slots for a new table over `servers` servers: what the spec asks for, else dense
  /// max(64, 16 x servers), at most one per segment; sparse the power of two from 16 x servers.
  static std::uint32_t choose_slots(const TableSpec& spec, std::uint32_t servers) {
    const std::uint64_t wanted = spec.slots != 0 ? spec.slots : std::max(64u, 16 * servers);
    if (spec.layout == Layout::sparse)
      return static_cast<std::uint32_t>(std::bit_ceil(std::min<std::uint64_t>(
          spec.slots != 0 ? spec.slots : 16 * std::max(1u, servers), kSlotsMax)));
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>({wanted, segment_count(spec), kSlotsMax}));
  }

  Layout layout() const { return layout_; }
  std::uint64_t rows() const { return rows_; }
  std::size_t row_bytes() const { return row_bytes_; }
  std::uint64_t rows_per_segment() const { return rows_per_segment_; }
  std::uint64_t segments() const { return segments_; }
  std::uint32_t slots() const { return slots_; }

  // Dense.
  SegmentIndex segment_of(Row row) const {
    return SegmentIndex(static_cast<std::uint32_t>(row / by_rows_per_segment_));
  }
  RowRange rows_of(SegmentIndex segment) const {
    const auto begin = segment.value * rows_per_segment_;
    return {begin, std::min(rows_, begin + rows_per_segment_)};
  }
  /// First segment of a slot; that of slot `slots()` is `segments()`.
  std::uint64_t first_segment(SlotIndex slot) const { return slot.value * segments_ / by_slots_; }
  SlotIndex slot_of(SegmentIndex segment) const {
    // The largest k with k*segments/slots <= segment.
    const auto k = ((segment.value + 1) * std::uint64_t{slots_} - 1) / by_segments_;
    return SlotIndex(static_cast<std::uint32_t>(k));
  }
  RowRange rows_of(SlotIndex slot) const {
    return {first_segment(slot) * rows_per_segment_,
            std::min(rows_, first_segment(SlotIndex(slot.value + 1)) * rows_per_segment_)};
  }
  /// How many parts (pieces of segments) the rows of one slot make.
  std::uint32_t part_count(RowRange rows) const {
    if (rows.empty()) return 0;
    return segment_of(rows.end - 1).value - segment_of(rows.begin).value + 1;
  }

  // Sparse.
  SlotIndex slot_of_key(Key key) const {
    return SlotIndex(
        slots_ == 1 ? 0
                    : static_cast<std::uint32_t>(mix64(key) >> (64 - std::countr_zero(slots_))));
  }
  std::uint32_t part_count_of_keys(std::uint64_t keys) const {
    return static_cast<std::uint32_t>((keys + rows_per_segment_ - 1) / by_rows_per_segment_);
  }

 private:
  Layout layout_;
  std::uint64_t rows_;
  std::size_t row_bytes_;
  std::uint64_t rows_per_segment_;
  std::uint64_t segments_;
  std::uint32_t slots_;
  Divisor by_rows_per_segment_;
  Divisor by_segments_;
  Divisor by_slots_;
};

}  // namespace shoal
