#pragma once

#include <atomic>

#include "core/base/assert.h"

namespace shoal {

/// Remembers which thread's loop an object belongs to. Owner-only methods begin with
/// `owner_.check()`. Adopted by the first thread that checks; `release()` lets the next one adopt,
/// as when an object is built in `main` and then handed to its LoopThread.
class Owner {
 public:
  void check() const {
    static thread_local const char here = 0;  // another one in each thread
    const void* expected = nullptr;
    const void* const self = &here;
    if (thread_.load(std::memory_order_relaxed) == self) return;
    SHOAL_ASSERT(thread_.compare_exchange_strong(expected, self), "called from a foreign thread");
  }
  void release() { thread_.store(nullptr, std::memory_order_relaxed); }

 private:
  mutable std::atomic<const void*> thread_{nullptr};
};

}  // namespace shoal
