#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/ids.h"
#include "core/memory/device_memory.h"
#include "core/ops/row_merger.h"
#include "core/table/geometry.h"
#include "server/metrics.h"
#include "server/store/list_room.h"
#include "server/store/members.h"
#include "server/store/memory.h"
#include "server/store/table_rules.h"

namespace shoal {

/// How a store answers an attempt to change rows. Everything but `applied` leaves all rows as they
/// were, so that a part is applied whole or not at all.
enum class Outcome : std::uint8_t {
  applied,
  no_copy,       ///< A touched segment is pinned and no copy is free: try again when one is.
  no_room,       ///< Lists of earlier parts are still read by the device: when it has done more.
  too_early,     ///< Its clock lies beyond the window: try again when G has risen.
  not_its_turn,  ///< A deterministic sum takes the workers in order of rank: try again.
  too_late,      ///< Its clock was folded already, which no correct worker causes.
  no_memory,     ///< The budget does not suffice.
  out_of_range,  ///< A key that is not this slot's.
};

/// Whether the attempt can be made again as it is.
inline bool is_held(Outcome outcome) {
  return outcome == Outcome::no_copy || outcome == Outcome::no_room ||
         outcome == Outcome::too_early || outcome == Outcome::not_its_turn;
}

/// Copies on write under way: a fixed number, whose memory is set aside at the start, so that a
/// push to a pinned segment never depends on what is left of the budget. A copy is in use from the
/// moment in which a segment leaves pinned memory until the last pin on that memory goes.
class CopyQuota {
 public:
  explicit CopyQuota(std::uint32_t copies_max) : max_(copies_max) {}
  bool available() const { return used_ < max_; }
  void take() { ++used_; }
  void give() { --used_; }
  std::uint32_t used() const { return used_; }

 private:
  std::uint32_t max_;
  std::uint32_t used_ = 0;
};

/// What kernels read about the rows of one part, in memory that they reach.
struct PartLists {
  std::span<std::uint32_t> positions;
  std::span<std::uint32_t> distinct, order, begins;  ///< of rows that repeat: see PushRuns
  std::span<std::uint32_t> created, summed;  ///< of a sparse slot: rows that are new to it or a sum
  std::span<SegmentArrays> pages;            ///< of touched segments, as they are now,
  std::span<std::byte*> sums;                ///< their sums,
  std::span<std::uint32_t> steps;            ///< their counts,
  std::span<std::uint32_t> moved;            ///< and positions in those pages
};

/// Room for the positions of one part, reused by every part: grown to the largest and then kept. On
/// a device, where parts that were issued still read theirs, of a ring.
struct Scratch {
  std::optional<ListRoom> lists;  ///< of a device;
  PartLists part;                 ///< there: of the present part,
  DeviceMemory sums;              ///< and what its rows are merged into
  RuleKernels::Stream stream = nullptr;
  std::vector<std::uint32_t> positions;
  std::vector<std::uint32_t> touched;  ///< segments
  std::optional<RowMerger> merger;     ///< made with the first table whose rule needs it

  /// Shorter: there is none now, on a device. There all of `part` has room then.
  std::span<std::uint32_t> positions_for(std::size_t rows) {
    return lists ? begin_part(rows) : own_positions_for(rows);
  }
  /// The same where kernels do not read them.
  std::span<std::uint32_t> own_positions_for(std::size_t rows) {
    if (positions.size() < rows) positions.resize(rows);
    return {positions.data(), rows};
  }
  /// Rows are on `device` from now on, which reads lists in `memory` of the host: `list_bytes` of
  /// them, of parts that are under way. Errors: no_memory, invalid_argument.
  Status use_device(Device& memory, Device& device, std::size_t list_bytes);
  /// Errors: no_memory.
  Status need_merger(Device& host);
  /// The lists of a part that was issued come back when that is done.
  void end_of_part() {
    if (lists) lists->end_of_use();
  }
  /// Whether `merged` would give these rows back as they are.
  bool are_distinct(const TableRules& table, std::span<const std::uint32_t> rows) {
    if (!lists && table.rule().traits().repeats_compose) return true;
    const auto repeats = merger->repeats(rows);
    return repeats.ok() && !*repeats;
  }
  /// The rows of a push as its rule takes them: each of them once, unless repeats compose, and on a
  /// device always. Valid until the next call, on a device for what is issued before it.
  Result<RowMerger::Rows> merged(const TableRules& table, RowMerger::Rows pushed) {
    if (lists) return merged_on_device(table, pushed);
    if (table.rule().traits().repeats_compose) return pushed;
    return merger->merge(pushed, table.rule().aggregate(), table.spec().dtype, table.row_values());
  }

  /// Before rows are set, which a device does in any order: of those that repeat the last stays,
  /// the others become kAbsentRow.
  void keep_last(std::span<std::uint32_t> rows) {
    if (lists) merger->keep_last(rows);
  }

 private:
  std::span<std::uint32_t> begin_part(std::size_t rows);
  Result<RowMerger::Rows> merged_on_device(const TableRules& table, RowMerger::Rows pushed);
};

/// What the stores of one server share; all of it belongs to the server's loop and outlives them.
struct StoreContext {
  Device& host;            ///< For indices and whatever the CPU alone looks at.
  SegmentPool& pool;       ///< Rows and what kernels read beside them: a device's memory.
  SegmentPool& host_pool;  ///< Of `host`; on the host the same.
  MemoryBudget& budget;
  CopyQuota& copies;
  Scratch& scratch;
  const Members& members;
  ServerMetrics& metrics;

  // Work on rows, in the order of the device that has them. A device that fails says so when it is
  // asked whether something is done.
  Device& device() const { return pool.device(); }
  bool late() const { return scratch.lists.has_value(); }
  RuleKernels::Stream stream() const { return pool.device().stream(); }
  void fill(std::byte* rows, std::size_t bytes, std::byte value) const {
    (void)device().fill(rows_at(rows, bytes), value);
  }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) const {
    (void)device().copy(rows_at(to, bytes), rows_at(const_cast<std::byte*>(from), bytes));
  }
  /// From memory of the host that the device reaches.
  void copy_in(std::byte* to, const std::byte* from, std::size_t bytes) const {
    const auto space = scratch.lists ? MemorySpace::pinned : MemorySpace::host;
    (void)device().copy(rows_at(to, bytes), {from, bytes, space, 0});
  }

  void copy_out(std::byte* to, const std::byte* from, std::size_t bytes) const {
    (void)device().copy({to, bytes, MemorySpace::pinned, 0},
                        rows_at(const_cast<std::byte*>(from), bytes));
  }

 private:
  MemoryView rows_at(std::byte* rows, std::size_t bytes) const {
    return {rows, bytes, device().space(), device().ordinal()};
  }
};

/// An immutable picture of one segment for a reader: its bytes stay as they are until `unpin`.
struct Snapshot {
  SegmentMemory* memory = nullptr;
  std::size_t bytes = 0;
  WorkerClock version;
};

/// Ends a reader's pin. True: a copy on write has become free, so pushes that wait for one may go
/// on.
inline bool unpin(StoreContext& context, SegmentMemory& memory) {
  if (!context.pool.unpin(memory)) return false;
  context.copies.give();
  return true;
}

}  // namespace shoal
