// The engine's way out: operations fall apart into runs of slots, runs into requests to servers,
// and requests become frames.

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// A request's part list stays below what a session keeps for it
/// (Session::Options::meta_bytes_max): 900 runs of 48 or 56 bytes, and a signature for each.
constexpr std::size_t kRunsPerRequestMax = 900;
constexpr std::size_t kSignaturesPerRequestMax = 900;

WireSpan wire(const RemoteSpan& span) { return {span.region, span.address, span.bytes}; }

std::uint64_t time_left(TimePoint deadline, TimePoint now) {
  if (deadline == kNever) return ~std::uint64_t{0};
  return deadline <= now ? 0 : static_cast<std::uint64_t>((deadline - now).count());
}

template <class T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// Views of one memory that cover consecutive runs, merged where they touch: what a small payload
/// is gathered from without a copy.
class Gathered {
 public:
  explicit Gathered(std::size_t views_max) : views_max_(views_max) {}
  bool add(ConstMemoryView view) {
    if (view.bytes == 0) return true;
    if (count_ > 0 && views_[count_ - 1].data + views_[count_ - 1].bytes == view.data) {
      views_[count_ - 1].bytes += view.bytes;
      return true;
    }
    if (count_ == views_max_) return false;
    views_[count_++] = view;
    return true;
  }
  std::span<const ConstMemoryView> views() const { return {views_, count_}; }

 private:
  ConstMemoryView views_[Transport::kPayloadViewsMax];
  std::size_t count_ = 0;
  std::size_t views_max_;
};

std::size_t pushed_row_bytes(const TableShape& shape, bool store) {
  return store ? shape.row_bytes : shape.push_bytes;
}

/// Whether a request whose keys stay here for the server to READ can tell their signatures.
bool is_signed(const Request& request, const Operation& op) {
  if (!request.by_keys || op.plan->signatures().empty()) return false;
  std::uint64_t parts = 0;
  for (const auto& run : request.runs) parts += run.part_count;
  return parts <= kSignaturesPerRequestMax;
}

void append_signatures(std::vector<std::byte>& meta, const Request& request, const KeyPlan& plan) {
  for (const auto& run : request.runs) {
    const auto part = std::as_bytes(plan.signatures().subspan(run.first_part, run.part_count));
    meta.insert(meta.end(), part.begin(), part.end());
  }
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
  const auto row_bytes = pushed_row_bytes(table.shape, op.store);
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
  plan_requests(&op, table, Request::Kind::push, op.clock);
  for (const auto index : planned_) assign_sequences(requests_[index]);
  op.holds_push = false;
  keeper_.end_push(op.clock);  // the operation's own; each of its requests holds one now
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
  plan_requests(&op, table, Request::Kind::pull, op.use_clock);
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
  const auto row_bytes = push ? pushed_row_bytes(shape, op.store) : shape.row_bytes;
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
void Engine::plan_requests(Operation* op, Table& table, Request::Kind kind, WorkerClock clock) {
  planned_.clear();
  for (const auto& run : runs_) {
    const auto& chain = table.chain(run.slot);
    if (chain.lost()) continue;  // only a tick's empty parts come this far
    const auto server = kind == Request::Kind::pull ? chain.tail() : chain.head();
    if (planned_.empty() || requests_[planned_.back()].server != server ||
        requests_[planned_.back()].runs.size() == kRunsPerRequestMax) {
      const auto index = requests_.acquire();
      auto& request = requests_[index];
      request.kind = kind;
      request.table = table.shape.id;
      request.clock = clock;
      request.server = server;
      if (op != nullptr) {
        request.operation = index_of(*op);
        request.store = op->store;
        request.by_keys = op->by_keys;
        ++op->requests_left;
      }
      if (kind != Request::Kind::pull) keeper_.begin_push(clock);
      planned_.push_back(index);
    }
    requests_[planned_.back()].runs.push_back(run);
  }
}

void Engine::post_planned() {
  // A post that fails ends its operation, and with it requests further down the list.
  for (const auto index : planned_)
    if (requests_[index].stage == Request::Stage::planned) post(index);
}

void Engine::assign_sequences(Request& request) {
  auto* table = find_table(request.table);
  for (auto& run : request.runs) {
    run.first_q = table->next_q[run.slot.value];
    table->next_q[run.slot.value] = run.first_q + run.part_count;
  }
}

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
    row = end;
  }
  recheck_needs_tick_ = true;
}

/// At the end of a clock: an empty part for every segment of a collective table that this worker
/// did not complete, so that nobody waits for it. It covers the rows that were not pushed, and no
/// more: pushes that still wait for what they follow bring their own.
void Engine::complete_contributions(WorkerClock clock) {
  if (options_.role != Role::worker) return;
  for (auto& table : tables_) {
    if (!table || table->info == nullptr || !table->collective()) continue;
    const auto& geometry = table->shape.geometry;
    runs_.clear();
    for (std::uint64_t i = 0; i < geometry.segments(); ++i) {
      const SegmentIndex segment(static_cast<std::uint32_t>(i));
      auto rows = geometry.rows_of(segment);
      const auto pushed = std::exchange(table->contributed[i], 0);
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
    plan_requests(nullptr, *table, Request::Kind::burn, clock);
    for (const auto index : planned_)
      blocked_.push_back({Request::kNone, index, table->shape.id.value, clock, true});
    recheck_blocked_ = true;
  }
}

/// Whether only this worker's own tick can admit it: a pull of what comes after its present clock,
/// and after the round that it has contributed to.
bool Engine::needs_tick(const Operation& op) {
  if (op.kind != OperationKind::pull && op.kind != OperationKind::push_pull) return false;
  if (op.need <= keeper_.local()) return false;
  const auto* table = find_table(op.table->id);
  return table == nullptr || !table->collective() || op.need != keeper_.local() + 1 ||
         !table->has_contributed(op);
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

Result<WireSpan> Engine::lend(Region& own, MemoryRecord* record, MemoryView memory, Access access) {
  if (record != nullptr) {
    if (!record->region.valid()) {
      SHOAL_ASSIGN(record->region, transport_.register_memory(record->memory, Access::read_write));
    }
    const auto offset = static_cast<std::size_t>(memory.data - record->memory.data);
    return wire(record->region.remote(offset, memory.bytes));
  }
  if (!own.valid()) {
    SHOAL_ASSIGN(own, transport_.register_memory(memory, access));
  }
  return wire(own.remote(0, memory.bytes));
}

void Engine::post(std::uint32_t index) {
  auto& request = requests_[index];
  auto* server = find_server(request.server);
  if (server == nullptr) return wait_and_post_again(index, Epoch{}, std::chrono::milliseconds(50));
  if (request.kind == Request::Kind::pull && must_hold_back(request, *server)) {
    request.held_back = true;
    return wait_and_post_again(index, Epoch{}, kNever - now_);
  }
  request.held_back = false;
  request.stage = Request::Stage::posted;
  if (request.kind == Request::Kind::pull &&
      operations_[request.operation].need > seen_global_clock_) {
    request.early = true;
    ++server->early;
  }
  const auto posted =
      request.kind == Request::Kind::pull ? post_pull(index, *server) : post_push(index, *server);
  if (posted.ok()) return;
  if (posted.code() == Errc::overloaded)
    return wait_and_post_again(index, Epoch{}, std::chrono::milliseconds(1));
  if (request.operation == Request::kNone)  // a burnt part is never given up
    return wait_and_post_again(index, Epoch{}, std::chrono::milliseconds(50));
  let_go(operations_[request.operation], posted.code(), posted.error().what);
}

Status Engine::post_push(std::uint32_t index, Server& server) {
  auto& request = requests_[index];
  const auto& table = *find_table(request.table);
  FrameHeader header;
  header.kind = FrameKind::push;
  header.epoch = seen_view_->epoch.packed();
  header.clock = request.clock;
  header.table = request.table;
  if (request.store) header.flags |= frame_flag::kStore;
  if (request.by_keys) header.flags |= frame_flag::kKeyList;

  PushMeta meta;
  meta.run_count = static_cast<std::uint32_t>(request.runs.size());
  meta.inputs = request.store ? 1 : table.shape.spec.update.inputs;
  Gathered payload(Transport::kPayloadViewsMax);
  bool eager = true;
  if (request.kind == Request::Kind::burn) {
    header.flags |= frame_flag::kBurnt;
    meta.time_left = ~std::uint64_t{0};
  } else {
    auto& op = operations_[request.operation];
    meta.time_left = time_left(op.deadline, now_);
    const auto row_bytes = pushed_row_bytes(table.shape, request.store);
    const ConstMemoryView values =
        op.by_keys ? ConstMemoryView(op.plan->values_memory()) : op.source;
    const ConstMemoryView keys =
        op.by_keys ? ConstMemoryView(op.plan->keys_memory()) : ConstMemoryView{};
    std::size_t bytes = 0;
    for (const auto& run : request.runs)
      bytes += run.row_count * (row_bytes + (op.by_keys ? 8 : 0));
    eager = bytes <= options_.eager_bytes_max;
    if (op.by_keys)
      for (const auto& run : request.runs)
        eager = eager && payload.add(keys.sub(run.row_begin * 8, run.row_count * 8));
    for (const auto& run : request.runs)
      eager = eager && payload.add(values.sub(run.offset, run.row_count * row_bytes));
    if (!eager) {
      header.flags |= frame_flag::kRendezvous;
      if (is_signed(request, op)) header.flags |= frame_flag::kSigned;
      const auto source = MemoryView{const_cast<std::byte*>(values.data), values.bytes,
                                     values.space, values.device};
      SHOAL_ASSIGN(meta.values, lend(op.by_keys ? op.plan->values_region : op.source_region,
                                     op.by_keys ? nullptr : op.source_memory, source,
                                     op.by_keys ? Access::read_write : Access::read));
      if (op.by_keys) {
        SHOAL_ASSIGN(meta.keys,
                     lend(op.plan->keys_region, nullptr, op.plan->keys_memory(), Access::read));
      }
    }
  }

  meta_.clear();
  append(meta_, meta);
  std::uint64_t key_at = 0;
  std::uint64_t value_at = 0;
  for (const auto& run : request.runs) {
    PushRun out;
    out.slot = run.slot;
    out.part_count = run.part_count;
    out.first_q = run.first_q;
    out.row_begin = request.by_keys && eager ? key_at : run.row_begin;
    out.row_count = run.row_count;
    out.offset = eager ? value_at : run.offset;
    out.since = table.chain(run.slot).since.packed();
    append(meta_, out);
    key_at += run.row_count;
    value_at += run.row_count * pushed_row_bytes(table.shape, request.store);
  }
  if ((header.flags & frame_flag::kSigned) != 0)
    append_signatures(meta_, request, *operations_[request.operation].plan);
  const auto views = eager ? payload.views() : std::span<const ConstMemoryView>{};
  SHOAL_ASSIGN(request.id, server.session->request(header, meta_, views, requests_.context(index)));
  return {};
}

Status Engine::post_pull(std::uint32_t index, Server& server) {
  auto& request = requests_[index];
  const auto& table = *find_table(request.table);
  auto& op = operations_[request.operation];
  FrameHeader header;
  header.kind = FrameKind::pull;
  header.epoch = seen_view_->epoch.packed();
  header.clock = request.clock;
  header.table = request.table;
  if (request.by_keys) header.flags |= frame_flag::kKeyList;
  if (options_.role == Role::observer) header.flags |= frame_flag::kObserver;

  PullMeta meta;
  meta.run_count = static_cast<std::uint32_t>(request.runs.size());
  meta.time_left = time_left(op.deadline, now_);
  meta.need = op.need;
  std::uint64_t rows = 0;
  for (const auto& run : request.runs) rows += run.row_count;
  bool keys_eager = !request.by_keys || rows * 8 <= options_.eager_bytes_max;
  if (!keys_eager && is_signed(request, op)) header.flags |= frame_flag::kSigned;
  // Where the server has the list, it WRITES rows at once, and few of them, too.
  request.eager = rows * table.shape.row_bytes <= options_.answer_bytes_max &&
                  (header.flags & frame_flag::kSigned) == 0;
  if (!request.eager) {
    const auto target = op.by_keys ? op.plan->values_memory() : op.target;
    SHOAL_ASSIGN(meta.destination, lend(op.by_keys ? op.plan->values_region : op.target_region,
                                        op.by_keys ? nullptr : op.target_memory, target,
                                        op.by_keys ? Access::read_write : Access::write));
  }
  Gathered payload(Transport::kPayloadViewsMax);
  if (request.by_keys) {
    const ConstMemoryView keys = op.plan->keys_memory();
    for (const auto& run : request.runs)
      keys_eager = keys_eager && payload.add(keys.sub(run.row_begin * 8, run.row_count * 8));
    if (!keys_eager) {
      SHOAL_ASSIGN(meta.keys,
                   lend(op.plan->keys_region, nullptr, op.plan->keys_memory(), Access::read));
    }
  }

  meta_.clear();
  append(meta_, meta);
  std::uint64_t key_at = 0;
  std::uint64_t value_at = 0;
  for (const auto& run : request.runs) {
    PullRun out;
    out.slot = run.slot;
    out.part_count = run.part_count;
    out.row_begin = request.by_keys && keys_eager ? key_at : run.row_begin;
    out.row_count = run.row_count;
    out.offset = request.eager ? value_at : run.offset;
    out.after = run.after;
    out.have = WorkerClock(-1);
    out.since = table.chain(run.slot).since.packed();
    append(meta_, out);
    key_at += run.row_count;
    value_at += run.row_count * table.shape.row_bytes;
  }
  if ((header.flags & frame_flag::kSigned) != 0) append_signatures(meta_, request, *op.plan);
  const auto views = keys_eager ? payload.views() : std::span<const ConstMemoryView>{};
  SHOAL_ASSIGN(request.id, server.session->request(header, meta_, views, requests_.context(index)));
  return {};
}

/// Early pulls, which the server parks, must leave credits for this worker's own pushes. Those that
/// only its tick admits get what the server's quota gives back; those that wait for others, who may
/// wait for what comes behind them, half of the credits as well.
bool Engine::must_hold_back(const Request& request, const Server& server) const {
  const auto& op = const_cast<OperationTable&>(operations_)[request.operation];
  if (op.need <= seen_global_clock_) return false;
  const auto& peer = server.session->peer();
  const bool own_round = op.table->spec.apply_mode() == Apply::collective;
  const bool needs_own_tick = op.need > keeper_.local() + (own_round ? 1 : 0);
  // Any push that is not answered may be parked too, and has its share of the quota.
  const auto others = std::max(server.session->unanswered(), server.early) - server.early;
  const auto shared = peer.parked_quota + (needs_own_tick ? 0 : peer.credits / 2);
  const auto room = shared - std::min(shared, others);
  return server.early >= (needs_own_tick ? room : std::max(1u, room));
}

void Engine::forget_early(Request& request) {
  if (!std::exchange(request.early, false)) return;
  if (auto* server = find_server(request.server)) --server->early;
}

void Engine::wait_and_post_again(std::uint32_t index, Epoch wanted, Duration delay) {
  auto& request = requests_[index];
  forget_early(request);
  request.stage = Request::Stage::waiting;
  request.id = RequestId{};
  request.wanted = wanted;
  request.again = deadline_after(now_, delay);
  ++request.attempts;
  waiting_.push_back(index);
}

bool Engine::post_waiting(TimePoint now) {
  due_.clear();
  std::erase_if(waiting_, [&](std::uint32_t index) {
    auto& request = requests_[index];
    const bool view_came = request.wanted != Epoch{} && seen_view_->epoch >= request.wanted;
    const auto* server = request.held_back ? find_server(request.server) : nullptr;
    const bool room_came = server != nullptr && !must_hold_back(request, *server);
    if (!view_came && !room_came && request.again > now) return false;
    request.stage = Request::Stage::planned;
    due_.push_back(requests_.context(index));
    return true;
  });
  // Posting may end operations, and with them requests further down the list, or let them wait.
  for (const auto context : due_)
    if (const auto* request = requests_.find(context);
        request != nullptr && request->stage == Request::Stage::planned)
      post(static_cast<std::uint32_t>(context));
  return !due_.empty();
}

}  // namespace shoal
