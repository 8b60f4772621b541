#include <poll.h>

#include "tests/transport/contract.h"
#include "transport/waker.h"

// Whoever arms and blocks hears of all that comes.

namespace shoal::contract {

using Kind = Event::Kind;

TEST_P(TransportContract, ArmsAndWakes) {
  std::tie(at_a, at_b) = connect();
  settle();
  if (const auto why = backend->blocks_never_because(); !why.empty()) GTEST_SKIP() << why;
  while (!b.transport().arm()) b.poll();
  ASSERT_TRUE(send(a, at_a, 1, {}, {}).ok());
  a.transport().flush();
  pollfd waiting{b.transport().wait_fd(), POLLIN, 0};
  constexpr int kHungAfterMs = 20'000;
  EXPECT_EQ(::poll(&waiting, 1, kHungAfterMs), 1) << "the descriptor did not become readable";
  ASSERT_TRUE(until([&] { return b.count(Kind::message) == 1; }));
}

// Without a limit, in both: what is overlooked hangs.

TEST_P(TransportContract, WaitsForTraffic) {
  std::tie(at_a, at_b) = connect();
  auto& transport = b.transport();
  if (const auto why = backend->blocks_never_because(); !why.empty()) GTEST_SKIP() << why;
  std::uint64_t sent = 0;
  const auto tell = [&](Lane lane) {
    ASSERT_TRUE(send(a, at_a, ++sent, {}, {.lane = lane}).ok());
    a.transport().flush();
  };
  for (const auto lane : {Lane::message, Lane::bulk, Lane::message, Lane::message, Lane::bulk}) {
    settle();
    while (!transport.arm()) b.poll();
    tell(lane);
    transport.wait(nullptr, Duration::max());
    // What comes later than what wait() told of is not forgotten.
    tell(Lane::message);
    ASSERT_TRUE(until([&] { return b.count(Kind::message) == sent; }));
  }
}

TEST_P(TransportContract, WaitsAfterLongSpinning) {
  std::tie(at_a, at_b) = connect();
  auto& transport = b.transport();
  if (const auto why = backend->blocks_never_because(); !why.empty()) GTEST_SKIP() << why;
  std::uint64_t sent = 0;
  const auto tell = [&] {
    ASSERT_TRUE(send(a, at_a, ++sent, {}, {}).ok());
    a.poll();
  };
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 200; ++i) {
      tell();
      while (b.count(Kind::message) < sent) b.poll();
    }
    while (!transport.arm()) b.poll();
    tell();
    transport.wait(nullptr, Duration::max());
    while (b.count(Kind::message) < sent) b.poll();
  }
  // The end is found by spinning alone, too.
  a.transport().close(at_a);
  while (b.find_closed(at_b) == nullptr) {
    a.poll();
    b.poll();
  }
}

TEST_P(TransportContract, WaitsForAWaker) {
  std::tie(at_a, at_b) = connect();
  settle();
  auto& transport = b.transport();
  if (const auto why = backend->blocks_never_because(); !why.empty()) GTEST_SKIP() << why;
  for (int i = 0; i < 3; ++i) {  // each has the number of the descriptor before it
    auto waker = Waker::create().value();
    for (int j = 0; j < 2; ++j) {
      while (!transport.arm()) b.poll();
      ASSERT_TRUE(waker.arm());
      waker.wake();
      transport.wait(&waker, Duration::max());
      waker.clear();
    }
  }
  while (!transport.arm()) b.poll();
  transport.wait(nullptr, Duration(1));  // ends by itself
}

}  // namespace shoal::contract
