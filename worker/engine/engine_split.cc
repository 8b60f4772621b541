// Operations fall apart into runs of slots, and runs into requests to servers.

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// A request's part list stays below what a session keeps for it
/// (Session::Options::meta_bytes_max): 900 runs of 48 or 56 bytes, and a signature for each.
constexpr std::size_t kRunsPerRequestMax = 900;

/// Parts of a request: far below what a server takes in one (kPartsMax), however large the table
/// and small its segments, and few enough that a retry repeats little.
constexpr std::uint32_t kPartsPerRequestMax = 4096;

/// Cuts the first `parts` of the run's parts off.
Run cut_front(Run& run, std::uint32_t parts, const Geometry& geometry, bool by_keys,
              std::size_t row_bytes) {
  auto front = run;
  if (parts == run.part_count) {
    run.part_count = 0;
    return front;
  }
  front.part_count = parts;
  if (by_keys) {
    front.row_count = parts * geometry.rows_per_segment();
  } else {
    const auto last = geometry.segment_of(run.row_begin).value + parts - 1;
    front.row_count = geometry.rows_of(SegmentIndex(last)).end - run.row_begin;
  }
  run.part_count -= parts;
  run.row_begin += front.row_count;
  run.row_count -= front.row_count;
  run.offset += front.row_count * row_bytes;
  run.first_part += parts;
  return front;
}

}  // namespace

void Engine::start(Operation& op) {
  auto* table = find_table(op.table->id);
  if (table == nullptr || table->info == nullptr)
    return let_go(op, Errc::unknown_name,
                  fmt::format("table '{}' was dropped", op.table->spec.name));
  if (fenced_) return let_go(op, Errc::fenced, why_cut_off());
  op.stage = Operation::Stage::running;
  op.started = true;
  // A push_pull's pull goes out behind its push, so that `after` names it; the pull's gate waits.
  op.requests_left = 1;  // this function's own hold
  if (op.kind != OperationKind::pull) start_push(op);
  if (op.kind != OperationKind::push && op.stage == Operation::Stage::running) start_pull(op);
  --op.requests_left;
  finish_if_done(op);
}

void Engine::start_push(Operation& op) {
  auto& table = *find_table(op.table->id);
  const auto row_bytes = table.shape.pushed_row_bytes(op.store);
  if (op.by_keys) {
    if (auto split = split_keys(op, table, true); !split.ok())
      return let_go(op, split.code(), split.error().what);
  } else {
    split_range(table, op.rows, row_bytes, op.rows.begin);
  }
  if (const auto slot = lost_slot(table))
    return let_go(op, Errc::slot_lost, why_lost(table, *slot));
  std::uint64_t rows = 0;
  for (const auto& run : runs_) rows += run.row_count;
  bytes_pushed_.fetch_add(rows * row_bytes, std::memory_order_relaxed);
  plan_requests(&op, table, Request::Kind::push, op.clock, op.place);
  for (const auto index : planned_) assign_sequences(requests_[index]);
  op.holds_push = false;
  end_push(op.clock, op.place);  // the operation's own; each of its requests holds one now
  post_planned();
}

void Engine::start_pull(Operation& op) {
  auto& table = *find_table(op.table->id);
  if (op.by_keys) {
    if (auto split = split_keys(op, table, false); !split.ok())
      return let_go(op, split.code(), split.error().what);
  } else {
    split_range(table, op.rows, table.shape.row_bytes, op.rows.begin);
  }
  if (const auto slot = lost_slot(table))
    return let_go(op, Errc::slot_lost, why_lost(table, *slot));
  if (table.shape.spec.apply_mode() == Apply::on_arrival)
    for (auto& run : runs_) run.after = table.next_q[run.slot.value] - 1;
  op.completion = {WorkerClock(std::numeric_limits<std::int64_t>::max()),
                   WorkerClock(std::numeric_limits<std::int64_t>::min())};
  plan_requests(&op, table, Request::Kind::pull, op.use_clock, op.place);
  post_planned();
}

/// Fills runs_ with the runs of `rows`, slot by slot. Offsets count from row `origin`.
void Engine::split_range(const Table& table, RowRange rows, std::size_t row_bytes, Row origin) {
  const auto& geometry = table.shape.geometry;
  runs_.clear();
  if (rows.empty()) return;
  const auto last = geometry.slot_of(geometry.segment_of(rows.end - 1));
  for (auto slot = geometry.slot_of(geometry.segment_of(rows.begin)); slot <= last;
       slot = SlotIndex(slot.value + 1)) {
    const auto piece = geometry.rows_of(slot).intersect(rows);
    if (piece.empty()) continue;
    Run run;
    run.slot = slot;
    run.part_count = geometry.part_count(piece);
    run.row_begin = piece.begin;
    run.row_count = piece.size();
    run.offset = (piece.begin - origin) * row_bytes;
    runs_.push_back(run);
  }
}

Status Engine::split_keys(Operation& op, Table& table, bool push) {
  const auto& shape = table.shape;
  if (shape.spec.layout == Layout::dense)
    for (std::size_t i = 0; i < op.keys.size(); ++i)
      if (op.keys[i] >= shape.spec.rows)
        return Error{
            Errc::out_of_range,
            fmt::format("table '{}' has rows 0 to {}; position {} of the key list names {}",
                        shape.spec.name, shape.spec.rows - 1, i, op.keys[i])};
  SHOAL_ASSERT(!op.plan, "an operation has one key list");
  op.plan = plans_.take(op.keys, {shape.id, shape.geometry, table.slot_rank, push});
  auto& plan = *op.plan;
  const auto row_bytes = push ? shape.pushed_row_bytes(op.store) : shape.row_bytes;
  if (push) {
    const auto inputs = op.store ? 1 : shape.spec.update.inputs;
    plan.gather(op.source, shape.spec.dtype, shape.spec.row_width * inputs,
                op.store ? Aggregate::last : shape.spec.update.aggregate, plans_.scratch());
  } else {
    plan.reserve_values(row_bytes);
  }
  runs_.clear();
  for (const auto& group : plan.groups()) {
    Run run;
    run.slot = group.slot;
    run.part_count = shape.geometry.part_count_of_keys(group.count);
    run.row_begin = group.begin;
    run.row_count = group.count;
    run.offset = group.begin * row_bytes;
    run.first_part = group.first_part;
    runs_.push_back(run);
  }
  return {};
}

std::optional<SlotIndex> Engine::lost_slot(const Table& table) const {
  for (const auto& run : runs_)
    if (table.chain(run.slot).lost()) return run.slot;
  return {};
}

/// Divides runs_ among requests: those of one server together, in order. Fills planned_.
void Engine::plan_requests(Operation* op, Table& table, Request::Kind kind, WorkerClock clock,
                           std::uint64_t place) {
  planned_.clear();
  const auto& shape = table.shape;
  const bool by_keys = op != nullptr && op->by_keys;
  const auto row_bytes = kind == Request::Kind::pull
                             ? shape.row_bytes
                             : shape.pushed_row_bytes(op != nullptr && op->store);
  std::uint32_t parts = 0;  // of the last request
  const auto begin_request = [&](NodeId server) {
    const auto index = requests_.acquire();
    auto& request = requests_[index];
    request.kind = kind;
    request.table = shape.id;
    request.clock = clock;
    request.place = place;
    request.server = server;
    if (kind != Request::Kind::pull) ++table.pushes;
    if (op != nullptr) {
      request.operation = index_of(*op);
      request.store = op->store;
      request.by_keys = op->by_keys;
      request.one_sided = kind == Request::Kind::pull && op->one_sided;
      ++op->requests_left;
    }
    if (kind != Request::Kind::pull) begin_push(clock, place);
    planned_.push_back(index);
    parts = 0;
  };
  for (auto rest : runs_) {
    const auto& chain = table.chain(rest.slot);
    if (chain.lost()) continue;  // only a tick's empty parts come this far
    const auto server = kind == Request::Kind::pull ? chain.tail() : chain.head();
    while (rest.part_count > 0) {
      if (planned_.empty() || requests_[planned_.back()].server != server ||
          requests_[planned_.back()].runs.size() == kRunsPerRequestMax ||
          parts == kPartsPerRequestMax)
        begin_request(server);
      const auto count = std::min(rest.part_count, kPartsPerRequestMax - parts);
      requests_[planned_.back()].runs.push_back(
          cut_front(rest, count, shape.geometry, by_keys, row_bytes));
      parts += count;
    }
  }
}

void Engine::assign_sequences(Request& request) {
  auto* table = find_table(request.table);
  for (auto& run : request.runs) {
    run.first_q = table->next_q[run.slot.value];
    table->next_q[run.slot.value] = run.first_q + run.part_count;
  }
}

}  // namespace shoal
