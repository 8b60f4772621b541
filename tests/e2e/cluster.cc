#include "tests/e2e/cluster.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>

#include "core/base/assert.h"

namespace shoal::e2e {

double Reply::number(const std::string& name) const {
  const auto at = text.find(" " + name + "=");
  if (at == std::string::npos) {
    ADD_FAILURE() << "no " << name << " in: " << text;
    return -1;
  }
  return std::strtod(text.c_str() + at + name.size() + 2, nullptr);
}

void PrintTo(const Reply& reply, std::ostream* out) { *out << reply.text; }

testing::AssertionResult succeeded(const Reply& reply) {
  if (reply.ok) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "the answer is: " << reply.text;
}

testing::AssertionResult failed(const Reply& reply, std::string_view code, std::string_view what) {
  if (!reply.ok && reply.code == code && reply.says(what)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "expected error " << code << " that says '" << what
                                     << "', the answer is: " << reply.text;
}

Reply TestWorker::call(const std::string& command, std::chrono::nanoseconds patience) {
  send(command);
  return reply(patience);
}

Reply TestWorker::reply(std::chrono::nanoseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto left = end - std::chrono::steady_clock::now();
    const auto line = read_line(std::max<std::chrono::nanoseconds>(left, {}));
    if (!line) return {false, "silent", name() + " gave no answer"};
    if (line->starts_with("round ")) continue;
    if (line->starts_with("ok")) return {true, "ok", *line};
    const auto code = line->substr(line->find(' ') + 1);
    return {false, code.substr(0, code.find(' ')), *line};
  }
}

void EndToEnd::TearDown() {
  for (auto& worker : workers_) worker->kill();
  if (!HasFailure()) return;
  for (const auto& former : former_) std::cout << former->log();
  if (scheduler_) std::cout << scheduler_->log();
  for (const auto& server : servers_) std::cout << server->log();
  for (const auto& worker : workers_) std::cout << worker->log();
  for (const auto& other : others_) std::cout << other->log();
}

std::string EndToEnd::write_file(const std::string& name, const std::string& text, mode_t mode) {
  const auto path = directory() / name;
  std::ofstream(path) << text;
  SHOAL_ASSERT(::chmod(path.c_str(), mode) == 0, "chmod");
  return path;
}

Process::Environment EndToEnd::environment(const Process::Environment& settings) const {
  Process::Environment all{
      {"SHOAL_SCHEDULER", scheduler_address_},
      {"SHOAL_TOKEN_FILE", directory() / "token"},
      {"SHOAL_SERVERS", std::to_string(shape_.servers)},
      {"SHOAL_WORKERS", std::to_string(shape_.workers)},
      {"SHOAL_JOIN_TIMEOUT", "20s"},
      {"SHOAL_OPERATION_TIMEOUT", "20s"},
      // On a crowded machine an honest process is silent for seconds: only tests that wait for the
      // end of a lease have short ones.
      {"SHOAL_SERVER_LEASE", "1min"},
      {"SHOAL_WORKER_LEASE", "1min"},
      {"SHOAL_SERVER_BEAT", "100ms"},
      {"SHOAL_WORKER_BEAT", "100ms"},
  };
  for (const auto& [name, value] : shape_.settings) all[name] = value;
  for (const auto& [name, value] : settings) all[name] = value;
  return all;
}

/// The address that a process writes into `file` when it listens.
std::string EndToEnd::announced(Process& process, const std::filesystem::path& file) {
  const int watch = ::inotify_init1(IN_CLOEXEC);
  SHOAL_ASSERT(watch >= 0, "inotify_init1");
  ::inotify_add_watch(watch, file.parent_path().c_str(), IN_CLOSE_WRITE | IN_MOVED_TO);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  std::string address;
  while (address.empty()) {
    std::ifstream in(file);
    if (std::getline(in, address)) break;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd readable{watch, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) break;
    std::array<char, 4096> events;
    if (::read(watch, events.data(), events.size()) <= 0) break;
  }
  ::close(watch);
  EXPECT_FALSE(address.empty()) << process.name() << " never announced its address";
  return address;
}

void EndToEnd::start_cluster(const Shape& shape) {
  shape_ = shape;
  write_file("token", token_ + "\n", 0600);
  restart_scheduler();
  for (int i = 0; i < shape.servers; ++i) start_server();
  for (int i = 0; i < shape.workers; ++i) start_worker().send("connect");
  for (auto& worker : workers_) ASSERT_OK(worker->reply());
  // The scheduler gives ranks in the order in which workers came; tests count in that of ranks.
  std::vector<std::unique_ptr<TestWorker>> ordered(workers_.size());
  for (auto& worker : workers_) {
    const auto rank = static_cast<std::size_t>(worker->call("clock").number("rank"));
    ASSERT_LT(rank, ordered.size());
    ordered[rank] = std::move(worker);
  }
  workers_ = std::move(ordered);
}

void EndToEnd::restart_scheduler() {
  if (scheduler_) former_.push_back(std::move(scheduler_));
  const auto file = directory() / "scheduler.address";
  std::filesystem::remove(file);
  std::vector<std::string> argv{SHOAL_BINARY,       "scheduler",  "--listen",
                                scheduler_address_, "--announce", file};
  if (shape_.state) argv.insert(argv.end(), {"--state-dir", directory() / "state"});
  auto settings = environment({});
  settings.erase("SHOAL_SCHEDULER");
  scheduler_ = std::make_unique<Process>("scheduler", argv, settings);
  scheduler_address_ = announced(*scheduler_, file);
}

Process& EndToEnd::start_server(std::vector<std::string> command) {
  if (command.empty()) command = {SHOAL_BINARY, "server"};
  command.insert(command.end(), {"--listen", "127.0.0.1:0"});
  servers_.push_back(std::make_unique<Process>("server" + std::to_string(servers_.size()),
                                               std::move(command), environment({})));
  return *servers_.back();
}

std::string EndToEnd::server_address(std::size_t i) {
  const auto address = server(i).logged_after("listening at ");
  EXPECT_TRUE(address) << "server " << i << " never told its address";
  return address.value_or("127.0.0.1:1");
}

TestWorker& EndToEnd::start_worker(const Process::Environment& settings) {
  workers_.push_back(std::make_unique<TestWorker>("worker" + std::to_string(workers_.size()),
                                                  std::vector<std::string>{SHOAL_TEST_WORKER},
                                                  environment(settings)));
  return *workers_.back();
}

TestWorker& EndToEnd::start_worker_connected(const Process::Environment& settings,
                                             const std::string& role) {
  auto& worker = start_worker(settings);
  EXPECT_OK(worker.call("connect " + role));
  return worker;
}

Process& EndToEnd::start_shoal(const std::vector<std::string>& arguments,
                               const Process::Environment& settings) {
  std::vector<std::string> argv{SHOAL_BINARY};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  auto all = environment(settings);
  std::erase_if(all, [](const auto& entry) { return entry.second.empty(); });
  others_.push_back(std::make_unique<Process>("shoal " + arguments.front(), argv, all));
  return *others_.back();
}

bool EndToEnd::only_over(std::string_view transport) {
  const char* transports = std::getenv("SHOAL_TRANSPORTS");
  return transports != nullptr && transports == transport;
}

void EndToEnd::all(const std::string& command) {
  for (auto& worker : workers_) worker->send(command);
  for (auto& worker : workers_) EXPECT_OK(worker->reply()) << worker->name() << ": " << command;
}

}  // namespace shoal::e2e
