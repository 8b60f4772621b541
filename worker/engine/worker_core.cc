#include "worker/engine/worker_core.h"

#include <fmt/core.h>

#include <cstdlib>
#include <thread>

#include "core/base/core_demand.h"
#include "core/base/entropy.h"
#include "core/base/futex.h"
#include "core/base/log.h"
#include "core/base/token.h"
#include "core/table/messages.h"
#include "transport/open_transport.h"

namespace shoal {

namespace {

/// How long leaving may take when nobody asked for it: a destructor does not hang on a dead
/// cluster.
constexpr Duration kLeaveInDestructor = std::chrono::seconds(2);

Engine::Options engine_options(const Config& config, const Address& scheduler, Role role) {
  Engine::Options options;
  options.scheduler = scheduler;
  options.role = role;
  options.name = config.name;
  options.incarnation = Incarnation(entropy());
  options.cancel_grace = config.cancel_grace;
  options.eager_bytes_max = config.eager_bytes_max;
  options.answer_bytes_max = config.eager_bytes_max;
  options.plan_bytes_max = config.worker_list_bytes;
  options.registration_bytes_max = config.registration_cache_bytes;
  options.operations_max = config.operations_max;
  options.silence = config.worker_lease;
  options.connect_timeout = config.connect_timeout;
  options.token_source = token_source(config);
  options.seed = entropy();
  return options;
}

std::string words_of(const UnseenFailures::Some& some) {
  return fmt::format("{} {} whose tickets were dropped failed, the first: {}", some.count,
                     some.count == 1 ? "push" : "pushes", some.first.what);
}

}  // namespace

Result<std::shared_ptr<WorkerCore>> WorkerCore::create(const Config& config, Role role) {
  if (config.scheduler.empty())
    return Error{Errc::invalid_argument,
                 "no scheduler address: set SHOAL_SCHEDULER=host:port, or start the program with "
                 "'shoal run'"};
  if (config.eager_bytes_max > kEagerBytesMax)
    return Error{
        Errc::invalid_argument,
        fmt::format("eager_bytes_max = {} (--eager-bytes-max, SHOAL_EAGER_BYTES_MAX): at "
                    "most {} travel inside a message",
                    bytes_to_string(config.eager_bytes_max), bytes_to_string(kEagerBytesMax))};
  SHOAL_ASSIGN(const auto scheduler, Address::parse(config.scheduler));
  std::shared_ptr<WorkerCore> core(new WorkerCore);
  core->settings_ = {config.spin, config.operation_timeout, config.join_timeout};
  SHOAL_ASSIGN(core->transport_, open_transport(config, core->clock_));
  SHOAL_ASSIGN(core->heart_transport_, open_control_transport(config, core->clock_));
  auto options = engine_options(config, scheduler, role);
  if (!config.trace.empty()) {
    const std::string who = role == Role::worker ? "worker" : "observer";
    SHOAL_ASSIGN(core->trace_,
                 Trace::open(config.trace, config.name.empty() ? who : config.name, core->clock_));
    options.trace = core->trace_.get();
  }
  core->engine_ = std::make_unique<Engine>(*core->transport_, core->clock_, std::move(options));
  SHOAL_TRY(core->join());
  if (core->trace_) core->trace_->joined(core->joined_.node);
  Heart::Options heart;
  heart.scheduler = scheduler;
  heart.role = role;
  heart.node = core->joined_.node;
  heart.incarnation = core->engine_->incarnation();
  heart.beat = core->joined_.beat;
  heart.connect_timeout = config.connect_timeout;
  core->heart_ = std::make_unique<Heart>(*core->heart_transport_, heart, core->engine_->turns());
  SHOAL_ASSIGN(core->heart_loop_,
               LoopThread::start("shoal-heart", *core->heart_, core->clock_, Duration::zero()));
  if (config.progress == Config::Progress::thread) {
    core->engine_->release_loop();
    SHOAL_ASSIGN(core->loop_, LoopThread::start("shoal-worker", *core->engine_, core->clock_,
                                                core->settings_.spin));
    core->engine_->set_wake([loop = core->loop_.get()] { loop->wake(); });
  }
  return core;
}

/// Drives the engine in this thread until the scheduler lets us in.
Status WorkerCore::join() {
  const auto until = deadline(settings_.join_timeout);
  while (!engine_->joined()) {
    const auto now = clock_.now();
    if (engine_->refusal()) return *engine_->refusal();
    if (now >= until)
      return Error{Errc::timed_out,
                   fmt::format("could not join the cluster within {} (join_timeout): scheduler {}",
                               to_string(settings_.join_timeout), engine_->why_not_joined())};
    if (!engine_->poll(now)) wait_for_work(*engine_, nullptr, now, until);
  }
  joined_ = *engine_->joined();
  return {};
}

Error WorkerCore::of_the_parent() {
  return Error{Errc::unavailable,
               "this worker was connected before fork(), and its threads run in the parent alone: "
               "connect in the child"};
}

WorkerCore::~WorkerCore() {
  if (forked()) {  // all of it is the parent's
    for (auto* loop : {loop_.release(), heart_loop_.release()}) (void)loop;
    (void)heart_.release();
    (void)engine_.release();
    (void)trace_.release();
    (void)transport_.release();
    (void)heart_transport_.release();
    return;
  }
  if (engine_ && engine_->joined() && !left_) {
    settings_.operation_timeout = kLeaveInDestructor;
    (void)leave();
  }
  loop_.reset();
  heart_loop_.reset();
  heart_.reset();
  engine_.reset();
}

TimePoint WorkerCore::deadline(std::optional<Duration> timeout) const {
  return deadline_after(clock_.now(), timeout.value_or(settings_.operation_timeout));
}

Result<Ticket> WorkerCore::issue(Engine::Ask&& ask, const After& after,
                                 std::optional<Duration> timeout, bool borrows, bool writes) {
  if (forked()) return of_the_parent();
  if (after.failed())
    return Error{Errc::cancelled, "the operation that it follows failed: its call was wrong"};
  OperationId ids[After::kMax];
  std::size_t count = 0;
  for (const auto& operation : after.operations())
    if (operation.generation != 0) ids[count++] = {operation.index, operation.generation};
  ask.after = {ids, count};
  const auto now = clock_.now();
  ask.deadline = deadline_after(now, timeout.value_or(settings_.operation_timeout));
  SHOAL_ASSIGN(const auto id, engine_->submit(std::move(ask)));
  if (!threaded()) engine_->take_calls(now);
  return Ticket(shared_from_this(), id.index, id.generation, borrows, writes);
}

void WorkerCore::progress() {
  if (!threaded() && !forked()) engine_->poll(clock_.now());
}

bool WorkerCore::ready(OperationId id) {
  if (forked()) return true;  // wait() says why
  if (!engine_->done(id)) progress();
  if (!engine_->done(id)) return false;
  engine_->note_polled(id);
  return true;
}

void WorkerCore::block(Operation& op, std::uint32_t seen, TimePoint moment, TimePoint& spin_until) {
  const auto now = clock_.now();
  if (!threaded()) {
    if (engine_->poll(now)) {
      spin_until = deadline_after(now, settings_.spin);
    } else if (now >= spin_until || core_is_wanted(now)) {
      wait_for_work(*engine_, nullptr, now, moment);
    }
    return;
  }
  if (now < spin_until && !core_is_wanted(now)) return;
  op.sleepers.fetch_add(1, std::memory_order_seq_cst);
  futex_wait(op.phase, seen, moment == kNever ? Duration(std::chrono::hours(1)) : moment - now);
  op.sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

Result<PullInfo> WorkerCore::wait(OperationId id, TimePoint moment) {
  if (forked()) return of_the_parent();
  auto& op = engine_->operation(id);
  auto spin_until = deadline_after(clock_.now(), settings_.spin);
  const auto calls_made = engine_->calls_made();
  for (;;) {
    // Before the phase: a push among these calls may be what the pull needs.
    const bool all_taken = engine_->has_taken(calls_made);
    const auto phase = op.phase.load(std::memory_order_acquire);
    if (phase == Operation::kDone) break;
    // A tick that the loop has not seen yet makes its word outdated.
    const bool needs_tick = phase == Operation::kNeedsTick && op.need > engine_->clock();
    if (needs_tick && all_taken)
      return Error{
          Errc::needs_tick,
          fmt::format("this pull of table '{}' needs every worker, this one too, to finish "
                      "the clocks below {}, and this worker is at clock {}: call tick() "
                      "first",
                      op.table->spec.name, op.need.value, engine_->clock().value)};
    if (moment != kNever && clock_.now() >= moment)
      return Error{Errc::not_ready, "the operation is still under way"};
    if (needs_tick && threaded())
      std::this_thread::yield();  // the loop is about to take the calls, and wakes nobody for it
    else
      block(op, phase, moment, spin_until);
  }
  op.seen = true;
  engine_->note_polled(id);
  if (op.code != Errc::ok) return Error{op.code, op.detail};
  if (op.kind == OperationKind::push || op.completion.newest < op.completion.oldest)
    return PullInfo{};
  return PullInfo{op.completion.oldest, op.completion.newest};
}

void WorkerCore::end_loan(OperationId id, bool cancel_first) {
  if (forked()) return;  // the loan is the parent's
  if (cancel_first && !engine_->done(id)) engine_->cancel(id);
  auto& op = engine_->operation(id);
  auto spin_until = deadline_after(clock_.now(), settings_.spin);
  for (;;) {
    const auto phase = op.phase.load(std::memory_order_acquire);
    if (phase == Operation::kDone) return;
    block(op, phase, kNever, spin_until);
  }
}

Result<OperationId> WorkerCore::control(FrameKind kind, const TableShape* table,
                                        std::vector<std::byte> meta,
                                        std::optional<Duration> timeout) {
  if (forked()) return of_the_parent();
  Engine::Ask ask;
  ask.kind = OperationKind::control;
  ask.table = table;
  ask.control = kind;
  ask.control_meta = std::move(meta);
  ask.deadline = deadline(timeout);
  SHOAL_ASSIGN(const auto id, engine_->submit(std::move(ask)));
  const auto result = wait(id, kNever);
  if (result.ok()) return id;
  drop(id);
  return result.error();
}

Status WorkerCore::control_status(FrameKind kind, const TableShape* table,
                                  std::vector<std::byte> meta, std::optional<Duration> timeout) {
  SHOAL_ASSIGN(const auto id, control(kind, table, std::move(meta), timeout));
  drop(id);
  return {};
}

void WorkerCore::take_calls() {
  if (!threaded() && !forked()) engine_->take_calls(clock_.now());
}

void WorkerCore::drop(OperationId id) {
  if (forked()) return;
  if (!engine_->drop(id)) take_calls();
}

Status WorkerCore::flush(std::optional<Duration> timeout) {
  SHOAL_TRY(settle(timeout));
  const auto unseen = engine_->unseen().take();
  if (!unseen) return {};
  return Error{unseen->first.code, words_of(*unseen)};
}

/// Waits until every push so far has ended, well or not.
Status WorkerCore::settle(std::optional<Duration> timeout) {
  if (forked()) return of_the_parent();
  Engine::Ask ask;
  ask.kind = OperationKind::flush;
  ask.deadline = deadline(timeout);
  SHOAL_ASSIGN(const auto id, engine_->submit(std::move(ask)));
  const auto flushed = wait(id, kNever);
  drop(id);
  if (!flushed.ok()) return flushed.error();
  return {};
}

std::string WorkerCore::explain() {
  Engine::Ask ask;
  ask.kind = OperationKind::explain;
  ask.deadline = deadline({});
  const auto id = engine_->submit(std::move(ask));
  if (!id.ok()) return id.error().message();
  (void)wait(*id, kNever);
  auto text = engine_->operation(*id).detail;
  drop(*id);
  return text;
}

Status WorkerCore::leave() {
  if (left_.load()) return {};
  if (const auto settled = settle({}); !settled.ok())
    return Error{settled.code(), "cannot leave yet: " + settled.error().what};
  if (const auto unseen = engine_->unseen().take()) log_warn("worker", "{}", words_of(*unseen));
  std::vector<std::byte> meta(16);
  Writer out(meta);
  encode(out, Leave{joined_.node});
  meta.resize(out.size());
  const auto left = control_status(FrameKind::leave, nullptr, std::move(meta), {});
  // The view without us may be faster than the answer: we are out, as we wanted.
  if (!left.ok() && left.code() != Errc::fenced) return left.error();
  left_.store(true);
  return {};
}

MemoryRecord* WorkerCore::add_memory(MemoryView memory, bool owned) {
  auto* record = engine_->add_memory(memory, owned);
  take_calls();
  return record;
}

void WorkerCore::remove_memory(MemoryRecord* record, bool owned) {
  if (forked()) return;
  engine_->remove_memory(record);
  take_calls();
  if (owned) return;
  while (record->gone.load(std::memory_order_acquire) == 0) {
    if (threaded())
      futex_wait(record->gone, 0, std::chrono::seconds(1));
    else
      engine_->poll(clock_.now());
  }
  delete record;
}

}  // namespace shoal
