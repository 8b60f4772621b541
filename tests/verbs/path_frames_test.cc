#include <netinet/tcp.h>

#include <algorithm>

#include "tests/verbs/path_fixture.h"
#include "transport/frames.h"
#include "transport/paths/messages.h"

// Frames of the negotiation, and of regions, that are malformed, at the wrong time, or from the
// wrong side: the endpoint ends with `protocol`, and nothing else suffers.

namespace shoal::paths::test {
namespace {

struct Frame {
  FrameKind kind;
  Bytes meta = {};
  std::uint16_t flags = 0;

  Bytes bytes() const {
    FrameHeader header;
    header.kind = kind;
    header.flags = flags;
    seal(header, meta);
    Bytes out(frame_bytes(meta.size(), 0));
    stage_frame(out.data(), header, meta, {});
    return out;
  }
};

/// One lane of a peer that says what a test wants.
class RawSocket {
 public:
  RawSocket(tcp::Fd fd, std::function<void()> turn) : fd_(std::move(fd)), turn_(std::move(turn)) {
    const int yes = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }

  void say(std::span<const std::byte> bytes) {
    ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void say(const Frame& frame) { say(frame.bytes()); }
  Bytes hear(std::size_t bytes) {
    Bytes got;
    // Sooner or later there are bytes, or an end.
    for (int quiet = 0; got.size() < bytes && quiet < 10'000;) {
      turn_();
      Bytes part(bytes - got.size());
      const auto n = ::recv(fd_.get(), part.data(), part.size(), MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) break;
      quiet = n > 0 ? 0 : quiet + 1;
      if (n > 0) got.insert(got.end(), part.begin(), part.begin() + n);
      if (n < 0 && quiet % 100 == 0) {
        pollfd readable{fd_.get(), POLLIN, 0};
        ::poll(&readable, 1, 1);
      }
    }
    return got;
  }
  std::optional<Frame> hear_frame() {
    const auto head = hear(kFrameHeaderBytes);
    if (head.size() < kFrameHeaderBytes) return std::nullopt;
    const auto header =
        parse_header(std::span(head).first<kFrameHeaderBytes>(), FrameLimits{}).value();
    auto meta = hear(padded(header.meta_bytes));
    meta.resize(header.meta_bytes);
    return Frame{header.kind, std::move(meta), header.flags};
  }
  bool ended() { return hear(1).empty(); }
  /// The peer's binding, once both have proved that they know the token.
  std::optional<tcp::LaneBinding> prove(Authenticator::Role role, const tcp::LaneBinding& own) {
    const auto token = Token::create(contract::bytes_of("the cluster's token")).value();
    Authenticator auth(role, token, fresh_nonce(), own.bytes());
    for (;;) {
      const Bytes out(auth.outgoing().begin(), auth.outgoing().end());
      auth.sent(out.size());
      say(out);
      if (auth.done()) return tcp::LaneBinding::from(auth.peer_binding());
      const auto heard = hear(auth.wanted());
      if (heard.empty() || !auth.feed(heard).ok()) return std::nullopt;
    }
  }

 private:
  tcp::Fd fd_;
  std::function<void()> turn_;
};

struct RawPeer {
  RawSocket message, bulk;
};

Frame begin_frame(std::string_view fabric, const Bytes& card) {
  return {FrameKind::path_begin,
          encoded(NamedCard{std::string(fabric), card}, kOfferMax + fabric.size() + card.size())};
}
Frame decline_frame(std::string_view why) {
  Bytes meta(why.size() + 4);
  Writer out(meta);
  out.put_string(why);
  return {FrameKind::path_decline, meta};
}

/// A half of a link that could be.
Bytes link_card() {
  StrandCard card;
  card.port.gid = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 99};
  card.port.link_layer = static_cast<std::uint8_t>(LinkLayer::roce);
  card.port.mtu = IBV_MTU_1024;
  card.port.reads = 16;
  card.pair_numbers = {100, 101, 102};
  const auto bytes = std::as_bytes(std::span(&card, 1));
  return {bytes.begin(), bytes.end()};
}

Bytes region_meta(RegionAnnouncement announcement, std::size_t card_bytes) {
  Bytes meta(sizeof announcement + card_bytes, std::byte{1});
  std::memcpy(meta.data(), &announcement, sizeof announcement);
  return meta;
}

/// Frames that are nonsense whoever says them, whenever.
std::vector<Frame> nonsense() {
  std::vector<Frame> frames;
  for (auto kind = FrameKind::path_offer; kind <= FrameKind::region_gone;
       kind = static_cast<FrameKind>(static_cast<std::uint16_t>(kind) + 1))
    for (const auto& meta : {Bytes(), contract::pattern(7, 1), contract::pattern(1000, 2),
                             Bytes(64, std::byte{0xff})}) {
      // Of these the fabric looks at the flags alone.
      frames.push_back({kind, meta, 2});
    }
  frames.push_back(begin_frame("carrier pigeon", link_card()));
  frames.push_back(begin_frame("a name that is too long for one", link_card()));
  frames.push_back(begin_frame("verbs", Bytes(5000)));
  frames.push_back(decline_frame(std::string(600, 'x')));
  frames.push_back({FrameKind::region_key, region_meta({1, 100, 3}, 12)});
  frames.push_back({FrameKind::path_try, {}, 0});
  frames.push_back({FrameKind::path_use, {}, 1});
  frames.push_back({FrameKind::push});
  return frames;
}

class PathFramesTest : public PathTest {
 protected:
  static constexpr tcp::LaneBinding kPlain{.features = tcp::kFeaturePaths};

  RawSocket socket_to(const Address& to) { return around(contract::TcpBackend::connect_raw(to)); }
  RawSocket around(tcp::Fd fd) {
    return {std::move(fd), [this] { turn(); }};
  }
  /// Has proved itself to `to`, and has its offer.
  RawPeer connector(Process& to) {
    RawPeer raw{socket_to(to.address), socket_to(to.address)};
    auto binding = kPlain;
    binding.join.fill(std::byte(++joins_));
    EXPECT_TRUE(raw.message.prove(Authenticator::Role::connector, binding));
    binding.lane = 1;
    EXPECT_TRUE(raw.bulk.prove(Authenticator::Role::connector, binding));
    const auto offer = raw.message.hear_frame();
    EXPECT_TRUE(offer && offer->kind == FrameKind::path_offer);
    return raw;
  }
  /// Has been connected to by `from`, as `endpoint`.
  RawPeer acceptor(Process& from, EndpointId& endpoint) {
    tcp::Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(listener.get(), 4), 0);
    const auto at = tcp::local_address(listener.get()).to_address();
    endpoint = from.transport().connect(at, soon()).value();
    std::array<std::optional<RawSocket>, 2> lanes;
    for (int i = 0; i < 2; ++i) {
      int fd = -1;
      EXPECT_TRUE(until([&] {
        fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
        return fd >= 0;
      }));
      auto lane = around(tcp::Fd(fd));
      const auto binding = lane.prove(Authenticator::Role::acceptor, kPlain);
      EXPECT_TRUE(binding.has_value());
      if (binding) lanes[binding->lane & 1].emplace(std::move(lane));
    }
    return {std::move(*lanes[0]), std::move(*lanes[1])};
  }
  Errc closed(Process& process, EndpointId endpoint) {
    EXPECT_TRUE(until([&] { return process.peer.find_closed(endpoint) != nullptr; }));
    const auto* found = process.peer.find_closed(endpoint);
    return found != nullptr ? found->status : Errc::ok;
  }

  std::uint8_t joins_ = 0;
};

TEST_F(PathFramesTest, NonsenseInsteadOfABeginning) {
  auto& b = make();
  auto& c = make();
  const auto [at_c, at_b] = connect(c, b);
  for (const auto& frame : nonsense()) {
    SCOPED_TRACE(static_cast<int>(frame.kind));
    auto raw = connector(b);
    raw.message.say(frame);
    EXPECT_TRUE(raw.message.ended());
  }
  EXPECT_TRUE(ping(c, at_c, b, at_b));
  EXPECT_EQ(b.peer.accepted.size(), 1u);
  EXPECT_EQ(b.peer.count(Kind::closed), 0u) << "nobody had heard of them";
}

TEST_F(PathFramesTest, NonsenseInsteadOfATrial) {
  auto& b = make();
  for (const auto& frame : nonsense()) {
    SCOPED_TRACE(static_cast<int>(frame.kind));
    auto raw = connector(b);
    raw.message.say(begin_frame("verbs", link_card()));
    const auto answer = raw.message.hear_frame();
    ASSERT_TRUE(answer && answer->kind == FrameKind::path_answer);
    raw.message.say(frame);
    EXPECT_TRUE(raw.message.ended());
  }
  auto raw = connector(b);
  raw.message.say(begin_frame("verbs", link_card()));
  raw.message.say(begin_frame("verbs", link_card()));
  EXPECT_TRUE(raw.message.hear_frame().has_value());
  EXPECT_TRUE(raw.message.ended()) << "it has begun already";
  EXPECT_TRUE(b.peer.accepted.empty());
  connect(make(), b);
}

TEST_F(PathFramesTest, NonsenseAfterADecline) {
  auto& b = make();
  for (const auto& frame : nonsense()) {
    if (frame.kind == FrameKind::path_decline || frame.kind == FrameKind::push) continue;
    SCOPED_TRACE(static_cast<int>(frame.kind));
    const auto before = b.peer.accepted.size();
    auto raw = connector(b);
    raw.message.say(decline_frame("no, thanks"));
    raw.message.say(decline_frame("no, really"));
    ASSERT_TRUE(until([&] { return b.peer.accepted.size() > before; }));
    const auto at_b = b.peer.accepted.back();
    EXPECT_TRUE(mentions(b.transport().explain(at_b), " says: no, thanks"));
    // Something is under way, whose end comes first.
    Bytes memory(1000);
    ASSERT_TRUE(b.transport().read(at_b, all(memory), {1, 0, 1000}, before + 1).ok());
    raw.message.say(frame);
    EXPECT_EQ(closed(b, at_b), Errc::protocol);
    settle(5);
    EXPECT_EQ(b.peer.seen.back().kind, Kind::closed);
    EXPECT_EQ(b.peer.count(Kind::read_done, before + 1), 1u);
  }
}

TEST_F(PathFramesTest, NonsenseInsteadOfAnOffer) {
  auto& a = make();
  for (const auto& frame : nonsense()) {
    SCOPED_TRACE(static_cast<int>(frame.kind));
    EndpointId at_a;
    auto raw = acceptor(a, at_a);
    raw.message.say(frame);
    EXPECT_EQ(closed(a, at_a), Errc::protocol);
    EXPECT_FALSE(is_up(a, at_a));
    EXPECT_TRUE(raw.message.ended());
  }
}

TEST_F(PathFramesTest, NonsenseInsteadOfAnAnswer) {
  auto& a = make();
  Offer offer;
  Bytes ports(4 + sizeof(PortCard));
  const auto card = link_card();
  ports[0] = std::byte{1};
  std::copy_n(card.begin(), sizeof(PortCard), ports.begin() + 4);
  offer.cards.push_back({"carrier pigeon", {}});
  offer.cards.push_back({"verbs", ports});
  const Frame offered{FrameKind::path_offer, encoded(offer, kOfferMax)};
  auto frames = nonsense();
  frames.push_back(offered);
  frames.push_back({FrameKind::path_answer, begin_frame("carrier pigeon", card).meta});
  for (const auto& frame : frames) {
    SCOPED_TRACE(static_cast<int>(frame.kind));
    EndpointId at_a;
    auto raw = acceptor(a, at_a);
    raw.message.say(offered);
    const auto begun = raw.message.hear_frame();
    ASSERT_TRUE(begun && begun->kind == FrameKind::path_begin);
    raw.message.say(frame);
    EXPECT_EQ(closed(a, at_a), Errc::protocol);
    EXPECT_FALSE(is_up(a, at_a));
  }
  // What crosses a decline is none.
  EndpointId at_a;
  auto raw = acceptor(a, at_a);
  raw.message.say(decline_frame("no, thanks"));
  raw.message.say(offered);
  raw.message.say(Frame{FrameKind::path_answer, contract::pattern(20, 1)});
  ASSERT_TRUE(until([&] { return is_up(a, at_a); }));
  settle();
  EXPECT_EQ(a.peer.find_closed(at_a), nullptr);
}

TEST_F(PathFramesTest, NonsenseOverTheLink) {
  Fabric* link = nullptr;
  auto& a = make({.wrap = [&](std::unique_ptr<Fabric> fabric) {
    link = fabric.get();
    return fabric;
  }});
  auto& b = make();
  auto& c = make();
  const auto [at_c, c_at_b] = connect(c, b);
  auto frames = nonsense();
  std::erase_if(frames, [](const Frame& frame) { return frame.kind == FrameKind::push; });
  for (std::uint64_t access : {0u, 4u, 255u})
    frames.push_back({FrameKind::region_key, region_meta({1, 100, access}, 12)});
  for (const std::size_t bytes : {0u, 7u, 8u, 13u, 8u + 17 * 4})
    frames.push_back({FrameKind::region_key, region_meta({1, 100, 3}, bytes)});
  frames.push_back({FrameKind::region_gone, region_meta({1, 0, 0}, 1)});
  for (const auto& frame : frames) {
    SCOPED_TRACE(static_cast<int>(frame.kind));
    // The last announcement of nonsense() is one that could be.
    if (frame.kind == FrameKind::region_key && frame.meta == region_meta({1, 100, 3}, 12)) continue;
    const auto [at_a, at_b] = connect(a, b);
    ASSERT_TRUE(ping(a, at_a, b, at_b));
    FrameHeader header;
    header.kind = frame.kind;
    header.flags = frame.flags;
    ASSERT_TRUE(link->send(at_a, header, frame.meta, {}, {}).ok());
    EXPECT_TRUE(send(a, at_a, 7).ok());
    EXPECT_EQ(closed(b, at_b), Errc::protocol);
    EXPECT_NE(closed(a, at_a), Errc::ok);
    const auto heard = numbers(b, at_b);
    EXPECT_EQ(std::count(heard.begin(), heard.end(), 7u), 0) << "after nonsense nothing counts";
    EXPECT_EQ(b.peer.seen.back().kind, Kind::closed);
  }
  EXPECT_TRUE(ping(c, at_c, b, c_at_b));
}

/// A lane whose frame was damaged brings nothing behind it.
TEST_F(PathFramesTest, ADamagedFrameEndsItsLane) {
  auto api = SoftFabric::api();
  static int damaged;
  damaged = 0;
  // The third-last small frame of its batch has a bit changed on its way.
  api.post_send = [](ibv_qp* pair, ibv_send_wr* first, ibv_send_wr** bad) {
    std::vector<ibv_send_wr*> batch;
    for (auto* one = first; one != nullptr; one = one->next) batch.push_back(one);
    if (batch.size() == 10 && damaged++ == 0)
      reinterpret_cast<std::byte*>(batch[7]->sg_list->addr)[20] ^= std::byte{1};
    return SoftFabric::api().post_send(pair, first, bad);
  };
  auto& a = make({.api = api});
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(send(a, at_a, i).ok());
  EXPECT_EQ(closed(b, at_b), Errc::corrupt);
  EXPECT_EQ(damaged, 1);
  EXPECT_EQ(numbers(b, at_b), (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6}));
}

}  // namespace
}  // namespace shoal::paths::test
