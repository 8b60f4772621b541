#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace shoal::e2e {

/// How long a test waits for something that must come. Generous: a bound on hanging, not a verdict
/// on speed.
inline constexpr std::chrono::seconds kPatience(30);

/// A child process whose output is read line by line. It dies with the test (PR_SET_PDEATHSIG), is
/// killed by the destructor, and never blocks on a full pipe: a thread reads all that it writes.
class Process {
 public:
  using Environment = std::map<std::string, std::string>;

  /// Starts argv[0] with this environment on top of the test's own, less its SHOAL_ variables; but
  /// for SHOAL_TRANSPORTS, so that all tests can be run over another one.
  Process(std::string name, std::vector<std::string> argv, const Environment& environment);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& name() const { return name_; }

  void send(const std::string& line);
  /// The next line of its standard output. Empty: none within `patience`, or it has ended.
  std::optional<std::string> read_line(std::chrono::nanoseconds patience = kPatience);
  /// Reads lines until one contains `text`. Empty: none did within `patience`.
  std::optional<std::string> read_until(const std::string& text,
                                        std::chrono::nanoseconds patience = kPatience);
  /// Waits until something that it wrote to standard error contains `text`.
  bool logged(const std::string& text, std::chrono::nanoseconds patience = kPatience);
  /// The same, and the rest of that line.
  std::optional<std::string> logged_after(const std::string& text,
                                          std::chrono::nanoseconds patience = kPatience);
  /// All that it wrote, both outputs, for messages of failed tests.
  std::string log();

  void signal(int number);
  /// SIGSTOP, and waits until the kernel says that it has stopped.
  void stop();
  /// Waits until it has stopped, by whatever signal. True once for each time.
  bool wait_stopped(std::chrono::nanoseconds patience = kPatience);
  /// SIGCONT.
  void go_on();
  /// kill -9, and waits until it is gone.
  void kill();
  /// Waits for its end: the exit status, or 128 + the signal. Empty: it still runs.
  std::optional<int> wait_exit(std::chrono::nanoseconds patience = kPatience);

 private:
  void read_all(int out, int err);

  const std::string name_;
  pid_t pid_ = -1;
  int in_ = -1;
  std::thread reader_;
  std::optional<int> status_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::size_t next_line_ = 0;
  std::string partial_, errors_, all_;
  bool ended_ = false;
};

/// Processes whose environment holds `mark`: what somebody left behind.
/// Each is its pid and its name.
std::vector<std::string> processes_with(const std::string& mark);
/// Waits until there are none. False: some remain.
bool wait_until_gone(const std::string& mark, std::chrono::nanoseconds patience = kPatience);
/// The words of a process's command line, separated by blanks.
std::string command_line(const std::string& pid);

}  // namespace shoal::e2e
