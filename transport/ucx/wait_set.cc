#include "transport/ucx/wait_set.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace shoal::ucx {

Result<WaitSet> WaitSet::create() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return Error{Errc::io, "epoll_create1", errno};
  return WaitSet(fd);
}

WaitSet::WaitSet(WaitSet&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

WaitSet::~WaitSet() {
  if (fd_ >= 0) ::close(fd_);
}

Status WaitSet::add(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) != 0)
    return Error{Errc::io, "the descriptor of a UCX worker cannot be waited for", errno};
  return {};
}

void WaitSet::remove(int fd) { ::epoll_ctl(fd_, EPOLL_CTL_DEL, fd, nullptr); }

}  // namespace shoal::ucx
