#include "transport/loop.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <system_error>

namespace shoal {

Result<Waker> Waker::create() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0)
    return Error{Errc::io, "eventfd, to wake a loop: raise the limit of open files (ulimit -n)",
                 errno};
  return Waker(fd);
}

Waker::Waker(Waker&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), armed_(other.armed_), state_(other.state_.load()) {}

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
  state_.exchange(kAwake);
  if (!std::exchange(armed_, false)) return;
  // A write that comes only now makes the next sleep short, nothing else.
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof count);
}

void wait_for_work(Pollable& object, Waker* waker, TimePoint now, TimePoint until) {
  auto& transport = object.transport();
  until = std::min({until, object.next_timer(), transport.next_timer()});
  if (until <= now) return;
  if (waker != nullptr && !waker->arm()) return waker->clear();
  if (transport.arm()) {
    std::array<pollfd, 2> fds{};
    nfds_t count = 0;
    if (transport.wait_fd() >= 0) fds[count++] = {transport.wait_fd(), POLLIN, 0};
    if (waker != nullptr) fds[count++] = {waker->fd(), POLLIN, 0};
    const auto left = until - now;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout{seconds.count(), (left - seconds).count()};
    ::ppoll(fds.data(), count, until == kNever ? nullptr : &timeout, nullptr);
  }
  if (waker != nullptr) waker->clear();
}

namespace {

/// Tells the core that this is a spin: leaves its execution units to the other hyperthread.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void run_loop(Pollable& object, Waker& waker, const Clock& clock, Duration spin,
              const std::atomic<bool>& stop, std::atomic<std::uint64_t>* turns) {
  auto spin_until = deadline_after(clock.now(), spin);
  while (!stop.load(std::memory_order_acquire)) {
    const auto now = clock.now();
    if (turns != nullptr) turns->fetch_add(1, std::memory_order_relaxed);
    if (object.poll(now)) {
      spin_until = deadline_after(now, spin);
    } else if (now < spin_until) {
      relax();
    } else {
      wait_for_work(object, &waker, now, deadline_after(now, kIdleTurn));
      spin_until = deadline_after(clock.now(), spin);
    }
  }
}

Result<std::unique_ptr<LoopThread>> LoopThread::start(std::string name, Pollable& object,
                                                      const Clock& clock, Duration spin) {
  SHOAL_ASSIGN(auto waker, Waker::create());
  std::unique_ptr<LoopThread> loop(new LoopThread(std::move(waker)));
  loop->transport_ = &object.transport();
  loop->transport_->release_owner();
  name.resize(std::min<std::size_t>(name.size(), 15));
  try {
    loop->thread_ = std::thread([self = loop.get(), name, &object, &clock, spin] {
      ::pthread_setname_np(::pthread_self(), name.c_str());
      run_loop(object, self->waker_, clock, spin, self->stop_, &self->turns_);
    });
  } catch (const std::system_error& e) {
    return Error{Errc::io, "start of thread '" + name + "'", e.code().value()};
  }
  return loop;
}

LoopThread::~LoopThread() { stop(); }

void LoopThread::stop() {
  stop_.store(true, std::memory_order_release);
  waker_.wake();
  if (!thread_.joinable()) return;
  thread_.join();
  transport_->release_owner();
}

}  // namespace shoal
