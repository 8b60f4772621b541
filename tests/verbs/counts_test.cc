#include <array>

#include "tests/support/allocations.h"
#include "tests/verbs/path_fixture.h"
#include "transport/verbs/limits.h"

// What small messages cost: requests that ask for completions, doorbells, allocations.

namespace shoal::paths::test {
namespace {

class CountsTest : public PathTest {
 protected:
  /// `count` requests and answers of 100 bytes each. False: the network stands still.
  bool exchange(Process& a, EndpointId at_a, Process& b, EndpointId at_b, std::uint64_t count,
                std::uint64_t in_flight = 64) {
    std::array<Event, 64> events;
    std::uint64_t asked = 0, answered = 0;
    int quiet = 0;
    const auto say = [&](Process& from, EndpointId to) {
      FrameHeader header;
      header.kind = FrameKind::push;
      return from.transport().send(to, header, meta_, {}, {}).ok();
    };
    while (answered < count && quiet < 1000) {
      for (; asked < count && asked - answered < in_flight; ++asked)
        if (!say(a, at_a)) return false;
      const auto n = a.transport().poll(events);
      answered += n;
      const auto requests = b.transport().poll(events);
      for (std::size_t i = 0; i < requests; ++i)
        if (!say(b, at_b)) return false;
      b.transport().flush();
      for (int i = 0; i < 100 && network.step(); ++i) {
      }
      clock.pass(std::chrono::microseconds(10));
      quiet = n + requests > 0 ? 0 : quiet + 1;
    }
    return answered == count;
  }

  const Bytes meta_ = contract::pattern(100, 1);
};

TEST_F(CountsTest, SmallMessagesShareDoorbellsAndCompletions) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  // To the high-water mark of all queues.
  ASSERT_TRUE(exchange(a, at_a, b, at_b, 20000));
  const std::array before{a.device->counts, b.device->counts};
  const auto allocated = shoal::test::allocations();
  const bool done = exchange(a, at_a, b, at_b, 1000);
  EXPECT_EQ(shoal::test::allocations() - allocated, 0u);
  ASSERT_TRUE(done);
  const std::array after{a.device->counts, b.device->counts};
  for (std::size_t i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(after[i].requests - before[i].requests, 1000u) << "a message is one request";
    EXPECT_LE(after[i].signalled - before[i].signalled, 32u);
    EXPECT_LE(after[i].send_doorbells - before[i].send_doorbells + after[i].receive_doorbells -
                  before[i].receive_doorbells,
              200u);
    EXPECT_LE(after[i].completions - before[i].completions, 1000u + 32u);
  }
  RecordProperty("send_doorbells",
                 static_cast<int>(after[0].send_doorbells - before[0].send_doorbells));
}

/// ib_send_lat does as much for each message, and more: it asks for every completion, and posts
/// each receive again with a doorbell of its own.
TEST_F(CountsTest, APingPongCostsAsMuchAsIbSendLats) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  ASSERT_TRUE(exchange(a, at_a, b, at_b, 20000, 1));
  const std::array before{a.device->counts, b.device->counts};
  const auto allocated = shoal::test::allocations();
  const bool done = exchange(a, at_a, b, at_b, 1000, 1);
  EXPECT_EQ(shoal::test::allocations() - allocated, 0u);
  ASSERT_TRUE(done);
  const std::array after{a.device->counts, b.device->counts};
  for (std::size_t i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(after[i].requests - before[i].requests, 1000u);
    EXPECT_LE(after[i].send_doorbells - before[i].send_doorbells, 1000u);
    EXPECT_LE(after[i].signalled - before[i].signalled, 32u) << "ib_send_lat: 1000";
    EXPECT_LE(after[i].receives - before[i].receives, 1000u + kBatchMax);
    EXPECT_LE(after[i].receive_doorbells - before[i].receive_doorbells, 32u) << "ib_send_lat: 1000";
    EXPECT_LE(after[i].completions - before[i].completions, 1000u + 32u) << "ib_send_lat: 2000";
  }
}

}  // namespace
}  // namespace shoal::paths::test
