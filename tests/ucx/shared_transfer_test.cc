#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "core/base/random.h"
#include "tests/transport/contract.h"
#include "tests/ucx/processes.h"

// Two transports in one process, one of which writes to and reads from what the other shares.

namespace shoal::ucx::test {
namespace {

using Kind = Event::Kind;

class SharedTransfers : public testing::Test {
 protected:
  void SetUp() override {
    owner_ = make_transport(ways_, clock_);
    if (owner_ == nullptr) GTEST_SKIP() << "libucp.so.0 cannot be loaded, or is too old";
    user_ = make_transport(ways_, clock_);
    memory_.emplace(*owner_, true, std::byte{1});
    region_ = owner_->register_memory(memory_->view(), Access::read_write).value();
    const auto at = owner_->listen({"127.0.0.1", 0}).value();
    to_owner_ = user_->connect(at, deadline_after(clock_.now(), std::chrono::seconds(20))).value();
    ASSERT_TRUE(until([&] { return count(Kind::connected) == 1 && count(Kind::accepted) == 1; }));
    // A region is known with the next message of its owner's.
    say(*owner_, accepted_, Lane::message);
    ASSERT_TRUE(until([&] { return count(Kind::message) == 1; }));
    seen_.clear();
  }
  void TearDown() override {
    region_.revoke();
    memory_.reset();
  }
  void say(Transport& from, EndpointId to, Lane lane) {
    FrameHeader header;
    header.kind = FrameKind::push;
    ASSERT_TRUE(from.send(to, header, {}, {}, {.lane = lane}).ok());
  }
  bool until(const std::function<bool()>& done) {
    const auto deadline = deadline_after(clock_.now(), std::chrono::seconds(20));
    while (!done() && clock_.now() < deadline)
      for (auto* transport : {owner_.get(), user_.get()}) {
        const auto n = transport->poll(events_);
        for (std::size_t i = 0; i < n; ++i) {
          if (events_[i].kind == Kind::accepted) accepted_ = events_[i].endpoint;
          seen_.push_back(events_[i]);
        }
      }
    return done();
  }
  std::size_t count(Kind kind, Errc status = Errc::ok) const {
    return static_cast<std::size_t>(std::count_if(seen_.begin(), seen_.end(), [&](const auto& one) {
      return one.kind == kind && one.status == status;
    }));
  }

  const char* ways_ = "posix,self";
  SteadyClock clock_;
  std::unique_ptr<Transport> owner_, user_;
  std::optional<Memory> memory_;
  Region region_;
  EndpointId to_owner_, accepted_;
  std::array<Event, 32> events_;
  std::vector<Event> seen_;
};

TEST_F(SharedTransfers, TheMemoryIsMapped) {
  EXPECT_NE(user_->explain(to_owner_).find("1 of its buffers mapped"), std::string::npos)
      << user_->explain(to_owner_);
  EXPECT_NE(user_->explain(to_owner_).find("; not used: CUDA memory: "), std::string::npos)
      << user_->explain(to_owner_);
  const auto region = region_.remote(0, 1).region;
  EXPECT_TRUE(user_->reads_by_copy(to_owner_, region));
  EXPECT_FALSE(user_->reads_by_copy(to_owner_, region + 1));
  EXPECT_FALSE(owner_->reads_by_copy(accepted_, region)) << "it is no region of the other side";
  region_.revoke();
  say(*owner_, accepted_, Lane::message);
  ASSERT_TRUE(until([&] { return count(Kind::message) == 1; }));
  EXPECT_EQ(user_->explain(to_owner_).find("mapped"), std::string::npos);
  EXPECT_FALSE(user_->reads_by_copy(to_owner_, region));
}

/// Pages are copied, and what is before and behind them goes by packets; a frame behind tells that
/// all is there.
TEST_F(SharedTransfers, AnyRangeArrivesAndNothingElse) {
  Random random(contract::first_seed());
  std::vector<std::byte> expected(kPeerBytes, std::byte{1});
  for (std::uint64_t round = 1; round <= 40; ++round) {
    const auto offset = random.below(kPeerBytes);
    const auto bytes = random.below(std::min<std::uint64_t>(kPeerBytes - offset, 600'000)) + 1;
    const auto from = contract::pattern(bytes, round);
    std::copy(from.begin(), from.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
    const auto span = region_.remote(offset, bytes);
    ASSERT_TRUE(user_->write(to_owner_, {from.data(), bytes}, span, round).ok());
    say(*user_, to_owner_, Lane::bulk);
    ASSERT_TRUE(until([&] { return count(Kind::message) == round; }));
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), memory_->bytes().begin()))
        << bytes << " bytes at " << offset << ", round " << round;
    std::vector<std::byte> into(bytes);
    ASSERT_TRUE(user_->read(to_owner_, {into.data(), bytes}, span, round).ok());
    ASSERT_TRUE(until([&] { return count(Kind::read_done) == round; }));
    ASSERT_EQ(into, from);
  }
  ASSERT_TRUE(until([&] { return count(Kind::write_done) == 40; }));
}

TEST_F(SharedTransfers, WholePagesAreReadWhereTheyAre) {
  const auto from = contract::pattern(kPeerBytes, 3);
  std::copy(from.begin(), from.end(), memory_->bytes().begin());
  const auto all = region_.remote();
  const auto is_read = [&](std::size_t offset, std::size_t bytes) {
    bool same = false;
    const RemoteSpan span{all.region, all.address + offset, bytes};
    const bool called = user_->read_in_place(to_owner_, span, [&](ConstMemoryView view) {
      same = view.bytes == bytes && std::memcmp(view.data, from.data() + offset, bytes) == 0;
    });
    EXPECT_EQ(called, same);
    return called;
  };
  EXPECT_TRUE(is_read(0, kPageBytes));
  EXPECT_TRUE(is_read(3 * kPageBytes, 64 * kPageBytes));
  EXPECT_FALSE(is_read(100, kPageBytes)) << "others may write to the rest of its first page";
  EXPECT_FALSE(is_read(0, kPageBytes + 100));
  region_.revoke();
  EXPECT_FALSE(is_read(0, kPageBytes));
}

/// Shared memory that goes over UCX's TCP, as somebody wished.
class SharedOverTcp : public SharedTransfers {
 protected:
  SharedOverTcp() { ways_ = "tcp,self"; }
};

TEST_F(SharedOverTcp, NoPagesAreMapped) {
  const auto explained = user_->explain(to_owner_);
  EXPECT_NE(explained.find("over tcp/"), std::string::npos) << explained;
  EXPECT_EQ(explained.find("mapped"), std::string::npos) << explained;
  EXPECT_FALSE(user_->reads_by_copy(to_owner_, region_.remote().region));
  const auto from = contract::pattern(kPeerBytes, 5);
  std::vector<std::byte> into(kPeerBytes);
  ASSERT_TRUE(user_->write(to_owner_, {from.data(), from.size()}, region_.remote(), 1).ok());
  ASSERT_TRUE(until([&] { return count(Kind::write_done) == 1; }));
  ASSERT_TRUE(user_->read(to_owner_, {into.data(), into.size()}, region_.remote(), 2).ok());
  ASSERT_TRUE(until([&] { return count(Kind::read_done) == 1; }));
  EXPECT_EQ(into, from);
}

/// A reader that has stopped keeps the pages that it looks at, as they are; their owner has others.
TEST_F(SharedTransfers, WhoReadsInPlaceSeesNoByteFromAfterTheLoan) {
  const auto from = contract::pattern(64 * kPageBytes, 4);
  std::copy(from.begin(), from.end(), memory_->bytes().begin());
  bool same = false;
  ASSERT_TRUE(
      user_->read_in_place(to_owner_, region_.remote(0, from.size()), [&](ConstMemoryView view) {
        region_.revoke();
        std::fill(memory_->bytes().begin(), memory_->bytes().end(), std::byte{9});
        same = std::memcmp(view.data, from.data(), from.size()) == 0;
      }));
  EXPECT_TRUE(same);
  EXPECT_EQ(memory_->bytes()[0], std::byte{9});
}

TEST_F(SharedTransfers, ManyAtOnceEndInTheirOrder) {
  const std::vector<std::byte> from(kPeerBytes, std::byte{5});
  std::vector<std::byte> into(kPeerBytes);
  for (std::uint64_t i = 0; i < 8; ++i) {
    const auto span = region_.remote(i * 100'000 + i, 100'000);
    ASSERT_TRUE(user_->write(to_owner_, {from.data(), 100'000}, span, i + 1).ok());
    ASSERT_TRUE(user_->read(to_owner_, {into.data() + i * 100'000, 100'000}, span, i + 1).ok());
  }
  ASSERT_TRUE(until([&] { return count(Kind::write_done) == 8 && count(Kind::read_done) == 8; }));
  std::uint64_t next = 1;
  for (const auto& event : seen_)
    if (event.kind == Kind::write_done) {
      EXPECT_EQ(event.context, next++);
    }
}

TEST_F(SharedTransfers, WhatIsRevokedIsRefused) {
  const auto span = region_.remote();
  const std::vector<std::byte> from(kPeerBytes, std::byte{5});
  std::vector<std::byte> into(kPeerBytes);
  region_.revoke();
  ASSERT_TRUE(user_->read(to_owner_, {into.data(), into.size()}, span, 1).ok());
  ASSERT_TRUE(user_->write(to_owner_, {from.data(), from.size()}, span, 2).ok());
  ASSERT_TRUE(until([&] { return count(Kind::read_done, Errc::revoked) == 1; }));
  ASSERT_TRUE(
      until([&] { return count(Kind::write_done) + count(Kind::write_done, Errc::revoked) == 1; }));
  EXPECT_EQ(memory_->bytes()[0], std::byte{1});
  // The same pages under another name.
  region_ = owner_->register_memory(memory_->view(), Access::read_write).value();
  say(*owner_, accepted_, Lane::message);
  ASSERT_TRUE(until([&] { return count(Kind::message) == 1; }));
  ASSERT_TRUE(user_->write(to_owner_, {from.data(), from.size()}, region_.remote(), 3).ok());
  say(*user_, to_owner_, Lane::bulk);
  ASSERT_TRUE(until([&] { return count(Kind::message) == 2; }));
  EXPECT_EQ(memory_->bytes()[kPeerBytes - 1], std::byte{5});
}

TEST_F(SharedTransfers, ClosingEndsWhatIsUnderWay) {
  const std::vector<std::byte> from(kPeerBytes, std::byte{5});
  for (std::uint64_t i = 1; i <= 4; ++i)
    ASSERT_TRUE(user_->write(to_owner_, {from.data(), from.size()}, region_.remote(), i).ok());
  user_->poll(events_);
  owner_->close(accepted_);
  std::fill(memory_->bytes().begin(), memory_->bytes().end(), std::byte{7});
  ASSERT_TRUE(until([&] {
    return count(Kind::closed, Errc::peer_lost) + count(Kind::closed, Errc::closed) +
               count(Kind::closed) >
           0;
  }));
  EXPECT_TRUE(std::all_of(memory_->bytes().begin(), memory_->bytes().end(),
                          [](std::byte one) { return one == std::byte{7}; }));
}

}  // namespace
}  // namespace shoal::ucx::test
