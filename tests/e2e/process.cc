#include "tests/e2e/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "core/base/assert.h"

namespace shoal::e2e {

namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

SteadyTime after(std::chrono::nanoseconds patience) {
  return std::chrono::steady_clock::now() + patience;
}

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  SHOAL_ASSERT(::pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
  return ends;
}

std::vector<std::string> environment_of(const Process::Environment& extra) {
  std::vector<std::string> entries;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string entry = *at;
    const auto name = entry.substr(0, entry.find('='));
    const bool ours = name.starts_with("SHOAL_") && name != "SHOAL_TRANSPORTS";
    if (!ours && !extra.contains(name)) entries.push_back(entry);
  }
  for (const auto& [name, value] : extra) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& string : strings) out.push_back(string.data());
  out.push_back(nullptr);
  return out;
}

/// Whether the process has ended, or does so before `end`: a pidfd turns that into something that
/// poll(2) can wait for with a deadline.
bool has_ended(pid_t pid, SteadyTime end) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return true;
  pollfd ended{fd, POLLIN, 0};
  int count = 0;
  do {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    count = ::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
  } while (count < 0 && errno == EINTR);
  ::close(fd);
  return count == 1;
}

}  // namespace

Process::Process(std::string name, std::vector<std::string> argv, const Environment& environment)
    : name_(std::move(name)) {
  auto entries = environment_of(environment);
  const auto envp = pointers(entries);
  const auto args = pointers(argv);
  std::array<int, 2> in{};  // a socket: a write to one whose reader is gone raises no SIGPIPE
  SHOAL_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in.data()) == 0, "socketpair");
  const auto out = make_pipe(), err = make_pipe();
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  SHOAL_ASSERT(pid_ >= 0, "fork");
  if (pid_ == 0) {  // only async-signal-safe calls from here: the test has threads
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    // A runner in the background may ignore some: what is ignored stays so, and no trap hears it.
    for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGTERM}) ::signal(number, SIG_DFL);
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    ::execve(args[0], args.data(), envp.data());
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  in_ = in[1];
  reader_ = std::thread([this, out = out[0], err = err[0]] { read_all(out, err); });
}

Process::~Process() {
  kill();
  ::close(in_);
  // Children of its own may hold the pipes open; the reader ends when they are gone.
  reader_.join();
}

void Process::read_all(int out, int err) {
  std::array<pollfd, 2> fds{{{out, POLLIN, 0}, {err, POLLIN, 0}}};
  std::array<char, 4096> bytes;
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) break;
    for (std::size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      const auto count = ::read(fds[i].fd, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      const std::lock_guard lock(mutex_);
      if (count <= 0) {
        ::close(fds[i].fd);
        fds[i].fd = -1;
        continue;
      }
      const std::string_view text(bytes.data(), static_cast<std::size_t>(count));
      all_ += text;
      if (i == 1) errors_ += text;
      if (i == 0) {
        partial_ += text;
        for (std::size_t end; (end = partial_.find('\n')) != std::string::npos;) {
          lines_.push_back(partial_.substr(0, end));
          partial_.erase(0, end + 1);
        }
      }
      changed_.notify_all();
    }
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void Process::send(const std::string& line) {
  const std::string text = line + "\n";
  // A process that has died is found by the answer that does not come.
  for (std::size_t at = 0; at < text.size();) {
    const auto count = ::send(in_, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    at += static_cast<std::size_t>(count);
  }
}

std::optional<std::string> Process::read_line(std::chrono::nanoseconds patience) {
  std::unique_lock lock(mutex_);
  const auto there = [&] { return next_line_ < lines_.size() || ended_; };
  if (!changed_.wait_until(lock, after(patience), there) || next_line_ == lines_.size())
    return std::nullopt;
  return lines_[next_line_++];
}

std::optional<std::string> Process::read_until(const std::string& text,
                                               std::chrono::nanoseconds patience) {
  const auto end = after(patience);
  for (;;) {
    const auto left = end - std::chrono::steady_clock::now();
    auto line = read_line(std::max<std::chrono::nanoseconds>(left, std::chrono::nanoseconds(0)));
    if (!line || line->find(text) != std::string::npos) return line;
  }
}

bool Process::logged(const std::string& text, std::chrono::nanoseconds patience) {
  std::unique_lock lock(mutex_);
  const auto there = [&] { return errors_.find(text) != std::string::npos; };
  changed_.wait_until(lock, after(patience), [&] { return there() || ended_; });
  return there();
}

std::optional<std::string> Process::logged_after(const std::string& text,
                                                 std::chrono::nanoseconds patience) {
  std::unique_lock lock(mutex_);
  std::size_t begin = 0, end = std::string::npos;
  const auto there = [&] {
    begin = errors_.find(text);
    end = begin == std::string::npos ? begin : errors_.find('\n', begin);
    return end != std::string::npos;
  };
  changed_.wait_until(lock, after(patience), [&] { return there() || ended_; });
  if (!there()) return std::nullopt;
  begin += text.size();
  return errors_.substr(begin, end - begin);
}

std::string Process::log() {
  const std::lock_guard lock(mutex_);
  return "--- " + name_ + "\n" + all_;
}

void Process::signal(int number) {
  if (!status_) ::kill(pid_, number);
}

void Process::stop() {
  signal(SIGSTOP);
  SHOAL_ASSERT(wait_stopped(), "the process ended instead of stopping");
}

bool Process::wait_stopped(std::chrono::nanoseconds patience) {
  const auto end = after(patience);
  do {
    siginfo_t what{};
    const int rc = ::waitid(P_PID, static_cast<id_t>(pid_), &what, WSTOPPED | WNOHANG);
    if (rc == 0 && what.si_pid == pid_) return true;
    // Nothing but its end can be waited for with a deadline.
  } while (!has_ended(pid_, std::min(end, after(std::chrono::milliseconds(5)))) &&
           std::chrono::steady_clock::now() < end);
  return false;
}

void Process::go_on() { signal(SIGCONT); }

void Process::kill() {
  signal(SIGKILL);
  wait_exit();
}

std::optional<int> Process::wait_exit(std::chrono::nanoseconds patience) {
  if (status_) return status_;
  if (!has_ended(pid_, after(patience))) return std::nullopt;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

std::vector<std::string> processes_with(const std::string& mark) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const auto name = entry.path().filename().string();
    if (std::isdigit(static_cast<unsigned char>(name.front())) == 0) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string environment{std::istreambuf_iterator<char>(file), {}};
    if (environment.find(mark) == std::string::npos) continue;
    std::ifstream command(entry.path() / "comm");
    std::string what;
    std::getline(command, what);
    found.push_back(name + " " + what);
  }
  return found;
}

bool wait_until_gone(const std::string& mark, std::chrono::nanoseconds patience) {
  const auto end = after(patience);
  for (;;) {
    const auto found = processes_with(mark);
    if (found.empty()) return true;
    if (!has_ended(std::stoi(found.front()), end)) return false;
  }
}

std::string command_line(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/cmdline", std::ios::binary);
  std::string words{std::istreambuf_iterator<char>(file), {}};
  std::replace(words.begin(), words.end(), '\0', ' ');
  return words;
}

}  // namespace shoal::e2e
