#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/clock.h"

namespace shoal {

/// Blocks while `*word == expected`, at most `timeout`; may return early. std::atomic::wait has no
/// timeout. See futex(2).
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Duration timeout);
/// Wakes every thread that waits on `word`.
void futex_wake_all(const std::atomic<std::uint32_t>& word);

}  // namespace shoal
