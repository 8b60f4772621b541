#pragma once

// A broken invariant is a bug in Shoal or in its caller. It is checked in release builds too: a
// training job that stops with a line number is cheaper than one that trains on torn data.

namespace shoal {

/// Prints the broken condition with its place and aborts. Never returns.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line,
                                   const char* message) noexcept;

}  // namespace shoal

#define SHOAL_ASSERT(condition, message) \
  (static_cast<bool>(condition)          \
       ? static_cast<void>(0)            \
       : ::shoal::assertion_failed(#condition, __FILE__, __LINE__, message))
