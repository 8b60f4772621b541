#include "transport/tcp/tcp.h"

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <algorithm>

#include "tests/transport/tcp_fixture.h"
#include "tests/transport/tcp_raw_peer.h"
#include "transport/tcp/limits.h"

// What only sockets have: strangers at the port, broken streams, descriptors, addresses.

namespace shoal::contract {
namespace {

using Kind = Event::Kind;
using tcp::BulkMeta;
using tcp::LaneBinding;

tcp::TcpOptions counting(tcp::TcpCounters& counters) {
  tcp::TcpOptions options;
  options.counters = &counters;
  return options;
}

class TcpTest : public testing::Test {
 protected:
  void SetUp() override {
    a.node = backend.make();
    b.node = backend.make();
    at_b = b.transport().listen(b.node.listen_at).value();
  }
  bool until(const std::function<bool()>& done) {
    for (;;) {
      const auto events = a.poll() + b.poll();
      if (done()) return true;
      if (events == 0 && !backend.advance()) return false;
    }
  }
  TimePoint soon() { return deadline_after(backend.clock().now(), std::chrono::seconds(20)); }
  /// a's new endpoint to b, once both have it.
  EndpointId connect() {
    const auto before = b.accepted.size();
    const auto endpoint = a.transport().connect(at_b, soon()).value();
    EXPECT_TRUE(until([&] { return b.accepted.size() > before && is_connected(endpoint); }));
    return endpoint;
  }
  bool is_connected(EndpointId endpoint) {
    return std::any_of(a.seen.begin(), a.seen.end(), [&](const Seen& what) {
      return what.kind == Kind::connected && what.endpoint == endpoint;
    });
  }
  RawLane lane() {
    return RawLane(at_b, [this] {
      b.poll();
      backend.advance();
    });
  }
  /// A raw peer that b has accepted.
  struct RawPeer {
    RawLane message, bulk;
    EndpointId at_b;
  };
  RawPeer raw_peer() {
    const auto before = b.accepted.size();
    RawPeer peer{lane(), lane(), {}};
    LaneBinding binding;
    binding.join.fill(std::byte(++joins_));
    EXPECT_TRUE(peer.message.prove(binding));
    binding.lane = 1;
    EXPECT_TRUE(peer.bulk.prove(binding));
    EXPECT_TRUE(until([&] { return b.accepted.size() > before; }));
    peer.at_b = b.accepted.back();
    return peer;
  }
  Errc ended(EndpointId endpoint) {
    EXPECT_TRUE(until([&] { return b.find_closed(endpoint) != nullptr; }));
    const auto* closed = b.find_closed(endpoint);
    return closed != nullptr ? closed->status : Errc::ok;
  }
  /// b still takes honest peers.
  bool is_open() { return connect() != EndpointId{}; }

  tcp::TcpCounters counters;
  TcpBackend backend{counting(counters)};
  Peer a, b;
  Address at_b;
  std::uint8_t joins_ = 0;
};

// --- Strangers -----------------------------------------------------------------------------------

/// A name that is none, so that no name server is asked.
TEST_F(TcpTest, AHostThatCannotBeResolvedIsNamed) {
  const auto to = a.transport().connect({"no..such", 7000}, soon());
  ASSERT_FALSE(to.ok());
  EXPECT_NE(to.error().what.find("'no..such:7000'"), std::string::npos) << to.error().what;
  EXPECT_NE(to.error().what.find("a name that this machine knows"), std::string::npos);
}

TEST_F(TcpTest, AScannerAndABrowserAreDroppedInSilence) {
  { const auto scanner = TcpBackend::connect_raw(at_b); }
  auto browser = lane();
  ASSERT_TRUE(browser.say(bytes_of("GET / HTTP/1.1\r\n\r\n")));
  // The challenge, and then nothing but the end.
  EXPECT_EQ(browser.hear(10'000).size(), kFrameHeaderBytes + kNonceBytes);
  EXPECT_EQ(counters.garbage, 1u);
  EXPECT_TRUE(b.seen.empty());
  EXPECT_TRUE(is_open());
}

TEST_F(TcpTest, AThousandSilentConnectionsNeitherBlockNorExhaust) {
  std::vector<tcp::Fd> strangers;
  for (int i = 0; i < 1000; ++i) {
    strangers.push_back(TcpBackend::connect_raw(at_b));
    ASSERT_TRUE(strangers.back()) << i;
  }
  EXPECT_TRUE(is_open());
  EXPECT_GE(counters.crowded_out + counters.accept_rests, 1u) << "all were let in at once";
  EXPECT_EQ(b.accepted.size(), 1u);
}

TEST_F(TcpTest, AStrangerThatSaysNothingRunsOutOfTime) {
  auto stranger = lane();
  ASSERT_TRUE(until([&] { return b.transport().next_timer() != kNever; }));
  ASSERT_TRUE(until([&] { return counters.too_slow == 1; }));
  EXPECT_EQ(stranger.hear(10'000).size(), kFrameHeaderBytes + kNonceBytes);
  EXPECT_TRUE(b.seen.empty());
}

TEST_F(TcpTest, WithoutDescriptorsTheListenerRestsAndRecovers) {
#if defined(SHOAL_SANITIZED) && !defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the run time of AddressSanitizer and its fellow needs descriptors";
#endif
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const auto stranger = TcpBackend::connect_raw(at_b);
  // No descriptor above those in use may be opened.
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(stranger.get() + 1);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  for (int i = 0; i < 50 && counters.accept_rests == 0; ++i) {
    b.poll();
    backend.advance();
  }
  const auto rests = counters.accept_rests;
  for (int i = 0; i < 20; ++i) b.poll();
  const auto spun = counters.accept_rests - rests;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_GE(rests, 1u);
  EXPECT_LE(spun, 1u) << "it rests, it does not try at every poll";
  EXPECT_TRUE(is_open());
}

TEST_F(TcpTest, OneLaneAloneIsNoEndpoint) {
  auto one = lane(), twin = lane();
  LaneBinding binding;
  binding.join.fill(std::byte{9});
  ASSERT_TRUE(one.prove(binding));
  ASSERT_TRUE(twin.prove(binding)) << "proved, and then dropped: that lane is taken";
  EXPECT_TRUE(twin.hear(1).empty());
  auto third = lane();
  binding.lane = 2;
  ASSERT_TRUE(third.prove(binding));
  EXPECT_TRUE(third.hear(1).empty()) << "there is no such lane";
  EXPECT_TRUE(b.seen.empty());
  EXPECT_TRUE(is_open());
}

TEST_F(TcpTest, AnAcceptorOfAnotherVersionIsNamedAsSuch) {
  tcp::Fd listener(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  const Address at{"127.0.0.1", tcp::local_address(listener.get()).to_address().port};
  const auto endpoint = a.transport().connect(at, soon()).value();
  const tcp::Fd first(::accept(listener.get(), nullptr, nullptr));
  FrameHeader header;
  header.kind = FrameKind::auth_challenge;
  header.version = kWireVersion + 1;
  auto challenge = frame_bytes(header, fresh_nonce(), {});
  ASSERT_GT(::send(first.get(), challenge.data(), challenge.size(), 0), 0);
  ASSERT_TRUE(until([&] { return a.find_closed(endpoint) != nullptr; }));
  EXPECT_EQ(a.find_closed(endpoint)->status, Errc::version);
  // The other side hears of it from the version in the answer's header.
  std::array<std::byte, kFrameHeaderBytes> farewell;
  ASSERT_EQ(::recv(first.get(), farewell.data(), farewell.size(), MSG_WAITALL),
            static_cast<ssize_t>(farewell.size()));
  EXPECT_TRUE(parse_header(farewell, {}).ok());
}

TEST_F(TcpTest, AConnectorOfAnotherVersionIsCounted) {
  auto peer = lane();
  FrameHeader header;
  header.kind = FrameKind::auth_proof;
  header.version = kWireVersion + 1;
  ASSERT_TRUE(peer.say(frame_bytes(header, {}, {})));
  ASSERT_TRUE(until([&] { return counters.wrong_version == 1; }));
  EXPECT_TRUE(b.seen.empty());
}

// --- Nonsense from somebody who knows the token --------------------------------------------------

TEST_F(TcpTest, NonsenseOnTheMessageLaneCostsTheEndpointOnly) {
  FrameHeader push;
  push.kind = FrameKind::push;
  auto corrupt = frame_bytes(push, bytes_of("eight by"), {});
  corrupt[70] ^= std::byte{1};
  auto version = frame_bytes(push, {}, {});
  version[4] ^= std::byte{4};
  auto oversized = push;
  oversized.payload_bytes = (1u << 20) + 1;
  oversized.meta_bytes = 0;
  Bytes oversized_bytes(sizeof oversized);
  std::memcpy(oversized_bytes.data(), &oversized, sizeof oversized);
  auto auth = push;
  auth.kind = FrameKind::auth_proof;
  const std::vector<std::pair<Bytes, Errc>> cases = {
      {pattern(200, 1), Errc::protocol},
      {corrupt, Errc::corrupt},
      {version, Errc::version},
      {oversized_bytes, Errc::protocol},
      {frame_bytes(auth, {}, {}), Errc::protocol},
      {bulk_bytes(FrameKind::bulk_write, {.bytes = 8}, bytes_of("8 bytes.")), Errc::protocol},
  };
  const auto honest = connect();
  for (const auto& [bytes, expected] : cases) {
    auto peer = raw_peer();
    // A whole frame first: it is delivered before the endpoint ends.
    ASSERT_TRUE(peer.message.say(frame_bytes(push, {}, bytes_of("before"))));
    ASSERT_TRUE(peer.message.say(bytes));
    EXPECT_EQ(ended(peer.at_b), expected);
    EXPECT_EQ(b.messages(peer.at_b).size(), 1u);
  }
  EXPECT_EQ(a.find_closed(honest), nullptr);
}

TEST_F(TcpTest, NonsenseOnTheBulkLaneCostsTheEndpointOnly) {
  auto corrupt = bulk_bytes(FrameKind::bulk_write, {.bytes = 8}, bytes_of("8 bytes."));
  corrupt[80] ^= std::byte{1};
  const Bytes large(tcp::kSegmentBytesMax + 1);
  FrameHeader headless;
  headless.kind = FrameKind::bulk_write;
  const std::vector<std::pair<Bytes, Errc>> cases = {
      {pattern(200, 1), Errc::protocol},
      {corrupt, Errc::corrupt},
      {bulk_bytes(FrameKind::bulk_write, {.bytes = large.size()}, large), Errc::protocol},
      {frame_bytes(headless, {}, {}), Errc::protocol},
      {bulk_bytes(FrameKind::bulk_data, {.op = 0x10000}, bytes_of("unasked")), Errc::protocol},
      {bulk_bytes(FrameKind::bulk_refused, {.op = 0x10000}), Errc::protocol},
      {bulk_bytes(FrameKind::bulk_read, {.bytes = 8, .op = 1}), Errc::protocol},
  };
  const auto honest = connect();
  for (const auto& [bytes, expected] : cases) {
    auto peer = raw_peer();
    peer.bulk.say(bytes);  // b may hang up before it is all out
    EXPECT_EQ(ended(peer.at_b), expected);
  }
  EXPECT_EQ(a.find_closed(honest), nullptr);
}

TEST_F(TcpTest, AReadIsAnsweredOnlyInOrder) {
  auto peer = raw_peer();
  Bytes into(100, std::byte{7});
  ASSERT_TRUE(b.transport().read(peer.at_b, host_view(std::span(into)), {1, 0, 100}, 5).ok());
  const auto request = peer.message.hear(tcp::kBulkHeadBytes);
  BulkMeta asked;
  std::memcpy(&asked, request.data() + kFrameHeaderBytes, sizeof asked);
  EXPECT_EQ(asked.bytes, 100u);
  const auto half = pattern(50, 1);
  ASSERT_TRUE(peer.bulk.say(bulk_bytes(FrameKind::bulk_data, {.bytes = 50, .op = asked.op}, half)));
  ASSERT_TRUE(until([&] { return std::memcmp(into.data(), half.data(), 50) == 0; }));
  EXPECT_EQ(b.count(Kind::read_done), 0u) << "half of it is not all of it";
  ASSERT_TRUE(peer.bulk.say(bulk_bytes(FrameKind::bulk_data, {.bytes = 50, .op = asked.op}, half)));
  EXPECT_EQ(ended(peer.at_b), Errc::protocol);
  ASSERT_NE(b.find(Kind::read_done, 5), nullptr);
  EXPECT_EQ(b.find(Kind::read_done, 5)->status, Errc::peer_lost);
  EXPECT_EQ(into[50], std::byte{7});
}

TEST_F(TcpTest, TruncationAtEveryPlaceEndsInPeerLost) {
  FrameHeader push;
  push.kind = FrameKind::push;
  const auto frame = frame_bytes(push, bytes_of("meta"), bytes_of("a payload of some length"));
  for (const std::size_t cut : {1u, 63u, 64u, 65u, 72u, 80u}) {
    auto peer = raw_peer();
    ASSERT_TRUE(peer.message.say(std::span(frame).first(cut)));
    peer.message.hang_up();
    EXPECT_EQ(ended(peer.at_b), Errc::peer_lost);
    EXPECT_TRUE(b.messages(peer.at_b).empty());
  }
}

TEST_F(TcpTest, WhatWasSaidBeforeHangingUpIsHeard) {
  for (const bool bulk_first : {false, true}) {
    auto peer = raw_peer();
    FrameHeader push;
    push.kind = FrameKind::push;
    for (int i = 0; i < 3; ++i) {
      const auto frame = frame_bytes(push, {}, pattern(1000, 1));
      ASSERT_EQ(::send(peer.message.fd(), frame.data(), frame.size(), 0),
                static_cast<ssize_t>(frame.size()));
    }
    if (bulk_first) peer.bulk.hang_up();
    peer.message.hang_up();
    EXPECT_EQ(ended(peer.at_b), Errc::peer_lost);
    EXPECT_EQ(b.messages(peer.at_b).size(), 3u);
  }
}

// --- Regions revoked in the middle of a frame ----------------------------------------------------

TEST_F(TcpTest, ARevokedRegionSwallowsTheRestOfAFrame) {
  auto peer = raw_peer();
  Bytes memory(200'000, std::byte{1});
  auto region = b.transport().register_memory(host_view(std::span(memory)), Access::write).value();
  const auto span = region.remote();
  const auto data = pattern(200'000, 3);
  const auto frame =
      bulk_bytes(FrameKind::bulk_write,
                 {.region = span.region, .address = span.address, .bytes = 200'000}, data);
  const auto half = tcp::kBulkHeadBytes + 100'000;
  ASSERT_TRUE(peer.bulk.say(std::span(frame).first(half)));
  ASSERT_TRUE(until([&] { return std::memcmp(memory.data(), data.data(), 100'000) == 0; }));
  EXPECT_EQ(memory[100'000], std::byte{1});
  region.revoke();
  std::fill(memory.begin(), memory.end(), std::byte{7});
  ASSERT_TRUE(peer.bulk.say(std::span(frame).subspan(half)));
  FrameHeader push;
  push.kind = FrameKind::push;
  ASSERT_TRUE(peer.bulk.say(frame_bytes(push, {}, {})));
  ASSERT_TRUE(until([&] { return b.messages(peer.at_b).size() == 1; })) << "the endpoint stays up";
  EXPECT_TRUE(std::all_of(memory.begin(), memory.end(), [](auto x) { return x == std::byte{7}; }));
  EXPECT_EQ(counters.swallowed_bytes, 100'000u);
}

TEST_F(TcpTest, AHalfSentAnswerOfARevokedRegionTakesItsConnection) {
  auto peer = raw_peer();
  Bytes memory(16u << 20, std::byte{1});
  auto region = b.transport().register_memory(host_view(std::span(memory)), Access::read).value();
  const auto span = region.remote();
  ASSERT_TRUE(peer.message.say(
      bulk_bytes(FrameKind::bulk_read,
                 {.region = span.region, .address = span.address, .bytes = span.bytes, .op = 77})));
  // The peer does not read: b fills the socket until it takes no more.
  int stuck = 0;
  for (std::size_t last = 0; stuck < 20;) {
    b.poll();
    backend.advance();
    int queued = 0;
    ASSERT_EQ(::ioctl(peer.bulk.fd(), FIONREAD, &queued), 0);
    stuck = static_cast<std::size_t>(queued) == last && queued > 0 ? stuck + 1 : 0;
    last = static_cast<std::size_t>(queued);
  }
  region.revoke();
  std::fill(memory.begin(), memory.end(), std::byte{7});
  EXPECT_EQ(ended(peer.at_b), Errc::revoked);
  const auto heard = peer.bulk.hear(memory.size() * 2);
  EXPECT_LT(heard.size(), memory.size());
  EXPECT_EQ(std::search_n(heard.begin(), heard.end(), 64, std::byte{7}), heard.end())
      << "bytes of its successor";
}

/// As long as the socket takes all that a turn has.
TEST_F(TcpTest, ATurnEndsWithAFrame) {
  const auto endpoint = connect();
  Bytes source(8u << 20, std::byte{1}), target(source.size());
  int refused = 0;
  for (std::uint64_t round = 0; round < 24; ++round) {
    auto region = b.transport().register_memory(host_view(std::span(source)), Access::read).value();
    ASSERT_TRUE(
        a.transport().read(endpoint, host_view(std::span(target)), region.remote(), round).ok());
    for (std::uint64_t turn = 0; turn < round; ++turn) {
      b.poll();
      for (int i = 0; i < 4; ++i) a.poll();
    }
    region.revoke();
    ASSERT_TRUE(until([&] { return a.find(Kind::read_done, round) != nullptr; }));
    const auto status = a.find(Kind::read_done, round)->status;
    if (status == Errc::peer_lost) break;
    refused += status == Errc::revoked ? 1 : 0;
  }
  EXPECT_GT(refused, 1) << "of the reads that were under way, some keep their connection";
}

TEST_F(TcpTest, ConnectionsTakeTurns) {
  constexpr std::size_t kConnections = 8;
  constexpr std::uint64_t kPosted = 4;
  const Bytes source(256u << 10, std::byte{1});
  Bytes target(source.size());
  const auto region =
      b.transport().register_memory(host_view(std::span(target)), Access::write).value();
  std::vector<EndpointId> endpoints;
  for (std::size_t i = 0; i < kConnections; ++i) endpoints.push_back(connect());
  std::vector<std::uint64_t> posted(kConnections), done(kConnections);
  for (int turn = 0; turn < 400; ++turn) {
    for (std::size_t i = 0; i < kConnections; ++i)
      for (; posted[i] < done[i] + kPosted; ++posted[i])
        ASSERT_TRUE(a.transport()
                        .write(endpoints[i], host_view(std::span(source)), region.remote(), i)
                        .ok());
    a.seen.clear();
    a.poll();
    for (const auto& what : a.seen)
      if (what.kind == Kind::write_done) ++done[what.context];
    for (int i = 0; i < 8; ++i) b.poll();
  }
  const auto [least, most] = std::minmax_element(done.begin(), done.end());
  EXPECT_GT(*least, *most / 4) << "of " << *most;
  for (const auto endpoint : endpoints) a.transport().close(endpoint);
}

TEST_F(TcpTest, AnAnswerNotYetBegunIsRefusedInstead) {
  auto peer = raw_peer();
  Bytes memory(16u << 20, std::byte{1}), other(64, std::byte{2});
  auto kept = b.transport().register_memory(host_view(std::span(memory)), Access::read).value();
  auto revoked = b.transport().register_memory(host_view(std::span(other)), Access::read).value();
  const auto ask = [&](const RemoteSpan& span, std::uint64_t op) {
    return peer.message.say(bulk_bytes(
        FrameKind::bulk_read,
        {.region = span.region, .address = span.address, .bytes = span.bytes, .op = op}));
  };
  ASSERT_TRUE(ask(kept.remote(), 1));
  ASSERT_TRUE(ask(revoked.remote(), 2));
  revoked.revoke();
  const auto frames = memory.size() / tcp::kSegmentBytesMax;
  const auto heard =
      peer.bulk.hear(memory.size() + frames * tcp::kBulkHeadBytes + tcp::kBulkHeadBytes);
  ASSERT_EQ(heard.size(), memory.size() + (frames + 1) * tcp::kBulkHeadBytes);
  FrameHeader last;
  std::memcpy(&last, heard.data() + heard.size() - tcp::kBulkHeadBytes, sizeof last);
  EXPECT_EQ(last.kind, FrameKind::bulk_refused);
  EXPECT_EQ(b.find_closed(peer.at_b), nullptr);
}

// --- Frames of every size ------------------------------------------------------------------------

TEST_F(TcpTest, ALargeViewBetweenSmallFramesAndEveryPayloadIsAligned) {
  const auto endpoint = connect();
  std::vector<Event> events(16);
  std::size_t got = 0;
  bool aligned = true, equal = true;
  const std::vector<std::size_t> sizes = {3, 0, 1u << 20, 1, 700'001, 8, 13, 5};
  for (const auto lane : {Lane::message, Lane::bulk}) {
    got = 0;
    std::vector<Bytes> metas;
    for (const auto size : sizes) metas.push_back(pattern(size, size));
    const auto payload = pattern(13, 1);
    for (const auto& meta : metas) {
      FrameHeader header;
      header.kind = FrameKind::view;
      const ConstMemoryView view(payload.data(), payload.size());
      while (true) {
        const auto status = a.transport().send(endpoint, header, meta, {&view, 1},
                                               {.lane = lane, .copy_payload = true});
        if (status.ok()) break;
        ASSERT_EQ(status.code(), Errc::overloaded);
        a.poll();
      }
    }
    for (int quiet = 0; got < sizes.size() && quiet < 10'000;) {
      a.poll();
      const auto n = b.transport().poll(events);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(events[i].kind, Kind::message);
        const auto& frame = events[i].frame;
        equal &=
            std::equal(frame.meta.begin(), frame.meta.end(), metas[got].begin(), metas[got].end());
        equal &=
            std::equal(frame.payload.begin(), frame.payload.end(), payload.begin(), payload.end());
        aligned &= reinterpret_cast<std::uintptr_t>(frame.payload.data()) % 8 == 0;
        ++got;
      }
      quiet = n > 0 ? 0 : quiet + 1;
      if (n == 0) backend.advance();
    }
    ASSERT_EQ(got, sizes.size());
  }
  EXPECT_TRUE(aligned);
  EXPECT_TRUE(equal);
}

// --- Addresses -----------------------------------------------------------------------------------

TEST_F(TcpTest, APortInUseIsNamed) {
  const auto again = a.transport().listen(at_b);
  ASSERT_EQ(again.code(), Errc::io);
  EXPECT_EQ(again.error().native, EADDRINUSE);
  EXPECT_NE(again.error().what.find(at_b.to_string()), std::string::npos) << again.error().what;
  EXPECT_NE(again.error().what.find("in use"), std::string::npos) << again.error().what;
}

TEST_F(TcpTest, ANameIsTriedAtAllItsAddresses) {
  // b listens on 127.0.0.1 only; localhost may well be ::1 first.
  const auto endpoint = a.transport().connect({"localhost", at_b.port}, soon()).value();
  EXPECT_TRUE(until([&] { return is_connected(endpoint); }));
  EXPECT_EQ(a.transport().connect({"no.such.host.invalid", 1}, soon()).ok(), false);
}

TEST_F(TcpTest, SixthVersionAddresses) {
  const auto address = b.transport().listen({"::1", 0});
  if (!address.ok()) GTEST_SKIP() << address.error().message();
  const auto endpoint = a.transport().connect(*address, soon()).value();
  EXPECT_TRUE(until([&] { return is_connected(endpoint) && b.accepted.size() == 1; }));
  EXPECT_EQ(a.transport().peer_of(endpoint), address->to_string());
}

TEST_F(TcpTest, ExplainsItsPath) {
  const auto endpoint = connect();
  EXPECT_EQ(a.transport().explain(endpoint), "tcp " + at_b.to_string() + ": loopback, 2 sockets");
  EXPECT_TRUE(a.transport().explain(EndpointId(12345)).empty());
}

TEST_F(TcpTest, AnEmptyTokenIsRefusedAtOnce) {
  EXPECT_EQ(tcp::create_tcp({}, backend.clock()).code(), Errc::invalid_argument);
}

}  // namespace
}  // namespace shoal::contract
