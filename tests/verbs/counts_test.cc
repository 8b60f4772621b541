#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "tests/support/allocations.h"
#include "tests/verbs/path_fixture.h"
#include "transport/verbs/limits.h"

// What small messages cost: requests that ask for completions, doorbells, allocations; and which of
// them hold their bytes.

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

  /// The requests that a device was asked for, and how many of them held their bytes.
  static std::pair<std::uint64_t, std::uint64_t> sent_by(const Process& process) {
    return {process.device->counts.requests, process.device->counts.inlined};
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

/// Shoal asks for 256 B and halves that until a device grants it, down to the smallest frame.
TEST_F(CountsTest, FramesUpToTheGrantedSizeTravelInTheRequest) {
  constexpr std::pair<std::uint32_t, std::size_t> kGrants[] = {
      {512, 256}, {256, 256}, {255, 128}, {128, 128}, {100, 64}, {63, 0}, {0, 0}};
  constexpr std::size_t kFrames[] = {64, 72, 128, 136, 256, 264, 512, 4096};
  for (const auto& [device_max, granted] : kGrants) {
    SCOPED_TRACE(device_max);
    DeviceOptions device;
    device.max_inline = device_max;
    auto& a = make({.device = device});
    auto& b = make();
    const auto [at_a, at_b] = connect(a, b);
    ASSERT_TRUE(ping(a, at_a, b, at_b));
    ASSERT_TRUE(mentions(a.transport().explain(at_a), "verbs soft"));
    for (const auto lane : {Lane::message, Lane::bulk}) {
      b.peer.seen.clear();
      for (const auto bytes : kFrames) {
        const auto before = sent_by(a);
        ASSERT_TRUE(send(a, at_a, bytes, bytes - kFrameHeaderBytes, lane).ok());
        a.transport().flush();
        const auto after = sent_by(a);
        EXPECT_EQ(after.first - before.first, 1u) << bytes;
        EXPECT_EQ(after.second - before.second, bytes <= granted ? 1u : 0u) << bytes;
      }
      ASSERT_TRUE(until([&, to = at_b] { return numbers(b, to).size() == std::size(kFrames); }));
      for (const auto* message : b.peer.messages(at_b)) {
        const auto bytes = static_cast<std::size_t>(message->header.request.value);
        EXPECT_EQ(message->payload, contract::pattern(bytes - kFrameHeaderBytes, bytes));
      }
    }
  }
}

/// A WRITE's bytes need no registration then, and READs have none to send.
TEST_F(CountsTest, WritesUpToTheGrantedSizeTravelInTheRequest) {
  for (const std::uint32_t granted : {128u, 0u}) {
    SCOPED_TRACE(granted);
    DeviceOptions device;
    device.max_inline = granted;
    auto& a = make({.device = device});
    auto& b = make();
    const auto [at_a, at_b] = connect(a, b);
    auto remote = contract::pattern(256, 1);
    const auto region = b.transport().register_memory(all(remote), Access::read_write).value();
    ASSERT_TRUE(ping(a, at_a, b, at_b));
    ASSERT_TRUE(mentions(a.transport().explain(at_a), "verbs soft"));
    std::uint64_t context = 0;
    for (const std::size_t bytes : {1u, 128u, 129u, 256u}) {
      const auto source = contract::pattern(bytes, bytes);
      auto before = sent_by(a);
      ASSERT_TRUE(a.transport()
                      .write(at_a, {source.data(), bytes}, region.remote(0, bytes), ++context)
                      .ok());
      ASSERT_TRUE(until([&] { return a.ended(Kind::write_done, context).has_value(); }));
      EXPECT_EQ(sent_by(a).second - before.second, bytes <= granted ? 1u : 0u) << bytes;
      EXPECT_TRUE(std::equal(source.begin(), source.end(), remote.begin())) << bytes;
      before = sent_by(a);
      Bytes into(bytes);
      ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(0, bytes), ++context).ok());
      ASSERT_TRUE(until([&] { return a.ended(Kind::read_done, context).has_value(); }));
      EXPECT_EQ(sent_by(a).second, before.second) << bytes;
      EXPECT_EQ(into, source);
    }
  }
}

}  // namespace
}  // namespace shoal::paths::test
