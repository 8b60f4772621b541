#include "tests/ucx/processes.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/random.h"
#include "tests/transport/contract.h"
#include "tests/ucx/adapters.h"

// Peers that are killed or stopped while bytes are under way, and what the others notice of it.

namespace shoal::ucx::test {
namespace {

using Kind = Event::Kind;
constexpr std::byte kFresh{1}, kAfter{7};

/// The transport of this process, to which peers connect.
class Processes : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    if (GetParam().transports == std::string_view(kAdapters) && !has_adapters())
      GTEST_SKIP() << "this machine has no RDMA device";
    transport_ = make_transport(GetParam().transports, clock_);
    if (transport_ == nullptr) GTEST_SKIP() << "libucp.so.0 cannot be loaded, or is too old";
    at_ = transport_->listen({"127.0.0.1", 0}).value();
  }
  bool polled(const std::function<bool()>& done) {
    const auto deadline = deadline_after(clock_.now(), std::chrono::seconds(20));
    while (!done()) {
      if (clock_.now() > deadline) return false;
      if (poll() == 0 && transport_->arm()) transport_->wait(nullptr, std::chrono::milliseconds(1));
    }
    return true;
  }
  std::size_t poll() {
    const auto count = transport_->poll(events_);
    for (std::size_t i = 0; i < count; ++i) {
      const auto& event = events_[i];
      if (event.kind == Kind::accepted) accepted_ = event.endpoint;
      seen_.push_back({event.kind, event.status, event.endpoint, event.context, {}, {}, {}});
      if (event.kind == Kind::message)
        seen_.back().meta.assign(event.frame.meta.begin(), event.frame.meta.end());
    }
    return count;
  }
  const contract::Seen* find(Kind kind, EndpointId endpoint, std::uint64_t context = 0) const {
    for (const auto& what : seen_)
      if (what.kind == kind && what.endpoint == endpoint && what.context == context) return &what;
    return nullptr;
  }
  std::size_t messages(EndpointId endpoint) const {
    return static_cast<std::size_t>(std::count_if(seen_.begin(), seen_.end(), [&](const auto& one) {
      return one.kind == Kind::message && one.endpoint == endpoint;
    }));
  }
  Status say(EndpointId to, std::span<const std::byte> meta) {
    FrameHeader header;
    header.kind = FrameKind::push;
    return transport_->send(to, header, meta, {}, {});
  }
  /// It, and its endpoint.
  std::pair<std::unique_ptr<Process>, EndpointId> start(Role role) {
    accepted_.reset();
    auto process = std::make_unique<Process>(role, at_, GetParam());
    EXPECT_TRUE(polled([&] { return accepted_.has_value(); }));
    return {std::move(process), accepted_.value_or(EndpointId{})};
  }
  /// A server, whose span is known.
  std::pair<std::unique_ptr<Process>, EndpointId> start_server(RemoteSpan& span,
                                                               Role role = Role::serves) {
    auto started = start(role);
    EXPECT_TRUE(polled([&] { return messages(started.second) == 1; }));
    for (const auto& what : seen_)
      if (what.kind == Kind::message && what.endpoint == started.second)
        std::memcpy(&span, what.meta.data(), sizeof span);
    return started;
  }
  bool echoes(EndpointId endpoint) {
    const auto before = messages(endpoint);
    const std::byte word{3};
    return say(endpoint, {&word, 1}).ok() && polled([&] { return messages(endpoint) > before; });
  }
  void poll_some(std::uint64_t times) {
    for (std::uint64_t i = 0; i < times; ++i) poll();
  }
  static bool only(std::span<const std::byte> bytes, std::byte value) {
    return std::all_of(bytes.begin(), bytes.end(), [&](std::byte one) { return one == value; });
  }

  SteadyClock clock_;
  std::unique_ptr<Transport> transport_;
  Address at_;
  std::array<Event, 32> events_;
  std::vector<contract::Seen> seen_;
  std::optional<EndpointId> accepted_;
  Random random_{contract::first_seed()};
};

TEST_P(Processes, OneThatIsKilledMidTransferIsTheOnlyOneLost) {
  RemoteSpan span;
  const auto [other, at_other] = start_server(span);
  for (int round = 0; round < GetParam().rounds / 2; ++round) {
    std::vector<std::byte> into(kPeerBytes, kFresh);
    const Memory memory(*transport_, GetParam().shared, kFresh);
    const auto target = memory.bytes();
    auto region = transport_->register_memory(memory.view(), Access::read_write).value();
    auto [writer, at_writer] = start(Role::writes);
    const auto own = region.remote();
    ASSERT_TRUE(say(at_writer, std::as_bytes(std::span(&own, 1))).ok());
    ASSERT_TRUE(polled([&] { return target.front() == kPeerByte; })) << "nothing is written";
    poll_some(random_.below(2'000));
    writer->kill();
    ASSERT_TRUE(polled([&, at = at_writer] { return find(Kind::closed, at) != nullptr; }));
    std::fill(target.begin(), target.end(), kAfter);
    const auto context = static_cast<std::uint64_t>(round) + 1;
    ASSERT_TRUE(transport_->read(at_other, {into.data(), into.size()}, span, context).ok());
    ASSERT_TRUE(
        polled([&, at = at_other] { return find(Kind::read_done, at, context) != nullptr; }));
    EXPECT_EQ(find(Kind::read_done, at_other, context)->status, Errc::ok);
    EXPECT_TRUE(only(into, kPeerByte));
    EXPECT_TRUE(echoes(at_other));
    EXPECT_TRUE(only(target, kAfter)) << "bytes of a dead peer";
  }
}

TEST_P(Processes, NoByteOfOneThatWasStoppedMidCopyLandsAfterRevoke) {
  RemoteSpan span;
  const auto [other, at_other] = start_server(span);
  for (int round = 0; round < GetParam().rounds; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const Memory memory(*transport_, GetParam().shared, kFresh);
    const auto target = memory.bytes();
    auto region = transport_->register_memory(memory.view(), Access::write).value();
    const auto [one, at_one] = start(Role::writes);
    const auto own = region.remote();
    ASSERT_TRUE(say(at_one, std::as_bytes(std::span(&own, 1))).ok());
    ASSERT_TRUE(polled([&] { return target.front() == kPeerByte; })) << "nothing is written";
    poll_some(random_.below(2'000));
    ASSERT_NO_FATAL_FAILURE(one->stop());
    if (round % 2 == 0) poll_some(1);
    region.revoke();
    std::fill(target.begin(), target.end(), kAfter);
    EXPECT_TRUE(echoes(at_other)) << "a stopped peer is in the way of another";
    one->resume();
    EXPECT_TRUE(echoes(at_one)) << "the connection is as it was";
    EXPECT_TRUE(only(target, kAfter)) << "late bytes";
  }
}

/// As above, and surely in the middle: it comes upon a page of its own that it may not read.
TEST_P(Processes, OneThatStopsInsideACopyIsShutOut) {
  RemoteSpan span;
  const auto [other, at_other] = start_server(span);
  const Memory memory(*transport_, GetParam().shared, kFresh);
  const auto target = memory.bytes();
  auto region = transport_->register_memory(memory.view(), Access::write).value();
  const auto [one, at_one] = start(Role::halts);
  const auto own = region.remote();
  ASSERT_TRUE(say(at_one, std::as_bytes(std::span(&own, 1))).ok());
  ASSERT_TRUE(polled([&, &peer = one] { return peer->has_stopped(); }));
  ASSERT_TRUE(polled([&] { return target.front() == kPeerByte; })) << "nothing is written";
  testing::internal::CaptureStderr();
  region.revoke();
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find("its pages are replaced") != text.npos, GetParam().shared) << text;
  std::fill(target.begin(), target.end(), kAfter);
  EXPECT_TRUE(echoes(at_other)) << "a stopped peer is in the way of another";
  one->resume();
  EXPECT_TRUE(echoes(at_one)) << "the connection is as it was";
  EXPECT_TRUE(only(target, kAfter)) << "late bytes";
}

TEST_P(Processes, ClosingEndsTheLoansToOneThatIsStopped) {
  RemoteSpan other_span;
  const auto [other, at_other] = start_server(other_span);
  for (int round = 0; round < GetParam().rounds; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    RemoteSpan span;
    const auto [peer, endpoint] = start_server(span);
    std::vector<std::byte> into(kPeerBytes, kFresh), from(kPeerBytes, kFresh);
    ASSERT_TRUE(transport_->read(endpoint, {into.data(), into.size()}, span, 1).ok());
    ASSERT_TRUE(
        transport_->write(endpoint, ConstMemoryView(from.data(), from.size()), span, 2).ok());
    poll_some(random_.below(200));
    ASSERT_NO_FATAL_FAILURE(peer->stop());
    poll_some(random_.below(50));
    transport_->close(endpoint);
    std::fill(into.begin(), into.end(), kAfter);
    ASSERT_TRUE(polled([&, at = endpoint] {
      return find(Kind::read_done, at, 1) != nullptr && find(Kind::write_done, at, 2) != nullptr;
    }));
    EXPECT_TRUE(echoes(at_other)) << "a stopped peer is in the way of another";
    peer->resume();
    EXPECT_TRUE(echoes(at_other));
    poll_some(1'000);
    EXPECT_TRUE(only(into, kAfter)) << "late bytes";
  }
}

TEST_P(Processes, ATransportEndsWhileAPeerIsStopped) {
  RemoteSpan span;
  const auto [peer, endpoint] = start_server(span);
  std::vector<std::byte> into(kPeerBytes, kFresh), from(kPeerBytes, kFresh);
  ASSERT_TRUE(transport_->read(endpoint, {into.data(), into.size()}, span, 1).ok());
  ASSERT_NO_FATAL_FAILURE(peer->stop());
  ASSERT_TRUE(transport_->write(endpoint, ConstMemoryView(from.data(), from.size()), span, 2).ok());
  poll_some(10);
  transport_.reset();
  std::fill(into.begin(), into.end(), kAfter);
  peer->resume();
  EXPECT_TRUE(only(into, kAfter));
}

/// Memory of which its own process's CPU makes packets, and fills it from them.
class FreedMemory : public Processes {};

TEST_P(FreedMemory, EndsItsProcessAndNoOther) {
#ifdef SHOAL_SANITIZED
  GTEST_SKIP() << "a sanitizer catches SIGSEGV";
#endif
  RemoteSpan span;
  const auto [other, at_other] = start_server(span);
  std::vector<std::byte> into(kPeerBytes, kFresh), from(kPeerBytes, kFresh);
  for (const bool reads : {true, false}) {
    SCOPED_TRACE(reads ? "read" : "written");
    RemoteSpan freed;
    const auto [owner, endpoint] = start_server(freed, Role::frees);
    const auto kind = reads ? Kind::read_done : Kind::write_done;
    ASSERT_TRUE(
        reads ? transport_->read(endpoint, {into.data(), into.size()}, freed, 1).ok()
              : transport_->write(endpoint, ConstMemoryView(from.data(), from.size()), freed, 1)
                    .ok());
    std::optional<int> signal;
    ASSERT_TRUE(polled([&, &process = owner] {
      if (!signal) signal = process->ended_by();
      return signal.has_value();
    }));
    EXPECT_EQ(*signal, SIGSEGV);
    ASSERT_TRUE(polled([&, at = endpoint] { return find(Kind::closed, at) != nullptr; }));
    EXPECT_EQ(find(Kind::closed, endpoint)->status, Errc::peer_lost);
    ASSERT_NE(find(kind, endpoint, 1), nullptr);
    // UCX may have taken the last packet of a WRITE before the first was taken out of its hands.
    if (reads) {
      EXPECT_EQ(find(kind, endpoint, 1)->status, Errc::peer_lost);
    }
    EXPECT_TRUE(echoes(at_other));
  }
}

std::string name_of(const testing::TestParamInfo<Way>& info) {
  constexpr std::array kNames{"shm", "shared", "tcp"};
  return kNames[info.index];
}

INSTANTIATE_TEST_SUITE_P(Ucx, Processes,
                         testing::Values(Way{"posix,self", false}, Way{"posix,self", true},
                                         Way{"tcp", false}),
                         name_of);
INSTANTIATE_TEST_SUITE_P(RealUcx, Processes, testing::Values(Way{kAdapters, false, 2}),
                         [](const auto&) { return std::string("device"); });
INSTANTIATE_TEST_SUITE_P(Ucx, FreedMemory,
                         testing::Values(Way{"posix,self", false}, Way{"tcp", false}),
                         [](const auto& info) {
                           return std::string(info.index == 0 ? "shm" : "tcp");
                         });
INSTANTIATE_TEST_SUITE_P(RealUcx, FreedMemory, testing::Values(Way{kAdapters, false}),
                         [](const auto&) { return std::string("device"); });

}  // namespace
}  // namespace shoal::ucx::test
