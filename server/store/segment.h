#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/ids.h"
#include "core/ops/row_merger.h"
#include "core/table/geometry.h"
#include "server/metrics.h"
#include "server/store/members.h"
#include "server/store/memory.h"
#include "server/store/table_rules.h"

namespace shoal {

/// How a store answers an attempt to change rows. Everything but `applied` leaves all rows as they
/// were, so that a part is applied whole or not at all.
enum class Outcome : std::uint8_t {
  applied,
  no_copy,       ///< A touched segment is pinned and no copy is free: try again when one is.
  too_early,     ///< Its clock lies beyond the window: try again when G has risen.
  not_its_turn,  ///< A deterministic sum takes the workers in order of rank: try again.
  too_late,      ///< Its clock was folded already, which no correct worker causes.
  no_memory,     ///< The budget does not suffice.
  out_of_range,  ///< A key that is not this slot's.
};

/// Whether the attempt can be made again as it is.
inline bool is_held(Outcome outcome) {
  return outcome == Outcome::no_copy || outcome == Outcome::too_early ||
         outcome == Outcome::not_its_turn;
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

/// Room for the positions of one part, reused by every part: grown to the largest and then kept.
struct Scratch {
  std::vector<std::uint32_t> positions;
  std::vector<std::uint32_t> touched;  ///< segments
  std::optional<RowMerger> merger;     ///< made with the first table whose rule needs it

  std::span<std::uint32_t> positions_for(std::size_t rows) {
    if (positions.size() < rows) positions.resize(rows);
    return {positions.data(), rows};
  }
  /// Errors: no_memory.
  Status need_merger(Device& host) {
    if (merger) return {};
    constexpr std::size_t kSumBytesMax = 2 * kSegmentBytes * kInputsMax;  // f16 is summed in f32
    SHOAL_ASSIGN(merger, RowMerger::create(host, kSegmentBytes / 2, kSumBytesMax));
    return {};
  }
  /// Whether `merged` would give these rows back as they are.
  bool are_distinct(const TableRules& table, std::span<const std::uint32_t> rows) {
    if (table.rule().traits().repeats_compose) return true;
    const auto repeats = merger->repeats(rows);
    return repeats.ok() && !*repeats;
  }
  /// The rows of a push as its rule takes them: each of them once, unless repeats compose. Valid
  /// until the next call.
  Result<RowMerger::Rows> merged(const TableRules& table, RowMerger::Rows pushed) {
    if (table.rule().traits().repeats_compose) return pushed;
    return merger->merge(pushed, table.rule().aggregate(), table.spec().dtype, table.row_values());
  }
};

/// What the stores of one server share; all of it belongs to the server's loop and outlives them.
struct StoreContext {
  Device& host;  ///< For indices and whatever the CPU alone looks at.
  SegmentPool& pool;
  MemoryBudget& budget;
  CopyQuota& copies;
  Scratch& scratch;
  const Members& members;
  ServerMetrics& metrics;
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
