// READs are few, and pulls and pushes of one worker share them: whoever waits for one gets it.

#include "core/base/random.h"
#include "server/engine/key_lists.h"
#include "tests/server/server_fixture.h"

namespace shoal::test {
namespace {

class ServerReads : public ServerTest {
 protected:
  /// Some keys of one slot, lent to be READ, and what is pushed to them.
  struct List {
    std::uint32_t slot = 0;
    std::vector<Key> keys;
    std::vector<KeySignature> signature;
    std::vector<float> ones, back;
    WireSpan keys_at, ones_at, back_at;
  };
  static constexpr std::uint16_t kKeys = frame_flag::kKeyList;

  /// A new server, and the client that lends it lists of 100 keys.
  RawClient& begin(const ServerLimits& limits, const SimOptions& sim = {}) {
    start({sparse(Apply::on_arrival, unbounded)}, limits, sim);
    std::fill(std::begin(lists_), std::end(lists_), List{});
    std::fill(std::begin(q_), std::end(q_), 0);
    lend_lists(*clients[0], 100);
    return *clients[0];
  }
  void lend_lists(RawClient& client, std::size_t count) {
    for (Key key = 0; key < 2000; ++key) {
      const auto slot = geometry(1).slot_of_key(key).value;
      lists_[slot].slot = slot;
      if (lists_[slot].keys.size() < count) lists_[slot].keys.push_back(key);
    }
    for (auto& list : lists_) {
      list.signature = {signature_of(list.keys)};
      list.ones.assign(count, 1.0f);
      list.back.assign(count, -1.0f);
      list.keys_at =
          lend(client, reinterpret_cast<std::byte*>(list.keys.data()), count * 8, Access::read);
      list.ones_at =
          lend(client, reinterpret_cast<std::byte*>(list.ones.data()), count * 4, Access::read);
      list.back_at =
          lend(client, reinterpret_cast<std::byte*>(list.back.data()), count * 4, Access::write);
    }
  }
  RequestId push_list(RawClient& client, const List& list, bool is_signed = false) {
    PushMeta meta;
    meta.run_count = 1;
    meta.keys = list.keys_at;
    meta.values = list.ones_at;
    PushRun run;
    run.slot = SlotIndex(list.slot);
    run.part_count = 1;
    run.first_q = Sequence(++q_[list.slot]);
    run.row_count = list.keys.size();
    run.since = Epoch{1, 1}.packed();
    return client.send(header_for(FrameKind::push, 1, 0, kKeys | frame_flag::kRendezvous), meta,
                       std::vector{run}, {}, signature_if(is_signed, list));
  }
  /// Keys READ; rows WRITTEN, or in the answer.
  RequestId pull_list(RawClient& client, const List& list, bool written, bool is_signed = false) {
    PullMeta meta;
    meta.run_count = 1;
    meta.keys = list.keys_at;
    if (written) meta.destination = list.back_at;
    meta.need = WorkerClock(-100);
    meta.time_left = ~std::uint64_t{0};
    PullRun run;
    run.slot = SlotIndex(list.slot);
    run.part_count = 1;
    run.row_count = list.keys.size();
    run.have = WorkerClock(-1);
    run.since = Epoch{1, 1}.packed();
    return client.send(header_for(FrameKind::pull, 1, 0, kKeys), meta, std::vector{run}, {},
                       signature_if(is_signed, list));
  }
  static std::span<const KeySignature> signature_if(bool is_signed, const List& list) {
    return is_signed ? std::span(list.signature) : std::span<const KeySignature>{};
  }

  /// Of READs, while a dozen lists are pushed, all of which end well.
  std::uint64_t most_under_way(RawClient& client) {
    std::vector<RequestId> ids;
    for (int i = 0; i < 12; ++i) ids.push_back(push_list(client, lists_[i % kSlots]));
    std::uint64_t most = 0;
    EXPECT_TRUE(until([&] {
      const auto ended = server->metrics().bytes_in / kPart;
      most = std::max(most, server->metrics().reads - ended);
      return ended == ids.size();
    }));
    for (const auto id : ids) EXPECT_EQ(wait(client, id).status, Errc::ok);
    return most;
  }

  static constexpr std::size_t kPart = 100 * (sizeof(Key) + sizeof(float));  ///< a list's bytes
  List lists_[kSlots];
  std::uint64_t q_[kSlots] = {};
};

TEST_F(ServerReads, PushesFollowWhenThePullsKeysHaveEnded) {
  for (std::uint32_t slots : {1u, 2u}) {
    auto limits = small_limits();
    limits.reads_per_peer = limits.small_reads_per_peer = slots;
    auto& a = begin(limits);
    // The pulls take every READ; nothing comes after the pushes.
    std::vector<RequestId> ids;
    for (std::uint32_t i = 0; i < 4 * slots; ++i)
      ids.push_back(pull_list(a, lists_[i % kSlots], true));
    ASSERT_TRUE(until([&] { return server->metrics().reads == 3 * slots; }));
    for (const auto& list : lists_) ids.push_back(push_list(a, list));
    for (const auto id : ids) EXPECT_EQ(wait(a, id).status, Errc::ok) << slots << " READs";
  }
}

TEST_F(ServerReads, SmallPartsAreReadManyAtATimeAndLargeOnesAFew) {
  for (const std::size_t bytes : {std::size_t{1} << 20, 3 * kPart}) {
    auto limits = small_limits();
    limits.reads_per_peer = 2;
    limits.small_reads_per_peer = 6;
    limits.small_reads_bytes = bytes;
    EXPECT_EQ(most_under_way(begin(limits)), bytes == 3 * kPart ? 3u : 6u);
  }
}

TEST_F(ServerReads, WhatTheServerCopiesItselfIsReadAFewAtATime) {
  for (const bool by_copy : {false, true}) {
    auto limits = small_limits();
    limits.reads_per_peer = 5;
    limits.copies_per_peer = 2;
    limits.small_reads_bytes = 0;
    SimOptions sim;
    sim.reads_by_copy = by_copy;
    EXPECT_EQ(most_under_way(begin(limits, sim)), by_copy ? 2u : 5u);
  }
}

TEST_F(ServerReads, EveryMixtureEnds) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    auto limits = small_limits();
    limits.reads_per_peer = 1 + static_cast<std::uint32_t>(random.below(3));
    limits.small_reads_per_peer = 1 + static_cast<std::uint32_t>(random.below(12));
    limits.small_reads_bytes = random.below(4) * 1000;
    // Lists are signed or not, and the server has room for all, some or none of them.
    limits.lists_bytes = random.below(3) * (KeyLists::kListBytes + 800);
    SimOptions sim;
    sim.seed = seed;
    auto& a = begin(limits, sim);
    std::vector<RequestId> ids;
    for (int i = 0; i < 60; ++i) {
      const auto& list = lists_[random.below(kSlots)];
      const bool is_signed = random.chance(0.7);
      const bool written = is_signed || random.chance(0.5);
      ids.push_back(random.chance(0.5) ? push_list(a, list, is_signed)
                                       : pull_list(a, list, written, is_signed));
      if (random.chance(0.2)) run_for(std::chrono::microseconds(random.below(400)));
    }
    for (const auto id : ids) ASSERT_EQ(wait(a, id).status, Errc::ok);
    for (const auto& list : lists_) {
      wait(a, pull_list(a, list, true));
      EXPECT_EQ(list.back, std::vector<float>(100, static_cast<float>(q_[list.slot])));
    }
  }
}

TEST_F(ServerReads, KeysOfASignedListAreReadOnceForAllWorkers) {
  start({sparse(Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  auto& b = *clients[1];
  lend_lists(a, 100);
  const auto& list = lists_[0];
  EXPECT_EQ(wait(a, push_list(a, list, true)).status, Errc::ok);
  EXPECT_EQ(server->metrics().bytes_in, 100 * (sizeof(Key) + sizeof(float)));
  EXPECT_EQ(wait(a, push_list(a, list, true)).status, Errc::ok);
  EXPECT_EQ(server->metrics().bytes_in, 100 * (sizeof(Key) + 2 * sizeof(float)));

  const auto reads = server->metrics().reads;
  lend_lists(b, 100);  // The same keys, in memory of its own.
  EXPECT_EQ(wait(b, pull_list(b, list, true, true)).status, Errc::ok);
  EXPECT_EQ(server->metrics().reads, reads);
  EXPECT_EQ(list.back, std::vector<float>(100, 2.0f));
}

TEST_F(ServerReads, AListThatWentBeforeItsValuesCameIsReadAgain) {
  auto limits = small_limits();
  limits.lists_bytes = KeyLists::kListBytes + 200 * sizeof(Key);  // one list
  start({sparse(Apply::on_arrival, unbounded)}, limits);
  auto& a = *clients[0];
  lend_lists(a, 200);
  std::vector<RequestId> ids;
  for (int round = 0; round < 10; ++round)
    for (const auto& list : lists_) ids.push_back(push_list(a, list, true));
  for (const auto id : ids) EXPECT_EQ(wait(a, id).status, Errc::ok);
  // Each push READs its part once, and again where its list had gone.
  EXPECT_GT(server->metrics().reads, ids.size());
  for (const auto& list : lists_) {
    EXPECT_EQ(wait(a, pull_list(a, list, true, true)).status, Errc::ok);
    EXPECT_EQ(list.back, std::vector<float>(200, 10.0f));
  }
}

TEST_F(ServerReads, AKeyOfAnotherSlotIsRefusedAndItsListNotKept) {
  start({sparse(Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  lend_lists(a, 100);
  auto& list = lists_[0];
  list.keys[50] = lists_[1].keys[50];
  list.signature = {signature_of(list.keys)};
  for (std::uint64_t i = 1; i <= 3; ++i) {
    EXPECT_EQ(wait(a, pull_list(a, list, true, true)).status, Errc::out_of_range);
    EXPECT_EQ(wait(a, push_list(a, list, true)).status, Errc::out_of_range);
    EXPECT_EQ(server->metrics().reads, 2 * i) << "the keys of both";
  }
}

}  // namespace
}  // namespace shoal::test
