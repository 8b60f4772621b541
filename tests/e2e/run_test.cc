// `shoal run`: a whole cluster around a program, and nothing of it left behind.

#include <gtest/gtest.h>

#include <csignal>
#include <iterator>
#include <sstream>

#include "tests/e2e/cluster.h"
#include "tests/support/temp_dir.h"

namespace shoal::e2e {
namespace {

class Run : public EndToEnd {
 protected:
  /// `shoal run` of a shell command. All its processes carry a mark in their environment.
  Process& run(const std::vector<std::string>& options, const std::string& script) {
    mark_ = "E2E_MARK=" + directory().string();
    std::vector<std::string> arguments{"run"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"--", "/bin/sh", "-c", script});
    return start_shoal(arguments, {{"E2E_MARK", directory().string()},
                                   {"TEST_WORKER", SHOAL_TEST_WORKER},
                                   {"TMPDIR", temporary_.path().string()},
                                   {"SHOAL_SCHEDULER", ""},
                                   {"SHOAL_TOKEN_FILE", ""},
                                   {"SHOAL_SERVERS", ""},
                                   {"SHOAL_WORKERS", ""}});
  }
  /// Neither a process nor a file. For an orderly end at once; after kill -9, when it has been
  /// seen.
  void expect_nothing_left() {
    EXPECT_EQ(processes_with(mark_), std::vector<std::string>());
    // ThreadSanitizer's runtime leaves a file of its own where a process is killed as it starts.
    for (const auto& entry : std::filesystem::recursive_directory_iterator(temporary_.path()))
      if (!entry.path().filename().string().starts_with("tsan.rodata."))
        ADD_FAILURE() << "left behind: " << entry.path();
  }
  std::string mark_;
  TempDir temporary_;
};

TEST_F(Run, TrainsAndLeavesNothing) {
  auto& process = run({"--servers", "2", "--workers", "2"},
                      "printf 'connect\\nopen t rows=100 rule=add\\ntrain t 5 rows=0:100\\n"
                      "barrier\\nleave\\nquit\\n' | $TEST_WORKER");
  EXPECT_EQ(process.wait_exit(), 0);
  const auto log = process.log();
  for (const auto* label : {"[worker 0] ok clock=5", "[worker 1] ok clock=5"})
    EXPECT_NE(log.find(label), std::string::npos) << label << "\n" << log;
  expect_nothing_left();
}

TEST_F(Run, FirstFailureIsReportedWithItsLastWordsAndEndsAll) {
  // Worker 1 fails while worker 0, and a child of its own, would go on for ever.
  auto& process =
      run({"--servers", "1", "--workers", "2"},
          "if [ \"$SHOAL_NAME\" = 'worker 1' ]; then echo 'last words' >&2; exit 3; fi; "
          "tail -f /dev/null & exec tail -f /dev/null");
  EXPECT_EQ(process.wait_exit(), 3);
  EXPECT_TRUE(process.logged("worker 1 exited with code 3")) << process.log();
  EXPECT_TRUE(process.logged("    last words")) << process.log();
  expect_nothing_left();
}

TEST_F(Run, AWorkerThatDiesHoldsNobodyBackForItsLease) {
  // Both have opened the table when worker 1 kills all of itself; worker 0 has rounds to do then.
  auto& process =
      run({"--workers", "2", "--keep-going", "--worker-lease", "1h", "--operation-timeout", "1h"},
          "both() { printf 'connect\\nopen t rows=10 rule=add\\nbarrier\\n'; }\n"
          "if [ \"$SHOAL_NAME\" = 'worker 1' ]; then\n"
          "  { both; exec tail -f /dev/null; } | $TEST_WORKER |\n"
          "    while read -r line; do n=$((n + 1)); [ $n -lt 3 ] || kill -9 0; done\n"
          "else\n"
          "  { both; printf 'train t 5 rows=0:10\\nleave\\nquit\\n'; } | $TEST_WORKER\n"
          "fi");
  EXPECT_EQ(process.wait_exit(), 128 + SIGKILL) << process.log();
  EXPECT_TRUE(process.read_until("[worker 0] ok clock=5")) << process.log();
  EXPECT_TRUE(process.logged("worker 1's process has ended")) << process.log();
  expect_nothing_left();
}

TEST_F(Run, InterruptIsPassedOnAndEndsAll) {
  auto& process = run({"--servers", "1", "--workers", "2"},
                      "trap 'echo interrupted; exit 0' INT; echo up; tail -f /dev/null & wait");
  ASSERT_TRUE(process.read_until("up"));
  ASSERT_TRUE(process.read_until("up"));
  process.signal(SIGINT);
  EXPECT_TRUE(process.read_until("interrupted"));
  EXPECT_TRUE(process.read_until("interrupted"));
  EXPECT_EQ(process.wait_exit(), 128 + SIGINT);
  expect_nothing_left();
}

TEST_F(Run, SecondInterruptKillsThoseWhoDoNotListen) {
  // The worker answers with interrupts until one of them counts as a second, and kills it.
  auto& process =
      run({"--grace", "1h"},
          "trap 'while kill -INT $PPID; do :; done' INT; echo up; while :; do tail -f /dev/null & "
          "wait; done");
  ASSERT_TRUE(process.read_until("up"));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait_exit(), 128 + SIGINT);
  EXPECT_TRUE(process.logged("worker 0 did not end and will be killed")) << process.log();
  expect_nothing_left();
}

TEST_F(Run, TheCommandThatItPrintsWatchesIt) {
  auto& process = run({"--servers", "2"}, "printf 'connect\n' | $TEST_WORKER; tail -f /dev/null");
  ASSERT_TRUE(process.read_until("ok"));
  const auto told = process.logged_after("watch it with: shoal ");
  ASSERT_TRUE(told);
  std::istringstream words(*told);
  std::vector<std::string> arguments{std::istream_iterator<std::string>(words), {}};
  ASSERT_EQ(std::erase(arguments, "--watch"), 1u);
  auto& status = start_shoal(arguments, {{"SHOAL_SCHEDULER", ""}, {"SHOAL_TOKEN_FILE", ""}});
  EXPECT_EQ(status.wait_exit(), 0) << status.log();
  EXPECT_TRUE(status.read_until("server 1")) << status.log();
}

TEST_F(Run, ServerThatIsKilledIsReported) {
  auto& process = run({"--servers", "1", "--workers", "1"}, "echo up; exec tail -f /dev/null");
  ASSERT_TRUE(process.read_until("up"));
  // The server is the only process of the cluster called with this word.
  pid_t server = 0;
  for (const auto& entry : processes_with(mark_)) {
    const auto pid = entry.substr(0, entry.find(' '));
    if (command_line(pid).find("server") != std::string::npos) server = std::stoi(pid);
  }
  ASSERT_NE(server, 0);
  ::kill(server, SIGKILL);
  EXPECT_EQ(process.wait_exit(), 128 + SIGKILL);
  EXPECT_TRUE(process.logged("server 0 was killed by signal 9")) << process.log();
  expect_nothing_left();
}

TEST_F(Run, KilledItselfItTakesItsProcessesAlong) {
  auto& process = run({"--servers", "1", "--workers", "1"},
                      "echo 'connect\nclock' | $TEST_WORKER; exec tail -f /dev/null");
  ASSERT_TRUE(process.read_until("ok clock="));
  process.kill();
  EXPECT_TRUE(wait_until_gone(mark_));
}

TEST_F(Run, ProgramThatIsNotThereIsNamed) {
  auto& process = start_shoal({"run", "--", "/no/such/program"},
                              {{"SHOAL_SCHEDULER", ""}, {"SHOAL_TOKEN_FILE", ""}});
  EXPECT_EQ(process.wait_exit(), 127);
  EXPECT_TRUE(process.logged("/no/such/program")) << process.log();
}

TEST_F(Run, MisspeltOptionNamesTheNearest) {
  auto& process = start_shoal({"run", "--wrokers", "2", "--", "true"},
                              {{"SHOAL_SCHEDULER", ""}, {"SHOAL_TOKEN_FILE", ""}});
  EXPECT_EQ(process.wait_exit(), 2);
  EXPECT_TRUE(process.logged("--workers")) << process.log();
}

}  // namespace
}  // namespace shoal::e2e
