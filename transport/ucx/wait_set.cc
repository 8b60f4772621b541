#include "transport/ucx/wait_set.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace shoal::ucx {

Result<WaitSet> WaitSet::create() {
  WaitSet set;
  set.fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (set.fd_ < 0) return Error{Errc::io, "epoll_create1", errno};
  set.timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (set.timer_ < 0) return Error{Errc::io, "timerfd_create", errno};
  SHOAL_TRY(set.add(set.timer_));
  return set;
}

WaitSet::WaitSet(WaitSet&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      timer_(std::exchange(other.timer_, -1)),
      timed_(other.timed_) {}

WaitSet::~WaitSet() {
  if (timer_ >= 0) ::close(timer_);
  if (fd_ >= 0) ::close(fd_);
}

Status WaitSet::add(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) != 0)
    return Error{Errc::io, "a descriptor of UCX cannot be waited for", errno};
  return {};
}

void WaitSet::remove(int fd) { ::epoll_ctl(fd_, EPOLL_CTL_DEL, fd, nullptr); }

// Setting it also makes it unreadable.
void WaitSet::wake_after(Duration delay) {
  if (delay == Duration::zero() && !timed_) return;
  timed_ = delay != Duration::zero();
  itimerspec at{};
  at.it_value.tv_sec = static_cast<time_t>(delay.count() / 1'000'000'000);
  at.it_value.tv_nsec = static_cast<long>(delay.count() % 1'000'000'000);
  ::timerfd_settime(timer_, 0, &at, nullptr);
}

}  // namespace shoal::ucx
