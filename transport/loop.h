#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "transport/transport.h"
#include "transport/waker.h"

namespace shoal {

/// Protocol logic as the loops see it: messages and the time go in, messages and completions come
/// out. No I/O of its own, no clock, no threads. Servers, workers, the scheduler and heartbeats are
/// Pollables; LoopThread runs them on sockets, the simulation on simulated time.
class Pollable {
 public:
  virtual ~Pollable() = default;
  /// One turn. True if anything happened, so that the loop does not go to sleep.
  virtual bool poll(TimePoint now) = 0;
  /// When poll() has to run even if nothing happens. kNever: not at all.
  virtual TimePoint next_timer() const = 0;
  /// What to arm and block on.
  virtual Transport& transport() = 0;
};

/// Blocks until the transport or the waker (null: nobody) has something, a timer of the object or
/// of its transport is due, or `until`. Call when a turn found nothing and the spin time is over;
/// `now` is that turn's. Returns early at a signal.
void wait_for_work(Pollable& object, Waker* waker, TimePoint now, TimePoint until);

/// Even an idle loop turns this often, so that its count tells a live loop from a hung one.
inline constexpr Duration kIdleTurn = std::chrono::milliseconds(100);

/// Spin, then arm: runs `object` in the calling thread until `stop` is true (set it, then wake).
/// Spins for `spin` after the last turn that did something, unless others want the core (see
/// core_is_wanted), then blocks for at most kIdleTurn. Adds each turn to `turns`, if given.
void run_loop(Pollable& object, Waker& waker, const Clock& clock, Duration spin,
              const std::atomic<bool>& stop, std::atomic<std::uint64_t>* turns = nullptr);

/// run_loop on a thread of its own. Destroying it stops and joins. `object` and `clock` outlive it.
class LoopThread {
 public:
  /// `name` is what top and gdb show, cut to 15 bytes. Errors: io (no descriptor, no thread).
  static Result<std::unique_ptr<LoopThread>> start(std::string name, Pollable& object,
                                                   const Clock& clock, Duration spin);
  ~LoopThread();
  /// Any thread.
  void wake() { waker_.wake(); }
  /// Returns when the loop has left its last turn. Idempotent; not from the loop itself.
  void stop();
  /// Turns so far. Any thread.
  const std::atomic<std::uint64_t>& turns() const { return turns_; }

 private:
  explicit LoopThread(Waker waker) : waker_(std::move(waker)) {}
  Waker waker_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> turns_{0};
  std::thread thread_;
  Transport* transport_ = nullptr;  // the object's, while the thread runs
};

}  // namespace shoal
