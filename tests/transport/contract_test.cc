#include "tests/transport/contract.h"

#include <array>
#include <cerrno>
#include <set>

#include "tests/support/allocations.h"

// Connections, from their beginning to their end, and what they cost. Each other thought has its
// own contract_*_test.cc.

namespace shoal::contract {

using Kind = Event::Kind;

// --- Connecting.

TEST_P(TransportContract, ConnectsAndTellsBothSides) {
  std::tie(at_a, at_b) = connect();
  EXPECT_NE(at_a.value, 0u);
  EXPECT_NE(at_b.value, 0u);
  EXPECT_EQ(a.count(Kind::connected), 1u);
  EXPECT_EQ(a.count(Kind::accepted), 0u);
  EXPECT_EQ(b.count(Kind::accepted), 1u);
  EXPECT_EQ(b.count(Kind::connected), 0u);
  EXPECT_EQ(a.transport().peer_of(at_a), b_address.to_string());
  EXPECT_FALSE(b.transport().peer_of(at_b).empty());
  EXPECT_FALSE(a.transport().explain(at_a).empty());
  EXPECT_TRUE(a.transport().peer_of(EndpointId(0xdeadbeef)).empty());
}

TEST_P(TransportContract, PortInUseNamesTheAddress) {
  Peer c{backend->make(), {}, {}};
  auto at = b_address;
  auto again = b.transport().listen(at);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.code(), Errc::io);
  EXPECT_EQ(again.error().native, EADDRINUSE);
  EXPECT_NE(again.error().message().find(at.to_string()), std::string::npos);
}

TEST_P(TransportContract, AnyPortGivesDistinctPorts) {
  auto one = a.transport().listen(a.node.listen_at);
  auto two = a.transport().listen(a.node.listen_at);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(one->port, two->port);
}

TEST_P(TransportContract, ConnectToAClosedPortIsRefused) {
  auto endpoint = a.transport().connect(backend->dead_address(), soon());
  ASSERT_TRUE(endpoint.ok());
  ASSERT_TRUE(until([&] { return a.find_closed(*endpoint) != nullptr; }));
  EXPECT_EQ(a.find_closed(*endpoint)->status, Errc::refused);
  EXPECT_EQ(a.count(Kind::connected), 0u);
}

TEST_P(TransportContract, ConnectToASilentPeerTimesOutAtTheDeadline) {
  const auto deadline = deadline_after(backend->clock().now(), std::chrono::milliseconds(50));
  auto endpoint = a.transport().connect(backend->silent_address(), deadline);
  ASSERT_TRUE(endpoint.ok());
  EXPECT_EQ(send(a, *endpoint, 1, {}, {}).code(), Errc::closed) << "not connected yet";
  ASSERT_TRUE(until([&] { return a.find_closed(*endpoint) != nullptr; }));
  EXPECT_EQ(a.find_closed(*endpoint)->status, Errc::timed_out);
  EXPECT_GE(backend->clock().now(), deadline);
}

TEST_P(TransportContract, AWrongTokenIsToldFromAClosedPortAndNeverAccepted) {
  Peer stranger{backend->make(false), {}, {}};
  auto endpoint = stranger.transport().connect(b_address, soon());
  ASSERT_TRUE(endpoint.ok());
  ASSERT_TRUE(until([&] {
    stranger.poll();
    return stranger.find_closed(*endpoint) != nullptr;
  }));
  EXPECT_EQ(stranger.find_closed(*endpoint)->status, Errc::untrusted);
  EXPECT_TRUE(b.seen.empty());
  connect();  // and b still serves others
}

TEST_P(TransportContract, GarbageOnThePortHarmsNobody) {
  std::tie(at_a, at_b) = connect();
  if (!backend->send_garbage(b_address)) GTEST_SKIP() << "no bytes to forge on this network";
  settle();
  EXPECT_EQ(b.count(Kind::accepted), 1u);
  EXPECT_EQ(b.count(Kind::closed), 0u);
  EXPECT_TRUE(ping(at_a, at_b));
}

TEST_P(TransportContract, CloseWhileConnectingEndsInSilence) {
  auto endpoint = a.transport().connect(b_address, soon());
  ASSERT_TRUE(endpoint.ok());
  a.transport().close(*endpoint);
  settle();
  EXPECT_EQ(a.count(Kind::connected), 0u);
  EXPECT_EQ(a.count(Kind::closed), 0u);
  for (const auto accepted : b.accepted) EXPECT_NE(b.find_closed(accepted), nullptr);
}

TEST_P(TransportContract, ManyEndpointsKeepApart) {
  const auto many = backend->many();
  std::vector<std::pair<EndpointId, EndpointId>> pairs;
  for (std::size_t i = 0; i < many; ++i) pairs.push_back(connect());
  std::set<std::uint64_t> ids;
  for (std::size_t i = 0; i < many; ++i) {
    ids.insert(pairs[i].first.value);
    const auto bytes = pattern(100 + i, i);
    ASSERT_TRUE(send(a, pairs[i].first, i, bytes, {.copy_payload = true}).ok());
  }
  EXPECT_EQ(ids.size(), many);
  ASSERT_TRUE(until([&] { return b.count(Kind::message) == many; }));
  for (std::size_t i = 0; i < many; ++i) {
    const auto got = b.messages(pairs[i].second);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0]->header.request.value, i);
    EXPECT_EQ(got[0]->payload, pattern(100 + i, i));
  }
}

// --- Ends.

TEST_P(TransportContract, CloseIsSilentHereAndSeenThere) {
  std::tie(at_a, at_b) = connect();
  a.transport().close(at_a);
  EXPECT_EQ(send(a, at_a, 1, {}, {}).code(), Errc::closed);
  ASSERT_TRUE(until([&] { return b.find_closed(at_b) != nullptr; }));
  EXPECT_TRUE(lost_or_closed(b.find_closed(at_b)->status));
  settle();
  EXPECT_EQ(a.count(Kind::closed), 0u);
  EXPECT_EQ(b.count(Kind::closed), 1u);
  EXPECT_EQ(send(b, at_b, 1, {}, {}).code(), Errc::closed);
  a.transport().close(at_a);  // again, and of what was never there: harmless
  a.transport().close(EndpointId(123'456));
}

TEST_P(TransportContract, CloseCompletesWhatWasPostedWithClosed) {
  std::tie(at_a, at_b) = connect();
  const auto bytes = pattern(Transport::kCopyMax, 1);
  std::uint64_t posted = 0;
  while (posted < 100'000 && send(a, at_a, posted, bytes, {.context = posted + 1}).ok()) ++posted;
  ASSERT_GT(posted, 0u);
  a.transport().close(at_a);
  ASSERT_TRUE(until([&] { return a.count(Kind::sent) >= posted; }));
  settle();
  std::size_t closed = 0;
  for (std::uint64_t i = 1; i <= posted; ++i) {
    ASSERT_EQ(a.count(Kind::sent, i), 1u);
    const auto status = a.find(Kind::sent, i)->status;
    EXPECT_TRUE(status == Errc::ok || status == Errc::closed);
    closed += status == Errc::closed ? 1 : 0;
  }
  if (backend->copies_frames()) return;
  EXPECT_GT(closed, 0u) << "a full queue cannot have left all at once";
}

TEST_P(TransportContract, AKilledPeerIsNoticedAfterItsLastMessages) {
  std::tie(at_a, at_b) = connect();
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(send(b, at_b, i, {}, {}).ok());
  b.transport().flush();
  kill(b);
  ASSERT_TRUE(until([&] { return a.find_closed(at_a) != nullptr; }));
  EXPECT_TRUE(lost_or_closed(a.find_closed(at_a)->status));
  const auto got = a.messages(at_a);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i]->header.request.value, i);
  EXPECT_EQ(a.seen.back().kind, Kind::closed);
  // And its port refuses.
  auto again = a.transport().connect(b_address, soon());
  ASSERT_TRUE(again.ok());
  ASSERT_TRUE(until([&] { return a.find_closed(*again) != nullptr; }));
  EXPECT_EQ(a.find_closed(*again)->status, Errc::refused);
}

TEST_P(TransportContract, ClosedComesAfterTheCompletions) {
  std::tie(at_a, at_b) = connect();
  std::vector<std::byte> memory(1 << 20);
  auto region = make_region(b, host_view(std::span(memory)));
  const auto bytes = pattern(50'000, 1);
  std::vector<std::byte> target(1 << 20);
  for (std::uint64_t i = 1; i <= 8; ++i) {
    ASSERT_TRUE(send(a, at_a, i, bytes, {.context = i}).ok());
    ASSERT_TRUE(a.transport().read(at_a, host_view(std::span(target)), region.remote(), i).ok());
    ASSERT_TRUE(a.transport()
                    .write(at_a, ConstMemoryView(bytes.data(), bytes.size()),
                           region.remote(1, bytes.size()), i)
                    .ok());
  }
  region.revoke();
  kill(b);
  ASSERT_TRUE(until([&] { return a.find_closed(at_a) != nullptr; }));
  settle();
  EXPECT_EQ(a.count(Kind::sent), 8u);
  EXPECT_EQ(a.count(Kind::read_done), 8u);
  EXPECT_EQ(a.count(Kind::write_done), 8u);
  EXPECT_EQ(a.seen.back().kind, Kind::closed);
}

TEST_P(TransportContract, OldEndpointIdsAreHarmless) {
  const auto [old_a, old_b] = connect();
  a.transport().close(old_a);
  ASSERT_TRUE(until([&, old_b = old_b] { return b.find_closed(old_b) != nullptr; }));
  const auto [new_a, new_b] = connect();
  EXPECT_NE(old_a, new_a);
  EXPECT_NE(old_b, new_b);
  EXPECT_EQ(send(a, old_a, 1, {}, {}).code(), Errc::closed);
  EXPECT_EQ(send(b, old_b, 1, {}, {}).code(), Errc::closed);
  a.transport().close(old_a);
  b.transport().close(old_b);
  EXPECT_TRUE(ping(new_a, new_b));
}

TEST_P(TransportContract, ReconnectsAgainAndAgain) {
  for (std::size_t i = 0; i < backend->many(); ++i) {
    std::tie(at_a, at_b) = connect();
    ASSERT_TRUE(ping(at_a, at_b)) << i;
    if (i % 2 == 0) {
      a.transport().close(at_a);
      ASSERT_TRUE(until([&] { return b.find_closed(at_b) != nullptr; }));
    } else {
      b.transport().close(at_b);
      ASSERT_TRUE(until([&] { return a.find_closed(at_a) != nullptr; }));
    }
  }
}

// --- Cost.

TEST_P(TransportContract, NothingIsAllocatedInSteadyState) {
  if (const auto why = backend->allocates_because(); !why.empty()) GTEST_SKIP() << why;
  std::tie(at_a, at_b) = connect();
  auto source = pattern(100'000, 1);
  std::vector<std::byte> target(source.size());
  auto region = make_region(b, host_view(std::span(target)));
  std::array<Event, 16> events;
  std::uint64_t of_backend = 0;  // that the test's own waiting allocates
  const auto turn = [&](std::uint64_t number) {
    FrameHeader header;
    header.kind = FrameKind::push;
    header.request = RequestId(number);
    const ConstMemoryView lent(source.data(), 20'000);
    const ConstMemoryView copied(source.data(), 100);
    bool ok = true;
    ok &= a.transport()
              .send(at_a, header, {source.data(), 64}, {&copied, 1}, {.copy_payload = true})
              .ok();
    ok &= a.transport().send(at_a, header, {}, {&lent, 1}, {.context = 1}).ok();
    ok &= a.transport()
              .write(at_a, host_view(std::span<const std::byte>(source)), region.remote(), 2)
              .ok();
    ok &= a.transport().read(at_a, host_view(std::span(source)), region.remote(), 3).ok();
    ok &= b.transport().send(at_b, header, {}, {}, {.lane = Lane::bulk}).ok();
    for (int left = 6; ok && left > 0;) {
      const auto n = a.transport().poll(events) + b.transport().poll(events);
      left -= static_cast<int>(n);
      if (n != 0) continue;
      const auto before = test::allocations();
      ok = backend->advance();
      of_backend += test::allocations() - before;
    }
    return ok;
  };
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(turn(i));
  const auto before = test::allocations() - of_backend;
  bool ok = true;
  for (std::uint64_t i = 0; ok && i < 200; ++i) ok = turn(i);
  EXPECT_EQ(test::allocations() - of_backend - before, 0u);
  EXPECT_TRUE(ok);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportContract);

}  // namespace shoal::contract
