// `shoal scheduler` and `shoal server`: a host each, until a signal or its end.

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "core/base/log.h"
#include "core/base/output_path.h"
#include "server/cli/commands.h"
#include "server/cli/signals.h"
#include "server/host.h"

namespace shoal::cli {

namespace {

constexpr auto kFresh = ".new";  // behind the path while the file is written

/// Signals that end a node. Blocked before there are threads, so that all of them inherit that.
sigset_t block_ending_signals() {
  const auto signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

/// True when one of them came, false after `timeout`.
bool wait_for_signal(std::string_view who, const sigset_t& signals, timespec timeout) {
  const int signal = sigtimedwait(&signals, nullptr, &timeout);
  if (signal > 0) log_info(who, "SIG{} came: ends", ::sigabbrev_np(signal));
  return signal > 0;
}

/// Renamed into place, so that who finds the file finds all of it.
Status announce(const std::string& path, const Address& address) {
  if (path.empty()) return {};
  const auto fresh = path + kFresh;
  std::ofstream file(fresh);
  file << address.to_string() << "\n";
  file.close();
  if (!file || std::rename(fresh.c_str(), path.c_str()) != 0)
    return Error{Errc::io, fmt::format("cannot announce the address in {}", path), errno};
  return {};
}

}  // namespace

int run_scheduler(const Config& config, const std::string& announce_file) {
  const auto signals = block_ending_signals();
  if (!announce_file.empty())
    if (const auto can = check_output(announce_file + kFresh); !can.ok())
      return fail("scheduler", can.error());
  const auto host = SchedulerHost::start(config);
  if (!host.ok()) return fail("scheduler", host.error());
  const auto& address = (*host)->address();
  const auto& missing = (*host)->waited_for();
  log_info("scheduler", "listening at {}{}{}", address.to_string(),
           missing.empty() ? "" : ", waiting: ", missing);
  if (const auto told = announce(announce_file, address); !told.ok())
    return fail("scheduler", told.error());
  while (!wait_for_signal("scheduler", signals, {3600, 0})) {
  }
  return 0;
}

int run_server(const Config& config, const RuleSet& rules) {
  const auto signals = block_ending_signals();
  const auto host = ServerHost::start(config, rules);
  if (!host.ok()) return fail("server", host.error());
  // A failure is rare and not urgent: looked for a few times a second.
  while (!wait_for_signal("server", signals, {0, 200'000'000}))
    if (const auto failure = (*host)->failure()) return fail("server", *failure);
  (*host)->leave(std::chrono::seconds(1));
  return 0;
}

}  // namespace shoal::cli
