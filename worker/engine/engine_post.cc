// Requests become frames, and lend what they do not carry.

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/trace/trace.h"
#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// Beside as many runs: see engine_split.cc.
constexpr std::size_t kSignaturesPerRequestMax = 900;

WireSpan wire(const RemoteSpan& span) { return {span.region, span.address, span.bytes}; }

/// For a push of the oldest clock, and for one early pull.
constexpr std::uint32_t kCreditsKept = 2;

std::uint64_t time_left(TimePoint deadline, TimePoint now) {
  if (deadline == kNever) return ~std::uint64_t{0};
  return deadline <= now ? 0 : static_cast<std::uint64_t>((deadline - now).count());
}

template <class T>
std::byte* put(std::byte* at, const T& value) {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

/// Views of one memory that cover consecutive runs, merged where they touch: what a small payload
/// is gathered from without a copy.
class Gathered {
 public:
  bool add(ConstMemoryView view) {
    if (view.bytes == 0) return true;
    if (count_ > 0 && views_[count_ - 1].data + views_[count_ - 1].bytes == view.data) {
      views_[count_ - 1].bytes += view.bytes;
      return true;
    }
    if (count_ == std::size(views_)) return false;
    views_[count_++] = view;
    return true;
  }
  std::span<const ConstMemoryView> views() const { return {views_, count_}; }

 private:
  ConstMemoryView views_[Transport::kPayloadViewsMax];
  std::size_t count_ = 0;
};

/// Gathers the keys of the request. False: they lie in too many places.
bool gather_keys(const Request& request, const Operation& op, Gathered& payload) {
  const ConstMemoryView keys = op.plan->keys_memory();
  for (const auto& run : request.runs)
    if (!payload.add(keys.sub(run.row_begin * 8, run.row_count * 8))) return false;
  return true;
}

/// Gathers the keys and the values of the request. False: there are too many, or in too many
/// places.
bool gather_push(const Request& request, const Operation& op, std::size_t bytes_max,
                 Gathered& payload) {
  const auto row_bytes = op.table->pushed_row_bytes(request.store);
  std::size_t bytes = 0;
  for (const auto& run : request.runs) bytes += run.row_count * (row_bytes + (op.by_keys ? 8 : 0));
  if (bytes > bytes_max || (op.by_keys && !gather_keys(request, op, payload))) return false;
  const ConstMemoryView values = op.by_keys ? ConstMemoryView(op.plan->values_memory()) : op.source;
  for (const auto& run : request.runs)
    if (!payload.add(values.sub(run.offset, run.row_count * row_bytes))) return false;
  return true;
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

void Engine::post_planned() {
  // A post that fails ends its operation, and with it requests further down the list.
  for (const auto index : planned_)
    if (requests_[index].stage == Request::Stage::planned) post(index);
}

void Engine::post(std::uint32_t index) {
  auto& request = requests_[index];
  auto* server = find_server(request.server);
  if (server == nullptr) return wait_and_post_again(index, Epoch{}, std::chrono::milliseconds(50));
  if (request.one_sided && start_reading(index, *server)) return;
  if (must_hold_back(request, *server)) {
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
  const auto began = trace_time(options_.trace);
  const auto posted =
      request.kind == Request::Kind::pull ? post_pull(index, *server) : post_push(index, *server);
  if (posted.ok()) return trace_posted(request, began);
  if (posted.code() == Errc::overloaded)
    return wait_and_post_again(index, Epoch{}, std::chrono::milliseconds(1));
  if (request.operation == Request::kNone)  // a burnt part is never given up
    return wait_and_post_again(index, Epoch{}, std::chrono::milliseconds(50));
  let_go(operations_[request.operation], posted.code(), posted.error().what);
}

/// What the headers of pushes and pulls have in common.
FrameHeader Engine::header_of(const Request& request) const {
  FrameHeader header;
  header.kind = request.kind == Request::Kind::pull ? FrameKind::pull : FrameKind::push;
  header.epoch = seen_view_->epoch.packed();
  header.clock = request.clock;
  header.table = request.table;
  if (request.store) header.flags |= frame_flag::kStore;
  if (request.by_keys) header.flags |= frame_flag::kKeyList;
  return header;
}

Status Engine::post_push(std::uint32_t index, Server& server) {
  auto& request = requests_[index];
  const auto& table = *find_table(request.table);
  auto header = header_of(request);
  PushMeta meta;
  meta.run_count = static_cast<std::uint32_t>(request.runs.size());
  meta.inputs = request.store ? 1 : table.shape.spec.update.inputs;
  Gathered payload;
  bool eager = true;
  if (request.kind == Request::Kind::burn) {
    header.flags |= frame_flag::kBurnt;
  } else {
    auto& op = operations_[request.operation];
    eager = gather_push(request, op, options_.eager_bytes_max, payload);
    if (!eager) {
      header.flags |= frame_flag::kRendezvous;
      if (is_signed(request, op)) header.flags |= frame_flag::kSigned;
      SHOAL_TRY(lend_push(op, meta));
    }
  }
  meta_.resize(sizeof meta + request.runs.size() * sizeof(PushRun));
  auto* meta_at = put(meta_.data(), meta);
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
    meta_at = put(meta_at, out);
    key_at += run.row_count;
    value_at += run.row_count * table.shape.pushed_row_bytes(request.store);
  }
  if ((header.flags & frame_flag::kSigned) != 0)
    append_signatures(meta_, request, *operations_[request.operation].plan);
  const auto views = eager ? payload.views() : std::span<const ConstMemoryView>{};
  SHOAL_ASSIGN(request.id, server.session->request(header, meta_, views, requests_.context(index)));
  return {};
}

/// Lends the values, and the keys, that the server is to READ.
Status Engine::lend_push(Operation& op, PushMeta& meta) {
  if (!op.by_keys) {
    const MemoryView source{const_cast<std::byte*>(op.source.data), op.source.bytes,
                            op.source.space, op.source.device};
    SHOAL_ASSIGN(meta.values, lend(op.source_loan, op.source_memory, source, Access::read));
    return {};
  }
  auto& plan = *op.plan;
  SHOAL_ASSIGN(meta.values, lend(plan.values_region, plan.values_memory(), Access::read_write));
  SHOAL_ASSIGN(meta.keys, lend(plan.keys_region, plan.keys_memory(), Access::read));
  return {};
}

Status Engine::post_pull(std::uint32_t index, Server& server) {
  auto& request = requests_[index];
  const auto& table = *find_table(request.table);
  auto& op = operations_[request.operation];
  auto header = header_of(request);
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
  Gathered payload;
  if (request.by_keys) keys_eager = keys_eager && gather_keys(request, op, payload);
  SHOAL_TRY(lend_pull(op, request.eager, keys_eager, meta));
  meta_.resize(sizeof meta + request.runs.size() * sizeof(PullRun));
  auto* meta_at = put(meta_.data(), meta);
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
    meta_at = put(meta_at, out);
    key_at += run.row_count;
    value_at += run.row_count * table.shape.row_bytes;
  }
  if ((header.flags & frame_flag::kSigned) != 0) append_signatures(meta_, request, *op.plan);
  const auto views = keys_eager ? payload.views() : std::span<const ConstMemoryView>{};
  SHOAL_ASSIGN(request.id, server.session->request(header, meta_, views, requests_.context(index)));
  return {};
}

/// Lends what the server is to WRITE, and the keys that it is to READ.
Status Engine::lend_pull(Operation& op, bool values_eager, bool keys_eager, PullMeta& meta) {
  if (!op.by_keys) {
    if (values_eager) return {};
    SHOAL_ASSIGN(meta.destination,
                 lend(op.target_loan, op.target_memory, op.target, Access::write));
    return {};
  }
  auto& plan = *op.plan;
  if (!values_eager) {
    SHOAL_ASSIGN(meta.destination,
                 lend(plan.values_region, plan.values_memory(), Access::read_write));
  }
  if (!keys_eager) {
    SHOAL_ASSIGN(meta.keys, lend(plan.keys_region, plan.keys_memory(), Access::read));
  }
  return {};
}

Result<WireSpan> Engine::lend(RegionCache::Loan& loan, MemoryRecord* record, MemoryView memory,
                              Access access) {
  if (record == nullptr) {
    SHOAL_ASSIGN(const auto span, regions_.lend(loan, memory, access));
    return wire(span);
  }
  if (!record->region.valid()) {
    SHOAL_ASSIGN(record->region, regions_.register_memory(record->memory, Access::read_write));
  }
  const auto offset = static_cast<std::size_t>(memory.data - record->memory.data);
  return wire(record->region.remote(offset, memory.bytes));
}

/// Of the engine's own.
Result<WireSpan> Engine::lend(Region& own, MemoryView memory, Access access) {
  if (!own.valid()) {
    SHOAL_ASSIGN(own, regions_.register_memory(memory, access));
  }
  return wire(own.remote(0, memory.bytes));
}

/// What the server parks must leave credits for the pushes of this worker that everybody waits for,
/// those of the oldest clock that has not ended: they may come again, when it has parked all else.
bool Engine::must_hold_back(const Request& request, const Server& server) {
  if (request.kind == Request::Kind::pull) return is_early_beyond_room(request, server);
  if (request.clock <= keeper_.reported()) return false;
  const auto& peer = server.session->peer();
  if (server.session->unanswered() + kCreditsKept < peer.parked_quota + peer.credits) return false;
  // What is applied on arrival waits for nobody, and pulls behind it wait for it.
  const auto* table = find_table(request.table);
  return table != nullptr && table->shape.spec.apply_mode() != Apply::on_arrival;
}

/// Early pulls that only this worker's tick admits get what the server's quota gives back; those
/// that wait for others, who may wait for what comes behind them, half of the credits as well.
bool Engine::is_early_beyond_room(const Request& request, const Server& server) {
  const auto& op = operations_[request.operation];
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
  recheck_waiting_ = true;
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
  waiting_until_ = std::min(waiting_until_, request.again);
  waiting_.push_back(index);
}

bool Engine::post_waiting(TimePoint now) {
  if (waiting_.empty()) {  // others may have taken the last of them away
    waiting_until_ = kNever;
    return false;
  }
  if (!std::exchange(recheck_waiting_, false) && now < waiting_until_) return false;
  waiting_until_ = kNever;
  due_.clear();
  std::erase_if(waiting_, [&](std::uint32_t index) {
    auto& request = requests_[index];
    const bool view_came = request.wanted != Epoch{} && seen_view_->epoch >= request.wanted;
    const auto* server = request.held_back ? find_server(request.server) : nullptr;
    const bool room_came = server != nullptr && !must_hold_back(request, *server);
    if (!view_came && !room_came && request.again > now) {
      waiting_until_ = std::min(waiting_until_, request.again);
      return false;
    }
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
