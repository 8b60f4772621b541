// Scheduler and servers as `shoal scheduler` and `shoal server` run them.

#include <gtest/gtest.h>

#include "core/base/token_file.h"
#include "server/cli/scheduler_client.h"
#include "server/host.h"

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

}  // namespace
}  // namespace shoal::cli
