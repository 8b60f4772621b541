// What a worker contributes to the rounds of collective tables, and which pulls need its tick.

#include <algorithm>
#include <utility>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

/// To every segment of which `op` names rows.
bool Engine::Table::has_contributed(const Operation& op) const {
  const auto& geometry = shape.geometry;
  const auto complete = [&](Row row) {
    const auto segment = geometry.segment_of(row);
    return contributed[segment.value] >= geometry.rows_of(segment).size();
  };
  if (op.by_keys)
    return std::all_of(op.keys.begin(), op.keys.end(),
                       [&](Key key) { return key >= shape.spec.rows || complete(key); });
  for (auto row = op.rows.begin; row < op.rows.end;
       row = geometry.rows_of(geometry.segment_of(row)).end)
    if (!complete(row)) return false;
  return true;
}

/// Counts what this worker pushes to a collective table at its present clock.
void Engine::note_contribution(Table& table, RowRange rows) {
  const auto& geometry = table.shape.geometry;
  for (auto row = rows.begin; row < rows.end;) {
    const auto segment = geometry.segment_of(row);
    const auto end = std::min(rows.end, geometry.rows_of(segment).end);
    table.contributed[segment.value] += end - row;
    table.contributed_rows += end - row;
    row = end;
  }
  recheck_needs_tick_ = true;
}

/// At the end of a clock: an empty part for every segment of a collective table that this worker
/// did not complete, so that nobody waits for it. It covers the rows that were not pushed, and no
/// more: pushes that still wait for what they follow bring their own.
void Engine::complete_contributions(WorkerClock clock) {
  if (options_.role != Role::worker) return;
  for (auto& table : tables_)
    if (table && table->info != nullptr && table->collective())
      complete_contributions(*table, clock);
}

void Engine::complete_contributions(Table& table, WorkerClock clock) {
  if (table.contributed_rows == 0) return put_off(table, clock);
  const auto& geometry = table.shape.geometry;
  runs_.clear();
  for (std::uint64_t i = 0; i < geometry.segments(); ++i) {
    const SegmentIndex segment(static_cast<std::uint32_t>(i));
    auto rows = geometry.rows_of(segment);
    const auto pushed = std::exchange(table.contributed[i], 0);
    if (pushed >= rows.size()) continue;
    rows.end -= pushed;
    const auto slot = geometry.slot_of(segment);
    if (runs_.empty() || runs_.back().slot != slot ||
        runs_.back().row_begin + runs_.back().row_count != rows.begin) {
      Run run;
      run.slot = slot;
      run.row_begin = rows.begin;
      runs_.push_back(run);
    }
    runs_.back().row_count += rows.size();
    ++runs_.back().part_count;
  }
  table.contributed_rows = 0;
  plan_requests(nullptr, table, Request::Kind::burn, clock, FlushKeeper::kEndOfClock);
  for (const auto index : planned_)
    block({Request::kNone, index, table.shape.id.value, clock, true, {}});
}

/// The empty parts of a clock at which nothing was pushed. Requests are made of them when the
/// table's window admits them; until then clocks that follow on each other are one entry, however
/// far this worker runs ahead.
void Engine::put_off(const Table& table, WorkerClock clock) {
  const auto id = table.shape.id.value;
  const auto last = std::find_if(blocked_.rbegin(), blocked_.rend(), [&](const Blocked& b) {
    return b.empty_clocks() && b.table == id && b.end == clock;
  });
  if (last != blocked_.rend()) {
    ++last->end;
    return;
  }
  begin_push(clock, FlushKeeper::kEndOfClock);
  block({Request::kNone, Request::kNone, id, clock, true, clock + 1});
}

/// Sends the empty parts of the first clock of the entry, and puts the others off again.
void Engine::start_empty_clock(Blocked blocked) {
  constexpr auto kPlace = FlushKeeper::kEndOfClock;
  const auto clock = blocked.clock;
  auto* table = find_table(TableId(blocked.table));
  if (!fenced_ && table != nullptr && table->info != nullptr) {
    split_range(*table, {0, table->shape.spec.rows}, 0, 0);
    plan_requests(nullptr, *table, Request::Kind::burn, clock, kPlace);
    for (const auto index : planned_) {
      assign_sequences(requests_[index]);
      post(index);
    }
    if (++blocked.clock < blocked.end) {
      begin_push(blocked.clock, kPlace);
      block(blocked);
    }
  }
  end_push(clock, kPlace);
  finish_flushes();
}

/// Whether only this worker's own tick can admit it: a pull of what comes after its present clock,
/// and after the round that it has contributed to.
bool Engine::needs_tick(const Operation& op) {
  if (op.kind != OperationKind::pull && op.kind != OperationKind::push_pull) return false;
  if (op.stage == Operation::Stage::letting_go) return false;  // ends without a tick
  if (op.need <= keeper_.local()) return false;
  const auto* table = find_table(op.table->id);
  if (table == nullptr || table->info == nullptr) return false;  // it will fail
  return !table->collective() || op.need != keeper_.local() + 1 || !table->has_contributed(op);
}

/// Tells waiters what needs_tick() says now, once a turn in which something that it looks at has
/// changed: the calls that were taken are part of it.
void Engine::refresh_needs_tick() {
  if (std::exchange(recheck_needs_tick_, false))
    for (const auto index : active_) {
      auto& op = operations_[index];
      const auto phase = needs_tick(op) ? Operation::kNeedsTick : Operation::kPending;
      if (op.phase.load(std::memory_order_relaxed) != phase) set_phase(op, phase);
    }
  calls_taken_.store(calls_.popped(), std::memory_order_release);
}

}  // namespace shoal
