#include "perf/raw_tool.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "perf/host.h"
#include "perf/workload.h"

namespace shoal::perf {

namespace {

constexpr const char* kHost = "127.0.0.1";
/// How often it is looked whether a server listens, or its client has ended.
constexpr auto kLook = std::chrono::milliseconds(2);
/// Of what a tool says; beyond it something else is wrong.
constexpr std::size_t kOutputMax = 1u << 20;

/// Empty: there is none.
std::string find_program(const std::string& program) {
  if (program.find('/') != std::string::npos)
    return ::access(program.c_str(), X_OK) == 0 ? program : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (auto file = fmt::format("{}/{}", folder, program); ::access(file.c_str(), X_OK) == 0)
      return file;
  return {};
}

/// Free a moment ago, as tools cannot choose themselves. Errors: io.
Result<std::uint16_t> free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  ::inet_pton(AF_INET, kHost, &at.sin_addr);
  socklen_t bytes = sizeof at;
  auto* address = reinterpret_cast<sockaddr*>(&at);
  const bool bound =
      fd >= 0 && ::bind(fd, address, bytes) == 0 && ::getsockname(fd, address, &bytes) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!bound) return Error{Errc::io, "no port for a benchmark to listen at", error};
  return ntohs(at.sin_port);
}

/// Whether somebody listens there, as the kernel tells: a server of these tools takes the first who
/// connects for its client.
bool listens(std::uint16_t port) {
  const auto wanted = fmt::format(":{:04X}", port);
  constexpr std::string_view kListening = "0A";
  for (const auto* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string slot, local, remote, state;
      if (words >> slot >> local >> remote >> state && state == kListening &&
          local.ends_with(wanted))
        return true;
    }
  }
  return false;
}

/// A program's process, which ends with this object.
class Spawned {
 public:
  Spawned(const std::string& file, std::vector<std::string> words, const Tool& tool, int output) {
    // Whatever is made between fork and exec is made before: this process may have threads.
    std::vector<std::string> own;
    for (char** variable = environ; *variable != nullptr; ++variable) own.emplace_back(*variable);
    for (const auto& variable : tool.environment) {
      const auto assignment = fmt::format("{}=", variable.first);
      std::erase_if(own, [&](const auto& one) { return one.starts_with(assignment); });
      own.push_back(assignment + variable.second);
    }
    words.insert(words.begin(), file);
    auto environment = pointers(own);
    auto arguments = pointers(words);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execve(file.c_str(), arguments.data(), environment.data());
    ::_exit(127);
  }
  ~Spawned() {
    if (ended()) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Spawned(const Spawned&) = delete;
  Spawned& operator=(const Spawned&) = delete;

  bool ended() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) != 0) pid_ = -1;
    return pid_ <= 0;
  }
  bool succeeded() const { return pid_ < 0 && WIFEXITED(status_) && WEXITSTATUS(status_) == 0; }

 private:
  static std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> all;
    for (auto& word : words) all.push_back(word.data());
    all.push_back(nullptr);
    return all;
  }
  pid_t pid_ = -1;
  int status_ = -1;
};

/// What a process prints.
class Output {
 public:
  Output() {
    if (::pipe2(ends_, O_CLOEXEC) == 0) ::fcntl(ends_[0], F_SETFL, O_NONBLOCK);
  }
  ~Output() {
    close_writer();
    if (ends_[0] >= 0) ::close(ends_[0]);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  int writer() const { return ends_[1]; }
  void close_writer() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }
  /// Takes what there is; returns after kLook at the latest.
  void read() {
    pollfd ready{ends_[0], POLLIN, 0};
    (void)::poll(&ready, 1, static_cast<int>(kLook.count()));
    char piece[4096];
    for (ssize_t bytes; (bytes = ::read(ends_[0], piece, sizeof piece)) > 0;)
      if (text_.size() < kOutputMax) text_.append(piece, static_cast<std::size_t>(bytes));
  }
  const std::string& text() const { return text_; }
  /// For an error.
  std::string last_line() const {
    const auto end = text_.find_last_not_of(" \n");
    if (end == std::string::npos) return "it says nothing";
    const auto begin = text_.rfind('\n', end) + 1;  // npos + 1 is the beginning
    return text_.substr(begin, std::min<std::size_t>(end + 1 - begin, 200));
  }

 private:
  int ends_[2] = {-1, -1};
  std::string text_;
};

Error late(const Tool& tool, std::string_view what) {
  return {Errc::timed_out,
          fmt::format("{}: {} within {} s", tool.program, what,
                      std::chrono::duration_cast<std::chrono::seconds>(tool.limit).count())};
}

Error failed(const Tool& tool, std::string_view side, const Output& output) {
  return {Errc::io, fmt::format("the {} of {} failed: {}", side, tool.program, output.last_line())};
}

}  // namespace

Result<std::string> run_tool(const Tool& tool, const Clock& clock) {
  const auto file = find_program(tool.program);
  if (file.empty())
    return Error{Errc::unavailable,
                 fmt::format("{} is not installed (Debian: {})", tool.program, tool.package)};
  SHOAL_ASSIGN(const auto port, free_port());
  const auto deadline = deadline_after(clock.now(), tool.limit);
  auto words = tool.arguments;
  words.insert(words.end(), {"-p", std::to_string(port)});
  Output of_server, of_client;
  std::unique_ptr<Spawned> server, client;
  {
    const CoreSeat seat(Seat::answers);
    server = std::make_unique<Spawned>(file, words, tool, of_server.writer());
    of_server.close_writer();
  }
  while (!listens(port)) {
    of_server.read();
    if (server->ended()) return failed(tool, "server", of_server);
    if (clock.now() > deadline) return late(tool, "its server does not listen");
    std::this_thread::sleep_for(kLook);
  }
  words.emplace_back(kHost);
  {
    const CoreSeat seat(Seat::asks);
    client = std::make_unique<Spawned>(file, words, tool, of_client.writer());
    of_client.close_writer();
  }
  for (bool ended = false; !ended;) {
    ended = client->ended();
    of_client.read();
    of_server.read();
    if (clock.now() > deadline) return late(tool, "no end");
  }
  if (!client->succeeded()) return failed(tool, "client", of_client);
  return of_client.text();
}

Result<std::vector<double>> last_numbers(const std::string& text, std::size_t least) {
  std::vector<double> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::replace(line.begin(), line.end(), ',', ' ');
    std::istringstream words(line);
    std::vector<double> numbers;
    bool all = true;
    for (std::string word; all && words >> word;) {
      double number = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
      all = error == std::errc{} && end == word.data() + word.size();
      numbers.push_back(number);
    }
    if (all && numbers.size() >= least && !numbers.empty()) found = std::move(numbers);
  }
  if (found.empty()) return Error{Errc::protocol, "it prints no line of numbers that is known"};
  return found;
}

Result<double> tool_figure(const Tool& tool, std::size_t columns, std::size_t column,
                           const Clock& clock) {
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    SHOAL_ASSIGN(const auto text, run_tool(tool, clock));
    SHOAL_ASSIGN(const auto numbers, last_numbers(text, columns));
    if (std::isfinite(numbers[column]) && numbers[column] > 0) return numbers[column];
  }
  return Error{Errc::protocol, tool.program + " prints no figure that can be: infinite, or 0"};
}

Tool ucx_perftest(const std::string& test, std::size_t bytes, std::uint64_t iterations) {
  Tool tool{.program = "ucx_perftest", .package = "ucx-utils", .arguments = {}, .environment = {}};
  tool.arguments = {"-t", test,
                    "-s", std::to_string(bytes),
                    "-n", std::to_string(iterations),
                    "-w", std::to_string(iterations / 10 + 1),
                    "-f", "-v"};
  return tool;
}

// iterations, median, average, overall of half the way there and back; MiB/s, average and overall
Result<double> ucx_round_trip_us(const Tool& tool, const Clock& clock) {
  SHOAL_ASSIGN(const auto half, tool_figure(tool, 8, 1, clock));
  return 2 * half;
}

Result<double> ucx_bandwidth(const Tool& tool, const Clock& clock) {
  SHOAL_ASSIGN(const auto rate, tool_figure(tool, 8, 5, clock));
  return rate * kBytesPerMiB;
}

}  // namespace shoal::perf
