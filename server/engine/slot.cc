#include "server/engine/slot.h"

#include <algorithm>
#include <limits>

namespace shoal {

Result<std::unique_ptr<SlotState>> SlotState::create(const TableRules& rules, SlotIndex index,
                                                     const SlotChain& chain, StoreContext context) {
  std::unique_ptr<SlotState> slot(new SlotState(rules, index, chain));
  if (rules.spec().layout == Layout::dense) {
    SHOAL_ASSIGN(slot->dense_, DenseStore::create(rules, index, context));
  } else if (context.late() && rules.sums() && rules.rule().has_decay()) {
    return Error{Errc::unavailable,
                 "sparse rows that decay between the clocks at which they are pushed are served "
                 "from host memory only (device = cpu)"};
  } else {
    SHOAL_ASSIGN(slot->sparse_, SparseStore::create(rules, index, context));
  }
  if (context.scratch.lists || !rules.rule().traits().repeats_compose)
    SHOAL_TRY(context.scratch.need_merger(context.host));
  slot->folded_to_ = slot->fold_target_ = rules.start();
  return slot;
}

Outcome SlotState::admits(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                          const PartRows& rows) const {
  if (!rules_->sums()) return Outcome::applied;
  if (clock >= global_clock && clock - global_clock >= rules_->window()) return Outcome::too_early;
  // Clocks below G are folded, or will be before anything is added to them.
  if (rules_->apply() == Apply::per_clock && clock < global_clock) return Outcome::too_late;
  if (sparse_ != nullptr) return clock < sparse_->version() ? Outcome::too_late : Outcome::applied;
  if (!rows.listed) return dense_->admits(member, clock, global_clock, rows.range);
  return rows.known ? dense_->admits(member, clock, global_clock, rows.keys) : Outcome::applied;
}

Outcome SlotState::apply(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                         const PartRows& rows, const std::byte* values) {
  if (!rules_->sums()) {
    if (rows.placed()) return sparse_->apply(rows.positions, rows.distinct, values);
    if (sparse_ != nullptr) return sparse_->apply(rows.keys, values);
    return rows.listed ? dense_->apply(rows.keys, values) : dense_->apply(rows.range, values);
  }
  if (sparse_ != nullptr) {
    sparse_->fold(global_clock);
    return rows.placed() ? sparse_->contribute(clock, rows.positions, values)
                         : sparse_->contribute(clock, rows.keys, values);
  }
  // Clocks below G are folded before anything is added: their sums' places may be needed.
  if (const auto o = bring_up_to(global_clock, rows); o != Outcome::applied) return o;
  return rows.listed ? dense_->contribute(member, clock, rows.keys, values)
                     : dense_->contribute(member, clock, rows.range, values);
}

Outcome SlotState::store(const PartRows& rows, const std::byte* values) {
  if (sparse_ != nullptr) {
    if (sparse_->pushed()) return Outcome::too_late;
    return rows.placed() ? sparse_->set(rows.positions, values) : sparse_->set(rows.keys, values);
  }
  if (dense_->pushed()) return Outcome::too_late;
  return rows.listed ? dense_->set(rows.keys, values) : dense_->set(rows.range, values);
}

Outcome SlotState::burn(MemberIndex member, WorkerClock clock, const PartRows& rows) {
  if (rules_->apply() != Apply::collective) return Outcome::applied;
  return rows.listed ? dense_->contribute(member, clock, rows.keys, nullptr)
                     : dense_->contribute(member, clock, rows.range, nullptr);
}

void SlotState::forget(MemberIndex member) {
  if (member < sources_.size()) sources_[member] = {};
  if (dense_ != nullptr) dense_->forget(member);
}

bool SlotState::fold_some(WorkerClock global_clock) {
  if (!lags(global_clock)) return false;
  if (sparse_ != nullptr) {
    sparse_->fold(global_clock);
    folded_to_ = global_clock;
    ++log_position;
    return true;
  }
  if (fold_target_ < global_clock && fold_cursor_ == 0) fold_target_ = global_clock;
  if (dense_->fold(fold_cursor_, fold_target_) != Outcome::applied) return false;
  ++log_position;
  if (++fold_cursor_ == dense_->segment_count()) {
    fold_cursor_ = 0;
    folded_to_ = fold_target_;
  }
  return true;
}

void SlotState::fold_waiting() {
  if (dense_ == nullptr || rules_->apply() != Apply::collective) return;
  for (std::size_t s = 0; s < dense_->segment_count(); ++s) dense_->fold_ready(s);
}

Outcome SlotState::bring_up_to(WorkerClock global_clock, const PartRows& rows) {
  if (rules_->apply() != Apply::per_clock) return Outcome::applied;
  if (sparse_ != nullptr) {
    sparse_->fold(global_clock);
    return Outcome::applied;
  }
  if (!rows.listed) return dense_->fold(dense_->segment_at(rows.range.begin), global_clock);
  if (!lags(global_clock)) return Outcome::applied;
  for (std::size_t s = 0; s < dense_->segment_count(); ++s)
    if (const auto o = dense_->fold(s, global_clock); o != Outcome::applied) return o;
  return Outcome::applied;
}

WorkerClock SlotState::version(const PartRows& rows, WorkerClock global_clock) const {
  if (!rules_->sums()) return global_clock;
  if (sparse_ != nullptr) return sparse_->version();
  if (!rows.listed) return dense_->version(dense_->segment_at(rows.range.begin));
  auto oldest = WorkerClock(std::numeric_limits<std::int64_t>::max());
  if (!rows.known)  // Which segments is not known yet: the oldest of all.
    for (std::size_t s = 0; s < dense_->segment_count(); ++s)
      oldest = std::min(oldest, dense_->version(s));
  for (const auto row : rows.keys) {
    if (row < dense_->rows().begin || row >= dense_->rows().end) continue;
    oldest = std::min(oldest, dense_->version(dense_->segment_at(row)));
  }
  return oldest;
}

NodeId SlotState::awaited(const PartRows& rows, WorkerClock need) const {
  if (rules_->apply() != Apply::collective) return {};
  if (!rows.listed) return dense_->awaited(dense_->segment_at(rows.range.begin));
  for (const auto row : rows.keys) {
    if (row < dense_->rows().begin || row >= dense_->rows().end) continue;
    const auto segment = dense_->segment_at(row);
    if (dense_->version(segment) < need) return dense_->awaited(segment);
  }
  return {};
}

Snapshot SlotState::pin(RowRange rows, std::size_t& offset) {
  const auto segment = dense_->segment_at(rows.begin);
  offset = static_cast<std::size_t>(rows.begin - dense_->rows_of(segment).begin) *
           rules_->geometry().row_bytes();
  return dense_->pin(segment);
}

void SlotState::copy_out(RowRange rows, std::byte* out) { dense_->copy_out(rows, out); }

Outcome SlotState::gather(const PartRows& rows, std::byte* out) {
  if (rows.placed()) return sparse_->gather(rows.positions, out);
  return sparse_ != nullptr ? sparse_->gather(rows.keys, out) : dense_->gather(rows.keys, out);
}

}  // namespace shoal
