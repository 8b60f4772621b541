#include "server/cli/run.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "core/base/log.h"
#include "tests/cli/captured.h"
#include "tests/cli/disposition.h"
#include "tests/support/temp_dir.h"

namespace shoal::cli {
namespace {

namespace fs = std::filesystem;

/// Stands for the scheduler: announces an address ($2 is the file) and waits to be ended.
constexpr auto kScheduler = "echo 127.0.0.1:1234 > $2.new; mv $2.new $2; ";

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TMPDIR", directory_.c_str(), 1);
    options_.scheduler = {"sh", "-c", std::string(kScheduler) + kWait, "scheduler"};
    options_.server = {"sh", "-c", kWait};
    options_.supervisor.out = out_.fd();
    options_.supervisor.err = err_.fd();
    options_.supervisor.grace = std::chrono::minutes(2);
  }
  void TearDown() override {
    EXPECT_TRUE(fs::is_empty(directory_)) << "files were left behind";
    ::unsetenv("TMPDIR");
  }
  int run(const std::string& script) {
    options_.command = {"sh", "-c", script};
    return run_local_cluster(options_, clock_);
  }

  const Disposition interrupt_{SIGINT, SIG_DFL}, hangup_{SIGHUP, SIG_DFL};
  SteadyClock clock_;
  TempDir temporary_;
  const fs::path directory_ = temporary_.path();
  Captured out_, err_;
  RunOptions options_;
};

TEST_F(RunTest, WorkersFindTheClusterInTheirEnvironment) {
  set_log_level(LogLevel::info);  // as main() does; tests run in processes of their own, and in one
  options_.servers = 2;
  options_.workers = 3;
  options_.settings = {{"operation-timeout", "5s"}};
  EXPECT_EQ(run("echo $SHOAL_NAME $SHOAL_SCHEDULER $SHOAL_SERVERS $SHOAL_WORKERS "
                "$SHOAL_OPERATION_TIMEOUT;"
                "stat -Lc %a:%s $SHOAL_TOKEN_FILE"),
            0);
  for (const auto* line : {"[worker 0] worker 0 127.0.0.1:1234 2 3 5s\n",
                           "[worker 2] worker 2 127.0.0.1:1234 2 3 5s\n", "[worker 1] 600:65\n"})
    EXPECT_TRUE(out_.has(line)) << out_.text();
  const std::string told =
      "shoal run: watch it with: shoal status --watch --scheduler 127.0.0.1:1234 "
      "--token-file /proc/";
  EXPECT_EQ(err_.text().substr(0, told.size()), told);
  EXPECT_EQ(err_.text().find('\n'), err_.text().size() - 1) << err_.text();
}

TEST_F(RunTest, AFailingWorkerEndsAllWithItsCodeAndLastWords) {
  options_.workers = 2;
  options_.server = {"sh", "-c", std::string("echo server pid $$; ") + kWait};
  EXPECT_EQ(run(std::string("[ \"$SHOAL_NAME\" = 'worker 0' ] && { ") + kWait +
                "; }; echo no more data; exit 42"),
            42);
  EXPECT_TRUE(
      err_.has("shoal run: worker 1 exited with code 42; its last lines:\n"
               "shoal run:     no more data\n"))
      << err_.text();
  EXPECT_FALSE(err_.has("worker 0 was") || err_.has("worker 0 exited"))
      << "what came after is not reported: " << err_.text();
  if (const auto at = out_.text().find("pid "); at != std::string::npos) {
    const int pid = std::stoi(out_.text().substr(at + 4));
    EXPECT_TRUE(::kill(pid, 0) < 0 && errno == ESRCH);
  }
}

TEST_F(RunTest, AServerThatDiesIsAFailure) {
  options_.server = {"sh", "-c", "echo out of luck >&2; kill -9 $$"};
  EXPECT_EQ(run(kWait), 128 + SIGKILL);
  EXPECT_TRUE(err_.has("shoal run: server 0 was killed by signal 9 (Killed)")) << err_.text();
  EXPECT_TRUE(err_.has("shoal run:     out of luck")) << err_.text();
}

TEST_F(RunTest, KeepGoingLetsTheOthersFinish) {
  options_.workers = 2;
  options_.keep_going = true;
  options_.server = {"sh", "-c", "echo $$ > $TMPDIR/pid; exit 9"};
  // A worker ends only when the launcher has seen the server's end.
  const auto* script =
      "while [ ! -e $TMPDIR/pid ] || [ -e /proc/$(cat $TMPDIR/pid) ]; do :; done; echo done";
  EXPECT_EQ(run(script), 9);
  EXPECT_TRUE(out_.has("[worker 0] done")) << out_.text();
  EXPECT_TRUE(out_.has("[worker 1] done")) << out_.text();
  EXPECT_TRUE(err_.has("server 0 exited with code 9")) << err_.text();
  fs::remove(directory_ / "pid");
}

TEST_F(RunTest, AServerThatFailsWhileEndingIsAFailure) {
  options_.server = {"sh", "-c",
                     std::string("trap 'echo leak; exit 23' TERM; touch $TMPDIR/ready; ") + kWait};
  EXPECT_EQ(run("while [ ! -e $TMPDIR/ready ]; do :; done; rm $TMPDIR/ready"), 23);
  EXPECT_TRUE(err_.has("shoal run:     leak")) << err_.text();
}

TEST_F(RunTest, ASignalGoesToTheWorkersAndGivesTheCode) {
  EXPECT_EQ(run(std::string("trap 'echo saved; exit 0' TERM; kill -TERM $PPID; ") + kWait),
            128 + SIGTERM);
  EXPECT_TRUE(out_.has("[worker 0] saved")) << out_.text();
  EXPECT_FALSE(err_.has("exited")) << err_.text();
  EXPECT_TRUE(err_.has("shoal run: SIGTERM came: passed on to worker 0, with 120s to end"))
      << err_.text();
}

TEST_F(RunTest, TheEchoOfASignalLeavesTheWorkersTheirGrace) {
  options_.supervisor.echo = std::chrono::hours(1);
  EXPECT_EQ(run(std::string("trap 'echo saved; exit 0' HUP; kill -HUP $PPID; kill -TERM $PPID; ") +
                kWait),
            128 + SIGHUP);
  EXPECT_TRUE(out_.has("[worker 0] saved")) << out_.text();
  EXPECT_FALSE(err_.has("killed")) << err_.text();
}

TEST_F(RunTest, AHangupThatIsIgnoredEndsNobody) {
  const Disposition ignores(SIGHUP, SIG_IGN);
  EXPECT_EQ(run("kill -HUP $PPID; kill -HUP $$; echo goes on"), 0);
  EXPECT_TRUE(out_.has("[worker 0] goes on")) << out_.text();
  EXPECT_FALSE(err_.has("SIGHUP")) << err_.text();
}

TEST_F(RunTest, ASecondSignalKills) {
  options_.supervisor.echo = Duration::zero();
  EXPECT_EQ(run("trap 'kill -INT $PPID' INT; kill -INT $PPID; while :; do tail -f /dev/null & "
                "wait; done"),
            128 + SIGINT);
}

TEST_F(RunTest, ASchedulerThatFailsIsReported) {
  options_.scheduler = {"sh", "-c", "echo port in use >&2; exit 3"};
  EXPECT_EQ(run("echo never"), 3);
  EXPECT_TRUE(err_.has("the scheduler exited with code 3 before it listened")) << err_.text();
  EXPECT_TRUE(err_.has("[scheduler] port in use")) << err_.text();
  EXPECT_EQ(out_.text(), "");
}

TEST_F(RunTest, ASchedulerThatNeverListensIsGivenUp) {
  options_.scheduler = {"sh", "-c", kWait};
  options_.start_timeout = Duration::zero();
  EXPECT_EQ(run("echo never"), 127);
  EXPECT_TRUE(err_.has("the scheduler did not listen within 0s")) << err_.text();
}

TEST_F(RunTest, AProgramThatIsNotThereIsReported) {
  options_.command = {"/nonexistent/train"};
  EXPECT_EQ(run_local_cluster(options_, clock_), 127);
  EXPECT_TRUE(err_.has("cannot start worker 0: /nonexistent/train")) << err_.text();
}

}  // namespace
}  // namespace shoal::cli
