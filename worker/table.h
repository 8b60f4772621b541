#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/table/geometry.h"
#include "core/table/table_spec.h"
#include "worker/buffer.h"
#include "worker/ticket.h"

namespace shoal {

struct TableShape;

struct PullOptions {
  After after{};                      ///< issue it when these are done
  std::int64_t ahead = 0;             ///< clocks: for use that many ticks from now (a prefetch)
  std::optional<Duration> timeout{};  ///< not given: the worker's operation_timeout
  /// A wish: READ the rows straight from the servers' memory, where neither their load nor their
  /// pauses count. For ranges of dense tables with unbounded staleness, over RDMA; whatever cannot
  /// be READ is asked for as usual. Worker::one_sided() counts both. See docs/guide.md.
  bool one_sided = false;
};

struct PushOptions {
  After after{};
  std::optional<Duration> timeout{};
};

/// The part of Table<T> that does not depend on T.
class TableHandle {
 public:
  TableHandle() = default;
  TableHandle(std::shared_ptr<WorkerCore> core, const TableShape* shape)
      : core_(std::move(core)), shape_(shape) {}

  const TableSpec& spec() const;
  TableId id() const;

  /// Changes a parameter of the update rule, as a learning rate. On per_clock and collective tables
  /// it holds for clocks >= from_clock, which must be at least G + W (out_of_range names it); on
  /// others from the moment the servers hear of it. Blocks. Errors: unknown_name, out_of_range,
  /// timed_out; overloaded after 4 096 changes: a schedule that changes every round is a rule's.
  Status set_parameter(std::string_view name, double value,
                       std::optional<WorkerClock> from_clock = std::nullopt);
  /// Removes the table and its rows from the cluster. Blocks.
  Status drop();

 protected:
  struct Rows {
    bool by_keys = false;
    RowRange range;
    std::span<const Key> keys;
  };
  struct Memory {
    MemoryView view;
    MemoryRecord* record = nullptr;
    bool borrowed = false;
  };
  Result<Ticket> issue_push(const Rows& rows, const Memory& from, bool store,
                            const PushOptions& options);
  Result<Ticket> issue_pull(const Rows& rows, const Memory& to, const PullOptions& options);
  Result<Ticket> issue_push_pull(RowRange rows, const Memory& from, const Memory& to,
                                 const PullOptions& options);
  /// What was wrong with the call itself becomes a ticket that is done already, with that error.
  Ticket or_failed(Result<Ticket> ticket, bool pushes) const;
  /// Not so of one that was made by its default constructor.
  Status opened() const;

  std::shared_ptr<WorkerCore> core_;
  const TableShape* shape_ = nullptr;
};

/// A table of the cluster, as this worker uses it; rows are `row_width` values of T. Cheap to move;
/// outlives neither its Worker's process nor the table.
///
/// All calls return at once with a Ticket; what is wrong with the call itself (out_of_range,
/// mismatch, overloaded, needs_tick) is told by the ticket too. Values and keys are lent until it
/// is done. Unsorted and repeated keys are legal: pushes of a repeated key combine as the update
/// rule says (add up, or the last wins), pulls answer each position.
template <class T>
class Table : public TableHandle {
 public:
  using TableHandle::TableHandle;

  /// Fetches rows into `values` (row_width values each).
  Ticket pull(RowRange rows, Target<T> values, const PullOptions& options = {}) {
    return or_failed(issue_pull({false, rows, {}}, memory(values), options), false);
  }
  Ticket pull(std::span<const Key> keys, Target<T> values, const PullOptions& options = {}) {
    return or_failed(issue_pull({true, {}, keys}, memory(values), options), false);
  }
  /// Sends `values` (row_width x the update rule's inputs for each row) to be applied.
  Ticket push(RowRange rows, Source<T> values, const PushOptions& options = {}) {
    return or_failed(issue_push({false, rows, {}}, memory(values), false, options), true);
  }
  Ticket push(std::span<const Key> keys, Source<T> values, const PushOptions& options = {}) {
    return or_failed(issue_push({true, {}, keys}, memory(values), false, options), true);
  }
  /// Push and pull of the same rows. On a collective table the pull waits for the round's own
  /// result (staleness 0): a parameter server's all-reduce, done segment by segment.
  Ticket push_pull(RowRange rows, Source<T> in, Target<T> out, const PullOptions& options = {}) {
    return or_failed(issue_push_pull(rows, memory(in), memory(out), options), true);
  }
  /// Sets rows past the update rule: initial or pretrained values. A per_clock or collective table
  /// takes it only before its first push.
  Ticket store(RowRange rows, Source<T> values, const PushOptions& options = {}) {
    return or_failed(issue_push({false, rows, {}}, memory(values), true, options), true);
  }
  Ticket store(std::span<const Key> keys, Source<T> values, const PushOptions& options = {}) {
    return or_failed(issue_push({true, {}, keys}, memory(values), true, options), true);
  }

 private:
  static Memory memory(const Source<T>& s) {
    return {{reinterpret_cast<std::byte*>(const_cast<T*>(s.data)), s.size * sizeof(T)},
            s.record,
            s.borrowed};
  }
  static Memory memory(const Target<T>& t) {
    return {{reinterpret_cast<std::byte*>(t.data), t.size * sizeof(T)}, t.record, t.borrowed};
  }
};

}  // namespace shoal
