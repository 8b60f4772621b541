#include "tests/simulation/worker_process.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/cluster/messages.h"

namespace shoal::simulation {

namespace {

constexpr std::uint64_t kSparseKeys = 12;
constexpr Duration kPatience = std::chrono::seconds(4);
/// A ticket ends by its deadline + cancel_grace; the loop may be a little late.
constexpr Duration kSlack = std::chrono::milliseconds(150);

/// How a legal request of a worker may end when faults are about. Everything else is a refusal.
bool legal(Errc code) {
  switch (code) {
    case Errc::ok:
    case Errc::cancelled:
    case Errc::timed_out:
    case Errc::peer_lost:
    case Errc::slot_lost:
    case Errc::fenced:
    case Errc::needs_tick:
      return true;
    default:
      return false;
  }
}

template <class T>
MemoryView view_of(std::vector<T>& values) {
  return host_view(std::span(values));
}

}  // namespace

WorkerProcess::WorkerProcess(Ledger& ledger, Transport& transport, const Clock& clock, Plan plan)
    : ledger_(ledger),
      plan_(std::move(plan)),
      random_(plan_.seed),
      engine_(transport, clock, plan_.engine),
      shapes_(ledger.specs.size(), nullptr) {}

WorkerProcess::~WorkerProcess() {
  for (auto& issued : issued_) {
    if (!issued.done) continue;
    ledger_.network->unprotect(view_of(issued.in));
    ledger_.network->unprotect(view_of(issued.out));
  }
}

bool WorkerProcess::poll(TimePoint now) {
  bool busy = engine_.poll(now);
  busy |= collect();
  if (act(now)) {
    engine_.take_calls(now);
    busy = true;
  }
  return busy;
}

TimePoint WorkerProcess::next_timer() const { return engine_.next_timer(); }

bool WorkerProcess::waits() const {
  return std::any_of(issued_.begin(), issued_.end(), [&](const Issued& issued) {
    if (issued.done || !issued.awaited) return false;
    // A pull that needs this worker's own tick is not waited for.
    const auto& op = const_cast<Engine&>(engine_).operation(issued.id);
    return op.phase.load() != Operation::kNeedsTick;
  });
}

bool WorkerProcess::act(TimePoint now) {
  switch (stage_) {
    case Stage::joining:
      if (engine_.refusal()) {
        stage_ = Stage::finished;
      } else if (engine_.joined()) {
        stage_ = Stage::opening;
        open_tables(now);
        return true;
      }
      return false;
    case Stage::opening:
      if (waits()) return false;
      stage_ = Stage::running;
      return true;
    case Stage::running:
      if (waits()) return false;
      if (plan_.audit) {
        if (played_) stage_ = Stage::finished;
        if (!std::exchange(played_, true)) audit(now);
        return true;
      }
      if (!played_) {
        play_round(now);
        played_ = true;
        return true;
      }
      engine_.tick();
      played_ = false;
      if (++round_ == plan_.rounds) {
        stage_ = Stage::flushing;
        issue_control(OperationKind::flush, {}, {}, 0, now);
      }
      return true;
    case Stage::flushing: {
      if (waits()) return false;
      stage_ = Stage::leaving;
      std::vector<std::byte> meta(16);
      Writer out(meta);
      encode(out, Leave{engine_.joined()->node});
      meta.resize(out.size());
      issue_control(OperationKind::control, FrameKind::leave, std::move(meta), 0, now);
      return true;
    }
    case Stage::leaving:
      if (waits()) return false;
      stage_ = Stage::finished;
      return true;
    case Stage::finished:
      return false;
  }
  return false;
}

void WorkerProcess::open_tables(TimePoint now) {
  for (std::size_t table = 0; table < ledger_.specs.size(); ++table) {
    std::vector<std::byte> meta(1024);
    Writer out(meta);
    encode(out, ledger_.specs[table]);
    meta.resize(out.size());
    issue_control(OperationKind::control, FrameKind::open_table, std::move(meta), table, now);
  }
}

void WorkerProcess::issue_control(OperationKind kind, FrameKind control,
                                  std::vector<std::byte> meta, std::size_t table, TimePoint now) {
  Engine::Ask ask;
  ask.kind = kind;
  ask.control = control;
  ask.control_meta = std::move(meta);
  ask.deadline = now + kPatience * 5;
  auto& issued = issued_.emplace_back();
  issued.kind = kind;
  issued.table = table;
  issued.deadline = ask.deadline;
  issued.awaited = true;
  issued.id = engine_.submit(std::move(ask)).value();
}

std::vector<Key> WorkerProcess::choose_rows(const TableSpec& spec) {
  std::vector<Key> rows;
  if (spec.layout == Layout::dense) {
    const auto begin = random_.below(spec.rows);
    const auto end = begin + 1 + random_.below(spec.rows - begin);
    for (auto row = begin; row < end; ++row) rows.push_back(row);
  } else {
    // Half of all lists are one of the last few, in the same order.
    if (lists_.size() == 3 && random_.chance(0.5)) return lists_[random_.below(3)];
    const auto count = 1 + random_.below(6);
    std::set<Key> chosen;
    for (std::uint64_t i = 0; i < count; ++i) chosen.insert(mix64(random_.below(kSparseKeys)));
    rows.assign(chosen.begin(), chosen.end());
    for (std::size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[random_.below(i)]);
    if (lists_.size() == 3) lists_.erase(lists_.begin());
    lists_.push_back(rows);
  }
  return rows;
}

void WorkerProcess::play_round(TimePoint now) {
  for (std::size_t table = 0; table < ledger_.specs.size(); ++table) {
    if (shapes_[table] == nullptr) continue;
    const auto& spec = ledger_.specs[table];
    if (spec.apply_mode() == Apply::collective) {
      if (random_.chance(0.8)) issue_rows(table, OperationKind::push_pull, 0, now);
      continue;
    }
    for (auto pushes = random_.below(3); pushes > 0; --pushes)
      issue_rows(table, OperationKind::push, 0, now);
    for (auto pulls = random_.below(3); pulls > 0; --pulls)
      issue_rows(table, OperationKind::pull, random_.chance(0.2) ? 1 : 0, now);
  }
}

/// Every row there can be. What the pulls return is checked when they are done.
void WorkerProcess::audit(TimePoint now) {
  for (std::size_t table = 0; table < ledger_.specs.size(); ++table) {
    if (shapes_[table] == nullptr) continue;
    const auto& spec = ledger_.specs[table];
    auto& issued = issued_.emplace_back();
    issued.kind = OperationKind::pull;
    issued.table = table;
    issued.awaited = true;
    issued.deadline = now + kPatience;
    const bool dense = spec.layout == Layout::dense;
    for (std::uint64_t i = 0; i < (dense ? spec.rows : kSparseKeys); ++i)
      issued.keys.push_back(dense ? i : mix64(i));
    issued.pull.rows = issued.keys;
    issued.out.resize(issued.keys.size());
    Engine::Ask ask;
    ask.kind = OperationKind::pull;
    ask.table = shapes_[table];
    ask.deadline = issued.deadline;
    ask.by_keys = !dense;
    ask.rows = {0, issued.keys.size()};
    if (!dense) ask.keys = issued.keys;
    ask.target = view_of(issued.out);
    issued.id = engine_.submit(std::move(ask)).value();
  }
}

void WorkerProcess::issue_rows(std::size_t table, OperationKind kind, std::int64_t ahead,
                               TimePoint now) {
  auto& model = ledger_.models[table];
  const auto& spec = ledger_.specs[table];
  const bool pushes = kind != OperationKind::pull;
  if (pushes && model.full()) return;
  auto& issued = issued_.emplace_back();
  issued.kind = kind;
  issued.table = table;
  issued.keys = choose_rows(spec);
  issued.awaited = kind != OperationKind::push || random_.chance(0.5);
  issued.deadline =
      now + (random_.chance(0.15) ? Duration(std::chrono::milliseconds(1 + random_.below(60)))
                                  : kPatience);
  Engine::Ask ask;
  ask.kind = kind;
  ask.table = shapes_[table];
  ask.deadline = issued.deadline;
  ask.ahead = ahead;
  // A dense table is named by ranges and by lists of its rows.
  ask.by_keys = spec.layout == Layout::sparse ||
                (spec.apply_mode() != Apply::collective && random_.chance(0.3));
  ask.rows = {issued.keys.front(), issued.keys.back() + 1};
  if (ask.by_keys) ask.keys = issued.keys;
  if (kind != OperationKind::push) {
    issued.pull.worker = plan_.index;
    issued.pull.rows = issued.keys;
    issued.pull.bounded = spec.staleness != unbounded;
    issued.pull.own_before = model.pushes_of(plan_.index);
    issued.out.resize(issued.keys.size());
    ask.target = view_of(issued.out);
  }
  if (pushes) {
    PushRecord push;
    push.worker = plan_.index;
    push.clock = engine_.clock();
    push.rows.insert(issued.keys.begin(), issued.keys.end());
    issued.push = model.issue(std::move(push));
    issued.in.assign(issued.keys.size(), value_of_push(issued.push));
    ask.source = view_of(issued.in);
  }
  issued.id = engine_.submit(std::move(ask)).value();
  issued.pull.need = engine_.operation(issued.id).need;
  if (random_.chance(0.05)) engine_.cancel(issued.id);
}

bool WorkerProcess::collect() {
  bool any = false;
  for (auto& issued : issued_) {
    if (issued.done || !engine_.done(issued.id)) continue;
    any = true;
    issued.done = true;
    settle(issued, engine_.operation(issued.id));
    engine_.drop(issued.id);
    // The loan has ended: from here on no byte moves.
    ledger_.network->protect(view_of(issued.in));
    ledger_.network->protect(view_of(issued.out));
  }
  return any;
}

void WorkerProcess::settle(Issued& issued, const Operation& op) {
  if (op.code == Errc::fenced) {
    fenced_ = true;
    ledger_.gone[plan_.index] = true;
    stage_ = Stage::finished;
  }
  if (issued.kind == OperationKind::control) {
    if (op.code == Errc::ok && op.opened != nullptr) shapes_[issued.table] = op.opened;
    return;
  }
  if (issued.kind == OperationKind::flush) return;
  if (!legal(op.code))
    ledger_.violations.push_back(fmt::format("8: worker {} at clock {}: {}: {}", plan_.index,
                                             engine_.clock().value, name_of(op.code), op.detail));
  auto& model = ledger_.models[issued.table];
  if (plan_.audit) {
    if (op.code == Errc::ok) {
      for (auto& broken : model.check_final(issued.pull.rows, issued.out))
        ledger_.violations.push_back("at the end: " + broken);
    } else if (!ledger_.slots_may_be_lost) {
      ledger_.violations.push_back(fmt::format("8: at the end table {} cannot be read: {} {}",
                                               ledger_.specs[issued.table].name, name_of(op.code),
                                               op.detail));
    }
    return;
  }
  if (issued.kind != OperationKind::pull) {
    const auto state = op.code == Errc::ok          ? PushState::applied
                       : op.code == Errc::cancelled ? PushState::cancelled
                                                    : PushState::unknown;
    for (auto& broken : model.end(issued.push, state))
      ledger_.violations.push_back(fmt::format("worker {}: {}", plan_.index, broken));
    if (op.code == Errc::ok) ++ledger_.pushes_applied;
  }
  if (issued.kind == OperationKind::push || op.code != Errc::ok) return;
  ++ledger_.pulls_answered;
  for (auto& broken : model.check(issued.pull, op.completion.oldest, op.completion.newest,
                                  issued.out, ledger_.gone))
    ledger_.violations.push_back(fmt::format("worker {}: {}", plan_.index, broken));
}

std::vector<std::string> WorkerProcess::overdue(TimePoint now) const {
  std::vector<std::string> late;
  if (excused_) return late;
  for (const auto& issued : issued_)
    if (!issued.done && now > issued.deadline + plan_.engine.cancel_grace + kSlack)
      late.push_back(fmt::format("8: worker {}: an operation of kind {} on table {} has not ended",
                                 plan_.index, static_cast<int>(issued.kind), issued.table));
  return late;
}

std::string WorkerProcess::state() const {
  std::string text =
      fmt::format("worker {}: stage {} round {}/{} clock {}", plan_.index, static_cast<int>(stage_),
                  round_, plan_.rounds, engine_.clock().value);
  for (const auto& issued : issued_)
    if (!issued.done)
      text += fmt::format(" [kind {} table {} need {}]", static_cast<int>(issued.kind),
                          issued.table, issued.pull.need.value);
  return text;
}

}  // namespace shoal::simulation
