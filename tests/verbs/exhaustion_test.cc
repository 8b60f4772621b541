#include <algorithm>
#include <numeric>

#include "tests/verbs/path_fixture.h"
#include "transport/verbs/limits.h"

// Queues and buffers that are used up: senders hear of it, order is kept, and all of it ends.

namespace shoal::paths::test {
namespace {

class ExhaustionTest : public PathTest {
 protected:
  static std::vector<std::uint64_t> up_to(std::uint64_t count) {
    std::vector<std::uint64_t> all(count);
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  /// Sends until there is no room, which is said as it is; how many were taken.
  std::uint64_t fill(Process& from, EndpointId to, std::size_t bytes, Lane lane = Lane::message) {
    for (std::uint64_t number = 0;; ++number) {
      const auto status = send(from, to, number, bytes, lane);
      if (status.ok()) continue;
      EXPECT_EQ(status.code(), Errc::overloaded);
      return number;
    }
  }
  bool uses_verbs(Process& a, EndpointId at_a) {
    return mentions(a.transport().explain(at_a), "verbs soft");
  }
};

/// A stopped process: its adapter takes messages as long as it has buffers for them.
TEST_F(ExhaustionTest, APeerThatStopsAndGoesOn) {
  auto& a = make();
  auto& b = make();
  auto& c = make();
  const auto [at_a, at_b] = connect(a, b);
  const auto [c_at_a, a_at_c] = connect(a, c);
  b.device->stop(true);
  const auto count = fill(a, at_a, 100);
  EXPECT_GT(count, kReceivesPerLink);
  settle();
  EXPECT_TRUE(numbers(b, at_b).empty());
  EXPECT_TRUE(ping(a, c_at_a, c, a_at_c)) << "nobody else waits";
  b.device->stop(false);
  ASSERT_TRUE(until([&, end = at_b] { return numbers(b, end).size() == count; }));
  EXPECT_EQ(numbers(b, at_b), up_to(count));
  EXPECT_TRUE(ping(a, at_a, b, at_b));
}

TEST_F(ExhaustionTest, StagingGrowsToItsBoundAndNoFurther) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  for (const auto lane : {Lane::message, Lane::bulk}) {
    b.device->stop(true);
    constexpr std::size_t kBytes = 60'000;
    const auto before = a.device->registered_bytes_;
    const auto count = fill(a, at_a, kBytes, lane);
    EXPECT_GT(count * kBytes, kStagedMax / 2);
    EXPECT_LE(a.device->registered_bytes_ - before, 2 * kStagedMax);
    b.device->stop(false);
    ASSERT_TRUE(until([&, end = at_b] { return numbers(b, end).size() == count; }));
    EXPECT_EQ(numbers(b, at_b), up_to(count));
    // It shrinks to one block, and takes more at once.
    EXPECT_LE(a.device->registered_bytes_ - before, kStagedMax);
    EXPECT_TRUE(ping(a, at_a, b, at_b));
    b.peer.seen.clear();
  }
}

TEST_F(ExhaustionTest, MoreTransfersThanTheDeviceTakes) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  auto remote = contract::pattern(kQueuedMax, 1);
  const auto region = b.transport().register_memory(all(remote), Access::read_write).value();
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  Bytes local(2 * kQueuedMax);
  std::uint64_t reads = 0;
  for (; reads < local.size(); ++reads) {
    const auto at = reads % remote.size();
    const auto status = a.transport().read(at_a, {&local[reads], 1, MemorySpace::host, 0},
                                           region.remote(at, 1), reads + 1);
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), Errc::overloaded);
    break;
  }
  EXPECT_GE(reads, kReadDepth);
  EXPECT_LT(reads, local.size());
  ASSERT_TRUE(until([&] { return a.peer.count(Kind::read_done) == reads; }));
  for (std::uint64_t i = 0; i < reads; ++i) ASSERT_EQ(local[i], remote[i % remote.size()]);
  EXPECT_TRUE(ping(a, at_a, b, at_b));
}

/// A pair that is destroyed while a message is half there keeps its receive.
class LostReceivesTest : public ExhaustionTest {
 protected:
  /// The other side's endpoint ends in the middle of messages on both lanes. False: it was TCP.
  bool break_off(Process& from, Process& to) {
    const auto [at_from, at_to] = connect(from, to);
    const bool verbs = uses_verbs(from, at_from);
    for (const auto lane : {Lane::message, Lane::bulk})
      EXPECT_TRUE(send(from, at_from, 1, 30'000, lane).ok());
    from.transport().flush();
    for (int i = 0; i < 4; ++i) network.step();
    to.transport().close(at_to);
    EXPECT_TRUE(until([&, end = at_from] { return from.peer.find_closed(end) != nullptr; }));
    for (auto* process : {&from, &to}) {
      process->peer.seen.clear();
      process->peer.accepted.clear();
    }
    return verbs;
  }
  /// A burst as large as a session's credits allow.
  void expect_burst(Process& from, EndpointId at_from, Process& to, EndpointId at_to) {
    for (std::uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(send(from, at_from, i, 100).ok());
    EXPECT_TRUE(until([&] { return numbers(to, at_to).size() == 64; }));
    EXPECT_EQ(numbers(to, at_to), up_to(64));
    to.peer.seen.clear();
  }
};

TEST_F(LostReceivesTest, AreReplaced) {
  auto& a = make();
  auto& b = make();
  auto& c = make();
  const auto [at_c, at_b] = connect(c, b);
  for (int i = 0; i < 250; ++i) {
    ASSERT_TRUE(break_off(a, b)) << i;
    if (i % 25 == 0) expect_burst(c, at_c, b, at_b);
  }
  // Far more than these two links' buffers were lost, or posted beside them.
  EXPECT_GT(b.device->registered_bytes_, 3 * kReceivesPerLink * kReceiveBytes);
  EXPECT_LE(b.device->registered_bytes_, (kReceivesMax + kReceivesLostMax + 256) * kReceiveBytes);
  expect_burst(c, at_c, b, at_b);
  const auto [at_a, a_at_b] = connect(a, b);
  EXPECT_TRUE(uses_verbs(a, at_a));
  expect_burst(a, at_a, b, a_at_b);
  expect_burst(c, at_c, b, at_b);
}

TEST_F(LostReceivesTest, AreRegainedWithTheLastLink) {
  auto& a = make();
  DeviceOptions small;
  small.attributes.max_srq_wr = 256;
  auto& b = make({.device = small});
  auto& c = make();
  const auto [at_c, at_b] = connect(c, b);
  int breaks = 0;
  while (breaks < 400 && break_off(a, b)) ++breaks;
  EXPECT_LT(breaks, 400) << "a queue of 256 holds no more";
  EXPECT_GT(breaks, 50);
  const auto [at_a, a_at_b] = connect(a, b);
  EXPECT_TRUE(mentions(a.transport().explain(at_a), "receive buffers were lost with connections"));
  expect_burst(c, at_c, b, at_b);
  c.transport().close(at_c);
  ASSERT_TRUE(until([&, end = at_b] { return b.peer.find_closed(end) != nullptr; }));
  settle(5);
  const auto [again, b_again] = connect(c, b);
  EXPECT_TRUE(uses_verbs(c, again));
  expect_burst(c, again, b, b_again);
  EXPECT_TRUE(break_off(a, b));
}

}  // namespace
}  // namespace shoal::paths::test
