#include <fmt/core.h>

#include <algorithm>

#include "core/base/log.h"
#include "tests/verbs/path_fixture.h"

// Which way two peers choose, and why.

namespace shoal::paths::test {
namespace {

class SelectionTest : public PathTest {
 protected:
  /// What `body` makes all write to the log.
  static std::string logged(const std::function<void()>& body) {
    testing::internal::CaptureStderr();
    body();
    return testing::internal::GetCapturedStderr();
  }
  static std::size_t count(std::string_view text, std::string_view what) {
    std::size_t n = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
    return n;
  }
  /// A frame each way on each lane, and a WRITE and a READ, arrive.
  void expect_works(Process& a, EndpointId at_a, Process& b, EndpointId at_b) {
    Bytes memory = contract::pattern(5000, 1);
    const auto expected = memory;
    Bytes read(memory.size()), written(memory.size());
    {
      auto source = b.transport().register_memory(all(memory), Access::read).value();
      auto target = b.transport().register_memory(all(written), Access::write).value();
      EXPECT_TRUE(ping(a, at_a, b, at_b));
      EXPECT_TRUE(a.transport().read(at_a, all(read), source.remote(), 1).ok());
      ASSERT_TRUE(until([&] { return a.ended(Kind::read_done, 1).has_value(); }));
      EXPECT_EQ(a.ended(Kind::read_done, 1), Errc::ok);
      EXPECT_TRUE(a.transport().write(at_a, all(std::as_const(read)), target.remote(), 2).ok());
      EXPECT_TRUE(ping(a, at_a, b, at_b));
    }
    EXPECT_EQ(read, expected);
    EXPECT_EQ(written, expected);
    std::erase_if(a.peer.seen, [](const auto& what) { return what.context != 0; });
  }
  void expect_tcp(Process& a, EndpointId at_a, std::string_view why) {
    const auto text = a.transport().explain(at_a);
    EXPECT_EQ(text.rfind("tcp", 0), 0u) << text;
    EXPECT_TRUE(mentions(text, why)) << text;
  }
};

TEST_F(SelectionTest, VerbsWhereBothHaveThem) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  EXPECT_TRUE(mentions(a.transport().explain(at_a), "verbs soft1 port 1 (RoCE v2 10.0.0.1"))
      << a.transport().explain(at_a);
  EXPECT_TRUE(mentions(a.transport().explain(at_a), "to 10.0.0.2, packets of 4096 B"));
  EXPECT_TRUE(mentions(b.transport().explain(at_b), "verbs soft2 port 1")) << "b";
  const auto before = a.device->counts.packets;
  expect_works(a, at_a, b, at_b);
  EXPECT_GT(a.device->counts.packets, before + 4);
  EXPECT_EQ(a.transport().name(), "verbs,tcp");
}

/// What the pairs were given on their way to readiness, of all devices.
struct Readied {
  const ibv_device* device;
  ibv_qp_attr attributes;
  int mask;
};
std::vector<Readied> readied;

Api recording() {
  auto api = SoftFabric::api();
  api.modify_qp = [](ibv_qp* pair, ibv_qp_attr* attributes, int mask) {
    readied.push_back({pair->context->device, *attributes, mask});
    return SoftFabric::api().modify_qp(pair, attributes, mask);
  };
  return api;
}

struct Depths {
  ibv_mtu mtu;
  int answered;  ///< READs of peers at once,
  int asked;     ///< and own ones
};

DeviceOptions roce(const Depths& depths, std::uint8_t host) {
  PortOptions port;
  port.attributes.state = IBV_PORT_ACTIVE;
  port.attributes.link_layer = IBV_LINK_LAYER_ETHERNET;
  port.attributes.max_mtu = IBV_MTU_4096;
  port.attributes.active_mtu = depths.mtu;
  port.attributes.max_msg_sz = 1u << 30;
  port.gids = {DeviceOptions::ipv4_gid(0, {10, 0, 0, host}, IBV_GID_TYPE_ROCE_V2)};
  DeviceOptions device{.ports = {port}};
  device.attributes.max_qp_rd_atom = depths.answered;
  device.attributes.max_qp_init_rd_atom = depths.asked;
  return device;
}

/// Packets as small as the smaller port's, and no more READs than both devices keep: no fewer, too.
TEST_F(SelectionTest, UnlikeDevicesMeetAtWhatBothCan) {
  auto& a = make({.device = roce({IBV_MTU_1024, 7, 5}, 1), .api = recording()});
  auto& b = make({.device = roce({IBV_MTU_4096, 16, 16}, 2), .api = recording()});
  const auto expect_given = [](const Process& process, int answered, int asked) {
    int paths = 0, depths = 0;
    for (const auto& [device, given, mask] : readied) {
      if (device != process.device) continue;
      if ((mask & IBV_QP_PATH_MTU) != 0) {
        ++paths;
        EXPECT_EQ(given.path_mtu, IBV_MTU_1024);
        EXPECT_EQ(given.max_dest_rd_atomic, answered);
      }
      if ((mask & IBV_QP_MAX_QP_RD_ATOMIC) != 0) {
        ++depths;
        EXPECT_EQ(given.max_rd_atomic, asked);
      }
    }
    EXPECT_GT(paths, 0);
    EXPECT_EQ(paths, depths);
  };
  for (const bool a_connects : {true, false}) {
    SCOPED_TRACE(a_connects ? "the lesser one connects" : "the lesser one accepts");
    readied.clear();
    auto& from = a_connects ? a : b;
    auto& to = a_connects ? b : a;
    const auto [at_from, at_to] = connect(from, to);
    expect_given(a, 7, 5);
    expect_given(b, 16, 7);
    for (const auto& text : {from.transport().explain(at_from), to.transport().explain(at_to)})
      EXPECT_TRUE(mentions(text, "packets of 1024 B")) << text;
    expect_works(from, at_from, to, at_to);
  }
}

TEST_F(SelectionTest, TcpWhereOneSideHasNone) {
  auto& a = make();
  auto& b = make({.has_device = false});
  const auto [at_a, at_b] = connect(a, b);
  expect_tcp(a, at_a, "no faster path: the peer has none");
  expect_tcp(b, at_b, "no faster path: verbs: this machine has no RDMA device");
  expect_works(a, at_a, b, at_b);
  const auto [back, of_a] = connect(b, a);
  expect_tcp(b, back, "this machine has no RDMA device");
  expect_works(b, back, a, of_a);
}

TEST_F(SelectionTest, TcpWhereNoPacketArrives) {
  auto& a = make();
  auto& b = make({.network = &elsewhere});
  const auto text = logged([&] {
    const auto [at_a, at_b] = connect(a, b);
    expect_tcp(a, at_a, "verbs: the link broke while it was tried");
    expect_tcp(b, at_b, "verbs: the link broke while it was tried");
    expect_works(a, at_a, b, at_b);
    connect(a, b);
  });
  EXPECT_EQ(count(text, "tcp is used: "), 2u) << "once on each side:\n" << text;
}

/// A switch that drops all without a word, and retries that take longer than anybody waits.
TEST_F(SelectionTest, TcpWhereNothingIsHeardForTooLong) {
  auto api = SoftFabric::api();
  // Requests vanish.
  api.post_send = [](ibv_qp*, ibv_send_wr*, ibv_send_wr**) { return 0; };
  auto& a = make({.api = api});
  auto& b = make();
  const auto at_a = a.transport().connect(b.address, soon()).value();
  for (int i = 0; i < 300; ++i) turn();
  EXPECT_FALSE(is_up(a, at_a));
  clock.pass(std::chrono::seconds(6));
  ASSERT_TRUE(until([&] { return is_up(a, at_a) && !b.peer.accepted.empty(); }));
  expect_tcp(a, at_a, "frames sent over the link do not arrive");
  expect_works(a, at_a, b, b.peer.accepted.back());
}

TEST_F(SelectionTest, AConnectDeadlineEndsATrial) {
  auto api = SoftFabric::api();
  api.post_send = [](ibv_qp*, ibv_send_wr*, ibv_send_wr**) { return 0; };
  auto& a = make({.api = api});
  auto& b = make();
  const auto at_a = a.transport().connect(b.address, clock.now() + std::chrono::seconds(1)).value();
  for (int i = 0; i < 300; ++i) turn();
  clock.pass(std::chrono::seconds(2));
  ASSERT_TRUE(until([&] { return a.peer.find_closed(at_a) != nullptr; }));
  EXPECT_EQ(a.peer.find_closed(at_a)->status, Errc::timed_out);
  settle();
  EXPECT_TRUE(b.peer.accepted.empty());
}

DeviceOptions infiniband() {
  PortOptions port;
  port.attributes.state = IBV_PORT_ACTIVE;
  port.attributes.link_layer = IBV_LINK_LAYER_INFINIBAND;
  port.attributes.max_mtu = port.attributes.active_mtu = IBV_MTU_4096;
  port.attributes.max_msg_sz = 1u << 30;
  port.attributes.lid = 7;
  ibv_gid_entry gid{};
  gid.gid.raw[0] = 0xfe;
  gid.gid.raw[15] = 9;
  gid.gid_type = IBV_GID_TYPE_IB;
  port.gids = {gid};
  return {.ports = {port}};
}

TEST_F(SelectionTest, InfinibandAndRoceHaveNothingInCommon) {
  auto& a = make();
  auto& b = make({.device = infiniband()});
  const auto [at_a, at_b] = connect(a, b);
  expect_tcp(a, at_a, "one side has InfiniBand and the other RoCE");
  expect_tcp(b, at_b, "one side has InfiniBand and the other RoCE");
  expect_works(a, at_a, b, at_b);
}

TEST_F(SelectionTest, RequiredAndMissingIsUnavailable) {
  auto& none = make({.has_device = false, .fabric_required = true});
  auto& roce = make({.fabric_required = true});
  auto& other = make({.device = infiniband()});
  const auto refused = [&](Process& from, Process& to) {
    return logged([&] {
      const auto at = from.transport().connect(to.address, soon()).value();
      ASSERT_TRUE(until([&] { return from.peer.find_closed(at) != nullptr; }));
      EXPECT_EQ(from.peer.find_closed(at)->status, Errc::unavailable);
      EXPECT_FALSE(is_up(from, at));
      settle();
    });
  };
  EXPECT_TRUE(mentions(refused(none, roce),
                       "another transport is required (transports, require): verbs: this machine "
                       "has no"));
  EXPECT_TRUE(mentions(refused(roce, other), "one side has InfiniBand and the other RoCE"));
  EXPECT_TRUE(roce.peer.accepted.empty()) << "nor is a peer accepted that cannot use it";
}

/// Hands on what it is asked, and changes cards on their way.
class Forger final : public Fabric {
 public:
  using Forge = std::function<void(Card&)>;
  Forger(std::unique_ptr<Fabric> fabric, Forge offer, Forge begin, Forge answer)
      : fabric_(std::move(fabric)),
        offer_(std::move(offer)),
        begin_(std::move(begin)),
        answer_(std::move(answer)) {}

  std::string_view name() const override { return alias.empty() ? fabric_->name() : alias; }
  Card offer() const override { return forged(fabric_->offer(), offer_).value(); }
  Result<Card> begin(EndpointId at, std::span<const std::byte> offer) override {
    if (refuses_to_begin) return Error{Errc::unavailable, "not today"};
    return forged(fabric_->begin(at, offer), begin_);
  }
  Result<Card> answer(EndpointId at, std::span<const std::byte> begun) override {
    if (!refusal.empty()) return Error{Errc::unavailable, refusal};
    return forged(fabric_->answer(at, begun), answer_);
  }
  Status finish(EndpointId at, std::span<const std::byte> answer) override {
    return fabric_->finish(at, answer);
  }
  std::size_t try_bytes(EndpointId at) const override { return fabric_->try_bytes(at); }
  void close(EndpointId at) override { fabric_->close(at); }
  bool drained(EndpointId at) override { return fabric_->drained(at); }
  void drop(EndpointId at) override { fabric_->drop(at); }
  void lose(EndpointId at, Errc why) override { fabric_->lose(at, why); }
  std::string explain(EndpointId at) const override { return fabric_->explain(at); }
  Result<Card> expose(std::uint64_t region, MemoryView memory, Access access) override {
    return fabric_->expose(region, memory, access);
  }
  void conceal(std::uint64_t region) override { fabric_->conceal(region); }
  Result<RegionKey> import_key(EndpointId at, std::span<const std::byte> card) override {
    return fabric_->import_key(at, card);
  }
  void forget_key(EndpointId at, const RegionKey& key) override { fabric_->forget_key(at, key); }
  Status attach(MemoryView memory) override { return fabric_->attach(memory); }
  void detach(MemoryView memory) override { fabric_->detach(memory); }
  bool pins() const override { return false; }
  Status send(EndpointId at, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload,
              const Transport::SendOptions& options) override {
    return fabric_->send(at, header, meta, payload, options);
  }
  Status read(EndpointId at, MemoryView to, const RegionKey& key, std::uint64_t offset,
              std::uint64_t context) override {
    return fabric_->read(at, to, key, offset, context);
  }
  Status write(EndpointId at, ConstMemoryView from, const RegionKey& key, std::uint64_t offset,
               std::uint64_t context) override {
    return fabric_->write(at, from, key, offset, context);
  }
  std::size_t poll(std::span<Event> events) override { return fabric_->poll(events); }
  void flush() override { fabric_->flush(); }
  std::vector<int> wait_fds() const override { return fabric_->wait_fds(); }
  bool arm() override { return fabric_->arm(); }
  void release_owner() override { fabric_->release_owner(); }

  std::string alias;    ///< instead of the fabric's name
  std::string refusal;  ///< of every link that a peer begins
  bool refuses_to_begin = false;

 private:
  static Result<Card> forged(Result<Card> card, const Forge& forge) {
    if (card.ok() && forge) forge(*card);
    return card;
  }
  std::unique_ptr<Fabric> fabric_;
  Forge offer_, begin_, answer_;
};

ProcessOptions forging(const Forger::Forge& offer, const Forger::Forge& begin,
                       const Forger::Forge& answer) {
  return {.wrap = [=](std::unique_ptr<Fabric> fabric) {
    return std::make_unique<Forger>(std::move(fabric), offer, begin, answer);
  }};
}

/// `change` of a link's card.
Forger::Forge link_card(const std::function<void(StrandCard&)>& change) {
  return [change](Card& card) {
    StrandCard link;
    std::memcpy(&link, card.data(), sizeof link);
    change(link);
    std::memcpy(card.data(), &link, sizeof link);
  };
}

using Wrap = std::function<std::unique_ptr<Fabric>(std::unique_ptr<Fabric>)>;

/// A fabric that is called "spare", and one that makes no links.
Wrap changed(const std::function<void(Forger&)>& change) {
  return [change](std::unique_ptr<Fabric> fabric) {
    auto forger = std::make_unique<Forger>(std::move(fabric), nullptr, nullptr, nullptr);
    change(*forger);
    return forger;
  };
}
const Wrap kSpare = changed([](Forger& fabric) { fabric.alias = "spare"; });

TEST_F(SelectionTest, EachFabricIsUsedOrSaysWhyNot) {
  // Named in this order: one that is not there, verbs, spare; and one that is not named.
  auto& a = make({.spare = kSpare, .left_out = "ucx: not named in transports"});
  auto& all = make({.spare = kSpare});
  auto& second = make({.wrap = kSpare});
  auto& none = make({.has_device = false});
  auto& tool = make({.control = true});
  const auto words = [&](Process& from, Process& to) {
    const auto ends = connect(from, to);
    return from.transport().explain(ends.first);
  };
  const std::string missing = "verbs: this machine has no RDMA device";
  const std::string end = "; not used: ucx: not named in transports";
  const auto best = words(a, all);
  EXPECT_TRUE(best.starts_with("verbs soft1 port 1 ")) << best;
  EXPECT_TRUE(best.ends_with("B; no faster path: " + missing +
                             "; not used: spare: verbs is better; ucx: not named in transports"))
      << best;
  const auto behind = words(a, second);
  EXPECT_TRUE(behind.starts_with("verbs soft1 port 1 ")) << "the spare one's words: " << behind;
  EXPECT_TRUE(behind.ends_with("B; no faster path: verbs: the peer has none; " + missing + end))
      << behind;
  const auto tcp = words(a, none);
  EXPECT_TRUE(tcp.starts_with("tcp ")) << tcp;
  EXPECT_TRUE(tcp.ends_with("sockets; no faster path: the peer has none; " + missing + end)) << tcp;
  const auto ends = connect(tool, a);
  const auto control = a.transport().explain(ends.second);
  EXPECT_TRUE(control.ends_with("; no faster path: the peer only coordinates; " + missing + end))
      << control;
}

TEST_F(SelectionTest, TheNextFabricWhereTheAcceptorDeclines) {
  auto& a = make({.spare = kSpare});
  auto& b = make({.wrap = changed([](Forger& fabric) { fabric.refusal = "no\x1b[31m memory\n"; }),
                  .spare = kSpare});
  const auto text = logged([&] {
    const auto [at_a, at_b] = connect(a, b);
    const auto explained = a.transport().explain(at_a);
    EXPECT_EQ(explained.rfind("verbs soft1", 0), 0u) << "the spare one's words: " << explained;
    EXPECT_TRUE(mentions(
        explained, "no faster path: verbs: " + b.address.to_string() + " says: no?[31m memory?"))
        << explained;
    const auto declined = b.transport().explain(at_b);
    EXPECT_TRUE(declined.starts_with("verbs soft2")) << "the spare one's words: " << declined;
    EXPECT_TRUE(mentions(declined, "no faster path: verbs: no\x1b[31m memory\n; verbs: this "))
        << "and nothing of a choice of the peer's: " << declined;
    expect_works(a, at_a, b, at_b);
  });
  EXPECT_EQ(count(text, "tcp is used"), 0u) << text;
  EXPECT_EQ(count(text, " is used: verbs: "), 2u) << "each side says it once: " << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const auto [at_b, at_a] = connect(b, a);
  EXPECT_FALSE(mentions(b.transport().explain(at_b), " says: "));
  expect_works(b, at_b, a, at_a);
}

TEST_F(SelectionTest, TheNextFabricWhereTheFirstCannotBegin) {
  auto& a = make(
      {.wrap = changed([](Forger& fabric) { fabric.refuses_to_begin = true; }), .spare = kSpare});
  auto& b = make({.spare = kSpare});
  const auto text = logged([&] { connect(a, b); });
  EXPECT_EQ(count(text, "spare is used: verbs: not today"), 1u) << text;
  const auto again = logged([&] { connect(a, b); });
  EXPECT_EQ(count(again, "spare is used"), 0u) << "it was said of this peer: " << again;
  const auto [at_a, at_b] = connect(a, b);
  EXPECT_TRUE(mentions(a.transport().explain(at_a), "no faster path: verbs: not today; "));
  EXPECT_TRUE(mentions(b.transport().explain(at_b),
                       "no faster path: verbs: the peer, which connected, chose spare; "))
      << b.transport().explain(at_b);
  expect_works(a, at_a, b, at_b);
}

/// Frames over the first do not arrive: it is given up, and the second tried.
TEST_F(SelectionTest, TheNextFabricWhereATrialFails) {
  const auto small = [](Card& card) {
    StrandCard link;
    std::memcpy(&link, card.data(), sizeof link);
    link.port.mtu = IBV_MTU_512;
    std::memcpy(card.data(), &link, sizeof link);
  };
  auto broken = forging({}, {}, small);
  broken.spare = kSpare;
  auto& b = make(std::move(broken));
  auto& a = make({.spare = kSpare});
  const auto [at_a, at_b] = connect(a, b);
  EXPECT_TRUE(mentions(a.transport().explain(at_a), "verbs: the link broke while it was tried"))
      << a.transport().explain(at_a);
  EXPECT_NE(a.transport().explain(at_a).rfind("tcp", 0), 0u);
  EXPECT_TRUE(mentions(b.transport().explain(at_b), "no faster path: verbs: the "))
      << b.transport().explain(at_b);
  expect_works(a, at_a, b, at_b);
}

TEST_F(SelectionTest, TcpWhereNoFabricOfMoreWillDo) {
  const auto declines = [](const char* alias) {
    return changed([alias](Forger& fabric) {
      fabric.alias = alias;
      fabric.refusal = "no memory";
    });
  };
  auto& a = make({.spare = kSpare});
  auto& b = make({.wrap = declines(""), .spare = declines("spare")});
  const auto text = logged([&] {
    const auto [at_a, at_b] = connect(a, b);
    // Whose memory it is has to be clear on both sides.
    const auto why = fmt::format("verbs: {0} says: no memory; spare: {0} says: no memory",
                                 b.address.to_string());
    expect_tcp(a, at_a, "no faster path: " + why);
    expect_tcp(b, at_b,
               fmt::format("no faster path: {} says: {}", b.transport().peer_of(at_b), why));
    expect_works(a, at_a, b, at_b);
  });
  EXPECT_EQ(count(text, "tcp is used"), 2u) << "once on each side:\n" << text;
}

/// The acceptor hears of each of its fabrics, also of one that the connector has not.
TEST_F(SelectionTest, TheAcceptorHearsWhyNoneOfItsFabricsIsUsed) {
  auto& a = make({.wrap = changed([](Forger& fabric) { fabric.refuses_to_begin = true; })});
  auto& b = make({.spare = kSpare});
  const auto [at_a, at_b] = connect(a, b);
  expect_tcp(a, at_a, "no faster path: verbs: not today; ");
  expect_tcp(b, at_b, " says: verbs: not today; spare: none here; ");
  expect_works(a, at_a, b, at_b);
}

/// Both sides believe in another size of packets: small frames pass, and full ones do not.
TEST_F(SelectionTest, TcpWhereFullPacketsDoNotPass) {
  const auto small = link_card([](StrandCard& card) { card.port.mtu = IBV_MTU_512; });
  auto& a = make();
  auto& b = make(forging({}, {}, small));
  const auto [at_a, at_b] = connect(a, b);
  expect_tcp(a, at_a, "the link broke while it was tried");
  expect_works(a, at_a, b, at_b);
  const auto [at_b2, at_a2] = connect(b, a);
  EXPECT_TRUE(mentions(b.transport().explain(at_b2), "packets of 4096 B")) << "an honest way";
}

/// Another strand, which is the first with a change.
Forger::Forge again(const std::function<void(StrandCard&)>& change) {
  return [change](Card& card) {
    StrandCard strand;
    std::memcpy(&strand, card.data(), sizeof strand);
    change(strand);
    const auto bytes = std::as_bytes(std::span(&strand, 1));
    card.insert(card.end(), bytes.begin(), bytes.end());
  };
}

std::vector<Forger::Forge> absurd_links() {
  return {
      link_card([](StrandCard& card) { card.pair_numbers[1] = 0; }),
      link_card([](StrandCard& card) { card.pair_numbers[2] = 1u << 24; }),
      link_card([](StrandCard& card) { card.first_packets[0] = ~0u; }),
      link_card([](StrandCard& card) { card.port.mtu = 9; }),
      link_card([](StrandCard& card) { card.port.mtu = 0; }),
      link_card([](StrandCard& card) { card.port.reads = 0; }),
      link_card([](StrandCard& card) { card.peer_rail = 200; }),
      link_card([](StrandCard& card) { card.own_rail = 200; }),
      again([](StrandCard&) {}),
      again([](StrandCard& card) { card.own_rail = 1; }),
      again([](StrandCard& card) { card.peer_rail = 1; }),
      again([](StrandCard& card) {
        card.own_rail = card.peer_rail = 1;  // and carries messages
      }),
      again([](StrandCard& card) {
        card.own_rail = card.peer_rail = 1;  // of which the other has none
        card.pair_numbers[0] = 0;
      }),
      [](Card& card) { card.resize(5 * sizeof(StrandCard), card.front()); },
      [](Card& card) { card.pop_back(); },
      [](Card& card) { card.push_back({}); },
      [](Card& card) { card.clear(); },
  };
}

TEST_F(SelectionTest, AnAbsurdBeginningIsNonsense) {
  for (const auto& forge : absurd_links()) {
    auto& b = make();
    auto& a = make(forging({}, forge, {}));
    const auto at_a = a.transport().connect(b.address, soon()).value();
    ASSERT_TRUE(until([&] { return a.peer.find_closed(at_a) != nullptr; }));
    EXPECT_FALSE(is_up(a, at_a));
    EXPECT_TRUE(b.peer.accepted.empty());
    const auto before = b.device->counts.packets;
    auto& c = make();
    const auto [at_c, at_b] = connect(c, b);
    EXPECT_TRUE(ping(c, at_c, b, at_b));
    EXPECT_GT(b.device->counts.packets, before);
    processes.clear();
  }
}

TEST_F(SelectionTest, AnAbsurdAnswerIsNonsense) {
  for (const auto& forge : absurd_links()) {
    auto& b = make(forging({}, {}, forge));
    auto& a = make();
    const auto at_a = a.transport().connect(b.address, soon()).value();
    ASSERT_TRUE(until([&] { return a.peer.find_closed(at_a) != nullptr; }));
    EXPECT_EQ(a.peer.find_closed(at_a)->status, Errc::protocol);
    settle();
    EXPECT_TRUE(b.peer.accepted.empty());
    processes.clear();
  }
}

TEST_F(SelectionTest, AnAbsurdOfferIsNonsense) {
  const auto count_of = [](std::uint32_t count) {
    return [count](Card& card) { std::memcpy(card.data(), &count, sizeof count); };
  };
  const std::vector<Forger::Forge> forges = {
      count_of(0),
      count_of(2),
      count_of(~0u),
      [](Card& card) { card.clear(); },
      [](Card& card) { card.resize(4000); },
      [](Card& card) {  // of 17 ports
        const std::uint32_t many = 17;
        card.resize(4 + many * sizeof(PortCard));
        std::memcpy(card.data(), &many, sizeof many);
      },
      [](Card& card) { card[4 + offsetof(PortCard, mtu)] = std::byte{9}; },
  };
  for (const auto& forge : forges) {
    auto& b = make(forging(forge, {}, {}));
    auto& a = make();
    const auto at_a = a.transport().connect(b.address, soon()).value();
    ASSERT_TRUE(until([&] { return a.peer.find_closed(at_a) != nullptr; }));
    EXPECT_EQ(a.peer.find_closed(at_a)->status, Errc::protocol);
    settle();
    EXPECT_TRUE(b.peer.accepted.empty());
    processes.clear();
  }
}

/// A number that could be a pair's, but is nobody's: that is found out by trying.
TEST_F(SelectionTest, APairThatIsNobodysIsTriedInVain) {
  auto& b = make(forging({}, {}, link_card([](StrandCard& card) { card.pair_numbers[1] ^= 2; })));
  auto& a = make();
  const auto [at_a, at_b] = connect(a, b);
  expect_tcp(a, at_a, "the link broke while it was tried");
  expect_works(a, at_a, b, at_b);
}

}  // namespace
}  // namespace shoal::paths::test
