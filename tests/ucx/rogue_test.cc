#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "core/wire/codec.h"
#include "transport/frames.h"
#include "transport/ucx/ucx.h"
#include "transport/ucx/wire.h"

// A peer that speaks UCX well, and our protocol badly.

namespace shoal::ucx {
namespace {

using Kind = Event::Kind;
constexpr EndpointId kEndpoint(7);
constexpr std::uint64_t kReadable = 11, kWritable = 12;
constexpr std::size_t kBytes = 1000;

class Rogue : public testing::Test {
 protected:
  void SetUp() override {
    auto api = load();
    if (!api.ok()) GTEST_SKIP() << api.error().message();
    api_ = *api;
    constexpr const char* kShared = "posix,sysv,self";
    fabric_ = create_fabric(api_, {.transports = kShared}, clock_).value();
    context_ = Context::create(api_, {.transports = kShared}).value();
    ucp_worker_params_t parameters{};
    ASSERT_EQ(api_.worker_create(context_->get(), &parameters, &worker_), UCS_OK);
    expose(kReadable, readable_, Access::read);
    expose(kWritable, writable_, Access::write);
    ASSERT_NO_FATAL_FAILURE(meet());
  }
  void TearDown() override {
    if (fabric_ == nullptr) return;
    for (const auto region : {kReadable, kWritable}) fabric_->conceal(region);
    if (ep_ != nullptr) {
      ucp_request_param_t force{};
      force.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
      force.flags = UCP_EP_CLOSE_FLAG_FORCE;
      finish(api_.ep_close_nbx(ep_, &force));
    }
    fabric_.reset();
    if (worker_ != nullptr) api_.worker_destroy(worker_);
  }

  void expose(std::uint64_t region, std::array<std::byte, kBytes>& memory, Access access) {
    memory.fill(std::byte{1});
    ASSERT_TRUE(fabric_->expose(region, {memory.data(), memory.size()}, access).ok());
  }
  void meet() {
    ucp_address_t* address = nullptr;
    std::size_t bytes = 0;
    ASSERT_EQ(api_.worker_get_address(worker_, &address, &bytes), UCS_OK);
    Card card(sizeof(LinkCard) + bytes);
    const LinkCard own;
    std::memcpy(card.data(), &own, sizeof own);
    std::memcpy(card.data() + sizeof own, address, bytes);
    api_.worker_release_address(worker_, address);
    const auto answer = fabric_->answer(kEndpoint, card);
    ASSERT_TRUE(answer.ok()) << answer.error().message();
    LinkCard theirs;
    std::memcpy(&theirs, answer->data(), sizeof theirs);
    secret_ = theirs.secret;
    ucp_ep_params_t parameters{};
    parameters.field_mask =
        UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    parameters.address = reinterpret_cast<const ucp_address_t*>(answer->data() + sizeof theirs);
    parameters.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    ASSERT_EQ(api_.ep_create(worker_, &parameters, &ep_), UCS_OK);
  }
  void turn() {
    api_.worker_progress(worker_);
    std::array<Event, 8> events;
    const auto count = fabric_->poll(events);
    for (std::size_t i = 0; i < count; ++i) {
      if (events[i].kind == Kind::closed) closed_ = events[i].status;
      if (events[i].kind == Kind::message) ++messages_;
    }
  }
  void finish(ucs_status_ptr_t request) {
    if (!UCS_PTR_IS_PTR(request)) return;
    while (api_.request_check_status(request) == UCS_INPROGRESS) turn();
    api_.request_free(request);
  }
  void send_raw(std::span<const std::byte> header, std::span<const std::byte> data) {
    ucp_request_param_t parameters{};
    parameters.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    parameters.flags = UCP_AM_SEND_FLAG_EAGER;
    finish(api_.am_send_nbx(ep_, kMessageId, header.data(), header.size(), data.data(), data.size(),
                            &parameters));
    for (int i = 0; i < 1'000; ++i) turn();
  }
  void send(const Packet& packet, std::span<const std::byte> data = {}) {
    send_raw(std::as_bytes(std::span(&packet, 1)), data);
  }
  void send_small(const SmallHead& head, std::span<const std::byte> frame) {
    std::vector<std::byte> bytes(sizeof head + frame.size());
    std::memcpy(bytes.data(), &head, sizeof head);
    std::copy(frame.begin(), frame.end(), bytes.begin() + sizeof head);
    send_raw({}, bytes);
  }
  SmallHead small_head() { return {.secret = secret_, .sequence = next_++}; }
  Packet packet(PacketKind kind) { return {.secret = secret_, .sequence = next_++, .kind = kind}; }
  static std::array<std::byte, kFrameHeaderBytes> frame() {
    FrameHeader header;
    header.kind = FrameKind::push;
    seal(header, {});
    std::array<std::byte, kFrameHeaderBytes> bytes;
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
  }
  /// Well-formed: the link still works.
  void send_frame() { send(packet(PacketKind::frame), frame()); }
  bool untouched() const {
    for (const auto* memory : {&readable_, &writable_})
      for (const auto byte : *memory)
        if (byte != std::byte{1}) return false;
    return true;
  }

  SteadyClock clock_;
  Api api_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Context> context_;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h ep_ = nullptr;
  std::uint64_t secret_ = 0;
  std::uint32_t next_ = 0;
  std::array<std::byte, kBytes> readable_, writable_;
  std::array<std::byte, 64> nonsense_{};
  std::optional<Errc> closed_;
  int messages_ = 0;
};

TEST_F(Rogue, WhoKnowsNoSecretIsNotHeard) {
  auto forged = packet(PacketKind::write);
  --next_;
  forged.secret ^= 1;
  forged.region = kWritable;
  send(forged, nonsense_);
  EXPECT_TRUE(untouched());
  EXPECT_FALSE(closed_);
  send_frame();
  EXPECT_EQ(messages_, 1);
}

TEST_F(Rogue, AWriteWhereItMayNotEndsTheLink) {
  auto write = packet(PacketKind::write);
  write.region = kReadable;
  send(write, nonsense_);
  EXPECT_EQ(closed_, Errc::protocol);
  EXPECT_TRUE(untouched());
}

TEST_F(Rogue, AWriteBeyondTheEndEndsTheLink) {
  auto write = packet(PacketKind::write);
  write.region = kWritable;
  write.offset = kBytes - nonsense_.size() + 1;
  send(write, nonsense_);
  EXPECT_EQ(closed_, Errc::protocol);
  EXPECT_TRUE(untouched());
}

TEST_F(Rogue, AWriteFarBeyondTheEndEndsTheLink) {
  auto write = packet(PacketKind::write);
  write.region = kWritable;
  write.offset = ~std::uint64_t{0} - 10;
  send(write, nonsense_);
  EXPECT_EQ(closed_, Errc::protocol);
  EXPECT_TRUE(untouched());
}

TEST_F(Rogue, AWriteToWhatIsRevokedIsSwallowed) {
  auto write = packet(PacketKind::write);
  write.region = kWritable + 100;
  send(write, nonsense_);
  EXPECT_TRUE(untouched());
  send_frame();
  EXPECT_FALSE(closed_);
  EXPECT_EQ(messages_, 1);
}

TEST_F(Rogue, AReadOfWhatItMayNotIsRefused) {
  for (const auto region : {kWritable, kWritable + 100, kReadable}) {
    auto read = packet(PacketKind::read);
    read.region = region;
    read.offset = 1;
    read.bytes = kBytes;
    send(read);
  }
  send_frame();
  EXPECT_FALSE(closed_);
  EXPECT_EQ(messages_, 1);
}

TEST_F(Rogue, AnswersToWhatWasNotAskedAreLeftLying) {
  auto data = packet(PacketKind::data);
  data.read = 5;
  send(data, nonsense_);
  auto refuse = packet(PacketKind::refuse);
  refuse.read = ~std::uint64_t{0};
  send(refuse);
  send_frame();
  EXPECT_FALSE(closed_);
  EXPECT_EQ(messages_, 1);
}

TEST_F(Rogue, AnUnknownPacketEndsTheLink) {
  send(packet(static_cast<PacketKind>(kPacketKinds)));
  EXPECT_EQ(closed_, Errc::protocol);
}

TEST_F(Rogue, ALaneThatIsNoneEndsTheLink) {
  auto frame = packet(PacketKind::frame);
  frame.lane = static_cast<Lane>(2);
  send(frame, nonsense_);
  EXPECT_EQ(closed_, Errc::protocol);
}

TEST_F(Rogue, WhatIsNoFrameEndsTheLink) {
  send(packet(PacketKind::frame), nonsense_);
  EXPECT_TRUE(closed_.has_value());
  EXPECT_EQ(messages_, 0);
}

TEST_F(Rogue, APieceOfAFrameIsNotEmpty) {
  send(packet(PacketKind::frame));
  EXPECT_EQ(closed_, Errc::protocol);
}

TEST_F(Rogue, ASmallFrameOfWhoKnowsNoSecretIsNotHeard) {
  auto forged = small_head();
  --next_;
  forged.secret ^= 1;
  send_small(forged, frame());
  send_raw({}, std::span(nonsense_).first(sizeof(SmallHead) - 1));
  send_raw({}, {});
  EXPECT_FALSE(closed_);
  EXPECT_EQ(messages_, 0);
  send_small(small_head(), frame());
  send_frame();
  EXPECT_EQ(messages_, 2);
}

class RogueSmall : public Rogue, public testing::WithParamInterface<std::size_t> {};

TEST_P(RogueSmall, WhatIsNoFrameEndsTheLink) {
  send_small(small_head(), std::span(nonsense_).first(GetParam()));
  EXPECT_EQ(closed_, Errc::protocol);
  EXPECT_EQ(messages_, 0);
}
INSTANTIATE_TEST_SUITE_P(Bytes, RogueSmall, testing::Values(0, 1, 64));

TEST_F(Rogue, ASmallFrameWithMoreBehindItEndsTheLink) {
  std::array<std::byte, kFrameHeaderBytes + 8> bytes{};
  std::ranges::copy(frame(), bytes.begin());
  send_small(small_head(), bytes);
  EXPECT_EQ(closed_, Errc::protocol);
  EXPECT_EQ(messages_, 0);
}

TEST_F(Rogue, ASmallFrameOfNoLaneEndsTheLink) {
  auto head = small_head();
  head.lane = static_cast<Lane>(2);
  send_small(head, frame());
  EXPECT_EQ(closed_, Errc::protocol);
}

TEST_F(Rogue, ASmallFrameOutOfTurnEndsTheLink) {
  ++next_;
  send_small(small_head(), frame());
  EXPECT_EQ(closed_, Errc::corrupt);
  EXPECT_EQ(messages_, 0);
}

TEST_F(Rogue, APacketThatIsMissingEndsTheLink) {
  ++next_;
  send_frame();
  EXPECT_EQ(closed_, Errc::corrupt);
  EXPECT_EQ(messages_, 0);
}

TEST_F(Rogue, APacketThatHasToBeFetchedEndsTheLink) {
  const std::vector<std::byte> large(1u << 20);
  auto frame = packet(PacketKind::frame);
  ucp_request_param_t parameters{};
  parameters.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  parameters.flags = UCP_AM_SEND_FLAG_RNDV;
  finish(api_.am_send_nbx(ep_, kMessageId, &frame, sizeof frame, large.data(), large.size(),
                          &parameters));
  for (int i = 0; i < 1'000; ++i) turn();
  EXPECT_EQ(closed_, Errc::protocol);
}

TEST_F(Rogue, CardsThatAreNoneAreRefused) {
  const EndpointId other(8);
  EXPECT_EQ(fabric_->begin(other, nonsense_).code(), Errc::unavailable) << "another version";
  EXPECT_EQ(fabric_->begin(other, {}).code(), Errc::protocol);
  EXPECT_EQ(fabric_->answer(other, {}).code(), Errc::protocol);
  EXPECT_EQ(fabric_->answer(other, std::span(nonsense_).first(sizeof(LinkCard))).code(),
            Errc::protocol);
  EXPECT_EQ(fabric_->answer(other, nonsense_).code(), Errc::unavailable) << "another version";
  EXPECT_FALSE(fabric_->finish(other, nonsense_).ok());
}

}  // namespace
}  // namespace shoal::ucx
