#include "core/base/error.h"

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/base/assert.h"
#include "core/base/result.h"

namespace shoal {

std::string_view name_of(Errc code) noexcept {
  switch (code) {
    case Errc::ok:
      return "ok";
    case Errc::invalid_argument:
      return "invalid_argument";
    case Errc::unknown_name:
      return "unknown_name";
    case Errc::out_of_range:
      return "out_of_range";
    case Errc::mismatch:
      return "mismatch";
    case Errc::unavailable:
      return "unavailable";
    case Errc::overloaded:
      return "overloaded";
    case Errc::timed_out:
      return "timed_out";
    case Errc::cancelled:
      return "cancelled";
    case Errc::partly_applied:
      return "partly_applied";
    case Errc::peer_lost:
      return "peer_lost";
    case Errc::slot_lost:
      return "slot_lost";
    case Errc::stale_view:
      return "stale_view";
    case Errc::fenced:
      return "fenced";
    case Errc::needs_tick:
      return "needs_tick";
    case Errc::gap:
      return "gap";
    case Errc::send_keys:
      return "send_keys";
    case Errc::refused:
      return "refused";
    case Errc::protocol:
      return "protocol";
    case Errc::version:
      return "version";
    case Errc::registration:
      return "registration";
    case Errc::revoked:
      return "revoked";
    case Errc::closed:
      return "closed";
    case Errc::io:
      return "io";
    case Errc::exists:
      return "exists";
    case Errc::corrupt:
      return "corrupt";
    case Errc::not_ready:
      return "not_ready";
    case Errc::no_memory:
      return "no_memory";
    case Errc::unchanged:
      return "unchanged";
    case Errc::untrusted:
      return "untrusted";
  }
  return "unknown";
}

std::string Error::message() const {
  if (native == 0) return fmt::format("{} ({})", what, name_of(code));
  return fmt::format("{} ({}: {})", what, name_of(code), std::strerror(native));
}

void assertion_failed(const char* condition, const char* file, int line,
                      const char* message) noexcept {
  std::fprintf(stderr, "shoal: %s:%d: %s [%s]\n", file, line, message, condition);
  std::abort();
}

void value_of_failed_result(const Error& error) noexcept {
  std::fprintf(stderr, "shoal: %s\n", error.message().c_str());
  std::abort();
}

}  // namespace shoal
