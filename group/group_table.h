#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "group/group.h"
#include "worker/worker.h"

namespace shoal {

struct GroupTableOptions {
  /// A table that applies pushes on arrival, with a rule for which one push of a sum is another
  /// step than one push of each: take the group for one worker with the sum of its gradients.
  bool one_step_per_group = false;
};

/// The part of GroupTable<T> that does not depend on T.
class GroupTableHandle {
 public:
  GroupTableHandle(Group& group, TableSpec spec, TableId id)
      : group_(&group), spec_(std::move(spec)), id_(id) {}

  /// Errors: invalid_argument, with why pushes of sums would be wrong on such a table.
  static Status validate(const TableSpec& spec, const Group& group,
                         const GroupTableOptions& options);
  /// Which of `rows` this member pushes and pulls.
  RowRange share(RowRange rows) const;

 protected:
  Shares shares(RowRange rows) const;
  GroupWork work(RowRange rows, std::uint64_t row_values, WorkerClock clock) const;
  Status check_rows(RowRange rows) const;

  Group* group_;
  TableSpec spec_;
  TableId id_;
};

/// Memory in which shares wait to be pushed and pulled. It is the one place that knows that the
/// network takes host memory: registered, and pinned where a GPU copies to and from it.
template <class T>
class ShareBuffer {
 public:
  /// Errors: no_memory, registration.
  static Result<ShareBuffer> create(Worker& worker, GroupGpu* gpu, std::size_t count) {
    ShareBuffer made;
    if (gpu == nullptr) {
      SHOAL_ASSIGN(made.buffer_, worker.allocate<T>(count));
      return made;
    }
    SHOAL_ASSIGN(made.pinned_, gpu->pin(count * sizeof(T)));
    SHOAL_ASSIGN(auto registered, worker.register_memory(made.pinned_->view()));
    made.buffer_ = Buffer<T>(std::move(registered));
    return made;
  }
  ShareBuffer() = default;

  std::size_t size() const { return buffer_.size(); }
  const Buffer<T>& buffer() const { return buffer_; }
  MemoryView view(std::size_t count) const {
    const auto space = pinned_ == nullptr ? MemorySpace::host : MemorySpace::pinned;
    return {reinterpret_cast<std::byte*>(buffer_.data()), count * sizeof(T), space};
  }

 private:
  std::unique_ptr<PinnedPiece> pinned_;  ///< outlives its registration
  Buffer<T> buffer_;
};

/// A table as the members of a group use it together. The group reduces the gradients of its
/// members; each pushes its share of the rows, pulls it, and all gather the whole: the node sends
/// and receives one copy. All members make the same calls in the same order, at equal clocks:
///
///     auto w = GroupTable<float>::open(*group, worker, table, gpu).value();
///     w.push({0, n}, gradients).value();
///     worker.tick();
///     w.pull({0, n}, parameters).value();
///
/// Where each row of a round is pushed by one member and holds the sums of all, a round has what it
/// would have without the group. Buffers are the caller's again on return; they are host memory, or
/// of the member's GPU as MemoryView. Errors are the group's (see Group), and any member's of its
/// push or pull, at all members. See docs/design/group.md.
template <class T>
class GroupTable : public GroupTableHandle {
 public:
  /// `group`, `worker` and `gpu` (this member's, as in GroupOptions) outlive it. Errors:
  /// invalid_argument, with why pushes of sums would be wrong on such a table.
  static Result<GroupTable> open(Group& group, Worker& worker, Table<T> table,
                                 GroupGpu* gpu = nullptr, const GroupTableOptions& options = {}) {
    SHOAL_TRY(validate(table.spec(), group, options));
    return GroupTable(group, worker, std::move(table), gpu);
  }

  /// Sums the members' gradients and pushes this member's share of them, at the clock of now. What
  /// becomes of the push, the next pull() or flush() tells; tick() comes before it.
  Status push(RowRange rows, ConstMemoryView gradients) {
    if (auto fits = check_rows(rows); !fits.ok()) return group_->agree(fits);
    const auto what =
        work(rows, spec_.row_width * std::uint64_t{spec_.update.inputs}, worker_->clock());
    const auto mine = share(rows);
    const auto count = mine.size() * what.row_values;
    auto slot = room(count);
    if (!slot.ok()) return group_->agree(std::move(slot).error());
    SHOAL_TRY(group_->reduce_scatter(what, gradients, (*slot)->buffer.view(count)));
    if (count != 0)
      (*slot)->ticket = table_.push(mine, Source<T>((*slot)->buffer.buffer(), 0, count));
    return {};
  }
  Status push(RowRange rows, std::span<const T> gradients) {
    return push(rows, host_view(gradients));
  }

  /// Pulls this member's share and gathers those of all: what the table's bound allows at the clock
  /// of now, and all that members pushed before: those pushes have ended.
  Status pull(RowRange rows, MemoryView values) {
    auto mine = check_rows(rows);
    if (mine.ok()) mine = pushed();
    // Of others' rows, too: a range that is shared out otherwise has some.
    SHOAL_TRY(group_->agree(mine));
    const auto what = work(rows, spec_.row_width, worker_->clock());
    const auto mine_rows = what.shares.of(group_->rank());
    const auto count = mine_rows.size() * what.row_values;
    if (mine.ok()) mine = grow(pulled_, count);
    if (mine.ok() && count != 0)
      if (auto done = table_.pull(mine_rows, Target<T>(pulled_.buffer(), 0, count)).wait();
          !done.ok())
        mine = std::move(done).error();
    if (!mine.ok()) return group_->agree(mine);
    return group_->all_gather(what, pulled_.view(count), values);
  }
  Status pull(RowRange rows, std::span<T> values) { return pull(rows, host_view(values)); }

  /// push(), tick() and pull(): an iteration of a worker with one table.
  Status round(RowRange rows, std::span<const T> gradients, std::span<T> values) {
    SHOAL_TRY(push(rows, gradients));
    worker_->tick();
    return pull(rows, values);
  }

  /// Waits until all members' pushes have ended; the first that failed is everybody's error.
  Status flush() { return group_->agree(pushed()); }

 private:
  /// Pushes of one clock, of different rows, go on side by side. None waits for another of its
  /// clock, which may end with the others' tick only.
  struct Slot {
    ShareBuffer<T> buffer;
    Ticket ticket;
    WorkerClock clock;
  };

  GroupTable(Group& group, Worker& worker, Table<T> table, GroupGpu* gpu)
      : GroupTableHandle(group, table.spec(), table.id()),
        worker_(&worker),
        gpu_(gpu),
        table_(std::move(table)) {}

  Status grow(ShareBuffer<T>& buffer, std::size_t count) {
    if (buffer.size() >= count) return {};
    (void)std::exchange(buffer, {});  // whose parts go in order, as in an assignment they do not
    SHOAL_ASSIGN(buffer, ShareBuffer<T>::create(*worker_, gpu_, count));
    return {};
  }
  static Status ended(Slot& slot) {
    if (!slot.ticket.valid()) return {};
    const auto done = std::exchange(slot.ticket, Ticket()).wait();
    return done.ok() ? Status() : Status(done.error());
  }
  Result<Slot*> room(std::size_t count) {
    const auto now = worker_->clock();
    Slot* free = nullptr;
    for (auto& slot : pushes_)
      if (!slot->ticket.valid() || slot->clock < now || slot->ticket.ready()) free = slot.get();
    if (free == nullptr) free = pushes_.emplace_back(std::make_unique<Slot>()).get();
    SHOAL_TRY(ended(*free));
    SHOAL_TRY(grow(free->buffer, count));
    free->clock = now;
    return free;
  }
  Status pushed() {
    Status first;
    for (auto& slot : pushes_)
      if (auto one = ended(*slot); first.ok()) first = std::move(one);
    return first;
  }

  Worker* worker_;
  GroupGpu* gpu_;
  Table<T> table_;
  ShareBuffer<T> pulled_;
  std::vector<std::unique_ptr<Slot>> pushes_;
};

}  // namespace shoal
