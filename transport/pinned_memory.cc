#include "transport/pinned_memory.h"

#include <fmt/core.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <string_view>

namespace shoal {

namespace {

/// Of this thread, as the number that it begins with; 0: there is none.
std::uint64_t field_of_status(std::string_view name, int base) {
  std::ifstream file("/proc/thread-self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) return std::strtoull(line.c_str() + name.size(), nullptr, base);
  return 0;
}

}  // namespace

std::optional<std::uint64_t> lock_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  return limit.rlim_cur;
}

std::optional<std::uint64_t> pin_limit() {
  const bool lifted = (field_of_status("CapEff:", 16) >> CAP_IPC_LOCK & 1) != 0;
  return lifted ? std::nullopt : lock_limit();
}

std::uint64_t pinned_bytes() { return field_of_status("VmPin:", 10) << 10; }

std::string about_lock_limit(std::uint64_t limit) {
  return fmt::format(
      "this process may lock {} KiB of memory: raise that with 'ulimit -l unlimited', "
      "LimitMEMLOCK=infinity in a systemd unit, or 'memlock' in /etc/security/limits.conf",
      limit >> 10);
}

}  // namespace shoal
