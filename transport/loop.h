#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "transport/transport.h"

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

/// Wakes a loop from another thread: an eventfd that costs a system call only when the loop sleeps.
class Waker {
 public:
  static Result<Waker> create();
  Waker(Waker&& other) noexcept;
  ~Waker();
  /// Any thread.
  void wake();
  int fd() const { return fd_; }
  /// Owner: says that it is about to sleep; false if a wake came since the last clear().
  bool arm();
  void clear();

 private:
  explicit Waker(int fd) : fd_(fd) {}
  int fd_ = -1;
  std::atomic<int> state_{0};  // 0 awake, 1 asleep, 2 woken
};

/// Blocks until the transport or the waker has something, or `until`. Call when a turn found nothing
/// and the spin time is over.
void wait_for_work(Pollable& object, Waker* waker, TimePoint now, TimePoint until);

/// Spin, then arm: runs `object` in the calling thread until `stop` is true. Spins for `spin` after
/// the last turn that did something, then blocks.
void run_loop(Pollable& object, Waker& waker, const Clock& clock, Duration spin,
              const std::atomic<bool>& stop);

/// run_loop on a thread of its own. Destroying it stops and joins.
class LoopThread {
 public:
  static Result<std::unique_ptr<LoopThread>> start(std::string name, Pollable& object,
                                                   const Clock& clock, Duration spin);
  ~LoopThread();
  void wake() { waker_.wake(); }
  void stop();

 private:
  LoopThread(Waker waker) : waker_(std::move(waker)) {}
  Waker waker_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace shoal
