#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "core/base/result.h"

// One line to standard error for an event that an operator wants to know. Never on a message's
// path: a line costs a system call.

namespace shoal {

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error, off };

/// Errors: invalid_argument, naming the levels.
Result<LogLevel> parse_log_level(std::string_view name);

/// Sets the process's level; `main` calls it once, before there are threads.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
/// Writes "2026-01-31 12:00:00.000 W scheduler: text". Any thread.
void write_log(LogLevel level, std::string_view component, std::string_view text);

template <class... Args>
void log(LogLevel level, std::string_view component, fmt::format_string<Args...> format,
         Args&&... args) {
  if (log_enabled(level))
    write_log(level, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, component, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warn(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warn, component, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::error, component, format, std::forward<Args>(args)...);
}

}  // namespace shoal
