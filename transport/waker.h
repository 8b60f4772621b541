#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/result.h"

namespace shoal {

/// Wakes a loop from another thread: an eventfd that costs a system call only when the loop sleeps.
class Waker {
 public:
  static Result<Waker> create();
  Waker(Waker&& other) noexcept;
  ~Waker();
  /// Any thread.
  void wake();
  int fd() const { return fd_; }
  /// Of all wakers of this process this one's alone, unlike the descriptor's number.
  std::uint64_t id() const { return id_; }
  /// Owner: says that it is about to sleep; false if a wake came since the last clear(). What a
  /// waker wrote before wake() is seen by whoever looks after the clear() that follows.
  bool arm();
  void clear();

 private:
  enum State : int { kAwake, kAsleep, kWoken };
  explicit Waker(int fd);
  int fd_ = -1;
  std::uint64_t id_ = 0;
  bool armed_ = false;      ///< The owner's.
  std::uint64_t owed_ = 0;  ///< The owner's: writes to fd_ that it has not read; some may yet come.
  std::atomic<int> state_{kAwake};
};

}  // namespace shoal
