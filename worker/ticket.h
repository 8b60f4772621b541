#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "core/base/result.h"

namespace shoal {

class Engine;
class WorkerCore;

/// The clocks that a finished pull holds: every push of live workers from clocks below `oldest`,
/// and of clocks from `newest` on nothing that was folded. With staleness 0 they are equal.
struct PullInfo {
  WorkerClock oldest;
  WorkerClock newest;
};

/// One push or pull under way: the loan of its buffers to the runtime, until it is done.
///
/// Every operation is done exactly once, by its deadline and a short grace at the latest: with
/// success, or with an Error (timed_out, cancelled, partly_applied, peer_lost, slot_lost, fenced,
/// ...). From then on nothing of Shoal or of any peer touches the buffers.
///
/// Move-only. A ticket that is dropped before its operation is done: if all its buffers are Shoal's
/// own (Worker::allocate), the operation goes on by itself and keeps them alive; if one is yours,
/// the destructor waits until the loan has ended (a pull is cancelled first), so that a buffer is
/// never written after it is freed. That a push failed whose ticket was dropped before anybody
/// asked it, Worker::flush() tells. Any thread may use a ticket, one at a time.
class Ticket {
 public:
  Ticket() = default;
  Ticket(Ticket&& other) noexcept;
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket();

  /// False for a ticket that was moved from or never filled: to ask or wait on one is a mistake of
  /// the program's, and aborts.
  bool valid() const { return core_ != nullptr || failure_ != nullptr; }
  /// Whether it is done, well or not. Never blocks; with `progress = caller` it drives the loop
  /// once.
  bool ready();
  /// Blocks until it is done. For pushes PullInfo is zero. Errc::needs_tick, at once and as long as
  /// it holds: only this worker's own tick() could let the pull finish; the ticket stays good.
  Result<PullInfo> wait();
  /// The same, at most for `timeout`: Errc::not_ready, and the ticket stays good.
  Result<PullInfo> wait_for(Duration timeout);
  /// The same, until a moment of CLOCK_MONOTONIC: SteadyClock().now() + 10ms (core/base/clock.h).
  Result<PullInfo> wait_until(TimePoint moment);
  /// Asks to let go; wait() then tells how it ended: `cancelled` means it was not applied and never
  /// will be, success that it was done already, partly_applied and timed_out what they say.
  void cancel();

 private:
  friend class WorkerCore;
  friend class TableHandle;
  friend class After;
  Ticket(std::shared_ptr<WorkerCore> core, std::uint32_t index, std::uint32_t generation,
         bool borrows, bool writes)
      : core_(std::move(core)),
        index_(index),
        generation_(generation),
        borrows_(borrows),
        writes_(writes) {}
  /// Of a call that was wrong itself: done already. With `core`, that of a push, the next flush
  /// tells if nobody asks this ticket.
  Ticket(Error failure, std::shared_ptr<WorkerCore> core)
      : core_(std::move(core)), failure_(std::make_unique<Error>(std::move(failure))) {}

  std::shared_ptr<WorkerCore> core_;
  std::unique_ptr<Error> failure_;
  std::uint32_t index_ = 0;
  std::uint32_t generation_ = 0;
  bool borrows_ = false;  ///< some buffer is the user's own
  bool writes_ = false;   ///< the operation writes into it
  bool seen_ = false;     ///< of a failure: it was told
};

/// The operations that another one waits for, at most four: `{.after = ticket}`, or
/// `{.after = {&first, &second}}`. If one of them fails, so does the one that follows (cancelled);
/// where its ticket was gone before the other was issued, if it is one of the last 1024 that
/// failed.
class After {
 public:
  static constexpr std::size_t kMax = 4;
  struct Operation {
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
  };
  After() = default;
  After(const Ticket& ticket) { add(ticket); }
  After(std::initializer_list<const Ticket*> tickets) {
    for (const auto* ticket : tickets) add(*ticket);
  }
  std::span<const Operation> operations() const { return {operations_.data(), count_}; }
  /// One of them was never issued: its call was wrong.
  bool failed() const { return failed_; }

 private:
  void add(const Ticket& ticket);
  std::array<Operation, kMax> operations_{};
  std::size_t count_ = 0;
  bool failed_ = false;
};

}  // namespace shoal
