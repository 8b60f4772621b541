#include "transport/waker.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace shoal {

Result<Waker> Waker::create() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0)
    return Error{Errc::io, "eventfd, to wake a loop: raise the limit of open files (ulimit -n)",
                 errno};
  return Waker(fd);
}

Waker::Waker(int fd) : fd_(fd) {
  static std::atomic<std::uint64_t> made{0};
  id_ = ++made;
}

Waker::Waker(Waker&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      id_(std::exchange(other.id_, 0)),
      armed_(other.armed_),
      owed_(other.owed_),
      state_(other.state_.load()) {}

Waker::~Waker() {
  if (fd_ >= 0) ::close(fd_);
}

// wake() and clear() both change the word by an exchange: either clear() comes second, and then its
// thread sees what was written before the wake, or wake() does, and then the next arm() fails.
void Waker::wake() {
  if (state_.exchange(kWoken) != kAsleep) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);  // full: readable anyway
}

bool Waker::arm() {
  int expected = kAwake;
  if (!state_.compare_exchange_strong(expected, kAsleep)) return false;
  armed_ = true;
  return true;
}

void Waker::clear() {
  const auto was = state_.exchange(kAwake);
  // Who found the owner asleep writes once. A write that comes only now makes the next sleep short,
  // nothing else.
  if (std::exchange(armed_, false) && was == kWoken) ++owed_;
  if (owed_ == 0) return;
  std::uint64_t count = 0;
  if (::read(fd_, &count, sizeof count) == sizeof count) owed_ -= count;
}

}  // namespace shoal
