#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/clock.h"

namespace shoal {

/// Whose threads meet at a word: those of this process, or also of others that map its memory.
enum class FutexScope { process, machine };

/// Blocks while `*word == expected`, at most `timeout`; may return early. std::atomic::wait has no
/// timeout. See futex(2).
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Duration timeout,
                FutexScope scope = FutexScope::process);
/// Wakes every thread that waits on `word`, in the same scope.
void futex_wake_all(const std::atomic<std::uint32_t>& word, FutexScope scope = FutexScope::process);

}  // namespace shoal
