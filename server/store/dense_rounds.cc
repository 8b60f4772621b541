// The rounds of per_clock and collective tables on dense rows: sums, contributions and folds. See
// docs/design/consistency.md.

#include <algorithm>

#include "server/store/dense_store.h"

namespace shoal {

Outcome DenseStore::admits_segment(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                                   std::size_t segment) const {
  const auto version = segments_[segment].version;
  if (clock < version) return Outcome::too_late;
  // A per_clock segment that lags behind G is folded before the push is added; a collective one
  // that lags waits for a copy, and its oldest sum's place is still taken.
  const auto oldest =
      table_.apply() == Apply::per_clock ? std::max(version, global_clock) : version;
  if (clock - std::min(oldest, global_clock) >= table_.window() ||
      clock - oldest >= table_.window())
    return Outcome::too_early;
  if (table_.spec().deterministic &&
      !sum_of(segment, clock).contributions.is_turn_of(member, context_.members, clock))
    return Outcome::not_its_turn;
  return Outcome::applied;
}

Outcome DenseStore::admits(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                           RowRange rows) const {
  return admits_segment(member, clock, global_clock, segment_at(rows.begin));
}

Outcome DenseStore::admits(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                           std::span<const Key> rows) const {
  if (table_.apply() == Apply::per_clock)  // All segments wait for G alone.
    return admits_segment(member, clock, global_clock, 0);
  for (const auto row : rows) {
    if (row < rows_.begin || row >= rows_.end) return Outcome::applied;  // found out when applied
    const auto outcome = admits_segment(member, clock, global_clock, segment_at(row));
    if (outcome != Outcome::applied) return outcome;
  }
  return Outcome::applied;
}

/// The memory of a sum, cleared. Its bytes were reserved with the slot.
Outcome DenseStore::need_sum(RoundSum& sum, std::size_t segment) {
  if (sum.memory != nullptr) return Outcome::applied;
  auto memory = context_.pool.take(row_count(segment) * table_.sum_row_bytes());
  if (!memory.ok()) return Outcome::no_memory;
  sum.memory = *memory;
  return Outcome::applied;
}

Outcome DenseStore::add_sum(WorkerClock clock, RowRange rows, const std::byte* inputs) {
  const auto segment = segment_at(rows.begin);
  const auto base = rows_of(segment).begin;
  const auto count = row_count(segment);
  auto& sum = sum_of(segment, clock);
  if (const auto o = need_sum(sum, segment); o != Outcome::applied) return o;
  const auto values = static_cast<std::size_t>(rows.size()) * table_.row_values();
  const auto& kernels = table_.kernels();
  const auto aggregate = table_.rule().traits().aggregate;
  const auto dtype = table_.spec().dtype;
  if (sum.rows.empty() && rows.size() == count) {
    kernels.start_sums(dtype, sum.memory->data, inputs, values, context_.stream());
  } else {
    if (sum.rows.empty()) clear_sum(sum, segment);
    kernels.add_sums(aggregate, dtype,
                     sum.memory->data + (rows.begin - base) * table_.sum_row_bytes(), inputs,
                     values, context_.stream());
  }
  sum.rows.add(count, {rows.begin - base, rows.end - base});
  return Outcome::applied;
}

void DenseStore::clear_sum(const RoundSum& sum, std::size_t segment) {
  table_.kernels().clear_sums(table_.rule().traits().aggregate, table_.spec().dtype,
                              sum.memory->data, row_count(segment) * table_.row_values(),
                              context_.stream());
}

Outcome DenseStore::add_sum(WorkerClock clock, std::span<const Key> rows, const std::byte* inputs) {
  std::span<std::uint32_t> positions;
  if (const auto o = locate(rows, positions); o != Outcome::applied) return o;
  collect_touched(positions);
  for (const auto segment : context_.scratch.touched)
    if (const auto o = need_sum(sum_of(segment, clock), segment); o != Outcome::applied) return o;
  RowMerger::Rows pushed{positions, inputs};
  if (context_.scratch.lists) {
    const auto merged = context_.scratch.merged(table_, pushed);
    if (!merged.ok()) return Outcome::no_memory;
    pushed = *merged;
  }
  for (const auto segment : context_.scratch.touched)
    if (const auto& sum = sum_of(segment, clock); sum.rows.empty()) clear_sum(sum, segment);
  const auto sums = listed_sums(clock, pushed.positions);
  table_.kernels().add_listed_sums(table_.rule().traits().aggregate, table_.spec().dtype,
                                   sums.pages, page_shift_, table_.row_values(), sums.positions,
                                   pushed.inputs, context_.stream());
  context_.scratch.end_of_part();
  const auto mask = (1u << page_shift_) - 1;
  for (const auto position : positions) {
    const auto segment = position >> page_shift_;
    sum_of(segment, clock).rows.add(row_count(segment), position & mask);
  }
  return Outcome::applied;
}

/// As `listed`, of a clock's sums.
DenseStore::ListedSums DenseStore::listed_sums(WorkerClock clock,
                                               std::span<const std::uint32_t> positions) {
  const auto& touched = context_.scratch.touched;
  if (!context_.scratch.lists) {
    sum_pages_.resize(segments_.size());
    for (const auto segment : touched) sum_pages_[segment] = sum_of(segment, clock).memory->data;
    return {sum_pages_.data(), positions};
  }
  const auto rows = listed(positions);
  const auto pages = context_.scratch.part.sums;
  for (std::size_t p = 0; p < touched.size(); ++p)
    pages[p] = sum_of(touched[p], clock).memory->data;
  return {pages.data(), rows.positions};
}

Outcome DenseStore::contribute(MemberIndex member, WorkerClock clock, RowRange rows,
                               const std::byte* inputs) {
  const auto segment = segment_at(rows.begin);
  if (table_.apply() == Apply::per_clock && segments_[segment].version < clock &&
      clock - segments_[segment].version >= table_.window())
    return Outcome::no_copy;  // The ring is full until its oldest sum is folded.
  if (inputs != nullptr) {
    if (const auto o = add_sum(clock, rows, inputs); o != Outcome::applied) return o;
    pushed_ = true;
  }
  if (table_.apply() == Apply::collective) {
    sum_of(segment, clock).contributions.add(member, rows.size(), row_count(segment));
    fold_ready(segment);
  }
  return Outcome::applied;
}

Outcome DenseStore::contribute(MemberIndex member, WorkerClock clock, std::span<const Key> rows,
                               const std::byte* inputs) {
  if (inputs != nullptr) {
    if (const auto o = add_sum(clock, rows, inputs); o != Outcome::applied) return o;
    pushed_ = true;
  }
  if (table_.apply() != Apply::collective) return Outcome::applied;
  for (const auto row : rows) {
    if (row < rows_.begin || row >= rows_.end) return Outcome::out_of_range;
    const auto segment = segment_at(row);
    sum_of(segment, clock).contributions.add(member, 1, row_count(segment));
  }
  for (const auto row : rows)
    if (const auto segment = segment_at(row); sum_of(segment, clock).contributions.complete(member))
      fold_ready(segment);
  return Outcome::applied;
}

/// Runs the update rule once on what a clock's pushes came to. The segment is writable.
void DenseStore::fold_round(std::size_t segment, WorkerClock clock) {
  auto& sum = sum_of(segment, clock);
  const auto& rule = table_.rule_at(clock);
  const SegmentDirectory::Change change(directory_, segment);
  if (pages_[segment].steps != nullptr && !sum.rows.empty()) ++*pages_[segment].steps;
  sum.rows.for_each_run(row_count(segment), [&](RowRange rows, bool pushed) {
    if (pushed)
      rule.apply(dense_rows(segment, rows),
                 RuleInputs::of_sums(sum.memory->data + rows.begin * table_.sum_row_bytes()),
                 context_.stream());
    else
      rule.catch_up(dense_rows(segment, rows), 1, context_.stream());
  });
}

void DenseStore::end_round(std::size_t segment, WorkerClock clock) {
  auto& sum = sum_of(segment, clock);
  if (sum.memory != nullptr) context_.pool.give(std::exchange(sum.memory, nullptr));
  sum.rows.clear();
  sum.contributions.clear();
  segments_[segment].version = clock + 1;
  ++context_.metrics.folds;
}

Outcome DenseStore::fold(std::size_t segment, WorkerClock global_clock) {
  auto& s = segments_[segment];
  // No push is in a sum beyond the window, so clocks past it are empty and cost nothing.
  const auto newest = std::min(global_clock, s.version + table_.window());
  while (s.version < newest) {
    const auto clock = s.version;
    if (!sum_of(segment, clock).rows.empty() || table_.rule().has_decay()) {
      if (!make_writable(segment)) return Outcome::no_copy;
      fold_round(segment, clock);
    }
    end_round(segment, clock);
  }
  while (s.version < global_clock) {
    auto until = global_clock;
    if (table_.rule().has_decay()) {
      if (!make_writable(segment)) return Outcome::no_copy;
      until = std::min(until, table_.next_change(s.version));
      const SegmentDirectory::Change change(directory_, segment);
      table_.rule_at(s.version).catch_up(dense_rows(segment, {0, row_count(segment)}),
                                         static_cast<std::uint64_t>(until - s.version),
                                         context_.stream());
    }
    s.version = until;
  }
  return Outcome::applied;
}

bool DenseStore::round_complete(std::size_t segment, WorkerClock clock) const {
  // Nobody but later comers: they begin at or above G, so nothing comes to this round any more.
  const auto& members = context_.members;
  return !members.by_rank().empty() &&
         sum_of(segment, clock).contributions.complete_count() >= members.taking_part(clock);
}

NodeId DenseStore::awaited(std::size_t segment) const {
  const auto clock = segments_[segment].version;
  const auto& contributions = sum_of(segment, clock).contributions;
  for (const auto m : context_.members.by_rank())
    if (context_.members[m].start <= clock && !contributions.complete(m))
      return context_.members[m].node;
  return {};
}

Outcome DenseStore::fold_ready(std::size_t segment) {
  auto& s = segments_[segment];
  while (round_complete(segment, s.version)) {
    const auto clock = s.version;
    const bool change = !sum_of(segment, clock).rows.empty() || table_.rule().has_decay();
    if (change && !make_writable(segment)) {
      if (!std::exchange(s.fold_waiting, true)) ++folds_waiting_;
      return Outcome::no_copy;
    }
    if (change) fold_round(segment, clock);
    end_round(segment, clock);
  }
  if (std::exchange(s.fold_waiting, false)) --folds_waiting_;
  return Outcome::applied;
}

void DenseStore::forget(MemberIndex member) {
  for (auto& sum : sums_) sum.contributions.forget(member);
}

}  // namespace shoal
