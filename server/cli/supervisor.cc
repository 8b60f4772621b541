#include "server/cli/supervisor.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/base/config.h"
#include "server/cli/signals.h"

namespace shoal::cli {

namespace {

/// A longer line is cut into pieces of this size: a process that prints none must not fill our
/// memory.
constexpr std::size_t kLineBytesMax = 64u << 10;
/// Whoever watches us wait hears for whom after that long.
constexpr Duration kSilenceMax = std::chrono::seconds(1);
/// Of a line that is kept for a report.
constexpr std::size_t kKeptBytesMax = 1024;

bool instance_exists = false;  // the signal mask and SIGCHLD are the process's: one owner at a time

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return;  // nobody reads any more: the processes matter, not their words
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

/// Whether both lead to the same terminal, pipe or file.
bool are_one_file(int a, int b) {
  struct stat of_a, of_b;
  return ::fstat(a, &of_a) == 0 && ::fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

/// Everything between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(char* const* argv, char* const* environment, int out, int err, int report,
                         pid_t parent, const sigset_t& mask) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  ::signal(SIGPIPE, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execvpe(argv[0], argv, environment);
  const int error = errno;
  [[maybe_unused]] const auto told = ::write(report, &error, sizeof error);
  ::_exit(127);
}

std::vector<std::string> merged_environment(
    const std::vector<std::pair<std::string, std::string>>& changes) {
  std::vector<std::string> merged;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry = *at;
    const auto name = entry.substr(0, entry.find('='));
    const bool replaced = std::any_of(changes.begin(), changes.end(),
                                      [&](const auto& change) { return change.first == name; });
    if (!replaced) merged.emplace_back(entry);
  }
  for (auto change = changes.begin(); change != changes.end(); ++change) {
    const bool set_again = std::any_of(
        change + 1, changes.end(), [&](const auto& later) { return later.first == change->first; });
    if (!set_again) merged.push_back(change->first + "=" + change->second);
  }
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (auto& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

/// One of a process's two pipes; the second has no descriptor if the first is for both.
struct Supervisor::Stream {
  int fd = -1;
  int to = -1;
  std::string partial;  ///< the line that has not ended yet
};

struct Supervisor::Process {
  std::string label;
  pid_t pid = -1;
  std::array<Stream, 2> streams;
  std::optional<int> status;  ///< as wait(2) gave it
  std::vector<std::string> last_lines;
};

Supervisor::Supervisor(Options options, const Clock& clock) : options_(options), clock_(clock) {}

Result<std::unique_ptr<Supervisor>> Supervisor::create(Options options, const Clock& clock) {
  if (instance_exists) return Error{Errc::exists, "this process supervises others already"};
  std::unique_ptr<Supervisor> made(new Supervisor(options, clock));
  auto mask = ending_signals();
  sigaddset(&mask, SIGCHLD);
  made->signal_fd_ = ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  if (made->signal_fd_ < 0) return Error{Errc::io, "cannot watch signals (signalfd)", errno};
  ::sigprocmask(SIG_BLOCK, &mask, &made->mask_before_);
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  instance_exists = true;
  return made;
}

Supervisor::~Supervisor() {
  if (signal_fd_ < 0) return;
  for (auto& process : processes_)
    if (!process->status) ::kill(-process->pid, SIGKILL);
  for (auto& process : processes_) {
    if (!process->status) ::waitpid(process->pid, nullptr, 0);
    for (auto& stream : process->streams) close_fd(stream.fd);
  }
  kill_strays();
  close_fd(signal_fd_);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  ::signal(SIGPIPE, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
  instance_exists = false;
}

Result<Supervisor::Index> Supervisor::start(const ProcessSpec& spec) {
  int out[2] = {-1, -1}, err[2] = {-1, -1}, report[2] = {-1, -1};
  const auto close_all = [&] {
    for (int* pair : {out, err, report}) close_fd(pair[0]), close_fd(pair[1]);
  };
  // Lines that end in one place go there through one pipe, in the order in which they were written.
  const bool one = are_one_file(options_.out, options_.err);
  if (::pipe2(out, O_CLOEXEC) < 0 || (!one && ::pipe2(err, O_CLOEXEC) < 0) ||
      ::pipe2(report, O_CLOEXEC) < 0) {
    const int error = errno;
    close_all();
    return Error{Errc::io, fmt::format("cannot make pipes for {}", spec.label), error};
  }
  auto command = spec.command;
  auto environment = merged_environment(spec.environment);
  const auto argv = pointers(command), envp = pointers(environment);
  const auto parent = ::getpid();
  const auto pid = ::fork();
  if (pid == 0)
    become(argv.data(), envp.data(), out[1], one ? out[1] : err[1], report[1], parent,
           mask_before_);
  int error = pid < 0 ? errno : 0;
  close_fd(report[1]);
  if (pid > 0) {
    ::setpgid(pid, pid);  // by both sides: whoever comes first
    // Nothing to read: exec closed the pipe, the program runs.
    if (::read(report[0], &error, sizeof error) == sizeof error) ::waitpid(pid, nullptr, 0);
  }
  if (error != 0) {
    close_all();
    return Error{Errc::io, fmt::format("cannot start {}: {}", spec.label, spec.command.at(0)),
                 error};
  }
  auto process = std::make_unique<Process>();
  process->label = spec.label;
  process->pid = pid;
  process->streams[0] = {std::exchange(out[0], -1), options_.out, {}};
  process->streams[1] = {std::exchange(err[0], -1), options_.err, {}};
  for (auto& stream : process->streams)
    if (stream.fd >= 0) ::fcntl(stream.fd, F_SETFL, O_NONBLOCK);
  close_all();
  processes_.push_back(std::move(process));
  return processes_.size() - 1;
}

void Supervisor::turn(TimePoint until, int extra_fd) {
  std::vector<pollfd> polled{{signal_fd_, POLLIN, 0}, {extra_fd, POLLIN, 0}};
  for (const auto& process : processes_)
    for (const auto& stream : process->streams) polled.push_back({stream.fd, POLLIN, 0});
  int timeout_ms = -1;
  if (until != kNever) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock_.now()).count();
    timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
  }
  if (::poll(polled.data(), polled.size(), timeout_ms) < 0) return;
  auto* at = polled.data() + 2;
  for (auto& process : processes_)
    for (auto& stream : process->streams)
      if ((at++)->revents != 0) read_stream(*process, stream);
  if (polled[0].revents != 0) drain_signals();
}

void Supervisor::read_stream(Process& process, Stream& stream) {
  char bytes[16u << 10];
  const auto got = ::read(stream.fd, bytes, sizeof bytes);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    if (!stream.partial.empty()) forward(process, stream, stream.partial + "\n");
    stream.partial.clear();
    close_fd(stream.fd);
    return;
  }
  stream.partial.append(bytes, static_cast<std::size_t>(got));
  std::size_t begin = 0;
  // '\r' ends a line too: a progress line goes out at once, and the next is written over it.
  for (std::size_t end; (end = stream.partial.find_first_of("\r\n", begin)) != std::string::npos;
       begin = end + 1)
    forward(process, stream, std::string_view(stream.partial).substr(begin, end + 1 - begin));
  stream.partial.erase(0, begin);
  if (stream.partial.size() >= kLineBytesMax) {
    forward(process, stream, stream.partial + "\n");
    stream.partial.clear();
  }
}

/// To the end, or to what is there if a stray still holds the pipe.
void Supervisor::read_available(Process& process, Stream& stream) {
  for (pollfd readable{stream.fd, POLLIN, 0}; stream.fd >= 0 && ::poll(&readable, 1, 0) > 0;)
    read_stream(process, stream);
}

/// `piece`: a line with its end.
void Supervisor::forward(Process& process, Stream& stream, std::string_view piece) {
  write_all(stream.to, fmt::format("[{}] {}", process.label, piece));
  if (process.last_lines.size() == options_.lines_kept)
    process.last_lines.erase(process.last_lines.begin());
  process.last_lines.emplace_back(piece.substr(0, std::min(piece.size() - 1, kKeptBytesMax)));
}

void Supervisor::drain_signals() {
  signalfd_siginfo info;
  const auto now = clock_.now();
  while (::read(signal_fd_, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD || now < echo_until_) continue;
    signal_ = static_cast<int>(info.ssi_signo);
    echo_until_ = deadline_after(now, options_.echo);
  }
  reap();
}

/// One SIGCHLD may stand for many ends.
void Supervisor::reap() {
  for (Index index = 0; index < processes_.size(); ++index) {
    auto& process = *processes_[index];
    int status = 0;
    if (process.status || ::waitpid(process.pid, &status, WNOHANG) != process.pid) continue;
    process.status = status;
    ::kill(-process.pid, SIGKILL);  // what it left in its group
    for (auto& stream : process.streams) read_available(process, stream);
  }
}

/// Kills and reaps the children that are nobody's: adopted from processes that ended.
void Supervisor::kill_strays() {
  const auto path = fmt::format("/proc/self/task/{}/children", ::getpid());
  for (bool found = true; found;) {
    found = false;
    std::ifstream children(path);
    for (pid_t pid; children >> pid;) {
      const bool ours = std::any_of(processes_.begin(), processes_.end(), [&](const auto& process) {
        return process->pid == pid && !process->status;
      });
      if (ours) continue;
      ::kill(pid, SIGKILL);
      found |= ::waitpid(pid, nullptr, 0) == pid;  // its own children come to us now: look again
    }
  }
}

bool Supervisor::running(Index process) const { return !processes_.at(process)->status; }

std::optional<int> Supervisor::exit_code(Index process) const {
  const auto& status = processes_.at(process)->status;
  if (!status) return std::nullopt;
  return WIFEXITED(*status) ? WEXITSTATUS(*status) : 128 + WTERMSIG(*status);
}

std::string Supervisor::how_it_ended(Index process) const {
  const auto& status = processes_.at(process)->status;
  if (!status) return "is running";
  if (WIFEXITED(*status)) return fmt::format("exited with code {}", WEXITSTATUS(*status));
  return fmt::format("was killed by signal {} ({})", WTERMSIG(*status),
                     ::strsignal(WTERMSIG(*status)));
}

const std::vector<std::string>& Supervisor::last_lines(Index process) const {
  return processes_.at(process)->last_lines;
}

const std::string& Supervisor::label(Index process) const { return processes_.at(process)->label; }

int Supervisor::take_signal() { return std::exchange(signal_, 0); }

void Supervisor::send(Index process, int signal) {
  auto& target = *processes_.at(process);
  if (target.status) return;
  ::kill(-target.pid, signal);
}

std::string Supervisor::names_running(Index begin, Index end) const {
  constexpr std::size_t kNamed = 3;
  std::vector<std::string_view> names;
  for (auto index = begin; index < end; ++index)
    if (running(index)) names.push_back(label(index));
  std::string text;
  const auto named = names.size() <= kNamed + 1 ? names.size() : kNamed;
  for (std::size_t i = 0; i < named; ++i)
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == names.size() ? " and " : ", ", names[i]);
  return named == names.size() ? text : fmt::format("{} and {} more", text, names.size() - named);
}

void Supervisor::stop(Index begin, Index end, const Tell& tell) {
  const auto say = [&](const std::string& what) {
    if (tell) tell(what);
  };
  for (auto index = begin; index < end; ++index) {
    // A stopped process would not hear it. Not after it: SIGCONT takes pending SIGSTOPs away, that
    // of a debugger that attaches, too, such as LeakSanitizer's when a process ends.
    send(index, SIGCONT);
    send(index, SIGTERM);
  }
  const auto until = deadline_after(clock_.now(), options_.grace);
  auto tell_at = deadline_after(clock_.now(), kSilenceMax);
  for (bool killed = false; !names_running(begin, end).empty();) {
    turn(killed ? kNever : std::min(until, tell_at));
    const auto names = names_running(begin, end);
    const auto now = clock_.now();
    if (killed || names.empty()) continue;
    if (take_signal() != 0 || now >= until) {
      say(fmt::format("{} did not end{} and will be killed", names,
                      now >= until ? " within " + to_string(options_.grace) : ""));
      for (auto index = begin; index < end; ++index) send(index, SIGKILL);
      killed = true;
    } else if (now >= tell_at) {
      say(fmt::format("waiting for {} to end, {} at most, or until a signal", names,
                      to_string(std::chrono::ceil<std::chrono::seconds>(until - now))));
      tell_at = kNever;
    }
  }
}

void Supervisor::stop_all(const Tell& tell) {
  stop(0, processes_.size(), tell);
  kill_strays();
  for (auto& process : processes_)
    for (auto& stream : process->streams) read_available(*process, stream);
}

}  // namespace shoal::cli
