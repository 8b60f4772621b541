// Scheduler and servers as `shoal scheduler` and `shoal server` run them.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "core/base/token_file.h"
#include "server/cli/scheduler_client.h"
#include "server/host.h"
#include "tests/support/temp_dir.h"

namespace shoal::cli {
namespace {

class NodesTest : public testing::Test {
 protected:
  void SetUp() override {
    config_.token_file = token_.path();
    config_.listen = "127.0.0.1:0";
  }
  void start_scheduler() {
    scheduler_ = SchedulerHost::start(config_).value();
    config_.scheduler = scheduler_->address().to_string();
  }
  void wait_until_joined() {
    auto client = SchedulerClient::create(config_, clock_).value();
    for (auto view = client.view(); !view.ok() || view->nodes.empty(); view = client.view()) {
    }
  }

  SteadyClock clock_;
  TokenFile token_ = TokenFile::create().value();
  Config config_;
  RuleSet rules_ = RuleSet::builtin();
  std::unique_ptr<SchedulerHost> scheduler_;
};

TEST_F(NodesTest, AServerWhoseSchedulerHasEndedLeavesAtOnce) {
  start_scheduler();
  const auto server = ServerHost::start(config_, rules_).value();
  wait_until_joined();
  scheduler_.reset();
  server->leave(std::chrono::hours(1));  // returns: nobody is there to be told
  EXPECT_FALSE(server->failure());
}

TEST_F(NodesTest, ASchedulerThatTakesUpAClusterSaysWhatItStillWaitsFor) {
  const TempDir directory;
  config_.state_dir = directory.path().string();
  config_.servers = 1;
  config_.workers = 0;
  start_scheduler();
  EXPECT_EQ(scheduler_->waited_for(), "1 of 1 servers and 0 of 0 workers are missing");
  {
    const auto server = ServerHost::start(config_, rules_).value();
    wait_until_joined();
    scheduler_.reset();
  }
  start_scheduler();
  EXPECT_EQ(scheduler_->waited_for(), "") << "its server is in the view that it took up";
}

TEST_F(NodesTest, TheLeastThatOptionsAllowIsEnoughForAServer) {
  config_.scheduler = "127.0.0.1:1";
  for (const auto& option : config_.show())
    if (option.name == "landing_bytes")
      config_.landing_bytes = parse_bytes(option.range.substr(0, option.range.find(' '))).value();
  ASSERT_NE(config_.landing_bytes, Config{}.landing_bytes);
  const auto started = ServerHost::start(config_, rules_);
  EXPECT_TRUE(started.ok()) << started.error().message();
}

TEST_F(NodesTest, AServerThatOthersCannotReachIsToldAtItsStart) {
  const auto told = [&](const std::string& scheduler) {
    config_.scheduler = scheduler;
    testing::internal::CaptureStderr();
    const auto server = ServerHost::start(config_, rules_);
    EXPECT_TRUE(server.ok());
    return testing::internal::GetCapturedStderr();
  };
  const auto warning = told("0.0.0.0:1");  // an address that is not of the loopback interface
  EXPECT_NE(warning.find("only processes of this machine can reach"), std::string::npos) << warning;
  EXPECT_NE(warning.find("--listen"), std::string::npos) << warning;
  EXPECT_EQ(told("127.0.0.1:1").find("can reach"), std::string::npos);
}

TEST_F(NodesTest, ASchedulerThatCannotStoreItsViewDoesNotStart) {
  const TempDir directory;
  config_.state_dir = directory.path().string();
  // As a full disk does, a write comes back short and then fails.
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto started = SchedulerHost::start(config_);
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_EQ(started.code(), Errc::io);
  EXPECT_NE(started.error().what.find(config_.state_dir), std::string::npos);
  EXPECT_TRUE(SchedulerHost::start(config_).ok());
}

}  // namespace
}  // namespace shoal::cli
