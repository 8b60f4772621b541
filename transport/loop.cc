#include "transport/loop.h"

#include <pthread.h>

#include <algorithm>
#include <system_error>

#include "core/base/core_demand.h"

namespace shoal {

void wait_for_work(Pollable& object, Waker* waker, TimePoint now, TimePoint until) {
  auto& transport = object.transport();
  until = std::min({until, object.next_timer(), transport.next_timer()});
  if (until <= now) return;
  if (waker != nullptr && !waker->arm()) return waker->clear();
  if (transport.arm()) transport.wait(waker, until == kNever ? Duration::max() : until - now);
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
    } else if (now < spin_until && !core_is_wanted(now)) {
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
