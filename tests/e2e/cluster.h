#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/e2e/process.h"
#include "tests/support/temp_dir.h"

namespace shoal::e2e {

/// The answer of a test worker to one command.
struct Reply {
  bool ok = false;
  std::string code;  ///< of an error: name_of(Errc); "silent" if no answer came
  std::string text;  ///< the whole line

  /// The number after "name=" in the line; fails the test if there is none.
  double number(const std::string& name) const;
  /// Whether the error says this.
  bool says(std::string_view what) const { return text.find(what) != std::string::npos; }
};
void PrintTo(const Reply& reply, std::ostream* out);
testing::AssertionResult succeeded(const Reply& reply);
/// It failed with this code, and the message says `what`.
testing::AssertionResult failed(const Reply& reply, std::string_view code,
                                std::string_view what = {});
#define EXPECT_OK(reply) EXPECT_TRUE(::shoal::e2e::succeeded(reply))
#define ASSERT_OK(reply) ASSERT_TRUE(::shoal::e2e::succeeded(reply))
#define EXPECT_FAILED(reply, ...) EXPECT_TRUE(::shoal::e2e::failed(reply, __VA_ARGS__))

/// tests/e2e/program/test_worker.cc in a process of its own.
class TestWorker : public Process {
 public:
  using Process::Process;
  /// A command and its answer.
  Reply call(const std::string& command, std::chrono::nanoseconds patience = kPatience);
  /// The answer to what was sent with send(). Skips the lines of rounds.
  Reply reply(std::chrono::nanoseconds patience = kPatience);
};

/// A fixture with a cluster of real processes over TCP on the loopback interface. On failure it
/// prints what each process wrote.
class EndToEnd : public testing::Test {
 protected:
  struct Shape {
    int servers = 1;
    int workers = 1;
    Process::Environment settings = {};  ///< SHOAL_ variables of every process, over ours
    bool state = false;                  ///< the scheduler keeps a state directory
    /// The servers' command, without --listen. Empty: `shoal server`.
    std::vector<std::string> server = {};
  };

  void TearDown() override;

  /// Scheduler and servers up, workers connected as `worker(0)` ... in order of rank.
  void start_cluster(const Shape& shape);
  void start_cluster() { start_cluster(Shape{}); }

  /// Once more at the same address, with the same state directory, after it was killed.
  void restart_scheduler();
  Process& start_server() { return start_server(shape_.server); }
  Process& start_server(std::vector<std::string> command);
  /// A worker that has not connected yet.
  TestWorker& start_worker(const Process::Environment& settings = {});
  TestWorker& start_worker_connected(const Process::Environment& settings = {},
                                     const std::string& role = {});
  /// Any other run of the program `shoal`.
  Process& start_shoal(const std::vector<std::string>& arguments,
                       const Process::Environment& settings = {});

  Process& scheduler() { return *scheduler_; }
  Process& server(std::size_t i) { return *servers_.at(i); }
  TestWorker& worker(std::size_t i) { return *workers_.at(i); }
  const std::string& scheduler_address() const { return scheduler_address_; }
  /// As the server logs it once it has joined.
  std::string server_address(std::size_t i);
  const std::string& token() const { return token_; }
  const std::filesystem::path& directory() const { return directory_.path(); }
  std::string write_file(const std::string& name, const std::string& text, mode_t mode);

  /// Whether the processes are to move rows over this transport and no other (SHOAL_TRANSPORTS), as
  /// in tests/soft_roce: what only it can do must then be done.
  static bool only_over(std::string_view transport);

  /// Each does the command at the same time; all must succeed.
  void all(const std::string& command);

 private:
  std::string announced(Process& process, const std::filesystem::path& file);
  Process::Environment environment(const Process::Environment& settings) const;

  TempDir directory_;
  Shape shape_;
  std::string token_ = "the e2e tests' token";
  std::string scheduler_address_ = "127.0.0.1:0";
  std::unique_ptr<Process> scheduler_;
  std::vector<std::unique_ptr<Process>> former_;  ///< killed schedulers, for their logs
  std::vector<std::unique_ptr<Process>> servers_;
  std::vector<std::unique_ptr<TestWorker>> workers_;
  std::vector<std::unique_ptr<Process>> others_;
};

}  // namespace shoal::e2e
