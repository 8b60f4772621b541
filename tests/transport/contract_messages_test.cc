#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>

#include "core/base/random.h"
#include "tests/transport/contract.h"

// Messages: whole, in order, bounded.

namespace shoal::contract {

using Kind = Event::Kind;

namespace {

std::vector<std::byte> joined(std::initializer_list<std::span<const std::byte>> parts) {
  std::vector<std::byte> all;
  for (const auto part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

TEST_P(TransportContract, AMessageArrivesWholeInEverySize) {
  std::tie(at_a, at_b) = connect();
  const FrameLimits limits;
  const std::vector<std::size_t> metas = {0, 1, 63, 64, 1000, 65'537, limits.meta_bytes_max};
  const std::vector<std::size_t> payloads = {
      0, 1, 3, 64, 4095, 65'536, 65'537, 300'001, limits.payload_bytes_max};
  std::uint64_t number = 0;
  for (const auto meta_size : metas) {
    for (const auto payload_size : payloads) {
      ++number;
      const auto meta = pattern(meta_size, number);
      const auto payload = pattern(payload_size, ~number);
      FrameHeader header;
      header.kind = FrameKind::pull;
      header.request = RequestId(number);
      header.epoch = 0x0102030405060708;
      header.clock = WorkerClock(-7);
      header.table = TableId(9);
      header.flags = frame_flag::kStore;
      header.status = 3;
      header.credits = 5;
      const ConstMemoryView view(payload.data(), payload.size());
      ASSERT_TRUE(a.transport().send(at_a, header, meta, {&view, 1}, {.context = number}).ok());
      ASSERT_TRUE(until([&] {
        return b.messages(at_b).size() == number && a.count(Kind::sent, number) == 1;
      })) << meta_size
          << " + " << payload_size;
      const auto& got = *b.messages(at_b).back();
      EXPECT_EQ(got.meta, meta);
      EXPECT_EQ(got.payload, payload);
      EXPECT_EQ(got.header.kind, FrameKind::pull);
      EXPECT_EQ(got.header.request.value, number);
      EXPECT_EQ(got.header.epoch, 0x0102030405060708u);
      EXPECT_EQ(got.header.clock.value, -7);
      EXPECT_EQ(got.header.table.value, 9u);
      EXPECT_EQ(got.header.flags, frame_flag::kStore);
      EXPECT_EQ(got.header.status, 3);
      EXPECT_EQ(got.header.credits, 5u);
      EXPECT_EQ(got.header.meta_bytes, meta_size);
      EXPECT_EQ(got.header.payload_bytes, payload_size);
      EXPECT_EQ(verify(got.header, got.meta).ok(), backend->sums_frames());
    }
    for (auto& old : b.seen) old.meta = old.payload = {};
  }
}

TEST_P(TransportContract, PayloadIsGatheredFromUpToFourViews) {
  std::tie(at_a, at_b) = connect();
  const auto one = pattern(10, 1), two = pattern(0, 2), three = pattern(70'000, 3),
             four = pattern(1, 4);
  const std::array<ConstMemoryView, 5> views = {
      ConstMemoryView(one.data(), one.size()), ConstMemoryView(two.data(), two.size()),
      ConstMemoryView(three.data(), three.size()), ConstMemoryView(four.data(), four.size()),
      ConstMemoryView(one.data(), one.size())};
  FrameHeader header;
  header.kind = FrameKind::push;
  const std::array expected = {joined({one}), joined({one, two}), joined({one, two, three}),
                               joined({one, two, three, four})};
  for (std::size_t n = 1; n <= 4; ++n) {
    for (const bool small : {false, true}) {
      if (small && n > 2) continue;  // beyond what may be copied
      ASSERT_TRUE(a.transport()
                      .send(at_a, header, {}, std::span(views).first(n), {.copy_payload = small})
                      .ok());
      const auto sent = b.messages(at_b).size() + 1;
      ASSERT_TRUE(until([&] { return b.messages(at_b).size() == sent; }));
      EXPECT_EQ(b.messages(at_b).back()->payload, expected[n - 1]);
    }
  }
  EXPECT_EQ(a.transport().send(at_a, header, {}, views, {}).code(), Errc::out_of_range);
}

TEST_P(TransportContract, TooMuchIsOutOfRange) {
  std::tie(at_a, at_b) = connect();
  const FrameLimits limits;
  const std::vector<std::byte> large(limits.payload_bytes_max + 1);
  FrameHeader header;
  header.kind = FrameKind::push;
  EXPECT_EQ(a.transport().send(at_a, header, large, {}, {}).code(), Errc::out_of_range);
  EXPECT_EQ(send(a, at_a, 1, large, {}).code(), Errc::out_of_range);
  EXPECT_EQ(
      send(a, at_a, 1, std::span(large).first(Transport::kCopyMax + 1), {.copy_payload = true})
          .code(),
      Errc::out_of_range);
  EXPECT_TRUE(ping(at_a, at_b));
  EXPECT_EQ(a.count(Kind::sent), 0u);
}

TEST_P(TransportContract, CopiedPayloadMayBeReusedAtOnce) {
  std::tie(at_a, at_b) = connect();
  auto bytes = pattern(Transport::kCopyMax, 5);
  auto meta = pattern(100, 6);
  FrameHeader header;
  header.kind = FrameKind::push;
  const ConstMemoryView view(bytes.data(), bytes.size());
  ASSERT_TRUE(a.transport().send(at_a, header, meta, {&view, 1}, {.copy_payload = true}).ok());
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  std::fill(meta.begin(), meta.end(), std::byte{0});
  ASSERT_TRUE(until([&] { return b.count(Kind::message) == 1; }));
  EXPECT_EQ(b.messages(at_b)[0]->payload, pattern(Transport::kCopyMax, 5));
  EXPECT_EQ(b.messages(at_b)[0]->meta, pattern(100, 6));
}

TEST_P(TransportContract, EachLaneKeepsItsOrder) {
  std::tie(at_a, at_b) = connect();
  const auto seed = first_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const auto bytes = pattern(40'000, 1);
  std::array<std::uint64_t, 2> posted = {0, 0};
  const std::uint64_t kEach = 300;
  std::uint64_t tries = 0;
  while (posted[0] < kEach || posted[1] < kEach) {
    const auto lane = static_cast<std::size_t>(random.below(2));
    const auto size = static_cast<std::size_t>(random.below(3) == 0 ? random.below(40'000) : 8);
    const auto status = send(a, at_a, (posted[lane] << 1) | lane, std::span(bytes).first(size),
                             {.lane = static_cast<Lane>(lane),
                              .copy_payload = random.chance(0.5),
                              .context = random.chance(0.5) ? ++tries : 0});
    if (status.ok()) {
      ++posted[lane];
    } else {
      ASSERT_EQ(status.code(), Errc::overloaded);
      ASSERT_TRUE(backend->advance()) << "overloaded for ever";
      a.poll();
      b.poll();
    }
  }
  ASSERT_TRUE(until([&] { return b.messages(at_b).size() == posted[0] + posted[1]; }));
  std::array<std::uint64_t, 2> next = {0, 0};
  for (const auto* message : b.messages(at_b)) {
    const auto lane = message->header.request.value & 1;
    EXPECT_EQ(message->header.request.value >> 1, next[lane]++);
    EXPECT_TRUE(std::equal(message->payload.begin(), message->payload.end(), bytes.begin()));
  }
}

TEST_P(TransportContract, BothDirectionsAtOnce) {
  std::tie(at_a, at_b) = connect();
  const auto bytes = pattern(50'000, 3);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(send(a, at_a, i, bytes, {.context = i}).ok());
    ASSERT_TRUE(send(b, at_b, i, bytes, {.context = i}).ok());
  }
  ASSERT_TRUE(until([&] {
    return a.count(Kind::message) == 20 && b.count(Kind::message) == 20 &&
           a.count(Kind::sent) == 20 && b.count(Kind::sent) == 20;
  }));
  for (const auto* message : a.messages(at_a)) EXPECT_EQ(message->payload, bytes);
  for (const auto* message : b.messages(at_b)) EXPECT_EQ(message->payload, bytes);
}

TEST_P(TransportContract, ContextsCompleteExactlyOnceAndZeroNever) {
  std::tie(at_a, at_b) = connect();
  const auto bytes = pattern(5'000, 3);
  for (std::uint64_t i = 0; i < 60; ++i)
    ASSERT_TRUE(send(a, at_a, i, bytes,
                     {.lane = i % 3 == 0 ? Lane::bulk : Lane::message,
                      .copy_payload = i % 5 == 0,
                      .context = i % 2 == 0 ? 0 : i})
                    .ok());
  ASSERT_TRUE(until([&] { return b.messages(at_b).size() == 60; }));
  ASSERT_TRUE(ping(at_a, at_b));
  settle();
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(a.count(Kind::sent, i), i % 2) << i;
  for (const auto& what : a.seen) EXPECT_EQ(what.status, Errc::ok);
}

TEST_P(TransportContract, OneEventAtATime) {
  std::tie(at_a, at_b) = connect();
  const auto bytes = pattern(3'000, 1);
  for (std::uint64_t i = 1; i <= 30; ++i) ASSERT_TRUE(send(a, at_a, i, bytes, {.context = i}).ok());
  a.transport().flush();
  while (b.messages(at_b).size() < 30 || a.count(Kind::sent) < 30) {
    const auto one = a.poll(1), other = b.poll(1);
    EXPECT_LE(one, 1u);
    EXPECT_LE(other, 1u);
    if (one + other == 0) {
      ASSERT_TRUE(backend->advance());
    }
  }
  EXPECT_EQ(b.poll(0), 0u);
  for (std::uint64_t i = 1; i <= 30; ++i)
    EXPECT_EQ(b.messages(at_b)[i - 1]->header.request.value, i);
}

TEST_P(TransportContract, AFullQueueIsOverloadedAndRecovers) {
  std::tie(at_a, at_b) = connect();
  const auto bytes = pattern(Transport::kCopyMax, 1);
  for (const auto lane : {Lane::message, Lane::bulk}) {
    b.seen.clear();
    std::uint64_t posted = 0;
    Status status;
    while (posted < 100'000) {  // b does not poll
      status = send(a, at_a, posted, bytes, {.lane = lane});
      if (!status.ok()) break;
      ++posted;
      a.poll();
    }
    ASSERT_EQ(status.code(), Errc::overloaded) << "a queue without a bound";
    // There may be hundreds of MiB: each message is looked at once and not kept.
    std::uint64_t came = 0;
    bool good = true;
    const auto take = [&] {
      for (const auto* message : b.messages(at_b))
        good = good && message->header.request.value == came++ &&
               message->payload.size() == bytes.size() &&
               std::memcmp(message->payload.data(), bytes.data(), bytes.size()) == 0;
      b.seen.clear();
      return came >= posted || !good;
    };
    ASSERT_TRUE(until(take)) << "messages that were accepted got lost";
    ASSERT_TRUE(good && came == posted) << "out of order, twice or changed";
    ASSERT_TRUE(ping(at_a, at_b)) << "no recovery";
  }
}

TEST_P(TransportContract, AMessageDoesNotWaitBehindBulk) {
  std::tie(at_a, at_b) = connect();
  auto source = pattern(32u << 20, 1);
  std::vector<std::byte> target(source.size());
  auto region = make_region(b, host_view(std::span(target)), Access::write);
  const auto source_view = host_view(std::span<const std::byte>(source));
  ASSERT_TRUE(a.transport().write(at_a, source_view, region.remote(), 1).ok());
  ASSERT_TRUE(send(a, at_a, 2, {}, {.lane = Lane::bulk}).ok());
  ASSERT_TRUE(send(a, at_a, 3, {}, {}).ok());
  ASSERT_TRUE(until([&] { return b.messages(at_b).size() == 2; }));
  EXPECT_EQ(b.messages(at_b)[0]->header.request.value, 3u);
  EXPECT_EQ(b.messages(at_b)[1]->header.request.value, 2u);
}

}  // namespace shoal::contract
