#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>

#include "server/engine/shard.h"
#include "server/server.h"
#include "tests/server/server_fixture.h"

// Requests that are well formed and lie: of slots, rows, parts, offsets, numbers, keys and regions.
// Whatever they say, they are refused, nothing changes, and others are served.

namespace shoal {
namespace {

using namespace std::chrono_literals;
using test::RawClient;
using test::ServerTest;

constexpr auto kHuge = std::numeric_limits<std::uint64_t>::max();

class ForgedRequests : public ServerTest {
 protected:
  static constexpr std::uint32_t kDense = 1;
  static constexpr std::uint32_t kSparse = 2;
  static constexpr std::uint64_t kRows = 1024;  // 64 in a segment, 256 in a slot

  std::uint64_t random(std::uint64_t below) { return network->random(below); }
  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[random(choices.size())];
  }

  /// What the mutators below lie about.
  struct Forged {
    FrameHeader header;
    PushMeta push;
    PullMeta pull;
    PushRun run;  ///< a pull's too, but for `after`
    Sequence after;
    std::vector<std::byte> payload;
    bool is_push = true;
    bool of_observer = false;  ///< who is never made to wait
  };

  /// Rows of one slot of the dense table, by range.
  Forged by_range(bool is_push) {
    Forged f;
    f.is_push = is_push;
    const auto slot = static_cast<std::uint32_t>(random(kSlots));
    const auto rows = geometry(kDense).rows_of(SlotIndex(slot));
    const auto begin = rows.begin + random(rows.size());
    f.run = push_run(kDense, slot, 1, {begin, begin + 1 + random(rows.end - begin)});
    f.header = header_for(is_push ? FrameKind::push : FrameKind::pull, kDense, is_push ? 0 : -1, 0);
    if (is_push) f.payload.resize(f.run.row_count * 4, std::byte{1});
    return f;
  }
  /// Keys of one slot of the sparse table.
  Forged by_keys(bool is_push) {
    Forged f;
    f.is_push = is_push;
    std::vector<Key> keys;
    const auto slot = static_cast<std::uint32_t>(random(kSlots));
    while (keys.size() < 1 + random(100)) {
      const Key key = random(100000);
      if (geometry(kSparse).slot_of_key(key).value == slot) keys.push_back(key);
    }
    f.run.slot = SlotIndex(slot);
    f.run.part_count = geometry(kSparse).part_count_of_keys(keys.size());
    f.run.first_q = Sequence(1);
    f.run.row_count = keys.size();
    f.run.since = Epoch{1, 1}.packed();
    f.header = header_for(is_push ? FrameKind::push : FrameKind::pull, kSparse, is_push ? 0 : -1,
                          frame_flag::kKeyList);
    f.payload = bytes(keys);
    if (is_push) f.payload.resize(keys.size() * (8 + 4), std::byte{1});
    return f;
  }

  /// Turns what could be served into what cannot.
  void lie(Forged& f) {
    const bool listed = (f.header.flags & frame_flag::kKeyList) != 0;
    const auto rows = geometry(kDense).rows_of(f.run.slot);
    const std::vector<std::function<void()>> lies = {
        [&] {
          f.run.slot = SlotIndex(one_of({kSlots, kSlots + 1, ~0u}));
        },
        [&] {
          f.run.row_begin = listed ? one_of({f.run.row_count, kDenseRowsMax, kHuge - 200})
                                   : one_of({rows.end, kRows, kDenseRowsMax, kHuge - 2000});
        },
        [&] {
          f.run.row_count = listed ? one_of({f.run.row_count + 1, kDenseRowsMax, kHuge})
                                   : rows.end - f.run.row_begin +
                                         one_of({std::uint64_t{1}, kRows, kDenseRowsMax});
        },
        [&] {
          f.run.part_count += one_of({1u, 2u, kPartsMax});
        },
        [&] {
          f.run.offset +=
              4 * one_of({f.run.row_count + (f.is_push ? 0 : 16384), kDenseRowsMax, kHuge / 8});
        },
        [&] {
          f.run.since = one_of({std::uint64_t{0}, Epoch{1, 2}.packed(), kHuge});
        },
        [&] {
          f.header.table = TableId(one_of({0u, 3u, ~0u}));
        },
        [&] { f.header.table = TableId(listed ? 0 : kSparse); },
        [&] { f.header.epoch = 0, f.run.since = 0; },
    };
    const std::vector<std::function<void()>> lies_of_pushes = {
        [&] { f.push.inputs = static_cast<std::uint32_t>(2 + random(kInputsMax - 1)); },
        [&] {
          f.run.first_q = Sequence(one_of({std::uint64_t{0}, std::uint64_t{1000}, kHuge}));
        },
        [&] { f.payload.resize(random(f.payload.size())); },
        [&] {
          f.header.flags |= frame_flag::kRendezvous;
          const auto values = f.payload.size() - (listed ? f.run.row_count * 8 : 0);
          f.push.values = {random(3), random(100000), values};
          if (listed) f.push.keys = {random(3), random(100000), f.run.row_count * 8};
          f.payload.clear();
        },
    };
    const std::vector<std::function<void()>> lies_of_pulls = {
        [&] { f.run.offset = 1 + random(3); },
        [&] {
          f.pull.time_left = 1000000;
          if (f.of_observer)
            f.run.offset = 2;
          else if (random(2) == 0)
            f.after = Sequence(one_of({std::uint64_t{1000}, kHuge}));
          else
            f.pull.need = one_of({WorkerClock(1), kClockMax});
        },
    };
    const auto& own = f.is_push ? lies_of_pushes : lies_of_pulls;
    const auto which = random(lies.size() + own.size() + (listed ? 1 : 0));
    if (which < lies.size()) return lies[which]();
    if (which < lies.size() + own.size()) return own[which - lies.size()]();
    Key foreign = 0;  // in the place of one of the keys
    while (geometry(kSparse).slot_of_key(foreign) == f.run.slot) ++foreign;
    std::memcpy(f.payload.data() + 8 * random(f.run.row_count), &foreign, sizeof foreign);
  }

  /// Sends it, unless no peer would get so far as to have it judged.
  std::optional<RequestId> send(RawClient& client, Forged& f) {
    f.header.payload_bytes = f.payload.size();
    if (f.is_push) {
      f.push.run_count = 1;
      if (!parses(f, f.push, f.run)) return std::nullopt;
      return client.send(f.header, f.push, std::vector{f.run}, f.payload);
    }
    f.pull.run_count = 1;
    PullRun run;
    run.slot = f.run.slot;
    run.part_count = f.run.part_count;
    run.row_begin = f.run.row_begin;
    run.row_count = f.run.row_count;
    run.offset = f.run.offset;
    run.after = f.after;
    run.have = WorkerClock(-1);
    run.since = f.run.since;
    if (!parses(f, f.pull, run)) return std::nullopt;
    return client.send(f.header, f.pull, std::vector{run}, f.payload);
  }
  template <class Prefix, class Run>
  static bool parses(const Forged& f, const Prefix& prefix, const Run& run) {
    std::vector<std::uint64_t> meta((sizeof prefix + sizeof run) / 8);
    std::memcpy(meta.data(), &prefix, sizeof prefix);
    std::memcpy(meta.data() + sizeof prefix / 8, &run, sizeof run);
    const FrameView frame{f.header, std::as_bytes(std::span(meta)), f.payload};
    return f.is_push ? parse_push(frame).ok() : parse_pull(frame).ok();
  }
};

/// Rows that a pull has asked for apart from each other: between them stands nothing of others.
TEST_F(ForgedRequests, GapsInAnAnswerHoldNothingOfOtherAnswers) {
  start({dense(kRows, Apply::on_arrival, unbounded), dense(kRows, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 256}, 7.0f)).status, Errc::ok);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 256}, -1)).floats(), std::vector<float>(256, 7.0f));
  const std::uint64_t apart[][3] = {{0, 400, 800}, {400, 0, 800}, {800, 800, 800}, {12, 12, 0}};
  for (const auto& offsets : apart) {
    PullMeta meta;
    meta.run_count = 3;
    meta.need = WorkerClock(-1);
    meta.time_left = kHuge;
    std::vector<PullRun> runs;
    for (const auto offset : offsets) runs.push_back(pull_run(2, 0, {0, 4}, offset));
    const auto& got = wait(a, a.send(header_for(FrameKind::pull, 2, -1, 0), meta, runs));
    ASSERT_EQ(got.status, Errc::ok);
    EXPECT_EQ(got.floats(), std::vector<float>(got.payload.size() / 4, 0.0f));
  }
}

TEST_F(ForgedRequests, AreRefusedAndChangeNothing) {
  std::size_t sent = 0, skipped = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    SimOptions sim;
    sim.seed = seed;
    start({dense(kRows, Apply::on_arrival, 0), sparse(Apply::on_arrival, 0)}, small_limits(), sim);
    if (HasFatalFailure()) return;
    const auto memory = server->memory_used();
    std::vector<std::pair<RawClient*, RequestId>> forged;
    for (int i = 0; i < 40; ++i) {
      const bool is_push = random(2) == 0;
      auto f = random(2) == 0 ? by_range(is_push) : by_keys(is_push);
      const auto who = 1 + random(is_push ? 2 : 3);
      f.of_observer = who == 3;
      lie(f);
      auto& liar = *clients[who];
      const auto id = send(liar, f);
      ++(id ? sent : skipped);
      if (id) forged.emplace_back(&liar, *id);
      if (random(4) == 0) run_for(std::chrono::microseconds(random(500)));
    }
    for (const auto& [liar, id] : forged) ASSERT_NE(wait(*liar, id).status, Errc::ok);
    for (const auto& client : clients) EXPECT_EQ(client->breaks, 0);
    EXPECT_EQ(server->metrics().parts_applied, 0u);

    auto& honest = *clients[0];
    EXPECT_EQ(wait(honest, push(honest, kDense, 1, {0, 256}, 2)).status, Errc::ok);
    EXPECT_EQ(wait(honest, pull(honest, kDense, {0, 256}, 0)).floats(), std::vector<float>(256, 2));
    EXPECT_EQ(wait(honest, pull(honest, kDense, {256, 512}, 0)).floats(), std::vector<float>(256));
    server->shard().for_each_slot([](SlotState& slot) {
      EXPECT_EQ(slot.parts_waiting, 0u);
      EXPECT_TRUE(slot.pulls_waiting.empty());
    });
    EXPECT_EQ(server->memory_used(), memory) << "rows were made";
  }
  EXPECT_GT(sent, 4 * skipped) << "too many do not parse";
}

}  // namespace
}  // namespace shoal
