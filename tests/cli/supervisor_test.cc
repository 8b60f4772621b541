#include "server/cli/supervisor.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "tests/cli/captured.h"
#include "tests/cli/disposition.h"

namespace shoal::cli {
namespace {

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Supervisor::create({out_.fd(), err_.fd(), 3, std::chrono::seconds(60)}, clock_);
    ASSERT_TRUE(made.ok()) << made.error().message();
    processes_ = std::move(*made);
  }
  Supervisor::Index shell(const std::string& label, const std::string& script) {
    auto started = processes_->start({label, {"sh", "-c", script}, {{"SHOAL_GIVEN", "given"}}});
    EXPECT_TRUE(started.ok()) << started.error().message();
    return *started;
  }
  void run_until_ended(Supervisor::Index process) {
    while (processes_->running(process)) processes_->turn(kNever);
  }
  void run_until_said(const std::string& text) {
    while (!out_.has(text)) processes_->turn(kNever);
  }

  const Disposition interrupt_{SIGINT, SIG_DFL}, hangup_{SIGHUP, SIG_DFL};
  SteadyClock clock_;
  Captured out_, err_;
  std::unique_ptr<Supervisor> processes_;
};

TEST_F(SupervisorTest, LinesCarryTheirProcessAndKeepTheirStream) {
  const auto a = shell("server 0", "echo one; echo two >&2; printf 'no end'");
  const auto b = shell("worker 1", "printf '10%%\\r20%%\\r'; echo $SHOAL_GIVEN");
  run_until_ended(a);
  run_until_ended(b);
  for (const auto* line : {"[server 0] one\n", "[server 0] no end\n",
                           "[worker 1] 10%\r[worker 1] 20%\r", "[worker 1] given\n"})
    EXPECT_TRUE(out_.has(line)) << line << " is not in " << out_.text();
  EXPECT_EQ(err_.text(), "[server 0] two\n");
  EXPECT_EQ(processes_->exit_code(a), 0);
}

TEST_F(SupervisorTest, LinesForOnePlaceKeepTheirOrder) {
  processes_.reset();
  processes_ = Supervisor::create({out_.fd(), out_.fd()}, clock_).value();
  std::string script, lines;
  for (int i = 0; i < 20; ++i) {
    script += "echo out; echo err >&2;";
    lines += "[p] out\n[p] err\n";
  }
  run_until_ended(shell("p", script));
  EXPECT_EQ(out_.text(), lines);
}

TEST_F(SupervisorTest, ALineWithoutEndIsCutAndNotKeptWhole) {
  const auto process = shell("p", "head -c 200000 /dev/zero | tr '\\0' x");
  run_until_ended(process);
  const auto text = out_.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), 'x'), 200'000);
  EXPECT_GE(std::count(text.begin(), text.end(), '\n'), 2);
  for (const auto& line : processes_->last_lines(process)) EXPECT_LE(line.size(), 1024u);
}

TEST_F(SupervisorTest, AFailureIsRememberedWithItsLastLines) {
  const auto fine = shell("fine", "exit 0");
  run_until_ended(fine);
  const auto failed = shell("failed", "for i in 1 2 3 4 5; do echo line $i; done; exit 7");
  run_until_ended(failed);
  const auto later = shell("later", "kill -9 $$");
  run_until_ended(later);
  EXPECT_EQ(processes_->exit_code(failed), 7);
  EXPECT_EQ(processes_->how_it_ended(failed), "exited with code 7");
  EXPECT_EQ(processes_->last_lines(failed),
            (std::vector<std::string>{"line 3", "line 4", "line 5"}));
  EXPECT_EQ(processes_->exit_code(later), 128 + SIGKILL);
  EXPECT_EQ(processes_->how_it_ended(later), "was killed by signal 9 (Killed)");
}

TEST_F(SupervisorTest, AProgramThatIsNotThereIsAnError) {
  const auto started = processes_->start({"worker 0", {"/nonexistent/train"}, {}});
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().native, ENOENT);
  EXPECT_NE(started.error().what.find("/nonexistent/train"), std::string::npos);
}

TEST_F(SupervisorTest, SignalsComeToTheSupervisorAndGoWhereItSends) {
  const auto process =
      shell("w", std::string("trap 'echo heard; exit 5' INT; kill -INT $PPID; ") + kWait);
  int signal = 0;
  while (signal == 0) {
    processes_->turn(kNever);
    signal = processes_->take_signal();
  }
  EXPECT_EQ(signal, SIGINT);
  EXPECT_EQ(processes_->take_signal(), 0);
  processes_->send(process, SIGINT);
  run_until_ended(process);
  EXPECT_EQ(out_.text(), "[w] heard\n");
  EXPECT_EQ(processes_->exit_code(process), 5);
}

TEST_F(SupervisorTest, ASignalRightAfterAnotherIsItsEcho) {
  processes_.reset();
  const auto heard = [&](Duration echo) {
    processes_ =
        Supervisor::create({.out = out_.fd(), .err = err_.fd(), .echo = echo}, clock_).value();
    const auto process = shell("p", "kill -HUP $PPID; kill -TERM $PPID");
    std::vector<int> signals;
    const auto take = [&] {
      if (const int signal = processes_->take_signal(); signal != 0) signals.push_back(signal);
    };
    for (; processes_->running(process); take()) processes_->turn(kNever);
    take();
    processes_.reset();
    return signals;
  };
  EXPECT_EQ(heard(std::chrono::hours(1)), std::vector<int>{SIGHUP});
  const auto both = heard(Duration::zero());  // they may come in one turn
  EXPECT_EQ(both.back(), SIGTERM);
}

TEST_F(SupervisorTest, WhatThisProcessIgnoresStaysIgnoredByAll) {
  for (const int ignored : {SIGINT, SIGHUP}) {
    processes_.reset();
    const Disposition ignores(ignored, SIG_IGN);
    const Supervisor::Options options{
        .out = out_.fd(), .err = err_.fd(), .echo = std::chrono::hours(1)};
    processes_ = Supervisor::create(options, clock_).value();
    const auto process = shell(
        "p", fmt::format("kill -{0} $$; kill -{0} $PPID; kill -TERM $PPID; echo goes on", ignored));
    run_until_ended(process);
    EXPECT_EQ(processes_->exit_code(process), 0);
    EXPECT_EQ(processes_->take_signal(), SIGTERM) << "the first that was heard";
  }
  EXPECT_EQ(out_.text(), "[p] goes on\n[p] goes on\n");
}

TEST_F(SupervisorTest, StoppingEndsGroupsAndStraysToo) {
  const auto process =
      shell("p", std::string("tail -f /dev/null & echo pid $!; "
                             "setsid sh -c 'echo pid $$; exec tail -f /dev/null' & "
                             "echo ready; ") +
                     kWait);
  while (!out_.has("ready") ||
         out_.text().find("pid", out_.text().find("pid") + 1) == std::string::npos)
    processes_->turn(kNever);
  processes_->stop_all();
  EXPECT_FALSE(processes_->running(process));
  const auto text = out_.text();
  int pids = 0;
  for (std::size_t at = 0; (at = text.find("pid ", at)) != std::string::npos; at += 4, ++pids)
    EXPECT_TRUE(::kill(std::stoi(text.substr(at + 4)), 0) < 0 && errno == ESRCH) << text;
  EXPECT_EQ(pids, 2);
}

TEST_F(SupervisorTest, WhoIgnoresTheRequestIsKilledAtASecondSignal) {
  const auto process = shell(
      "p", "trap 'kill -INT $PPID' TERM; echo ready; while :; do tail -f /dev/null & wait; done");
  run_until_said("ready");
  std::string told;
  // Its grace is a minute: what ends it is the signal.
  processes_->stop_all([&](const std::string& what) { told += what; });
  EXPECT_NE(told.find("p did not end and will be killed"), told.npos) << told;
  EXPECT_EQ(processes_->exit_code(process), 128 + SIGKILL);
}

TEST_F(SupervisorTest, AStoppedProcessHearsTheRequest) {
  const auto process = shell(
      "p",
      "trap 'exit 0' TERM; echo ready; kill -STOP $$; while :; do tail -f /dev/null & wait; done");
  run_until_said("ready");
  processes_->stop_all();
  EXPECT_FALSE(processes_->running(process));
}

TEST_F(SupervisorTest, OnlyOneAtATime) {
  EXPECT_EQ(Supervisor::create({}, clock_).code(), Errc::exists);
  processes_.reset();
  EXPECT_TRUE(Supervisor::create({}, clock_).ok());
}

TEST_F(SupervisorTest, ItNamesWhomItWaitsFor) {
  for (int i = 0; i < 6; ++i) shell("worker " + std::to_string(i), kWait);
  EXPECT_EQ(processes_->names_running(0, 1), "worker 0");
  EXPECT_EQ(processes_->names_running(0, 2), "worker 0 and worker 1");
  EXPECT_EQ(processes_->names_running(1, 5), "worker 1, worker 2, worker 3 and worker 4");
  EXPECT_EQ(processes_->names_running(0, 6), "worker 0, worker 1, worker 2 and 3 more");
  processes_->stop(1, 3);
  EXPECT_EQ(processes_->names_running(0, 4), "worker 0 and worker 3");
  std::vector<std::string> told;
  processes_->stop_all([&](const std::string& what) { told.push_back(what); });
  for (const auto& what : told) EXPECT_EQ(what.find("will be killed"), what.npos) << what;
}

TEST(SupervisorGrace, IsTheLongestThatStoppingTakes) {
  Captured out, err;
  SteadyClock clock;
  auto processes = Supervisor::create({out.fd(), err.fd(), 3, Duration::zero()}, clock).value();
  const auto process =
      processes->start({"p", {"sh", "-c", "trap '' TERM; echo ready; tail -f /dev/null"}, {}});
  while (!out.has("ready")) processes->turn(kNever);
  std::string told;
  processes->stop_all([&](const std::string& what) { told += what; });
  EXPECT_EQ(processes->exit_code(process.value()), 128 + SIGKILL);
  EXPECT_NE(told.find("p did not end within 0s and will be killed"), told.npos) << told;
}

}  // namespace
}  // namespace shoal::cli
