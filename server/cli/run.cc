#include "server/cli/run.h"

#include <fmt/core.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/base/log.h"
#include "core/base/token_file.h"
#include "server/cli/scheduler_client.h"

namespace shoal::cli {

namespace {

constexpr int kCannotStart = 127;  // as shells have it
/// For a word to the scheduler, while nobody's output is forwarded.
constexpr Duration kReportTimeout = std::chrono::seconds(1);

/// A directory that nobody else may look into, removed with all it holds.
class PrivateDirectory {
 public:
  static Result<PrivateDirectory> create() {
    const char* parent = std::getenv("TMPDIR");
    auto path = fmt::format("{}/shoal-run-XXXXXX", parent != nullptr && *parent ? parent : "/tmp");
    if (::mkdtemp(path.data()) == nullptr)
      return Error{Errc::io, fmt::format("cannot make the directory {}", path), errno};
    return PrivateDirectory(std::move(path));
  }
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PrivateDirectory& operator=(PrivateDirectory&&) = delete;
  ~PrivateDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

std::string variable(std::string_view option) {
  std::string name = "SHOAL_";
  for (const char c : option)
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

/// One `shoal run`.
class Run {
 public:
  Run(const RunOptions& options, const Clock& clock, Supervisor& processes,
      const PrivateDirectory& directory)
      : options_(options), clock_(clock), processes_(processes), directory_(directory) {}

  int go() {
    if (const auto started = start(); !started.ok()) {
      say(started.error().message());
      stop_all();
      return code_ != 0 ? code_ : kCannotStart;
    }
    while (!over()) {
      processes_.turn(kill_at_);
      pass_signals();
      look_for_failures();
    }
    // First, so that it neither takes the servers' ends for their deaths nor warns that the tables
    // go with them. Servers whose scheduler is gone have nobody to tell, and end at once.
    if (!stop_) processes_.stop(0, 1, [this](const std::string& what) { say(what); });
    stop_all();
    look_at_the_end();
    return code_;
  }

 private:
  Status start() {
    SHOAL_ASSIGN(token_, TokenFile::create());
    auto scheduler = options_.scheduler;
    scheduler.insert(scheduler.end(), {"--announce", directory_.file("scheduler")});
    SHOAL_TRY(start_process("scheduler", scheduler));
    SHOAL_TRY(wait_for_scheduler());
    if (log_enabled(LogLevel::info))
      say(fmt::format("watch it with: shoal status --watch --scheduler {} --token-file {}",
                      scheduler_, token_.path()));
    for (std::uint32_t i = 0; i < options_.servers; ++i)
      SHOAL_TRY(start_process(fmt::format("server {}", i), options_.server));
    service_count_ = 1 + options_.servers;
    for (std::uint32_t i = 0; i < options_.workers; ++i)
      SHOAL_TRY(start_process(fmt::format("worker {}", i), options_.command));
    return {};
  }

  Status start_process(const std::string& label, const std::vector<std::string>& command) {
    ProcessSpec spec{label, command, {}};
    for (const auto& [name, value] : options_.settings)
      spec.environment.emplace_back(variable(name), value);
    spec.environment.emplace_back("SHOAL_TOKEN_FILE", token_.path());
    spec.environment.emplace_back("SHOAL_LISTEN", "127.0.0.1:0");
    spec.environment.emplace_back("SHOAL_SERVERS", std::to_string(options_.servers));
    spec.environment.emplace_back("SHOAL_WORKERS", std::to_string(options_.workers));
    spec.environment.emplace_back("SHOAL_NAME", label);
    spec.environment.emplace_back("SHOAL_STATE_DIR", "");  // no other cluster is taken up
    if (!scheduler_.empty()) spec.environment.emplace_back("SHOAL_SCHEDULER", scheduler_);
    SHOAL_ASSIGN([[maybe_unused]] const auto index, processes_.start(spec));
    ++process_count_;
    return {};
  }

  /// The scheduler renames its file into place once it listens, so a file that is there is whole.
  Status wait_for_scheduler() {
    const auto path = directory_.file("scheduler");
    const int watch = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0 || ::inotify_add_watch(watch, directory_.path().c_str(), IN_MOVED_TO) < 0) {
      const int error = errno;
      if (watch >= 0) ::close(watch);
      return Error{Errc::io, fmt::format("cannot watch {}", directory_.path()), error};
    }
    // Looked at after the watch has begun: the file cannot slip in between.
    const auto until = deadline_after(clock_.now(), options_.start_timeout);
    Status result;
    while (result.ok() && !std::filesystem::exists(path)) {
      if (clock_.now() >= until)
        result = Error{Errc::timed_out, fmt::format("the scheduler did not listen within {}",
                                                    to_string(options_.start_timeout))};
      else if (!processes_.running(0))
        result = scheduler_ended();
      else if (const int signal = processes_.take_signal(); signal != 0)
        code_ = 128 + signal, result = Error{Errc::cancelled, "stopped while it was starting"};
      else
        processes_.turn(until, watch);
      char events[1024];
      while (::read(watch, events, sizeof events) > 0) {
      }
    }
    ::close(watch);
    if (result.ok()) std::getline(std::ifstream(path) >> std::ws, scheduler_);
    return result;
  }

  Error scheduler_ended() {
    code_ = std::max(1, *processes_.exit_code(0));
    return {Errc::peer_lost,
            fmt::format("the scheduler {} before it listened", processes_.how_it_ended(0))};
  }

  bool over() const {
    if (stop_) return true;
    for (auto i = service_count_; i < process_count_; ++i)
      if (processes_.running(i)) return false;
    return true;
  }

  void pass_signals() {
    if (const int signal = processes_.take_signal(); signal != 0) {
      if (code_ == 0) code_ = 128 + signal;
      if (std::exchange(signalled_, true)) return kill_all();
      say(fmt::format("SIG{} came: passed on to {}, with {} to end, or until another signal",
                      ::sigabbrev_np(signal), running_workers(),
                      to_string(options_.supervisor.grace)));
      for (auto i = service_count_; i < process_count_; ++i) processes_.send(i, signal);
      kill_at_ = deadline_after(clock_.now(), options_.supervisor.grace);
    }
    if (clock_.now() >= kill_at_) kill_all();
  }

  void kill_all() {
    say(fmt::format("{} did not end and will be killed", running_workers()));
    for (std::size_t i = 0; i < process_count_; ++i) processes_.send(i, SIGKILL);
    stop_ = true;
  }

  std::string running_workers() const {
    return processes_.names_running(service_count_, process_count_);
  }

  void look_for_failures() {
    for (std::size_t i = 0; i < process_count_; ++i) {
      if (processes_.running(i) || seen_.at(i)) continue;
      seen_[i] = true;
      const bool service = i < service_count_;
      if (!service) report_end(processes_.label(i));
      if (signalled_ || (*processes_.exit_code(i) == 0 && !service)) continue;
      report(i);
      if (stop_) return;  // the others' ends may be its doing
    }
  }

  /// Tells the scheduler of a worker that ended, in case it did not leave: the others then go on at
  /// once, and not after its lease. An error costs that and nothing more.
  void report_end(const std::string& worker) {
    if (over()) return;
    if (!client_) {
      Config config;
      config.scheduler = scheduler_;
      config.token_file = token_.path();
      config.connect_timeout = kReportTimeout;
      auto made = SchedulerClient::create(config, clock_);
      if (!made.ok()) return;
      client_.emplace(std::move(made).value());
    }
    const auto view = client_->view();
    if (!view.ok()) return;
    for (const auto& node : view->nodes)
      if (node.role == Role::worker && node.name == worker) (void)client_->leave_for(node.id);
  }

  /// With its last words; the first failure gives the exit code.
  void report(std::size_t process) {
    say(fmt::format("{} {}{}", processes_.label(process), processes_.how_it_ended(process),
                    processes_.last_lines(process).empty() ? "" : "; its last lines:"));
    for (const auto& line : processes_.last_lines(process)) say("    " + line);
    if (code_ == 0) code_ = std::max(1, *processes_.exit_code(process));
    if (!options_.keep_going) stop_ = true;
  }

  void stop_all() {
    processes_.stop_all([this](const std::string& what) { say(what); });
  }

  /// Whether those that were told to end did so in order.
  void look_at_the_end() {
    for (std::size_t i = 0; i < service_count_; ++i) {
      if (seen_.at(i) || signalled_ || code_ != 0) continue;
      const int code = *processes_.exit_code(i);
      if (code != 0 && code != 128 + SIGTERM) report(i);
    }
  }

  void say(const std::string& text) {
    const auto line = fmt::format("shoal run: {}\n", text);
    [[maybe_unused]] const auto told = ::write(options_.supervisor.err, line.data(), line.size());
  }

  const RunOptions& options_;
  const Clock& clock_;
  Supervisor& processes_;
  const PrivateDirectory& directory_;
  TokenFile token_;
  std::string scheduler_;  // where it listens
  std::optional<SchedulerClient> client_;
  std::size_t process_count_ = 0;  // scheduler, servers, workers, in this order
  std::size_t service_count_ = 0;
  std::vector<bool> seen_ = std::vector<bool>(1 + options_.servers + options_.workers);
  TimePoint kill_at_ = kNever;
  bool signalled_ = false;
  bool stop_ = false;
  int code_ = 0;
};

}  // namespace

int run_local_cluster(const RunOptions& options, const Clock& clock) {
  auto directory = PrivateDirectory::create();
  auto processes = Supervisor::create(options.supervisor, clock);
  for (const auto* error : {directory.ok() ? nullptr : &directory.error(),
                            processes.ok() ? nullptr : &processes.error()})
    if (error != nullptr) {
      fmt::print(stderr, "shoal run: {}\n", error->message());
      return kCannotStart;
    }
  return Run(options, clock, **processes, *directory).go();
}

}  // namespace shoal::cli
