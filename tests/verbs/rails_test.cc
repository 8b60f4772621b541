#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "tests/verbs/path_fixture.h"

// Links over several devices: large transfers are split, frames come behind all they follow, and
// what fails is left out.

namespace shoal::paths::test {
namespace {

constexpr std::size_t kLarge = 1u << 20;

/// What the next SENDs say that they wait for.
std::optional<std::uint32_t> forged_awaits;

Api forging_api() {
  forged_awaits.reset();
  auto api = SoftFabric::api();
  api.post_send = [](ibv_qp* pair, ibv_send_wr* first, ibv_send_wr** bad) {
    for (auto* request = first; forged_awaits && request != nullptr; request = request->next) {
      if (request->opcode != IBV_WR_SEND || request->num_sge == 0) continue;
      request->opcode = IBV_WR_SEND_WITH_IMM;
      request->imm_data = htonl(*forged_awaits);
    }
    return SoftFabric::api().post_send(pair, first, bad);
  };
  return api;
}

class RailsTest : public PathTest {
 protected:
  Process& make_two(Filters filters = {}) { return make({.more_devices = 1, .filters = filters}); }
  void TearDown() override {
    region_ = {};
    PathTest::TearDown();
  }
  RemoteSpan expose(Process& process, Access access) {
    region_ = process.transport().register_memory(all(remote_), access).value();
    return region_.remote();
  }
  bool mentions_second(Process& process, EndpointId at) {
    return mentions(process.transport().explain(at), process.devices[1]->options.name);
  }

  Bytes local_ = contract::pattern(kLarge, 1);
  Bytes remote_ = contract::pattern(kLarge, 2);
  Region region_;
};

TEST_F(RailsTest, LargeTransfersAreSplit) {
  auto& a = make_two();
  auto& b = make_two();
  const auto [at_a, at_b] = connect(a, b);
  EXPECT_TRUE(mentions_second(a, at_a)) << a.transport().explain(at_a);
  EXPECT_TRUE(mentions_second(b, at_b));
  const auto span = expose(b, Access::read_write);
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  const auto packets = [&](Process& process) {
    return std::array{process.devices[0]->counts.packets, process.devices[1]->counts.packets};
  };
  auto before = packets(a);
  Bytes into(kLarge);
  ASSERT_TRUE(a.transport().read(at_a, all(into), span, 1).ok());
  ASSERT_TRUE(until([&] { return a.ended(Kind::read_done, 1).has_value(); }));
  EXPECT_EQ(a.ended(Kind::read_done, 1), Errc::ok);
  EXPECT_EQ(into, remote_);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_GT(packets(a)[i] - before[i], kLarge / 4096 / 3) << i;
  before = packets(a);
  ASSERT_TRUE(a.transport().write(at_a, {local_.data(), kLarge}, span, 2).ok());
  ASSERT_TRUE(until([&] { return a.ended(Kind::write_done, 2).has_value(); }));
  EXPECT_EQ(remote_, local_);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_GT(packets(a)[i] - before[i], kLarge / 4096 / 3) << i;
}

TEST_F(RailsTest, AFrameWaitsForWritesOfASlowerRail) {
  auto& a = make_two();
  auto& b = make_two();
  const auto [at_a, at_b] = connect(a, b);
  const auto span = expose(b, Access::read_write);
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  // What arrives by the second device of b is told late: tokens, too.
  b.devices[1]->stop(true);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(a.transport().write(at_a, {local_.data(), kLarge}, span, i).ok());
    ASSERT_TRUE(send(a, at_a, 100 + i, 3000, Lane::bulk).ok());
  }
  ASSERT_TRUE(send(a, at_a, 200).ok());
  const auto came = [&, from = at_b](std::uint64_t number) {
    const auto seen = numbers(b, from);
    return std::find(seen.begin(), seen.end(), number) != seen.end();
  };
  ASSERT_TRUE(until([&] { return came(200); }));
  for (int i = 0; i < 200; ++i) turn();
  EXPECT_FALSE(came(101)) << "the other half of its WRITE has not been told";
  b.devices[1]->stop(false);
  ASSERT_TRUE(until([&] { return came(103); }));
  EXPECT_EQ(remote_, local_);
  EXPECT_TRUE(came(101) && came(102));
  EXPECT_TRUE(ping(a, at_a, b, at_b)) << "nobody was disconnected";
}

TEST_F(RailsTest, APortThatGoesDownIsLeftToTheOther) {
  auto& a = make_two();
  auto& b = make_two();
  const auto [at_a, at_b] = connect(a, b);
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  for (const std::size_t which : {std::size_t{1}, std::size_t{0}}) {
    b.devices[which]->set_port_state(1, IBV_PORT_DOWN);
    const auto path = path_of(a, b);
    EXPECT_TRUE(mentions(path, "verbs")) << path;
    EXPECT_FALSE(mentions(path, ", and soft")) << path;
    b.devices[which]->set_port_state(1, IBV_PORT_ACTIVE);
  }
  EXPECT_NE(b.peer.find_closed(at_b), nullptr) << "with the port went the connection";
  EXPECT_TRUE(mentions(path_of(a, b), ", and soft")) << "it is back";
}

TEST_F(RailsTest, ARailThatCarriesNothingIsPassedOver) {
  auto& a = make_two();
  auto& b = make_two();
  const auto [at_a, at_b] = connect(a, b);
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  const auto span = expose(b, Access::read_write);
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  a.devices[1]->fate = [](const ibv_wc&) { return Fate{.status = IBV_WC_RETRY_EXC_ERR}; };
  ASSERT_TRUE(a.transport().write(at_a, {local_.data(), kLarge}, span, 1).ok());
  ASSERT_TRUE(until([&, end = at_a] { return a.peer.find_closed(end) != nullptr; }));
  EXPECT_EQ(a.ended(Kind::write_done, 1), Errc::peer_lost);
  EXPECT_EQ(a.peer.count(Kind::write_done, 1), 1u);
  const auto path = path_of(a, b);
  EXPECT_TRUE(mentions(path, "verbs soft1 ")) << path;
  EXPECT_TRUE(mentions(path, "not used: soft1_1 port 1: its last link carried nothing")) << path;
  clock.pass(std::chrono::minutes(1));
  a.devices[1]->fate = {};
  EXPECT_TRUE(mentions(path_of(a, b), "soft1_1")) << "tried again";
}

TEST_F(RailsTest, AStrandThatNothingComesThroughFailsTheTry) {
  auto& a = make_two();
  auto& b = make_two();
  b.devices[1]->stop(true);  // as if nothing got through
  const auto endpoint = a.transport().connect(b.address, soon()).value();
  settle();
  EXPECT_FALSE(is_up(a, endpoint));
  clock.pass(std::chrono::seconds(6));
  ASSERT_TRUE(until([&] { return is_up(a, endpoint); }));
  EXPECT_TRUE(mentions(a.transport().explain(endpoint), "tcp"));
  const auto path = path_of(a, b);
  EXPECT_TRUE(mentions(path, "verbs")) << path;
  EXPECT_FALSE(mentions(path, ", and soft")) << "the next connection does without it: " << path;
}

TEST_F(RailsTest, AFrameThatWaitsForWhatIsNotThereEndsTheLink) {
  auto& a = make({.more_devices = 1, .api = forging_api()});
  auto& b = make_two();
  for (const std::uint32_t awaits : {0b1u, 0b100u, 0x8000'0000u, ~0u}) {
    SCOPED_TRACE(awaits);
    forged_awaits.reset();
    const auto [at_a, at_b] = connect(a, b);
    ASSERT_TRUE(ping(a, at_a, b, at_b));
    forged_awaits = awaits;
    ASSERT_TRUE(send(a, at_a, 1, 100, Lane::bulk).ok());
    ASSERT_TRUE(until([&, end = at_b] { return b.peer.find_closed(end) != nullptr; }));
    EXPECT_EQ(b.peer.find_closed(at_b)->status, Errc::protocol);
  }
}

TEST_F(RailsTest, AFloodOfFramesThatWaitForEverEndsTheLink) {
  auto& a = make({.more_devices = 1, .api = forging_api()});
  auto& b = make_two();
  const auto [at_a, at_b] = connect(a, b);
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  forged_awaits = 0b10;
  for (std::uint64_t i = 0; b.peer.find_closed(at_b) == nullptr && i < 200; ++i) {
    if (send(a, at_a, i, 1u << 20, Lane::bulk).code() == Errc::closed) break;
    settle(20);
  }
  ASSERT_TRUE(until([&, end = at_b] { return b.peer.find_closed(end) != nullptr; }));
  EXPECT_EQ(b.peer.find_closed(at_b)->status, Errc::protocol);
}

TEST_F(RailsTest, OneRailIsEnoughForWhoWantsOne) {
  Filters one;
  one.rails = 1;
  auto& a = make_two(one);
  auto& b = make_two();
  const auto path = path_of(a, b);
  EXPECT_TRUE(mentions(path, "verbs")) << path;
  EXPECT_FALSE(mentions(path, ", and soft")) << path;
}

/// Three devices, on nodes 0 to 2, and memory on any.
class NumaRailsTest : public RailsTest {
 protected:
  NumaRailsTest() {
    const auto node_of = [this](const void* at) {
      for (const auto& [memory, node] : memories_)
        if (memory.data() == at) return node;
      return -1;
    };
    const NumaDistances distances({{10, 21, 31}, {21, 10, 21}, {31, 21, 10}});
    a_ = &make({.more_devices = 2, .numa = {distances, 0, node_of}, .numa_nodes = {0, 1, 2}});
    auto& b = make({.more_devices = 2});
    std::tie(at_a_, at_b_) = connect(*a_, b);
    span_ = expose(b, Access::read_write);
    EXPECT_TRUE(ping(*a_, at_a_, b, at_b_));
  }
  /// Bytes on a node that are lent for good, as a server's are; -1: as anybody's.
  std::span<std::byte> memory_on(int node) {
    auto& memory = memories_.emplace_back(Bytes(kLarge), node).first;
    EXPECT_TRUE(node < 0 || a_->transport().attach(all(memory)).ok());
    return memory;
  }
  using PerDevice = std::array<std::uint64_t, 3>;
  PerDevice packets() const {
    PerDevice counts{};
    for (std::size_t i = 0; i < 3; ++i) counts[i] = a_->devices[i]->counts.packets;
    return counts;
  }
  /// Which devices of a's carried a WRITE of so many bytes.
  std::vector<std::size_t> carriers(std::span<const std::byte> memory, std::size_t bytes) {
    const auto before = packets();
    const auto to = span_.sub(0, bytes);
    EXPECT_TRUE(a_->transport().write(at_a_, {memory.data(), bytes}, to, ++context_).ok());
    EXPECT_TRUE(until([&] { return a_->ended(Kind::write_done, context_).has_value(); }));
    const auto after = packets();
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < 3; ++i)
      if (after[i] - before[i] >= kHomeBytes / 4096) which.push_back(i);
    return which;
  }

  std::deque<std::pair<Bytes, int>> memories_;
  Process* a_ = nullptr;
  EndpointId at_a_, at_b_;
  RemoteSpan span_;
  std::uint64_t context_ = 0;
};

using Carriers = std::vector<std::size_t>;

TEST_F(NumaRailsTest, LargeTransfersBeginNearTheirMemory) {
  for (const std::size_t node : {2u, 0u, 1u}) {
    SCOPED_TRACE(node);
    const auto memory = memory_on(static_cast<int>(node));
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(carriers(memory, kHomeBytes), Carriers{node});
      // In two parts, of which the first goes there and the second over another strand.
      const auto two = carriers(memory, 2 * kPartBytes);
      EXPECT_EQ(two.size(), 2u);
      EXPECT_EQ(std::count(two.begin(), two.end(), node), 1);
    }
    EXPECT_EQ(carriers(memory, kLarge), (Carriers{0, 1, 2})) << "all carry what is large enough";
  }
}

TEST_F(NumaRailsTest, WhereNoneIsNearerTheyTakeTurns) {
  // The node of the first is not known, and of the second no distance.
  for (const int node : {-1, 7}) {
    const auto memory = memory_on(node);
    std::array<int, 3> times{};
    for (int i = 0; i < 6; ++i)
      for (const auto device : carriers(memory, kHomeBytes)) ++times[device];
    EXPECT_EQ(times, (std::array{2, 2, 2})) << node;
  }
}

/// An active port of RoCE at 100 Gbit/s, unless it is changed.
PortOptions port_at(std::array<std::uint8_t, 4> address) {
  PortOptions port;
  port.attributes.state = IBV_PORT_ACTIVE;
  port.attributes.max_mtu = port.attributes.active_mtu = IBV_MTU_4096;
  port.attributes.max_msg_sz = 1u << 30;
  port.attributes.active_width = 2;
  port.attributes.active_speed = 32;
  port.attributes.link_layer = IBV_LINK_LAYER_ETHERNET;
  port.gids = {DeviceOptions::ipv4_gid(0, address, IBV_GID_TYPE_ROCE_V2)};
  return port;
}

TEST_F(RailsTest, EachPortIsUsedOrSaysWhyNot) {
  DeviceOptions many;
  for (std::uint8_t last = 1; last <= 8; ++last) many.ports.push_back(port_at({10, 0, 0, last}));
  many.ports[1].attributes.state = IBV_PORT_DOWN;
  many.ports[2].gids.front().gid_type = IBV_GID_TYPE_ROCE_V1;
  many.ports[3].attributes.link_layer = IBV_LINK_LAYER_INFINIBAND;
  many.ports[3].gids.front().gid_type = IBV_GID_TYPE_IB;
  many.ports[4].attributes.active_speed = 64;
  many.ports[5] = port_at({192, 168, 0, 6});
  Filters filters;
  filters.devices = NameFilter::parse(NameFilter::Kind::devices, "^soft1:7").value();
  auto& a = make({.device = many, .filters = filters});
  filters.rails = 1;
  auto& one_rail = make({.device = many, .filters = filters});
  DeviceOptions three, one;
  for (std::uint8_t last = 11; last <= 13; ++last) three.ports.push_back(port_at({10, 0, 0, last}));
  one.ports.push_back(port_at({10, 0, 0, 21}));
  auto& b = make({.device = three});
  auto& c = make({.device = one});

  const auto [at_a, at_b] = connect(a, b);
  const auto text = a.transport().explain(at_a);
  EXPECT_TRUE(text.starts_with("verbs soft1 port 8 ")) << text;
  EXPECT_TRUE(mentions(text, " B, and soft1 port 1; ")) << text;
  for (const auto* why :
       {"; soft1 port 2: the port is down: set its network interface up",
        "; soft1 port 3: the port has no RoCE v2 GID, only 1 of RoCE v1",
        "; not used: soft1 port 4: the peer has no port of its link layer that is up",
        "; soft1 port 5: its speed, or the peer's, is not that of the ports in use",
        "; soft1 port 6: its address has less in common with the peer's",
        "; soft1 port 7: devices = '^soft1:7' leaves it out"})
    EXPECT_TRUE(mentions(text, why)) << why << " in\n" << text;
  const auto other = b.transport().explain(at_b);
  EXPECT_TRUE(other.ends_with(" port 3: the peer, which connected, chose others")) << other;

  const auto few = path_of(a, c);
  EXPECT_TRUE(mentions(few, "; not used: soft1 port 4: the peer has no port of its link")) << few;
  EXPECT_TRUE(mentions(few, "soft1 port 5: its speed, or the peer's, is not")) << few;
  for (const auto* port : {"6", "8"})
    EXPECT_TRUE(mentions(few, fmt::format("soft1 port {}: the peer has no port left for it", port)))
        << few;
  const auto single = path_of(one_rail, b);
  EXPECT_TRUE(mentions(single, "soft2 port 1: one port is used (rails = 1)")) << single;
  EXPECT_TRUE(mentions(single, "soft2 port 5: its speed, or the peer's, is not")) << single;

  // A port that goes down after it was opened.
  const auto after = [&](ibv_port_state state) {
    a.device->set_port_state(1, state);
    return path_of(a, b);
  };
  const auto down = after(IBV_PORT_DOWN);
  EXPECT_TRUE(mentions(down, "; not used: soft1 port 1: the port is down; soft1 port 4: ")) << down;
  EXPECT_FALSE(mentions(after(IBV_PORT_ACTIVE), "soft1 port 1: the port is down"));
}

}  // namespace
}  // namespace shoal::paths::test
