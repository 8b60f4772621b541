#include "transport/transport.h"

#include <poll.h>

#include <array>
#include <ctime>

#include "transport/waker.h"

namespace shoal {

void Transport::wait(const Waker* waker, Duration at_most) {
  std::array<pollfd, 2> fds{};
  nfds_t count = 0;
  if (wait_fd() >= 0) fds[count++] = {wait_fd(), POLLIN, 0};
  if (waker != nullptr) fds[count++] = {waker->fd(), POLLIN, 0};
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at_most);
  const timespec timeout{seconds.count(), (at_most - seconds).count()};
  ::ppoll(fds.data(), count, at_most == Duration::max() ? nullptr : &timeout, nullptr);
}

}  // namespace shoal
