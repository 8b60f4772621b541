#include "transport/verbs/pairing.h"

#include <gtest/gtest.h>

#include "transport/verbs/bulk_gate.h"
#include "transport/verbs/numa.h"
#include "transport/verbs/splits.h"

namespace shoal::verbs {
namespace {

using Pairings = std::vector<Pairing>;

PortCard port(std::array<std::uint8_t, 4> address, std::uint16_t gbit_per_s = 100) {
  PortCard card;
  card.gid = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::copy(address.begin(), address.end(), card.gid.begin() + 12);
  card.link_layer = 1;
  card.mtu = 3;
  card.reads = 16;
  card.gbit_per_s = gbit_per_s;
  return card;
}

PortCard down(PortCard card) {
  card.link_layer = kNoLinkLayer;
  return card;
}

TEST(Pairings, EachPortOnceRailByRail) {
  // Rails of a cluster: a network each.
  const std::vector<OwnPort> own{{port({10, 1, 0, 1})}, {port({10, 2, 0, 1})}};
  const std::vector theirs{port({10, 2, 0, 7}), port({10, 1, 0, 7})};
  EXPECT_EQ(choose_pairings(own, theirs, 4).value(), (Pairings{{0, 1}, {1, 0}}));
  EXPECT_EQ(choose_pairings(own, theirs, 1).value(), (Pairings{{0, 1}}));
}

TEST(Pairings, OnlyEqualsCarryStrands) {
  const std::vector<OwnPort> own{{port({10, 0, 0, 1}, 100)}, {port({10, 0, 0, 2}, 25)}};
  const std::vector theirs{port({10, 0, 0, 3}, 100), port({10, 0, 0, 4}, 100)};
  EXPECT_EQ(choose_pairings(own, theirs, 4)->size(), 1u)
      << "a slow rail would hold back a fast one";
  const std::vector<OwnPort> apart{{port({10, 0, 0, 1})}, {port({192, 168, 0, 1})}};
  EXPECT_EQ(choose_pairings(apart, theirs, 4)->size(), 1u) << "another network";
}

TEST(Pairings, OfEqualsTheNearestDeviceIsHome) {
  // Both have as much in common with the peer's.
  const std::vector<OwnPort> own{{port({10, 0, 0, 1}), 21}, {port({10, 0, 0, 1}), 10}};
  const std::vector theirs{port({10, 0, 0, 5})};
  EXPECT_EQ(choose_pairings(own, theirs, 4).value(), (Pairings{{1, 0}}));
}

TEST(Pairings, PortsThatAreDownOrOfAnotherKindAreLeftOut) {
  const std::vector<OwnPort> own{{down(port({10, 0, 0, 1}))}, {port({10, 0, 0, 2})}};
  const std::vector theirs{port({10, 0, 0, 3}), down(port({10, 0, 0, 4}))};
  EXPECT_EQ(choose_pairings(own, theirs, 4).value(), (Pairings{{1, 0}}));
  EXPECT_TRUE(choose_pairings(own, std::vector{down(port({10, 0, 0, 3}))}, 4)->empty());
  auto other = port({10, 0, 0, 3});
  other.link_layer = 0;
  EXPECT_TRUE(choose_pairings(own, std::vector{other}, 4)->empty());
  other = port({10, 0, 0, 3});
  other.mtu = 9;
  EXPECT_EQ(choose_pairings(own, std::vector{other}, 4).code(), Errc::protocol);
}

BulkGate::Held held(BulkGate::Strands awaits, std::size_t bytes = 8) {
  auto assembly = std::make_unique<Assembly>();
  assembly->bytes.resize(bytes);
  return {awaits, std::move(assembly), {}};
}

TEST(BulkGate, FramesWaitForATokenOfEachStrandInTheirOrder) {
  BulkGate gate;
  EXPECT_TRUE(gate.passes(0));
  gate.token(1);
  EXPECT_FALSE(gate.passes(0b110)) << "that of strand 2 has not come, and 1's is not spent";
  gate.hold(held(0b110));
  EXPECT_FALSE(gate.passes(0)) << "not past the one that waits";
  gate.hold(held(0, 100));
  EXPECT_EQ(gate.held_bytes(), 108u);
  EXPECT_EQ(gate.next().assembly, nullptr);
  gate.token(2);
  EXPECT_EQ(gate.next().awaits, 0b110u);
  EXPECT_EQ(gate.next().assembly->bytes.size(), 100u);
  EXPECT_TRUE(gate.empty());
  EXPECT_EQ(gate.held_bytes(), 0u);
  EXPECT_FALSE(gate.passes(0b10)) << "each token lets one frame pass";
}

TEST(Splits, EndWithTheirLastPartAndFirstFailure) {
  Splits splits;
  const Completion write{true, Event::Kind::write_done, 7};
  const auto a = splits.open(write, 2), b = splits.open(write, 3);
  EXPECT_NE(a, 0u);
  EXPECT_NE(a, b);
  Completion whole;
  EXPECT_FALSE(splits.end(a, Errc::ok, whole));
  EXPECT_FALSE(splits.end(b, Errc::revoked, whole));
  EXPECT_TRUE(splits.end(a, Errc::ok, whole));
  EXPECT_EQ(whole.context, 7u);
  EXPECT_EQ(whole.failed, Errc::ok);
  EXPECT_FALSE(splits.end(b, Errc::closed, whole));
  EXPECT_TRUE(splits.end(b, Errc::closed, whole));
  EXPECT_EQ(whole.failed, Errc::revoked);
  EXPECT_EQ(splits.open(write, 2), b) << "names are used again";
}

TEST(NumaDistances, WhatIsNotKnownIsFarthest) {
  const NumaDistances two({{10, 21}, {21, 10}});
  EXPECT_EQ(two.between(0, 1), 21u);
  EXPECT_EQ(two.between(1, 1), 10u);
  EXPECT_EQ(two.between(-1, 1), NumaDistances::kUnknown);
  EXPECT_EQ(two.between(0, 2), NumaDistances::kUnknown);
  const int local = 0;
  EXPECT_GE(numa_node_of_memory(&local), -1);
  const auto here = NumaDistances::of_machine().between(numa_node_of_cpu(), numa_node_of_cpu());
  EXPECT_TRUE(here == 10 || here == NumaDistances::kUnknown) << here;
}

}  // namespace
}  // namespace shoal::verbs
