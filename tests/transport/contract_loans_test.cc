#include <algorithm>

#include "tests/transport/contract.h"

// Loans of READs and WRITEs end: by revoke(), by close(), with the peer. Nothing moves afterwards.

namespace shoal::contract {

using Kind = Event::Kind;

TEST_P(BulkContract, NoByteLandsAfterRevoke) {
  const Bytes source(4u << 20, std::byte{2});
  for (std::uint64_t round = 1; round <= 24; ++round) {
    Bytes target(source.size(), std::byte{1});
    auto region = make_region(b, all(target), Access::write);
    ASSERT_TRUE(a.transport().write(at_a, all(source), region.remote(), round).ok());
    for (std::uint64_t turn = 0; turn < round * 3; ++turn) {
      a.poll(1);
      b.poll(1);
      backend->advance();
    }
    region.revoke();
    std::fill(target.begin(), target.end(), std::byte{7});
    const auto status = ended(a, Kind::write_done, round);
    if (status != Errc::ok && backend->revoking_disconnects()) {
      reconnect();
    } else {
      ASSERT_TRUE(ping(at_a, at_b)) << "a swallowed write leaves the connection as it was";
    }
    ASSERT_TRUE(only(target, std::byte{7})) << "late bytes, round " << round;
  }
}

TEST_P(BulkContract, NoByteLeavesAfterRevoke) {
  for (std::uint64_t round = 1; round <= 24; ++round) {
    Bytes source(4u << 20, std::byte{1}), target(source.size());
    auto region = make_region(b, all(source), Access::read);
    ASSERT_TRUE(a.transport().read(at_a, all(target), region.remote(), round).ok());
    for (std::uint64_t turn = 0; turn < round * 3; ++turn) {
      a.poll(1);
      b.poll(1);
      backend->advance();
    }
    region.revoke();
    std::fill(source.begin(), source.end(), std::byte{7});
    const auto status = ended(a, Kind::read_done, round);
    EXPECT_FALSE(has(target, std::byte{7})) << "bytes of its successor";
    if (status == Errc::ok) {
      EXPECT_TRUE(only(target, std::byte{1}));
    } else {
      EXPECT_TRUE(status == Errc::revoked || status == Errc::peer_lost) << name_of(status);
    }
    // A frame was half out: its connection went with it, on both sides.
    const bool half_out = status != Errc::ok && status != Errc::revoked;
    if (half_out || (status == Errc::revoked && backend->revoking_disconnects())) reconnect();
  }
}

TEST_P(BulkContract, CloseEndsTheLoansOfReadsAndWrites) {
  for (std::uint64_t round = 1; round <= 16; ++round) {
    Bytes remote(3u << 20, std::byte{1}), into(remote.size()), from(remote.size(), std::byte{2});
    auto region = make_region(b, all(remote), Access::read_write);
    ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(), round).ok());
    ASSERT_TRUE(a.transport().write(at_a, all(std::as_const(from)), region.remote(), round).ok());
    for (std::uint64_t turn = 0; turn < round * 3; ++turn) {
      a.poll(1);
      b.poll(1);
      backend->advance();
    }
    a.transport().close(at_a);
    std::fill(into.begin(), into.end(), std::byte{7});
    std::fill(from.begin(), from.end(), std::byte{9});
    const auto read = ended(a, Kind::read_done, round);
    const auto write = ended(a, Kind::write_done, round);
    EXPECT_TRUE(read == Errc::ok || read == Errc::closed);
    EXPECT_TRUE(write == Errc::ok || write == Errc::closed);
    ASSERT_TRUE(until([&] { return b.find_closed(at_b) != nullptr; }));
    settle(50);
    ASSERT_EQ(a.count(Kind::read_done, round), 1u);
    ASSERT_EQ(a.count(Kind::write_done, round), 1u);
    ASSERT_TRUE(only(into, std::byte{7})) << "late bytes, round " << round;
    EXPECT_FALSE(has(remote, std::byte{9})) << "left after close";
    std::tie(at_a, at_b) = connect();
  }
}

TEST_P(BulkContract, APeerThatVanishesEndsTheLoans) {
  Bytes remote(2u << 20), into(remote.size());
  {
    auto region = make_region(b, all(remote), Access::read_write);
    ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(), 1).ok());
    ASSERT_TRUE(a.transport().write(at_a, all(std::as_const(into)), region.remote(), 2).ok());
    a.poll();
  }
  kill(b);
  const auto read = ended(a, Kind::read_done, 1);
  // It may have been quick: an adapter answers without its process.
  EXPECT_TRUE(read == Errc::peer_lost || read == Errc::revoked || read == Errc::ok)
      << name_of(read);
  ended(a, Kind::write_done, 2);
  ASSERT_TRUE(until([&] { return a.find_closed(at_a) != nullptr; }));
  std::fill(into.begin(), into.end(), std::byte{7});
  settle();
  EXPECT_TRUE(only(into, std::byte{7}));
  Bytes other(16);
  EXPECT_EQ(a.transport().read(at_a, all(other), {1, 0, 16}, 3).code(), Errc::closed);
  EXPECT_EQ(a.transport().write(at_a, all(std::as_const(other)), {1, 0, 16}, 4).code(),
            Errc::closed);
}

/// The two lanes end apart: what is left of the bulk lane may be less than what the peer sent, or
/// than what has come, but nothing is missing in the middle, and nothing moves afterwards.
TEST_P(BulkContract, AHangUpLeavesABeginningOfTheBulkLane) {
  constexpr std::uint64_t kPieces = 40;
  constexpr std::size_t kPiece = 100'000;
  for (const std::uint64_t head_start : {0, 1, 20}) {
    if (head_start > 0) {
      b.node = backend->make();
      b.seen.clear();
      b.accepted.clear();
      a.seen.clear();
      b_address = b.transport().listen(b.node.listen_at).value();
      std::tie(at_a, at_b) = connect();
    }
    Bytes memory(kPieces * kPiece);
    auto region = make_region(a, all(memory), Access::write);
    const auto from = pattern(kPiece, head_start + 1);
    for (std::uint64_t i = 0; i < kPieces; ++i) {
      ASSERT_TRUE(b.transport().write(at_b, all(from), region.remote(i * kPiece, kPiece), 1).ok());
      ASSERT_TRUE(send(b, at_b, i, {}, {.lane = Lane::bulk}).ok());
    }
    b.transport().flush();
    ASSERT_TRUE(until([&] { return a.messages(at_a).size() >= head_start; }));
    kill(b);
    ASSERT_TRUE(until([&] { return a.find_closed(at_a) != nullptr; }));
    EXPECT_EQ(a.seen.back().kind, Kind::closed);
    const auto got = a.messages(at_a);
    ASSERT_GE(got.size(), head_start);
    for (std::uint64_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i]->header.request.value, i);
      ASSERT_TRUE(std::equal(from.begin(), from.end(),
                             memory.begin() + static_cast<std::ptrdiff_t>(i * kPiece)))
          << "message " << i << " came before the write in front of it";
    }
    const auto after = memory;
    settle();
    EXPECT_EQ(memory, after) << "bytes landed after closed";
  }
}

TEST_P(BulkContract, ReadsAreBoundedAndRecover) {
  Bytes remote = pattern(1'000, 1), into(1'000);
  auto region = make_region(b, all(remote), Access::read);
  std::uint64_t posted = 0;
  Status status;
  while (posted < 100'000) {
    status = a.transport().read(at_a, all(into), region.remote(), posted + 1);
    if (!status.ok()) break;
    ++posted;
  }
  ASSERT_EQ(status.code(), Errc::overloaded);
  ASSERT_TRUE(until([&] { return a.count(Kind::read_done) == posted; }));
  ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(), posted + 1).ok());
  EXPECT_EQ(ended(a, Kind::read_done, posted + 1), Errc::ok);
  EXPECT_EQ(into, remote);
}

TEST_P(BulkContract, WritesAreBoundedAndRecover) {
  Bytes remote(100'000);
  const auto from = pattern(100'000, 1);
  auto region = make_region(b, all(remote), Access::write);
  std::uint64_t posted = 0;
  Status status;
  while (posted < 100'000) {
    status = a.transport().write(at_a, all(from), region.remote(), posted + 1);
    if (!status.ok()) break;
    ++posted;
  }
  ASSERT_EQ(status.code(), Errc::overloaded);
  ASSERT_TRUE(until([&] { return a.count(Kind::write_done) == posted; }));
  ASSERT_TRUE(ping(at_a, at_b));
  EXPECT_EQ(remote, from);
}

}  // namespace shoal::contract
