// What servers refuse, and in what words a worker's program hears of it.

#include "server/local_cluster.h"
#include "tests/engine/cluster.h"
#include "worker/worker.h"

namespace shoal::test {
namespace {

class RefusedTable : public testing::Test {
 protected:
  static bool says(const Error& error, std::string_view words) {
    return error.what.find(words) != std::string::npos;
  }

  static LocalCluster::Options options() {
    LocalCluster::Options options;
    options.config.memory_budget = std::size_t{96} << 20;  // 64 MiB of it are copies on write
    return options;
  }

  LocalCluster cluster_ = LocalCluster::start(options()).value();
  Worker worker_ = Worker::connect(cluster_.config()).value();
};

TEST_F(RefusedTable, AParameterOutOfItsRangeIsNamedAtOpen) {
  const auto table =
      worker_.create_or_open<float>({.name = "t", .rows = 10, .update = Sgd{.learning_rate = -1}});
  ASSERT_EQ(table.code(), Errc::out_of_range);
  EXPECT_TRUE(says(table.error(), "a finite number at least 0")) << table.error().what;
}

TEST_F(RefusedTable, ParametersAreJudgedWhenTheyAreSet) {
  TableSpec spec{.name = "t", .rows = 10, .staleness = unbounded};
  spec.update.rule = "sgd";
  auto table = worker_.create_or_open<float>(spec).value();
  const auto range = table.set_parameter("learning_rate", -5);
  ASSERT_EQ(range.code(), Errc::out_of_range);
  EXPECT_TRUE(says(range.error(), "a finite number at least 0")) << range.error().what;
  const auto name = table.set_parameter("lerning_rate", 0.5);
  ASSERT_EQ(name.code(), Errc::unknown_name);
  EXPECT_TRUE(says(name.error(), "did you mean 'learning_rate'")) << name.error().what;
  EXPECT_TRUE(table.set_parameter("learning_rate", 0.5).ok());
}

TEST_F(RefusedTable, ADenseTableThatDoesNotFitIsRefusedAtOpen) {
  const auto table = worker_.create_or_open<float>({.name = "t", .rows = std::uint64_t{1} << 38});
  ASSERT_EQ(table.code(), Errc::no_memory);
  EXPECT_TRUE(says(table.error(), "raise the servers' memory_budget")) << table.error().what;
}

TEST_F(RefusedTable, StoringAfterAPushSaysWhyNot) {
  TableSpec spec{.name = "t", .rows = 10};
  spec.apply = Apply::per_clock;
  auto table = worker_.create_or_open<float>(spec).value();
  const std::vector<float> values(10);
  ASSERT_TRUE(table.push({0, 10}, values).wait().ok());
  const auto stored = table.store({0, 10}, values).wait();
  ASSERT_EQ(stored.code(), Errc::invalid_argument);
  EXPECT_TRUE(says(stored.error(), "store to table 't'")) << stored.error().what;
  EXPECT_TRUE(says(stored.error(), "before its first push only")) << stored.error().what;
}

TEST_F(RefusedTable, ARowThatIsPushedTwiceInARoundSaysSo) {
  TableSpec spec{.name = "t", .rows = 10};
  spec.apply = Apply::collective;
  auto table = worker_.create_or_open<float>(spec).value();
  const std::vector<float> values(10);
  ASSERT_TRUE(table.push({0, 10}, values).wait().ok());
  const auto again = table.push({0, 10}, values).wait();
  ASSERT_EQ(again.code(), Errc::invalid_argument);
  EXPECT_TRUE(says(again.error(), "once between two ticks")) << again.error().what;
}

/// The server's reason reaches the program: here that no budget holds the open clocks.
TEST_F(RefusedTable, TheServersReasonIsInTheError) {
  TableSpec spec{.name = "t", .layout = Layout::sparse, .staleness = kStalenessMax, .slots = 1024};
  spec.apply = Apply::per_clock;
  auto table = worker_.create_or_open<float>(spec).value();
  const std::vector<Key> keys = {1};
  const std::vector<float> values = {1.0f};
  const auto pushed = table.push(keys, values).wait();
  ASSERT_EQ(pushed.code(), Errc::no_memory);
  EXPECT_TRUE(says(pushed.error(), "raise memory_budget")) << pushed.error().what;
}

/// What a server cannot hold has no slots whose sequence a refused push could keep open.
TEST_F(RefusedTable, ARefusedPushEndsItsClock) {
  TableSpec spec{.name = "t", .layout = Layout::sparse, .staleness = kStalenessMax, .slots = 1024};
  spec.apply = Apply::per_clock;
  auto refused = worker_.create_or_open<float>(spec).value();
  TableSpec lockstep{.name = "u", .rows = 1, .staleness = 0};
  lockstep.apply = Apply::per_clock;
  auto other = worker_.create_or_open<float>(lockstep).value();
  const std::vector<Key> keys = {1};
  std::vector<float> values = {1.0f};
  EXPECT_EQ(refused.push(keys, values).wait().code(), Errc::no_memory);
  worker_.tick();
  EXPECT_TRUE(worker_.flush(std::chrono::seconds(20)).ok());
  const auto pulled = other.pull({0, 1}, std::span(values)).wait();
  EXPECT_TRUE(pulled.ok()) << pulled.error().what;
}

}  // namespace
}  // namespace shoal::test
