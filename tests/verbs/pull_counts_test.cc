#include <fmt/core.h>

#include <array>

#include "tests/support/allocations.h"
#include "tests/verbs/engine_fixture.h"
#include "transport/verbs/limits.h"

// What small pulls cost a worker's and a server's device: see docs/design/verbs.md.

namespace shoal::paths::test {
namespace {

class PullCountsTest : public EnginePathTest {
 protected:
  static constexpr std::size_t kRows = 1024;
  static constexpr std::size_t kInFlightMax = 64;
  static constexpr std::size_t kValuesMax = 25;  // 100 bytes

  /// A table whose rows are their own numbers.
  void fill() {
    start(1, dense(kRows));
    std::vector<float> rows(kRows);
    for (std::size_t i = 0; i < kRows; ++i) rows[i] = static_cast<float>(i);
    ASSERT_EQ(end(0, push(0, 0, rows, true)).code, Errc::ok);
    ASSERT_TRUE(mentions(path_to_server(0), "verbs soft")) << path_to_server(0);
  }
  /// Pulls of 8 to 100 bytes, that many of them under way. False: the network stands still.
  bool pull_many(std::uint64_t count, std::size_t in_flight) {
    std::uint64_t asked = 0, ended = 0;
    int quiet = 0;
    while (ended < count && quiet < 1000) {
      for (std::size_t i = 0; i < in_flight; ++i) {
        auto& one = pulls_[i];
        if (one.id.valid() && !take(one)) continue;
        if (asked == count) continue;
        const auto values = 2 + asked % (kValuesMax - 1);
        one.first = asked * 7 % (kRows - kValuesMax);
        one.values = std::span(one.memory).first(values);
        one.id = pull(0, one.first, one.values);
        ++asked;
      }
      const auto before = taken_;
      turn();
      for (std::size_t i = 0; i < in_flight; ++i)
        if (pulls_[i].id.valid()) take(pulls_[i]);
      ended += taken_ - before;
      quiet = taken_ != before ? 0 : quiet + 1;
    }
    return ended == count;
  }
  struct Cost {
    Counts worker, server;
    std::uint64_t allocations = 0;
  };
  Cost cost_of(std::uint64_t count, std::size_t in_flight) {
    Cost cost;
    const std::array before{device_of(0).counts, server_device().counts};
    const auto allocated = shoal::test::allocations();
    const bool done = pull_many(count, in_flight);
    cost.allocations = shoal::test::allocations() - allocated;
    EXPECT_TRUE(done) << "pulls do not end";
    EXPECT_EQ(wrong_, 0u);
    cost.worker = minus(device_of(0).counts, before[0]);
    cost.server = minus(server_device().counts, before[1]);
    return cost;
  }
  static Counts minus(Counts after, const Counts& before) {
    after.requests -= before.requests;
    after.signalled -= before.signalled;
    after.send_doorbells -= before.send_doorbells;
    after.receives -= before.receives;
    after.receive_doorbells -= before.receive_doorbells;
    after.completions -= before.completions;
    return after;
  }
  void tell(const std::string& name, const Cost& cost) {
    RecordProperty(name + "_worker", words(cost.worker));
    RecordProperty(name + "_server", words(cost.server));
  }
  static std::string words(const Counts& counts) {
    return fmt::format("{} requests, {} signalled, {} + {} doorbells, {} receives, {} completions",
                       counts.requests, counts.signalled, counts.send_doorbells,
                       counts.receive_doorbells, counts.receives, counts.completions);
  }

 private:
  struct OnePull {
    OperationId id;
    std::uint64_t first = 0;
    std::array<float, kValuesMax> memory{};
    std::span<float> values;
  };
  /// True: it has ended.
  bool take(OnePull& one) {
    if (!done(0, one.id)) return false;
    bool right = engine(0).operation(one.id).code == Errc::ok;
    for (std::size_t i = 0; i < one.values.size(); ++i)
      right = right && one.values[i] == static_cast<float>(one.first + i);
    wrong_ += right ? 0 : 1;
    ++taken_;
    engine(0).drop(one.id);
    one.id = {};
    return true;
  }

  std::array<OnePull, kInFlightMax> pulls_;
  std::uint64_t taken_ = 0;
  std::uint64_t wrong_ = 0;
};

TEST_F(PullCountsTest, SmallPullsShareDoorbellsAndCompletions) {
  fill();
  // Packets that move between two turns: the fewer, the fewer messages share a doorbell.
  for (const int steps : {20, 100, 1000}) {
    SCOPED_TRACE(steps);
    steps_ = steps;
    ASSERT_TRUE(pull_many(20000, kInFlightMax));  // to the high-water mark of all queues
    const auto cost = cost_of(1000, kInFlightMax);
    EXPECT_EQ(cost.allocations, 0u) << "of both sides";
    for (const auto* side : {&cost.worker, &cost.server}) {
      SCOPED_TRACE(words(*side));
      EXPECT_EQ(side->requests, 1000u) << "a question, or an answer, is one request";
      EXPECT_LE(side->signalled, 32u);
      EXPECT_LE(side->send_doorbells + side->receive_doorbells, 200u);
      EXPECT_LE(side->completions, 1000u + 32u);
    }
    tell(fmt::format("steps_{}", steps), cost);
  }
}

/// What ib_send_lat does for each message: one request and one doorbell, one receive posted again
/// with a doorbell of its own, a completion of each.
TEST_F(PullCountsTest, OneAtATimeCostsNoMoreThanAPingPong) {
  fill();
  ASSERT_TRUE(pull_many(20000, 1));
  const auto cost = cost_of(1000, 1);
  EXPECT_EQ(cost.allocations, 0u);
  for (const auto* side : {&cost.worker, &cost.server}) {
    SCOPED_TRACE(words(*side));
    EXPECT_EQ(side->requests, 1000u);
    EXPECT_LE(side->send_doorbells, 1000u);
    EXPECT_LE(side->signalled, 32u) << "ib_send_lat: all";
    EXPECT_LE(side->receives, 1000u + kBatchMax);
    EXPECT_LE(side->receive_doorbells, 32u) << "ib_send_lat: 1000";
    EXPECT_LE(side->completions, 1000u + 32u) << "ib_send_lat: 2000";
  }
  tell("one_at_a_time", cost);
}

}  // namespace
}  // namespace shoal::paths::test
