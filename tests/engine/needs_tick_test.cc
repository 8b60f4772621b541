// A pull for the next clock that waits for this worker's own contribution or tick: what wait()
// says.

#include "server/local_cluster.h"
#include "tests/engine/cluster.h"
#include "worker/worker.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class NeedsTick : public testing::TestWithParam<Config::Progress> {
 protected:
  void SetUp() override {
    cluster_.emplace(LocalCluster::start({}).value());
    auto config = cluster_->config();
    config.progress = GetParam();
    worker_.emplace(Worker::connect(config).value());
  }
  Table<float> open(Apply apply) {
    TableSpec spec{.name = "t", .rows = kRows};
    spec.apply = apply;
    return worker_->create_or_open<float>(spec).value();
  }

  static constexpr std::uint64_t kRows = 1000;
  std::optional<LocalCluster> cluster_;
  std::optional<Worker> worker_;
  std::vector<float> in_ = std::vector<float>(kRows, 1.0f), out_ = std::vector<float>(kRows);
};

/// The push that completes the round is on its way to the loop, which still says that only a tick
/// would help.
TEST_P(NeedsTick, NotWhenThePushThatEndsTheRoundIsUnderWay) {
  auto table = open(Apply::collective);
  for (int round = 0; round < 200; ++round) {
    auto pull = table.pull({0, kRows}, out_, {.ahead = 1});
    ASSERT_EQ(pull.wait().code(), Errc::needs_tick) << round;  // the loop has seen the pull
    auto push = table.push({0, kRows}, in_);
    const auto pulled = pull.wait();
    ASSERT_TRUE(pulled.ok()) << round << ": " << pulled.error().message();
    ASSERT_TRUE(push.wait().ok());
    EXPECT_EQ(out_[kRows - 1], static_cast<float>(round + 1));
    worker_->tick();
  }
}

TEST_P(NeedsTick, AsLongAsSomeRowsOfTheRoundAreMissing) {
  auto table = open(Apply::collective);
  auto pull = table.pull({0, kRows}, out_, {.ahead = 1});
  auto push = table.push({0, kRows - 1}, std::span<const float>(in_).first(kRows - 1));
  EXPECT_TRUE(push.wait().ok());
  EXPECT_EQ(pull.wait().code(), Errc::needs_tick);
  worker_->tick();
  EXPECT_TRUE(pull.wait().ok());
}

TEST_P(NeedsTick, OfKeysToo) {
  auto table = open(Apply::collective);
  const std::vector<Key> keys{3, 700};
  std::vector<float> values(2);
  auto pull = table.pull(keys, values, {.ahead = 1});
  EXPECT_EQ(pull.wait().code(), Errc::needs_tick);
  EXPECT_TRUE(table.push({0, kRows}, in_).wait().ok());
  EXPECT_TRUE(pull.wait().ok());
  EXPECT_EQ(values[1], 1.0f);
}

TEST_P(NeedsTick, NotForATickThatTheLoopHasNotSeen) {
  auto table = open(Apply::per_clock);
  for (int round = 0; round < 200; ++round) {
    auto pull = table.pull({0, kRows}, out_, {.ahead = 1});
    ASSERT_EQ(pull.wait().code(), Errc::needs_tick) << round;
    worker_->tick();
    const auto pulled = pull.wait();
    ASSERT_TRUE(pulled.ok()) << round << ": " << pulled.error().message();
  }
}

/// It was not sent yet when it was asked about, and nothing that happens later would tell.
TEST_P(NeedsTick, OfAPullThatFollowsAnother) {
  auto table = open(Apply::per_clock);
  std::vector<float> more(kRows);
  auto pull = table.pull({0, kRows}, out_, {.ahead = 1});
  ASSERT_EQ(pull.wait().code(), Errc::needs_tick);
  auto follower = table.pull({0, kRows}, more, {.after = pull, .ahead = 1});
  EXPECT_EQ(follower.wait().code(), Errc::needs_tick);
  worker_->tick();
  EXPECT_TRUE(follower.wait().ok());
  EXPECT_TRUE(pull.ready());
}

/// The pull between them would be answered now, but waits for the first.
TEST_P(NeedsTick, OfAPushThatComesAfterAPullThroughOthers) {
  auto table = open(Apply::per_clock);
  std::vector<float> more(kRows), last(kRows);
  auto pull = table.pull({0, kRows}, out_, {.ahead = 1});
  auto between = table.pull({0, kRows}, more, {.after = pull});
  auto other = table.pull({0, kRows}, last);
  auto behind = table.push({0, kRows}, in_, {.after = {&other, &between}});
  const auto pushed = behind.wait();
  EXPECT_EQ(pushed.code(), Errc::needs_tick);
  EXPECT_NE(pushed.error().message().find("at clock 0 comes after a pull that needs clock 1"),
            std::string::npos)
      << pushed.error().message();
  worker_->tick();
  EXPECT_TRUE(between.wait().ok());
  EXPECT_TRUE(table.push({0, kRows}, in_, {.after = {&pull, &between}}).wait().ok());
}

INSTANTIATE_TEST_SUITE_P(Progress, NeedsTick,
                         testing::Values(Config::Progress::thread, Config::Progress::caller),
                         [](const auto& info) {
                           return info.param == Config::Progress::thread ? "thread" : "caller";
                         });

using Rounds = EngineTest;

TEST_F(Rounds, ABurntStoreIsNoContributionEither) {
  start(2, {dense("t", Apply::collective)});
  network_.partition(node(0), server_node_);
  network_.drop_connections(node(0), server_node_);
  run(milliseconds(100));
  EXPECT_NE(wait(0, store(0, 0, milliseconds(100))).code, Errc::ok);
  network_.heal_all();
  push(1, 0);
  run(seconds(1));  // all there is for the round but worker 0's part
  const auto pushed = push(0, 0);
  EXPECT_EQ(wait(0, pushed).code, Errc::ok) << engine(0).operation(pushed).detail;
  tick(0);
  const auto pulled = pull(0, 0, seconds(20));
  EXPECT_EQ(wait(0, pulled).code, Errc::ok) << engine(0).operation(pulled).detail;
  EXPECT_EQ(memory_.back()->front(), 2.0f);
}

TEST_F(Rounds, AStoreIsNoContribution) {
  start(2, {dense("t", Apply::collective)});
  const auto stored = store(0, 0, seconds(20));
  EXPECT_EQ(wait(0, stored).code, Errc::ok) << engine(0).operation(stored).detail;
  tick(0);
  tick(1);
  const auto pulled = pull(1, 0, seconds(20));
  EXPECT_EQ(wait(1, pulled).code, Errc::ok) << engine(1).operation(pulled).detail;
}

}  // namespace
}  // namespace shoal::test
