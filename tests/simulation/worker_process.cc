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
/// Rows of the registered arena; operations beyond it use memory of their own.
constexpr std::size_t kArenaRows = 1024;
/// Prefetches of a burst: more than any server's quota of parked requests.
constexpr std::uint64_t kBurstMax = 40;
/// Clocks that a worker ends at once, and pushes nothing.
constexpr std::uint64_t kAheadMax = 12;
/// Unfinished operations beyond which nothing is prefetched.
constexpr std::size_t kUnfinishedMax = 160;
/// An observer comes before the tables do, and looks for them again so often, so many times.
constexpr Duration kLookAgain = std::chrono::milliseconds(10);
constexpr int kOpensMax = 150;

/// How a legal request of a worker may end: when faults are about, and when all is quiet again.
/// Everything else is a refusal.
bool legal(Errc code, bool quiet) {
  switch (code) {
    case Errc::ok:
    case Errc::slot_lost:
    case Errc::fenced:
    case Errc::needs_tick:
      return true;
    case Errc::cancelled:
    case Errc::timed_out:
    case Errc::peer_lost:
    case Errc::partly_applied:
      return !quiet;
    default:
      return false;
  }
}

MemoryView view_of(std::span<RowValue> values) { return host_view(values); }

}  // namespace

WorkerProcess::WorkerProcess(Ledger& ledger, Transport& transport, const Clock& clock, Plan plan)
    : ledger_(ledger),
      plan_(std::move(plan)),
      random_(plan_.seed),
      wishes_(plan_.seed ^ 0x72656164),
      arena_(kArenaRows),
      engine_(transport, clock, plan_.engine),
      arena_memory_(engine_.add_memory(view_of(arena_), false)),
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

TimePoint WorkerProcess::next_timer() const { return std::min(act_at_, engine_.next_timer()); }

bool WorkerProcess::in_the_middle() const { return !open_.empty(); }

bool WorkerProcess::waits() const {
  return std::any_of(open_.begin(), open_.end(),
                     [&](const Issued* issued) { return engine_.clock() >= issued->waited_from; });
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
      if (waits() || !tables_are_open(now)) return false;
      stage_ = Stage::running;
      return true;
    case Stage::running:
      if (plan_.job != Job::audit && random_.chance(0.01)) cancel_some();
      if (waits()) return false;
      if (plan_.job == Job::audit) {
        if (played_) stage_ = Stage::finished;
        if (!std::exchange(played_, true)) audit(now);
        return true;
      }
      if (plan_.job == Job::watch) {
        if (round_++ == plan_.rounds)
          stage_ = Stage::finished;
        else
          look_around(now);
        return true;
      }
      if (!played_) {
        play_round(now);
        played_ = true;
        return true;
      }
      engine_.tick();
      // Some run ahead of the others, further than any window.
      if (random_.chance(0.03))
        for (auto more = 1 + random_.below(kAheadMax); more > 0; --more) engine_.tick();
      played_ = false;
      if (++round_ == plan_.rounds) {
        stage_ = Stage::flushing;
        issue_control(OperationKind::flush, {}, {}, 0, now);
      }
      return true;
    case Stage::flushing: {
      if (waits()) return false;
      check_clock();
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

/// Observers make no tables, so they try until the workers have.
bool WorkerProcess::tables_are_open(TimePoint now) {
  const bool all = std::find(shapes_.begin(), shapes_.end(), nullptr) == shapes_.end();
  if (all || plan_.job != Job::watch || opens_ == kOpensMax) return true;
  if (act_at_ == kNever) act_at_ = now + kLookAgain;
  if (now < act_at_) return false;
  act_at_ = kNever;
  ++opens_;
  open_tables(now);
  return false;
}

void WorkerProcess::open_tables(TimePoint now) {
  for (std::size_t table = 0; table < ledger_.specs.size(); ++table) {
    if (shapes_[table] != nullptr) continue;
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
  auto& issued = add_issued();
  issued.kind = kind;
  issued.table = table;
  issued.deadline = ask.deadline;
  issued.waited_from = engine_.clock();
  issued.id = engine_.submit(std::move(ask)).value();
}

/// Behind a flush every push has ended, so that nothing keeps the reported clock back.
void WorkerProcess::check_clock() {
  if (flushed_ && !fenced_ && engine_.reported() != engine_.clock())
    ledger_.violations.push_back(fmt::format("8: worker {} has flushed at clock {} and reports {}",
                                             plan_.index, engine_.clock().value,
                                             engine_.reported().value));
}

std::vector<Key> WorkerProcess::choose_rows(const TableSpec& spec) {
  std::vector<Key> rows;
  if (spec.layout == Layout::dense) {
    const bool whole = random_.chance(0.2);
    const auto begin = whole ? 0 : random_.below(spec.rows);
    const auto end = whole ? spec.rows : begin + 1 + random_.below(spec.rows - begin);
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
      if (random_.chance(0.2)) issue_rows(table, OperationKind::pull, 0, now);
      continue;
    }
    if (spec.name == "asynchronous") {
      // No pull is READ while a push of the worker's own is under way.
      const auto kind = random_.chance(0.5) ? OperationKind::push : OperationKind::pull;
      for (auto count = 1 + random_.below(4); count > 0; --count) issue_rows(table, kind, 0, now);
      continue;
    }
    for (auto pushes = random_.below(3); pushes > 0; --pushes)
      issue_rows(table, OperationKind::push, 0, now);
    for (auto pulls = random_.below(3); pulls > 0; --pulls)
      issue_rows(table, OperationKind::pull, random_.chance(0.2) ? 1 : 0, now);
    if (spec.layout == Layout::dense && random_.chance(0.15))
      issue_rows(table, OperationKind::push_pull, 0, now);
    if (random_.chance(0.04)) issue_burst(table, now);
  }
}

/// Far more prefetches than a server parks for one worker.
void WorkerProcess::issue_burst(std::size_t table, TimePoint now) {
  for (auto pulls = 1 + random_.below(kBurstMax); pulls > 0; --pulls)
    if (engine_.unfinished() < kUnfinishedMax)
      issue_rows(table, OperationKind::pull, 1 + static_cast<std::int64_t>(random_.below(3)), now);
}

/// What a watcher pulls in one round.
void WorkerProcess::look_around(TimePoint now) {
  for (std::size_t table = 0; table < ledger_.specs.size(); ++table)
    for (auto pulls = shapes_[table] == nullptr ? 0 : 1 + random_.below(4); pulls > 0; --pulls)
      issue_rows(table, OperationKind::pull, 0, now);
}

/// One that may be under way at its servers, or held back, or letting go.
void WorkerProcess::cancel_some() {
  if (issued_.empty()) return;
  auto& issued = issued_[random_.below(issued_.size())];
  if (issued.done || issued.kind == OperationKind::control || issued.kind == OperationKind::flush)
    return;
  issued.quiet = false;
  engine_.cancel(issued.id);
}

/// Half of the operations use registered memory, as those on a Buffer do.
std::span<RowValue> WorkerProcess::take_rows(std::size_t count, std::vector<RowValue>& own,
                                             MemoryRecord*& memory) {
  if (random_.chance(0.5) || arena_used_ + count > arena_.size()) {
    own.resize(count);
    return own;
  }
  memory = arena_memory_;
  arena_used_ += count;
  return std::span(arena_).subspan(arena_used_ - count, count);
}

/// Every row there can be. What the pulls return is checked when they are done.
void WorkerProcess::audit(TimePoint now) {
  for (std::size_t table = 0; table < ledger_.specs.size(); ++table) {
    if (shapes_[table] == nullptr) continue;
    const auto& spec = ledger_.specs[table];
    auto& issued = add_issued();
    issued.kind = OperationKind::pull;
    issued.table = table;
    issued.waited_from = engine_.clock();
    issued.deadline = now + kPatience;
    const bool dense = spec.layout == Layout::dense;
    for (std::uint64_t i = 0; i < (dense ? spec.rows : kSparseKeys); ++i)
      issued.keys.push_back(dense ? i : mix64(i));
    issued.pull.rows = issued.keys;
    Engine::Ask ask;
    ask.one_sided = wishes_.chance(0.5);
    issued.out = take_rows(issued.keys.size(), issued.own_out, ask.target_memory);
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
  const auto& spec = ledger_.specs[table];
  if (kind != OperationKind::pull && ledger_.models[table].full()) return;
  auto& issued = add_issued();
  issued.kind = kind;
  issued.table = table;
  issued.keys = choose_rows(spec);
  choose_wait(issued, ahead, now);
  if (random_.chance(0.1)) follow_last(issued);
  Engine::Ask ask;
  ask.kind = kind;
  ask.table = shapes_[table];
  ask.deadline = issued.deadline;
  ask.ahead = ahead;
  ask.one_sided = wishes_.chance(0.7);
  // Rows of a dense table are named by ranges or by lists; a push_pull's, and those that go to a
  // collective table, by ranges only.
  ask.by_keys =
      spec.layout == Layout::sparse || (spec.apply_mode() != Apply::collective &&
                                        kind != OperationKind::push_pull && random_.chance(0.3));
  ask.rows = {issued.keys.front(), issued.keys.back() + 1};
  if (ask.by_keys) ask.keys = issued.keys;
  if (issued.follows != nullptr) ask.after = std::span(&issued.follows->id, 1);
  if (kind != OperationKind::pull) lend_pushed(issued, ask);
  if (kind != OperationKind::push) lend_pulled(issued, ask);
  issued.id = engine_.submit(std::move(ask)).value();
  issued.pull.need = engine_.operation(issued.id).need;
  if (!random_.chance(0.05)) return;
  issued.quiet = false;
  engine_.cancel(issued.id);
}

/// When the worker waits for it, and until when it has time. Who pushes all of a collective table
/// may wait for the round at once: the others push all or tick. Who pushes some ticks first: two
/// that wait for segments which the other has not pushed wait for ever.
void WorkerProcess::choose_wait(Issued& issued, std::int64_t ahead, TimePoint now) {
  const auto& spec = ledger_.specs[issued.table];
  const bool pushes_all = issued.kind != OperationKind::pull && issued.keys.size() == spec.rows;
  const bool ticks_first =
      spec.apply_mode() == Apply::collective && !pushes_all && role() == Role::worker;
  if (issued.kind != OperationKind::push || random_.chance(0.5))
    issued.waited_from = engine_.clock() + ahead + (ticks_first ? 1 : 0);
  const bool patient = random_.chance(0.85);
  issued.quiet = patient && now >= ledger_.quiet_from && !excused_;
  issued.deadline =
      now + (patient ? kPatience : Duration(std::chrono::milliseconds(1 + random_.below(60))));
}

/// It comes after the operation that was issued before it, and is waited for no earlier.
void WorkerProcess::follow_last(Issued& issued) {
  if (issued_.size() < 2) return;
  const auto& last = issued_[issued_.size() - 2];
  if (last.kind == OperationKind::control) return;
  issued.follows = &last;
  if (last.waited_from != kNotWaited)
    issued.waited_from = std::max(issued.waited_from, last.waited_from);
}

void WorkerProcess::lend_pushed(Issued& issued, Engine::Ask& ask) {
  PushRecord push;
  push.worker = plan_.index;
  push.clock = engine_.clock();
  push.follows = issued.follows != nullptr;
  push.pulls = issued.kind == OperationKind::push_pull;
  push.rows.insert(issued.keys.begin(), issued.keys.end());
  issued.push = ledger_.models[issued.table].issue(std::move(push));
  issued.in = take_rows(issued.keys.size(), issued.own_in, ask.source_memory);
  std::fill(issued.in.begin(), issued.in.end(), value_of_push(issued.push));
  ask.source = view_of(issued.in);
}

void WorkerProcess::lend_pulled(Issued& issued, Engine::Ask& ask) {
  auto& pull = issued.pull;
  pull.worker = plan_.index;
  pull.observer = role() == Role::observer;
  pull.rows = issued.keys;
  pull.seen_before = ledger_.models[issued.table].seen(plan_.index, issued.keys);
  pull.bounded = ledger_.specs[issued.table].staleness != unbounded && !pull.observer;
  pull.own_before = ledger_.models[issued.table].sent_by(plan_.index);
  if (issued.kind == OperationKind::push_pull) pull.own_before.push_back(issued.push);
  const auto* last = issued.follows;
  if (last != nullptr && last->table == issued.table && last->kind != OperationKind::pull)
    pull.own_before.push_back(last->push);
  issued.out = take_rows(issued.keys.size(), issued.own_out, ask.target_memory);
  ask.target = view_of(issued.out);
}

WorkerProcess::Issued& WorkerProcess::add_issued() {
  auto& issued = issued_.emplace_back();
  open_.push_back(&issued);
  return issued;
}

bool WorkerProcess::collect() {
  const auto ended = [&](Issued* open) {
    auto& issued = *open;
    if (!engine_.done(issued.id)) return false;
    issued.done = true;
    issued.failed = engine_.operation(issued.id).code != Errc::ok;
    settle(issued, engine_.operation(issued.id));
    engine_.drop(issued.id);
    // The loan has ended: from here on no byte moves.
    ledger_.network->protect(view_of(issued.in));
    ledger_.network->protect(view_of(issued.out));
    return true;
  };
  return std::erase_if(open_, ended) != 0;
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
  if (issued.kind == OperationKind::flush) {
    flushed_ = op.code == Errc::ok;
    if (!flushed_ && !fenced_ && !excused_ && !ledger_.gone[plan_.index])
      ledger_.violations.push_back(fmt::format("8: worker {} cannot flush: {} {}", plan_.index,
                                               name_of(op.code), op.detail));
    return;
  }
  if (!legal(op.code, issued.undisturbed()))
    ledger_.violations.push_back(fmt::format("8: worker {} at clock {}: {}: {}", plan_.index,
                                             engine_.clock().value, name_of(op.code), op.detail));
  auto& model = ledger_.models[issued.table];
  if (plan_.job == Job::audit) {
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
  for (const auto* issued : open_)
    if (now > issued->deadline + plan_.engine.cancel_grace + kSlack)
      late.push_back(fmt::format("8: worker {}: an operation of kind {} on table {} has not ended",
                                 plan_.index, static_cast<int>(issued->kind), issued->table));
  return late;
}

std::string WorkerProcess::state() const {
  auto text = fmt::format("worker {}: stage {} round {}/{} clock {} reported {}", plan_.index,
                          static_cast<int>(stage_), round_, plan_.rounds, engine_.clock().value,
                          engine_.reported().value);
  for (const auto* issued : open_)
    text += fmt::format(" [kind {} table {}{}{}]", static_cast<int>(issued->kind), issued->table,
                        issued->out.empty() ? "" : fmt::format(" need {}", issued->pull.need.value),
                        engine_.clock() < issued->waited_from ? "" : " waited for");
  return text;
}

}  // namespace shoal::simulation
