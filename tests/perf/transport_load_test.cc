// A Peer in a process of its own, and what measures against it.

#include "perf/transport_load.h"

#include <gtest/gtest.h>

#include "core/base/token_file.h"
#include "perf/child.h"
#include "perf/peer.h"

namespace shoal::perf {
namespace {

class PeerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto token = TokenFile::create();
    ASSERT_TRUE(token.ok());
    token_ = std::move(token).value();
    config_.token_file = token_.path();
    auto child = Child::start("peer", [this](Channel& parent) -> Status {
      SHOAL_ASSIGN(const auto peer, Peer::create(config_, clock_));
      SHOAL_TRY(parent.send(peer->address().to_string()));
      peer->run(false);
      return {};
    });
    ASSERT_TRUE(child.ok()) << child.error().message();
    child_.emplace(std::move(child).value());
    const auto text = child_->receive();
    ASSERT_TRUE(text.ok()) << text.error().message();
    address_ = Address::parse(*text).value();
  }
  std::unique_ptr<PeerLink> connect() {
    auto link = PeerLink::connect(config_, clock_, address_);
    EXPECT_TRUE(link.ok()) << link.error().message();
    return link.ok() ? std::move(link).value() : nullptr;
  }

  static constexpr Limits kFew{.warmup = {}, .duration = {}, .iterations = 40};
  const SteadyClock clock_{};
  TokenFile token_;
  Config config_;
  std::optional<Child> child_;
  Address address_;
  Recorder recorder_;
};

TEST_F(PeerTest, EveryOperationOfEverySizeMovesItsBytes) {
  const auto link = connect();
  ASSERT_NE(link, nullptr);
  for (const auto op : {Op::send, Op::read, Op::write})
    for (const std::size_t bytes : {1u, 8u, 5000u, 300'001u})
      for (const std::uint32_t inflight : {1u, 5u})
        for (const bool both_ways : {false, true}) {
          SCOPED_TRACE(testing::Message() << name_of(op) << " of " << bytes << ", " << inflight
                                          << (both_ways ? ", both ways" : ""));
          auto load =
              TransportLoad::create(*link, {op, Wait::block, bytes, inflight, both_ways, true});
          ASSERT_TRUE(load.ok()) << load.error().message();
          const auto measured = (*load)->run(kFew, recorder_);
          ASSERT_TRUE(measured.ok()) << measured.error().message();
          EXPECT_EQ(measured->latency.count, 40u);
          const auto checked = (*load)->check();
          EXPECT_TRUE(checked.ok()) << checked.error().message();
        }
}

TEST_F(PeerTest, ThePeerSeesWrongBytes) {
  const auto link = connect();
  ASSERT_NE(link, nullptr);
  auto load = TransportLoad::create(*link, {Op::send, Wait::block, 8, 1, false, true});
  ASSERT_TRUE(load.ok()) << load.error().message();
  // A message of its own making among the load's.
  FrameHeader header;
  header.kind = FrameKind::call;
  header.flags = static_cast<std::uint16_t>(Verb::message);
  const std::array<std::byte, 8> zeros{};
  const ConstMemoryView payload(zeros.data(), zeros.size());
  ASSERT_TRUE(
      link->transport()
          .send(link->endpoint(), header, {}, std::span(&payload, 1), {.copy_payload = true})
          .ok());
  const auto checked = (*load)->check();
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code, Errc::corrupt);
  EXPECT_NE(checked.error().what.find("1 at the peer"), std::string::npos) << checked.error().what;
}

TEST_F(PeerTest, NonsenseIsAnsweredAndTheSessionGoesOn) {
  const auto link = connect();
  ASSERT_NE(link, nullptr);
  EXPECT_EQ(
      link->ask(Verb::begin, Verb::ready, [](Writer& out) { out.put<std::uint8_t>(9); }).code(),
      Errc::protocol);
  EXPECT_EQ(link->ask(static_cast<Verb>(999), Verb::ready, [](Writer&) {}).code(), Errc::protocol);
  const auto seconds = link->peer_cpu_seconds();
  ASSERT_TRUE(seconds.ok()) << seconds.error().message();
  EXPECT_GE(*seconds, 0);
}

TEST_F(PeerTest, OneClientAtATime) {
  auto first = connect();
  ASSERT_NE(first, nullptr);
  ASSERT_TRUE(first->peer_cpu_seconds().ok());
  {
    auto second = PeerLink::connect(config_, clock_, address_);
    EXPECT_FALSE(second.ok() && (*second)->peer_cpu_seconds().ok());
  }
  EXPECT_TRUE(first->peer_cpu_seconds().ok());
  first.reset();
  // The peer hears of the first one's end before it accepts, or turns us away once more.
  bool served = false;
  for (int i = 0; i < 1000 && !served; ++i) {
    auto next = PeerLink::connect(config_, clock_, address_);
    served = next.ok() && (*next)->peer_cpu_seconds().ok();
  }
  EXPECT_TRUE(served);
}

TEST_F(PeerTest, ItsEndIsTold) {
  const auto link = connect();
  ASSERT_NE(link, nullptr);
  ASSERT_TRUE(link->peer_cpu_seconds().ok());
  child_.reset();
  const auto asked = link->peer_cpu_seconds();
  ASSERT_FALSE(asked.ok());
  EXPECT_NE(asked.error().what.find(address_.to_string()), std::string::npos);
}

TEST_F(PeerTest, AnotherTokenIsRefused) {
  const auto other = TokenFile::create();
  ASSERT_TRUE(other.ok());
  auto config = config_;
  config.token_file = other->path();
  EXPECT_EQ(PeerLink::connect(config, clock_, address_).code(), Errc::refused);
}

}  // namespace
}  // namespace shoal::perf
