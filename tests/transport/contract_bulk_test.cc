#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/random.h"
#include "tests/transport/contract.h"

// Regions, READ and WRITE. The end of every loan is in contract_loans_test.cc.

namespace shoal::contract {

using Kind = Event::Kind;

TEST_P(BulkContract, WritesArriveInEverySizeAndOffset) {
  std::uint64_t context = 0;
  const std::vector<std::size_t> sizes = {0,      1,      2,       7,       64,        4096,
                                          65'535, 65'536, 262'144, 262'145, 1'000'003, 8u << 20};
  for (const auto size : sizes) {
    for (const std::size_t offset : {0u, 1u, 13u}) {
      Bytes source = pattern(size + offset, ++context);
      Bytes target(size + offset + 16, std::byte{0xee});
      auto region = make_region(b, all(target), Access::write);
      ASSERT_TRUE(
          a.transport()
              .write(at_a, {source.data() + offset, size}, region.remote(offset, size), context)
              .ok());
      ASSERT_TRUE(send(a, at_a, context, {}, {.lane = Lane::bulk}).ok());
      EXPECT_EQ(ended(a, Kind::write_done, context), Errc::ok);
      ASSERT_TRUE(until([&] { return b.messages(at_b).size() == context; }));
      ASSERT_TRUE(size == 0 ||
                  std::memcmp(source.data() + offset, target.data() + offset, size) == 0)
          << size << " at " << offset;
      for (std::size_t i = 0; i < offset; ++i) ASSERT_EQ(target[i], std::byte{0xee});
      for (std::size_t i = size + offset; i < target.size(); ++i)
        ASSERT_EQ(target[i], std::byte{0xee}) << "beyond the end";
    }
  }
}

TEST_P(BulkContract, ReadsArriveInEverySizeAndOffset) {
  std::uint64_t context = 0;
  const std::vector<std::size_t> sizes = {0,      1,      2,       7,       64,        4096,
                                          65'535, 65'536, 262'144, 262'145, 1'000'003, 8u << 20};
  for (const auto size : sizes) {
    for (const std::size_t offset : {0u, 1u, 13u}) {
      Bytes source = pattern(size + offset + 16, ++context);
      Bytes target(size + 32, std::byte{0xee});
      auto region = make_region(b, all(source), Access::read);
      ASSERT_TRUE(
          a.transport()
              .read(at_a, all(target).sub(offset, size), region.remote(offset, size), context)
              .ok());
      ASSERT_EQ(ended(a, Kind::read_done, context), Errc::ok);
      ASSERT_TRUE(size == 0 ||
                  std::memcmp(source.data() + offset, target.data() + offset, size) == 0);
      for (std::size_t i = 0; i < offset; ++i) ASSERT_EQ(target[i], std::byte{0xee});
      for (std::size_t i = size + offset; i < target.size(); ++i)
        ASSERT_EQ(target[i], std::byte{0xee}) << "beyond the end";
    }
  }
}

TEST_P(BulkContract, ABulkMessageComesBehindEveryEarlierWrite) {
  constexpr std::size_t kEach = 70'001, kWrites = 12;
  const auto source = pattern(kEach * kWrites, 1);
  Bytes target(source.size());
  auto region = make_region(b, all(target), Access::write);
  bool behind = true;
  std::size_t arrived = 0;
  for (std::size_t i = 0; i < kWrites; ++i) {
    ASSERT_TRUE(
        a.transport()
            .write(at_a, {source.data() + i * kEach, kEach}, region.remote(i * kEach, kEach), i + 1)
            .ok());
    ASSERT_TRUE(send(a, at_a, i, {}, {.lane = Lane::bulk}).ok());
  }
  ASSERT_TRUE(until([&] {
    for (auto got = b.messages(at_b).size(); arrived < got; ++arrived)
      behind &= std::memcmp(target.data(), source.data(), (arrived + 1) * kEach) == 0;
    return arrived == kWrites;
  }));
  EXPECT_TRUE(behind);
}

TEST_P(BulkContract, BothSidesReadAndWriteAtOnce) {
  const auto one = pattern(600'000, 1), two = pattern(600'000, 2);
  Bytes memory_a = one, memory_b = two, got_a(600'000), got_b(600'000), into_a(600'000),
        into_b(600'000);
  auto source_a = make_region(a, all(memory_a), Access::read);
  auto source_b = make_region(b, all(memory_b), Access::read);
  auto target_a = make_region(a, all(into_a), Access::write);
  auto target_b = make_region(b, all(into_b), Access::write);
  ASSERT_TRUE(a.transport().read(at_a, all(got_a), source_b.remote(), 1).ok());
  ASSERT_TRUE(b.transport().read(at_b, all(got_b), source_a.remote(), 1).ok());
  ASSERT_TRUE(a.transport().write(at_a, all(one), target_b.remote(), 2).ok());
  ASSERT_TRUE(b.transport().write(at_b, all(two), target_a.remote(), 2).ok());
  EXPECT_EQ(ended(a, Kind::read_done, 1), Errc::ok);
  EXPECT_EQ(ended(b, Kind::read_done, 1), Errc::ok);
  EXPECT_EQ(ended(a, Kind::write_done, 2), Errc::ok);
  EXPECT_EQ(ended(b, Kind::write_done, 2), Errc::ok);
  ASSERT_TRUE(ping(at_a, at_b));
  EXPECT_EQ(got_a, two);
  EXPECT_EQ(got_b, one);
  EXPECT_EQ(into_b, one);
  EXPECT_EQ(into_a, two);
}

TEST_P(BulkContract, RemoteSpansAreUsedByAnyEndpointOfTheOwner) {
  Bytes memory = pattern(5'000, 1), got(5'000);
  auto region = make_region(b, all(memory), Access::read);
  const auto [other_a, other_b] = connect();
  hear_of_regions(other_a, other_b);
  const auto part = region.remote().sub(100, 50).sub(10, 20);
  ASSERT_TRUE(a.transport().read(other_a, all(got).sub(0, 20), part, 1).ok());
  EXPECT_EQ(ended(a, Kind::read_done, 1), Errc::ok);
  EXPECT_EQ(std::memcmp(got.data(), memory.data() + 110, 20), 0);
}

TEST_P(BulkContract, LengthsMustAgree) {
  Bytes memory(100), mine(99);
  auto region = make_region(b, all(memory));
  EXPECT_FALSE(a.transport().read(at_a, all(mine), region.remote(), 1).ok());
  EXPECT_FALSE(a.transport().write(at_a, all(std::as_const(mine)), region.remote(), 2).ok());
  ASSERT_TRUE(ping(at_a, at_b));
  settle();
  EXPECT_EQ(a.count(Kind::read_done) + a.count(Kind::write_done), 0u);
}

// --- What a region does not allow.

TEST_P(BulkContract, WhatARegionDoesNotAllowTouchesNothing) {
  constexpr std::size_t kSize = 10'000;
  Bytes readable(kSize, std::byte{1}), writable(kSize, std::byte{1}), mine(kSize, std::byte{2});
  Bytes former(kSize, std::byte{1});
  auto source = make_region(b, all(readable), Access::read);
  auto target = make_region(b, all(writable), Access::write);
  auto gone = make_region(b, all(former));
  const auto stale = gone.remote();
  gone.revoke();
  hear_of_regions();
  auto beyond_read = source.remote();
  beyond_read.address += 1;
  auto beyond_write = target.remote();
  beyond_write.address += 1;
  auto wrapping = target.remote();
  wrapping.address = ~std::uint64_t{0} - kSize / 2;
  auto invented = target.remote();
  invented.region ^= 0x5555'0000'0000;
  std::uint64_t context = 0;
  for (const auto& span : {source.remote(), stale, beyond_write, wrapping, invented,
                           RemoteSpan{0, 0, kSize}, RemoteSpan{~0ull, ~0ull, kSize}}) {
    ASSERT_TRUE(a.transport().write(at_a, all(std::as_const(mine)), span, ++context).ok());
    const auto status = ended(a, Kind::write_done, context);
    EXPECT_TRUE(status == Errc::ok || status == Errc::revoked);
  }
  for (const auto& span : {target.remote(), stale, beyond_read, wrapping, invented,
                           RemoteSpan{0, 0, kSize}, RemoteSpan{~0ull, ~0ull, kSize}}) {
    ASSERT_TRUE(a.transport().read(at_a, all(mine), span, ++context).ok());
    EXPECT_EQ(ended(a, Kind::read_done, context), Errc::revoked);
  }
  ASSERT_TRUE(ping(at_a, at_b)) << "a refused span costs the operation, not the connection";
  EXPECT_TRUE(only(readable, std::byte{1}));
  EXPECT_TRUE(only(writable, std::byte{1}));
  EXPECT_TRUE(only(former, std::byte{1}));
  EXPECT_TRUE(only(mine, std::byte{2})) << "bytes of what may not be read";
}

TEST_P(BulkContract, AStaleNameDoesNotReachTheNextRegion) {
  Bytes memory(4'000, std::byte{1});
  const Bytes mine(4'000, std::byte{2});
  std::vector<RemoteSpan> names;
  for (int i = 0; i < 50; ++i) {
    auto region = make_region(b, all(memory));
    names.push_back(region.remote());
  }
  auto region = make_region(b, all(memory));
  std::uint64_t context = 0;
  for (const auto& name : names) {
    EXPECT_FALSE(name == region.remote());
    ASSERT_TRUE(a.transport().write(at_a, all(mine), name, ++context).ok());
    ASSERT_TRUE(until([&] { return a.find(Kind::write_done, context) != nullptr; }));
  }
  ASSERT_TRUE(ping(at_a, at_b));
  EXPECT_TRUE(only(memory, std::byte{1}));
}

/// Its memory lies where the old one's lay, and is the first that it registers: all that could be
/// the same is.
TEST_P(BulkContract, ARestartedPeerIsNotReachedByOldNames) {
  constexpr std::size_t kSize = 1u << 20;
  Bytes own(kSize);
  const Bytes mine(kSize, std::byte{2});
  Bytes into(kSize), last_read(kSize);
  std::vector<RemoteSpan> old_names;
  std::uint64_t context = 0;
  const auto write = [&](const RemoteSpan& to) {
    return a.transport().write(at_a, all(mine), to, ++context);
  };
  const auto read = [&](const RemoteSpan& from) {
    return a.transport().read(at_a, all(into), from, ++context);
  };
  for (int life = 0; life < 4; ++life) {
    SCOPED_TRACE(life);
    // In turn memory of the transport's, if it has some, and other memory.
    const auto shared = life % 2 == 0 ? MemoryView{} : b.transport().allocate_shared(kSize);
    const auto memory = shared.data != nullptr ? shared : all(own);
    const auto only_has = [&](std::byte value) {
      return std::count(memory.data, memory.data + kSize, value) == kSize;
    };
    std::fill_n(memory.data, kSize, std::byte{1});
    std::fill(into.begin(), into.end(), std::byte{3});
    auto region = b.transport().register_memory(memory, Access::read_write).value();
    // Nobody has told a yet that the one that it is connected to is dead.
    for (const auto& name : old_names) {
      if (write(name).ok()) ended(a, Kind::write_done, context);
      const bool reads = read(name).ok();
      EXPECT_TRUE(!reads || ended(a, Kind::read_done, context) != Errc::ok);
    }
    if (life > 0) {
      ASSERT_TRUE(until([&] { return a.find_closed(at_a) != nullptr; }));
      std::tie(at_a, at_b) = connect();
    }
    hear_of_regions();
    for (const auto& name : old_names) {
      EXPECT_FALSE(name == region.remote());
      ASSERT_TRUE(write(name).ok());
      const auto wrote = ended(a, Kind::write_done, context);
      // Without keys it is the other side that finds out, and swallows the bytes.
      EXPECT_TRUE(wrote == Errc::revoked || (wrote == Errc::ok && !backend->announces_regions()));
      ASSERT_TRUE(read(name).ok());
      EXPECT_EQ(ended(a, Kind::read_done, context), Errc::revoked);
    }
    ASSERT_TRUE(ping(at_a, at_b)) << "an old name costs nobody the connection";
    EXPECT_TRUE(only_has(std::byte{1})) << "written to by an old name";
    EXPECT_TRUE(only(into, std::byte{3})) << "read by an old name";

    ASSERT_TRUE(write(region.remote()).ok());
    EXPECT_EQ(ended(a, Kind::write_done, context), Errc::ok);
    ASSERT_TRUE(ping(at_a, at_b));
    EXPECT_TRUE(only_has(std::byte{2})) << "the name of today";
    old_names.push_back(region.remote());
    // Under way when it dies.
    ASSERT_TRUE(write(region.remote()).ok());
    ASSERT_TRUE(a.transport().read(at_a, all(last_read), region.remote(), ++context).ok());
    region.revoke();
    EXPECT_EQ(b.transport().deallocate_shared(memory), shared.data != nullptr);
    kill(b);
    b = Peer{backend->restart(b_address), {}, {}};
    auto listens = b.transport().listen(b.node.listen_at);
    // Another process may have taken the port meanwhile.
    if (!listens.ok()) listens = b.transport().listen({b.node.listen_at.host, 0});
    ASSERT_TRUE(listens.ok()) << listens.error().message();
    b_address = *listens;
  }
}

/// Nobody should; a program that does still has its connections, and its peer the old bytes or an
/// error.
TEST_P(BulkContract, MemoryThatIsFreedWhileItIsRegistered) {
  constexpr std::size_t kSize = 1u << 20;
  const Bytes mine(kSize, std::byte{2});
  Bytes into(kSize), good(kSize);
  // The kernel hands out addresses from the top: what is mapped next lies behind the region.
  constexpr std::size_t kMapped = 64 * kSize;
  std::uint64_t context = 0;
  for (const bool reads : {true, false}) {
    SCOPED_TRACE(reads ? "read" : "written");
    const auto why = backend->touches_freed_because(!reads);
    if (reads && !why.empty()) GTEST_SKIP() << why;
    if (!why.empty()) break;
    void* mapped =
        ::mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    const MemoryView memory{static_cast<std::byte*>(mapped), kSize, MemorySpace::host, 0};
    std::memset(mapped, 1, kSize);
    auto region = make_region(b, memory);
    ASSERT_EQ(::munmap(mapped, kMapped), 0);

    std::fill(into.begin(), into.end(), std::byte{3});
    ++context;
    ASSERT_TRUE(reads ? a.transport().read(at_a, all(into), region.remote(), context).ok()
                      : a.transport().write(at_a, all(mine), region.remote(), context).ok());
    const auto status = ended(a, reads ? Kind::read_done : Kind::write_done, context);
    EXPECT_TRUE(!reads || status != Errc::ok || only(into, std::byte{1})) << "not the old bytes";
    EXPECT_TRUE(status == Errc::ok || status == Errc::revoked || lost_or_closed(status))
        << static_cast<int>(status);
    region.revoke();
    settle();
    if (a.find_closed(at_a) != nullptr || b.find_closed(at_b) != nullptr) {
      reconnect();
      a.seen.clear();
      b.seen.clear();
    }
    ASSERT_TRUE(ping(at_a, at_b));

    auto next = make_region(b, all(good));
    ASSERT_TRUE(a.transport().write(at_a, all(mine), next.remote(), ++context).ok());
    EXPECT_EQ(ended(a, Kind::write_done, context), Errc::ok);
    ASSERT_TRUE(ping(at_a, at_b)) << "a READ may overtake it";
    ASSERT_TRUE(a.transport().read(at_a, all(into), next.remote(), ++context).ok());
    EXPECT_EQ(ended(a, Kind::read_done, context), Errc::ok);
    EXPECT_TRUE(into == mine);
  }
}

TEST_P(BulkContract, RevokeIsIdempotentAndMoves) {
  Bytes memory(100);
  auto region = make_region(b, all(memory));
  Region other = std::move(region);
  EXPECT_FALSE(region.valid());  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(other.valid());
  EXPECT_EQ(other.memory().data, memory.data());
  region.revoke();
  other.revoke();
  other.revoke();
  EXPECT_FALSE(other.valid());
}

TEST_P(BulkContract, ManyRegionsOrOverloaded) {
  Bytes memory(64);
  std::vector<Region> regions;
  for (std::size_t i = 0; i < 100'000; ++i) {
    auto region = b.transport().register_memory(all(memory), Access::read);
    if (!region.ok()) {
      EXPECT_TRUE(region.code() == Errc::overloaded || region.code() == Errc::registration);
      break;
    }
    regions.push_back(std::move(region).value());
  }
  EXPECT_GE(regions.size(), 256u);
  regions.pop_back();
  EXPECT_TRUE(b.transport().register_memory(all(memory), Access::read).ok());
}

// --- Random operations against a model.

TEST_P(BulkContract, RandomOperationsKeepTheContract) {
  constexpr std::size_t kCells = 8, kCell = 30'000;
  const auto seed = first_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  // b's memory in cells, each written by one operation at a time; what it must hold then.
  Bytes memory(kCells * kCell);
  std::array<std::uint64_t, kCells> holds{};
  for (std::size_t cell = 0; cell < kCells; ++cell) {
    const auto first = pattern(kCell, cell);
    std::copy(first.begin(), first.end(), memory.begin() + static_cast<long>(cell * kCell));
    holds[cell] = cell;
  }
  auto region = make_region(b, all(memory));
  std::uint64_t context = 0, messages = b.messages(at_b).size();
  for (int round = 0; round < 60; ++round) {
    std::vector<Bytes> lent;
    std::vector<std::tuple<std::uint64_t, std::size_t, std::size_t>> reads;  // context, lent, cell
    std::array<bool, kCells> used{};
    const auto before = context;
    for (int i = 0; i < 6; ++i) {
      const auto cell = static_cast<std::size_t>(random.below(kCells));
      const auto action = random.below(3);
      if (action == 0) {
        lent.push_back(pattern(static_cast<std::size_t>(random.below(50'000)), ++context));
        ASSERT_TRUE(
            send(a, at_a, context, lent.back(),
                 {.lane = random.chance(0.5) ? Lane::bulk : Lane::message, .context = context})
                .ok());
        ++messages;
        continue;
      }
      if (std::exchange(used[cell], true)) continue;
      const auto span = region.remote(cell * kCell, kCell);
      if (action == 1) {
        lent.push_back(pattern(kCell, holds[cell] = 1'000 + ++context));
        ASSERT_TRUE(a.transport().write(at_a, all(std::as_const(lent.back())), span, context).ok());
      } else {
        lent.emplace_back(kCell);
        reads.emplace_back(++context, lent.size() - 1, cell);
        ASSERT_TRUE(a.transport().read(at_a, all(lent.back()), span, context).ok());
      }
    }
    const auto done = [&] {
      return a.count(Kind::sent) + a.count(Kind::read_done) + a.count(Kind::write_done) == context;
    };
    ASSERT_TRUE(until(done)) << "round " << round;
    ASSERT_TRUE(ping(at_a, at_b));
    messages += 2;
    EXPECT_EQ(b.messages(at_b).size(), messages);
    for (auto each = before + 1; each <= context; ++each)
      ASSERT_EQ(a.count(Kind::sent, each) + a.count(Kind::read_done, each) +
                    a.count(Kind::write_done, each),
                1u);
    for (const auto& [number, index, cell] : reads)
      ASSERT_EQ(lent[index], pattern(kCell, holds[cell]));
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      const auto expected = pattern(kCell, holds[cell]);
      ASSERT_EQ(std::memcmp(memory.data() + cell * kCell, expected.data(), kCell), 0);
    }
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BulkContract);

}  // namespace shoal::contract
