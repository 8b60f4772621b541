#pragma once

#include <csignal>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"

namespace shoal::cli {

/// A process to start.
struct ProcessSpec {
  std::string label;  ///< what its lines begin with, in brackets
  std::vector<std::string> command;
  /// Set on top of this process's own environment; of a name that stands twice, the later.
  std::vector<std::pair<std::string, std::string>> environment;
};

/// Starts processes, forwards their output line by line with their labels, notices signals and
/// exits, and ends with every one of them gone, their own children included:
///  - each has a process group of its own, which is killed when its first process has ended;
///  - this process adopts what left its group (PR_SET_CHILD_SUBREAPER) and kills it at the end;
///  - a killed launcher takes its direct children with it (PR_SET_PDEATHSIG).
/// One at a time in a process, from its only thread: it takes SIGINT, SIGTERM, SIGHUP and SIGCHLD
/// for itself while it lives. SIGINT or SIGHUP that this process ignores since its start stays
/// ignored, by what it starts, too.
class Supervisor {
 public:
  struct Options {
    int out = 1;                                ///< where the processes' standard output goes
    int err = 2;                                ///< if it is the same file, lines keep their order
    std::size_t lines_kept = 20;                ///< of each process, for the report of a failure
    Duration grace = std::chrono::seconds(10);  ///< between SIGTERM and SIGKILL in stop_all()
    /// A signal so soon after another is its echo: timeout(1) signals its child, and then the group
    /// that both are in.
    Duration echo = std::chrono::milliseconds(500);
  };
  using Index = std::size_t;  ///< a process, in the order of start()

  /// Errors: io (signalfd), exists (there is one already).
  static Result<std::unique_ptr<Supervisor>> create(Options options, const Clock& clock);
  ~Supervisor();  ///< kills what still runs
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// Errors: io, when the program cannot be executed or there is no process left to make.
  Result<Index> start(const ProcessSpec& spec);
  /// Waits until something happened, at most until `until`: output was forwarded, a process ended,
  /// a signal came, or `extra_fd` (-1: none) became readable.
  void turn(TimePoint until, int extra_fd = -1);

  bool running(Index process) const;
  /// The exit code, 128 + number for a signal; empty while it runs.
  std::optional<int> exit_code(Index process) const;
  /// "exited with code 3", "was killed by signal 9 (Killed)".
  std::string how_it_ended(Index process) const;
  const std::vector<std::string>& last_lines(Index process) const;
  const std::string& label(Index process) const;

  /// The signal that this process got since the last call, or 0; no echoes.
  int take_signal();
  /// To the process's whole group. An end after it is no failure.
  void send(Index process, int signal);
  using Tell = std::function<void(const std::string& what)>;
  /// Ends those of [begin, end) that run: SIGTERM, and SIGKILL after the grace, or at a signal to
  /// this process. `tell` hears for whom it waits when that has taken a second, and who was killed.
  /// Returns when they are gone.
  void stop(Index begin, Index end, const Tell& tell = {});
  /// stop() of all, and of what they left.
  void stop_all(const Tell& tell = {});
  /// "worker 0", "worker 0 and worker 3", "worker 0, worker 1, worker 2 and 5 more": who runs of
  /// [begin, end).
  std::string names_running(Index begin, Index end) const;

 private:
  struct Process;
  struct Stream;
  Supervisor(Options options, const Clock& clock);
  void read_stream(Process& process, Stream& stream);
  void read_available(Process& process, Stream& stream);
  void forward(Process& process, Stream& stream, std::string_view piece);
  void drain_signals();
  void reap();
  void kill_strays();

  Options options_;
  const Clock& clock_;
  int signal_fd_ = -1;
  int signal_ = 0;
  TimePoint echo_until_{};
  sigset_t mask_before_{};
  std::vector<std::unique_ptr<Process>> processes_;
};

}  // namespace shoal::cli
