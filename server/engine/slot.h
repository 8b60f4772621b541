#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "server/engine/ops.h"
#include "server/engine/pool.h"
#include "server/engine/sequence.h"
#include "server/store/dense_store.h"
#include "server/store/sparse_store.h"

namespace shoal {

/// The rows of one part: a range within one segment, or a list.
struct PartRows {
  bool listed = false;
  bool known = true;  ///< listed: the keys or positions are here
  RowRange range;
  std::span<const Key> keys;
  std::span<const std::uint32_t> positions;  ///< instead of the keys, of a sparse slot
  bool distinct = false;                     ///< positions: known to name no row twice

  bool placed() const { return !positions.empty(); }
  std::uint64_t count() const { return listed ? keys.size() + positions.size() : range.size(); }
};

/// One worker's pushes to one slot.
struct PushSource {
  PushSequence sequence;
  Part* front = nullptr;  ///< accepted and not applied, by q
  Part* back = nullptr;
};

/// What a server keeps of one slot: rows, sequences, sums, and who waits for it. Moved and
/// replicated as a whole by a later issue: `last` of each source, `log_position` and `since` are
/// here for that. Belongs to one loop. See docs/design/protocol.md.
class SlotState {
 public:
  /// Errors: no_memory.
  static Result<std::unique_ptr<SlotState>> create(const TableRules& rules, SlotIndex index,
                                                   const SlotChain& chain, StoreContext context);

  const TableRules& rules() const { return *rules_; }
  SlotIndex index() const { return index_; }

  PushSource& source(MemberIndex member) {
    if (member >= sources_.size()) sources_.resize(member + 1);
    return sources_[member];
  }
  std::span<PushSource> sources() { return sources_; }

  /// What keeps a part from being applied now: applied (nothing), too_early, not_its_turn,
  /// too_late.
  Outcome admits(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                 const PartRows& rows) const;
  /// Applies a part whole, or leaves everything as it was. `values` in the layout of a push.
  Outcome apply(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                const PartRows& rows, const std::byte* values);
  Outcome store(const PartRows& rows, const std::byte* values);
  /// A burnt or empty part: on a collective table it counts as a contribution.
  Outcome burn(MemberIndex member, WorkerClock clock, const PartRows& rows);

  /// A worker has left the roster: its sequence and contributions go; its parts must have gone.
  void forget(MemberIndex member);

  // Folding.
  /// per_clock: folds one more segment up to G, if one lags. True: it did something.
  bool fold_some(WorkerClock global_clock);
  bool lags(WorkerClock global_clock) const {
    return rules_->apply() == Apply::per_clock && folded_to_ < global_clock;
  }
  /// collective: tries again what waits for a copy.
  void fold_waiting();
  /// Complete rounds that found no copy to be folded into.
  bool has_folds_waiting() const { return dense_ != nullptr && dense_->has_folds_waiting(); }

  // Reading. Ranges lie within one segment.
  /// The version that the rows would be read at, folded first where that is due. `no_copy`: it is
  /// due and cannot be done now.
  Outcome bring_up_to(WorkerClock global_clock, const PartRows& rows);
  WorkerClock version(const PartRows& rows, WorkerClock global_clock) const;
  /// collective: a worker that has not contributed yet to what the rows' version waits for, or 0.
  NodeId awaited(const PartRows& rows, WorkerClock need) const;
  Snapshot pin(RowRange rows, std::size_t& offset);
  /// From a device to memory that it reaches.
  void copy_out(RowRange rows, std::byte* out);
  /// Listed rows that are known. Errors: out_of_range, no_room.
  Outcome gather(const PartRows& rows, std::byte* out);

  DenseStore* dense() { return dense_.get(); }
  SparseStore* sparse() { return sparse_.get(); }

  // Owned by the server's loop.
  SlotChain chain;
  std::uint64_t log_position = 0;  ///< applied parts and folds
  std::uint32_t parts_waiting = 0;
  List<PullOp, &PullOp::waiting> pulls_waiting;
  bool kicked = false;          ///< In the loop's list of slots to look at again.
  bool waits_for_copy = false;  ///< In the loop's list of slots that need a free copy.
  bool in_fold_queue = false;

 private:
  SlotState(const TableRules& rules, SlotIndex index, const SlotChain& chain)
      : chain(chain), rules_(&rules), index_(index) {}

  const TableRules* rules_;
  SlotIndex index_;
  std::unique_ptr<DenseStore> dense_;  // exactly one of the two
  std::unique_ptr<SparseStore> sparse_;
  std::vector<PushSource> sources_;
  WorkerClock folded_to_;  ///< per_clock: all segments are at least here
  std::size_t fold_cursor_ = 0;
  WorkerClock fold_target_;
};

}  // namespace shoal
