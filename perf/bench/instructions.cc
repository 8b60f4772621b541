// Runs operations of the eager path for scripts/instructions.sh, which counts what callgrind sees
// of counted_operations().

#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "core/base/log.h"
#include "perf/bench/eager_path.h"

namespace shoal::perf {

/// Its name, and that it is a call, is what callgrind looks for.
__attribute__((noinline)) Status counted_operations(EagerPath& path, std::uint64_t count) {
  return path.run(count);
}

namespace {

constexpr std::uint64_t kWarmup = 300;
/// Exit status where this machine lacks what a case needs.
constexpr int kUnavailable = 77;

int failed(std::string_view name, const Error& error) {
  fmt::print(stderr, "shoal_instructions: {}: {}\n", name, error.message());
  return 1;
}

int run(std::string_view name, std::uint64_t count) {
  for (const auto& wanted : eager_cases()) {
    if (name != wanted.name) continue;
    auto path = EagerPath::create(wanted);
    if (path.code() == Errc::unavailable) return failed(name, path.error()), kUnavailable;
    if (!path.ok()) return failed(name, path.error());
    if (const auto warm = (*path)->run(kWarmup); !warm.ok()) return failed(name, warm.error());
    const auto done = counted_operations(**path, count);
    return done.ok() ? 0 : failed(name, done.error());
  }
  fmt::print(stderr,
             "shoal_instructions: no operation is named '{}'; without arguments, all are "
             "listed\n",
             name);
  return 2;
}

int main(int argc, char** argv) {
  if (argc == 1) {
    for (const auto& known : eager_cases()) fmt::print("{}\n", known.name);
    return 0;
  }
  std::uint64_t count = 0;
  const std::string_view number = argc == 3 ? argv[2] : "";
  const auto* end = number.data() + number.size();
  const auto [rest, error] = std::from_chars(number.data(), end, count);
  if (rest != end || error != std::errc() || count == 0) {
    fmt::print(stderr, "usage: shoal_instructions [OPERATION COUNT]\n");
    return 2;
  }
  set_log_level(LogLevel::warn);
  return run(argv[1], count);
}

}  // namespace
}  // namespace shoal::perf

int main(int argc, char** argv) { return shoal::perf::main(argc, argv); }
