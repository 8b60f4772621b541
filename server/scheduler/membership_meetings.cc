// What the whole roster does together: collective tables are opened, and barriers passed, when all
// have come. See docs/design/scheduler.md.

#include <fmt/core.h>

#include <algorithm>

#include "server/scheduler/membership.h"

namespace shoal {

namespace {

/// How many of the workers that everybody waits for an error names.
constexpr std::size_t kMissingNamed = 8;

}  // namespace

/// A collective table is opened by the whole roster together, at equal clocks: from that clock on
/// every worker contributes to every round.
void Membership::open_collective(Asker asker, NodeId opener, WorkerClock clock,
                                 const TableSpec& spec, TimePoint now) {
  const auto [at, fresh] = opens_.try_emplace(spec.name);
  auto& pending = at->second;
  if (fresh) {
    pending.spec = spec;
    pending.until = deadline_after(now, options_.open_timeout);
  }
  const auto& entry = *draft_.find_worker(opener);
  auto& mine = pending.openers[opener];
  mine.askers.push_back(asker);
  mine.start = entry.start;
  mine.clock = std::max(clock, local_clock(entry));
  auto agreed = agrees(pending.spec, spec);
  if (agreed.ok()) {
    const auto common = common_clock(pending);
    if (!common.ok()) agreed = common.error();
  }
  if (!agreed.ok()) {
    refuse_all(pending, agreed.code(), agreed.error().what);
    opens_.erase(at);
    return;
  }
  settle_opens();
}

/// The clock at which all openers stand, late joiners apart that have not begun yet: they
/// contribute from their first clock on.
Result<WorkerClock> Membership::common_clock(const PendingOpen& pending) const {
  const auto first = std::min_element(
      pending.openers.begin(), pending.openers.end(),
      [](const auto& a, const auto& b) { return a.second.clock < b.second.clock; });
  const auto rank_of = [&](NodeId worker) {
    const auto* entry = draft_.find_worker(worker);
    return entry == nullptr ? 0 : entry->rank.value;
  };
  for (const auto& [worker, opener] : pending.openers) {
    if (opener.clock == first->second.clock || opener.clock == opener.start) continue;
    return Error{Errc::mismatch,
                 fmt::format("collective table '{}' was opened at unequal clocks: by worker {} at "
                             "clock {}, by worker {} at clock {}. All workers open it between the "
                             "same two ticks",
                             pending.spec.name, rank_of(first->first), first->second.clock.value,
                             rank_of(worker), opener.clock.value)};
  }
  return first->second.clock;
}

void Membership::refuse_all(const PendingOpen& pending, Errc code, const std::string& text) {
  for (const auto& [worker, opener] : pending.openers)
    for (const auto asker : opener.askers) refuse(asker, code, text);
}

void Membership::settle_opens() {
  for (auto at = opens_.begin(); at != opens_.end();) {
    auto& pending = at->second;
    std::erase_if(pending.openers, [&](const auto& opener) { return !in_roster(opener.first); });
    if (pending.openers.size() < clocks_.size() && !pending.openers.empty()) {
      ++at;
      continue;
    }
    if (!pending.openers.empty()) {
      const auto common = common_clock(pending);
      const auto may = common.ok() ? may_make(pending.spec) : Status(common.error());
      if (may.ok()) {
        const auto id = make_table(pending.spec, *common);
        for (const auto& [worker, opener] : pending.openers)
          for (const auto asker : opener.askers) done(asker, id);
      } else {
        refuse_all(pending, may.code(), may.error().what);
      }
    }
    at = opens_.erase(at);
  }
}

/// "workers 1, 4": the ranks of those of the roster of whom `is_one` is true, a few of them.
template <class F>
std::string Membership::ranks_of(F&& is_one) const {
  std::string ranks;
  std::size_t count = 0;
  for (const auto& entry : draft_.roster) {
    if (!is_one(entry.worker) || ++count > kMissingNamed) continue;
    ranks += fmt::format("{}{}", ranks.empty() ? "workers " : ", ", entry.rank.value);
  }
  return count > kMissingNamed ? ranks + ", ..." : ranks;
}

std::string Membership::missing_openers(const PendingOpen& pending) const {
  const auto missing = draft_.roster.size() - pending.openers.size();
  return fmt::format(
      "collective table '{}' is opened by all workers together, and {} of {} did not come in time "
      "({})",
      pending.spec.name, missing, draft_.roster.size(),
      ranks_of([&](NodeId id) { return !pending.openers.contains(id); }));
}

void Membership::expire_opens(TimePoint now) {
  for (auto at = opens_.begin(); at != opens_.end();) {
    const auto& pending = at->second;
    if (pending.until > now) {
      ++at;
      continue;
    }
    refuse_all(pending, Errc::timed_out, missing_openers(pending));
    at = opens_.erase(at);
  }
}

// ---- Barriers.

void Membership::barrier(Asker asker, const Barrier& barrier) {
  if (!in_roster(barrier.node))
    return refuse(asker, Errc::fenced, "a barrier is for workers of the roster");
  if (const auto passed = passed_.find(barrier.node);
      passed != passed_.end() && barrier.number <= passed->second)
    return done(asker);  // a repeat after its answer was lost
  for (auto& pending : barriers_)
    if (const auto at = pending.arrived.find(barrier.node); at != pending.arrived.end()) {
      if (at->second.number < barrier.number) continue;
      if (at->second.number > barrier.number)
        return refuse(asker, Errc::cancelled, "an arrival that was given up, late on its way");
      at->second.asker = asker;  // a repeat: the connection over which it came first is going
      return;
    }
  // The first that it has not arrived at: its own count says nothing of others', who joined
  // earlier.
  auto at = std::find_if(barriers_.begin(), barriers_.end(), [&](const PendingBarrier& pending) {
    return !pending.arrived.contains(barrier.node);
  });
  if (at == barriers_.end()) {
    at = barriers_.emplace(at);
    for (const auto& entry : draft_.roster) at->missing.insert(entry.worker);
  }
  const bool awaited = at->missing.erase(barrier.node) > 0;
  at->arrived[barrier.node] = {barrier.number, asker, awaited};
  settle_barriers();
}

/// A barrier opens when all who were in the roster at its first arrival have come, or are gone.
/// That it has is stored before anyone is told: after a restart nobody waits for who went on.
void Membership::settle_barriers() {
  while (!barriers_.empty() && barriers_.front().missing.empty()) {
    for (const auto& [worker, arrival] : barriers_.front().arrived) {
      passed_[worker] = arrival.number;
      done(arrival.asker);
      changed_ = true;
    }
    barriers_.pop_front();
  }
}

void Membership::leave_barriers(NodeId worker) {
  for (auto& pending : barriers_) {
    pending.missing.erase(worker);
    pending.arrived.erase(worker);
  }
  settle_barriers();
  std::erase_if(barriers_, [](const PendingBarrier& pending) { return pending.arrived.empty(); });
}

bool Membership::take_back_open(Asker asker) {
  bool found = false;
  for (auto at = opens_.begin(); at != opens_.end();) {
    auto& openers = at->second.openers;
    for (auto opener = openers.begin(); opener != openers.end();) {
      found = std::erase(opener->second.askers, asker) > 0 || found;
      opener = opener->second.askers.empty() ? openers.erase(opener) : std::next(opener);
    }
    at = openers.empty() ? opens_.erase(at) : std::next(at);
  }
  return found;
}

/// The barrier waits for that worker again. Where the worker has arrived at later ones too, each of
/// those arrivals moves up, so that its next one is not left alone behind a barrier that it is not
/// at. A barrier that nobody is at is none.
bool Membership::take_back_arrival(Asker asker) {
  const auto is_his = [&](const auto& arrival) { return arrival.second.asker == asker; };
  for (auto pending = barriers_.begin(); pending != barriers_.end(); ++pending) {
    auto& arrived = pending->arrived;
    const auto his = std::find_if(arrived.begin(), arrived.end(), is_his);
    if (his == arrived.end()) continue;
    const auto worker = his->first;
    auto free = his;
    for (auto later = std::next(pending); later != barriers_.end(); ++later) {
      const auto next = later->arrived.find(worker);
      if (next == later->arrived.end()) break;
      free->second.number = next->second.number;
      free->second.asker = next->second.asker;
      free = next;
      pending = later;
    }
    if (free->second.awaited) pending->missing.insert(worker);
    pending->arrived.erase(free);
    if (pending->arrived.empty()) barriers_.erase(pending);
    return true;
  }
  return false;
}

/// What a barrier or a collective table that somebody gives up was still waiting for.
std::string Membership::why_waiting(Asker asker) const {
  for (const auto& pending : barriers_)
    for (const auto& [worker, arrival] : pending.arrived)
      if (arrival.asker == asker)
        return fmt::format("barrier: {} of {} workers did not arrive in time ({})",
                           pending.missing.size(), pending.missing.size() + pending.arrived.size(),
                           ranks_of([&](NodeId id) { return pending.missing.contains(id); }));
  for (const auto& [name, pending] : opens_)
    for (const auto& [worker, opener] : pending.openers)
      if (std::find(opener.askers.begin(), opener.askers.end(), asker) != opener.askers.end())
        return missing_openers(pending);
  return recovering() ? waiting_for() : std::string();
}

}  // namespace shoal
