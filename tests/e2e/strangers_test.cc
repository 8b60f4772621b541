// Whatever comes to the ports of a cluster, from somebody who does not know the token or from one
// who does and talks nonsense: its connection ends, and nothing else.

#include <gtest/gtest.h>

#include <cstring>

#include "tests/e2e/cluster.h"
#include "tests/e2e/stranger.h"

namespace shoal::e2e {
namespace {

class Strangers : public EndToEnd {
 protected:
  void SetUp() override {
    start_cluster({.servers = 1, .workers = 1});
    ASSERT_OK(worker(0).call("open t rows=1000 rule=add staleness=unbounded"));
    ports_ = {scheduler_address(), server_address(0)};
  }
  /// The cluster trains, a new worker can still join, and nothing was lost or counted twice.
  void expect_all_is_well() {
    EXPECT_OK(worker(0).call("train t 5 rows=0:1000"));
    rounds_ += 5;
    auto& late = start_worker_connected();
    EXPECT_OK(late.call("open t rows=1000 rule=add staleness=unbounded"));
    EXPECT_OK(late.call("pull p t rows=0:1000"));
    EXPECT_OK(late.call("wait p"));
    EXPECT_EQ(late.call("values p").number("sum"), 1000.0 * rounds_);
    EXPECT_OK(late.call("leave"));
    EXPECT_FALSE(scheduler().wait_exit(std::chrono::seconds(0)));
    EXPECT_FALSE(server(0).wait_exit(std::chrono::seconds(0)));
  }
  std::vector<std::string> ports_;
  int rounds_ = 0;
};

TEST_F(Strangers, GarbageEndsItsOwnConnectionOnly) {
  std::string noise(100000, '\0');
  std::uint32_t state = 1;
  for (auto& byte : noise) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  const std::string tls("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  for (const auto& port : ports_) {
    for (const auto& text :
         {noise,
          std::string("GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/8\r\n\r\n") +
              std::string(64, ' '),
          tls + noise, std::string(4096, '\0')}) {
      Stranger stranger(port);
      ASSERT_TRUE(stranger.connected());
      stranger.send(text);  // may fail half-way: it was cut off already
      EXPECT_TRUE(stranger.closed_by_peer()) << port;
    }
  }
  expect_all_is_well();
}

TEST_F(Strangers, ThosePeersAreCutOffWhoSayTooLittle) {
  FrameHeader proof;
  proof.kind = FrameKind::auth_proof;
  const auto bytes = frame_bytes(proof);
  for (const auto& port : ports_) {
    for (int i = 0; i < 50; ++i) Stranger scanner(port);
    for (const std::size_t length : {1u, 4u, 8u, 63u}) {
      Stranger stranger(port);
      EXPECT_TRUE(stranger.send(std::span(bytes).first(length)));
    }
  }
  // Those that stay open and silent are closed in the end, without anybody asking.
  Stranger to_scheduler(ports_[0]), to_server(ports_[1]);
  EXPECT_TRUE(to_scheduler.closed_by_peer());
  EXPECT_TRUE(to_server.closed_by_peer());
  expect_all_is_well();
}

TEST_F(Strangers, AnotherWireVersionIsRefused) {
  FrameHeader proof;
  proof.kind = FrameKind::auth_proof;
  proof.version = kWireVersion + 1;
  const std::vector<std::byte> meta(kNonceBytes + kAuthBindingBytes + kMacBytes);
  for (const auto& port : ports_) {
    Stranger stranger(port);
    EXPECT_TRUE(stranger.send(frame_bytes(proof, meta)));
    EXPECT_TRUE(stranger.closed_by_peer()) << port;
  }
  EXPECT_TRUE(scheduler().logged("version"));
  EXPECT_TRUE(server(0).logged("version"));
  expect_all_is_well();
}

TEST_F(Strangers, WrongTokenGetsNoFurtherThanTheHandshake) {
  for (const auto& port : ports_) {
    Stranger stranger(port);
    EXPECT_FALSE(stranger.prove("a guess", {})) << port;
    Stranger insider(port);
    EXPECT_TRUE(insider.prove(token(), {})) << port;
  }
  expect_all_is_well();
}

/// Both lanes of an endpoint, so that its frames reach the session.
struct Insider {
  Insider(const std::string& port, const std::string& token, std::uint64_t join)
      : messages(port), bulk(port) {
    tcp::LaneBinding binding;
    std::memcpy(binding.join.data(), &join, sizeof join);
    proved = messages.prove(token, binding);
    binding.lane = 1;
    proved = bulk.prove(token, binding) && proved;
  }
  Stranger messages, bulk;
  bool proved = false;
};

TEST_F(Strangers, NonsenseOfOneWhoKnowsTheTokenEndsItsConnectionOnly) {
  FrameHeader oversized;
  oversized.kind = FrameKind::push;
  oversized.payload_bytes = std::uint64_t{1} << 62;
  FrameHeader long_meta;
  long_meta.kind = FrameKind::join;
  long_meta.meta_bytes = 0xffffffff;
  FrameHeader unknown;
  unknown.kind = static_cast<FrameKind>(4711);
  FrameHeader before_hello;
  before_hello.kind = FrameKind::push;
  FrameHeader hello;
  hello.kind = FrameKind::hello;
  auto corrupt = frame_bytes(hello);
  corrupt.back() ^= std::byte{1};
  const std::vector<std::byte> zeros(4096), junk(64, std::byte{0xff});
  const std::vector<std::vector<std::byte>> sayings{frame_bytes(oversized),
                                                    frame_bytes(long_meta),
                                                    frame_bytes(unknown),
                                                    frame_bytes(before_hello),
                                                    corrupt,
                                                    zeros,
                                                    frame_bytes(hello, junk)};
  std::uint64_t join = 1;
  for (const auto& port : ports_) {
    for (std::size_t i = 0; i < sayings.size(); ++i) {
      for (const bool on_bulk : {false, true}) {
        Insider insider(port, token(), ++join);
        ASSERT_TRUE(insider.proved);
        auto& lane = on_bulk ? insider.bulk : insider.messages;
        EXPECT_TRUE(lane.send(sayings[i]));
        EXPECT_TRUE(lane.closed_by_peer()) << port << ", saying " << i << ", bulk " << on_bulk;
      }
    }
  }
  expect_all_is_well();
}

TEST_F(Strangers, AThousandHalfOpenConnectionsKeepNobodyOut) {
  constexpr std::size_t kCount = 1000;
  allow_descriptors(2 * kCount);
  std::vector<Stranger> crowd;
  crowd.reserve(2 * kCount);
  worker(0).send("train t 20 rows=0:1000");
  for (std::size_t i = 0; i < kCount; ++i) {
    for (const auto& port : ports_) {
      crowd.emplace_back(port);
      ASSERT_TRUE(crowd.back().connected()) << i;
    }
  }
  EXPECT_OK(worker(0).reply());
  rounds_ += 20;
  expect_all_is_well();
}

}  // namespace
}  // namespace shoal::e2e
