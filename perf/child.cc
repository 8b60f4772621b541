#include "perf/child.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace shoal::perf {

namespace {

/// What a text begins with: the body's own words, or the error that it ended with and its code.
constexpr char kSaid = '=';
constexpr char kFailed = '!';

ssize_t send_text(int fd, char mark, std::string_view text) {
  std::string whole(1, mark);
  whole += text;
  ssize_t sent = 0;
  do sent = ::send(fd, whole.data(), whole.size(), MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent;
}

/// Reads one text with its mark; empty: the end.
std::string receive_text(int fd) {
  std::string text(Channel::kTextMax + 1, '\0');
  ssize_t got = 0;
  do got = ::recv(fd, text.data(), text.size(), 0);
  while (got < 0 && errno == EINTR);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

[[noreturn]] void run_child(pid_t parent, const std::string& name, Channel channel, int fd,
                            const Child::Body& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, name.c_str());     // for top and profilers
  if (::getppid() != parent) ::_exit(1);  // it died before the line above
  const auto status = body(channel);
  if (!status.ok()) {
    const auto& error = status.error();
    send_text(fd, kFailed,
              fmt::format("{} {} {}", static_cast<int>(error.code), error.native, error.what)
                  .substr(0, Channel::kTextMax));
  }
  // Not exit(): the parent's buffers and handlers are the parent's to flush and run.
  ::_exit(status.ok() ? 0 : 1);
}

Error parse_failure(std::string_view text) {
  int code = 0, native = 0, begin = 0;
  std::sscanf(std::string(text).c_str(), "%d %d %n", &code, &native, &begin);
  return {static_cast<Errc>(code), std::string(text.substr(static_cast<std::size_t>(begin))),
          native};
}

}  // namespace

Status Channel::send(std::string_view text) {
  if (text.size() > kTextMax)
    return Error{
        Errc::invalid_argument,
        fmt::format("a text of {} bytes between processes, of at most {}", text.size(), kTextMax)};
  if (send_text(fd_, kSaid, text) >= 0) return {};
  return Error{errno == EPIPE || errno == ECONNRESET ? Errc::peer_lost : Errc::io,
               "cannot tell the other process", errno};
}

Result<std::string> Channel::receive() {
  const auto text = receive_text(fd_);
  if (text.empty()) return Error{Errc::peer_lost, "the other process has ended"};
  if (text[0] == kFailed) return parse_failure(std::string_view(text).substr(1));
  return text.substr(1);
}

void Channel::wait_for_end() {
  while (!receive_text(fd_).empty()) {
  }
}

void Channel::end_sending() { ::shutdown(fd_, SHUT_WR); }

void Channel::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Child> Child::start(std::string name, const Body& body) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return Error{Errc::io, "cannot make a channel to a child process", errno};
  const auto parent = ::getpid();
  const auto pid = ::fork();
  if (pid < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    return Error{Errc::io, fmt::format("cannot start the process of the {}", name), error};
  }
  if (pid == 0) {
    ::close(ends[0]);
    run_child(parent, name, Channel(ends[1]), ends[1], body);
  }
  ::close(ends[1]);
  return Child(std::move(name), pid, Channel(ends[0]));
}

Child::Child(Child&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      channel_(std::move(other.channel_)) {}

Child::~Child() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Error Child::named(const Error& error) const {
  return {error.code, fmt::format("the {}: {}", name_, error.what), error.native};
}

Result<std::string> Child::receive() {
  auto text = channel_.receive();
  if (!text.ok()) return named(text.error());
  return text;
}

Status Child::finish() {
  // Half closed: the child sees the end, and its last words still come.
  channel_.end_sending();
  Status status;
  for (;;) {
    const auto text = channel_.receive();
    if (text.ok()) continue;
    if (text.code() != Errc::peer_lost) status = named(text.error());
    break;
  }
  int how = 0;
  while (::waitpid(pid_, &how, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (status.ok() && !(WIFEXITED(how) && WEXITSTATUS(how) == 0))
    status = Error{Errc::peer_lost,
                   WIFSIGNALED(how)
                       ? fmt::format("the {} was killed by signal {}", name_, WTERMSIG(how))
                       : fmt::format("the {} exited with code {}", name_, WEXITSTATUS(how))};
  return status;
}

}  // namespace shoal::perf
