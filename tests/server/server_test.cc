#include "server/server.h"

#include <gtest/gtest.h>

#include "server/engine/shard.h"
#include "tests/server/server_fixture.h"

// What a server promises a worker, one rule of docs/design/protocol.md at a time.

namespace shoal {
namespace {

using namespace std::chrono_literals;
using test::Got;
using test::RawClient;
using test::ServerTest;
using Codes = std::vector<Errc>;

TEST_F(ServerTest, SmallPushesAndPullsRideInTheMessage) {
  start({dense(1000, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  const auto& pushed = wait(a, push(a, 1, 1, {10, 100}, 2.0f));
  EXPECT_EQ(pushed.status, Errc::ok);
  EXPECT_TRUE(pushed.flags & frame_flag::kAllApplied);
  EXPECT_EQ(pushed.prefix.roster, 0u) << "no clock was sent yet";
  const auto& pulled = wait(a, pull(a, 1, {8, 12}, -100));
  ASSERT_EQ(pulled.status, Errc::ok);
  EXPECT_EQ(pulled.floats(), (std::vector<float>{0, 0, 2, 2}));
  EXPECT_EQ(server->metrics().parts_applied, 2u);
}

TEST_F(ServerTest, LargeOnesAreReadAndWrittenByTheServer) {
  start({dense(500000, Apply::on_arrival, unbounded, 0)});
  auto& a = *clients[0];
  std::vector<float> values(500000), back(500000, -1.0f);
  std::iota(values.begin(), values.end(), 1.0f);
  const auto source = lend(a, reinterpret_cast<std::byte*>(values.data()), 2000000, Access::read);
  const auto target = lend(a, reinterpret_cast<std::byte*>(back.data()), 2000000, Access::write);
  EXPECT_EQ(wait(a, push_all(a, 1, 1, source)).status, Errc::ok);
  EXPECT_EQ(wait(a, push_all(a, 1, 4, source)).status, Errc::gap);
  const auto& pulled = wait(a, pull_all(a, 1, target, -100));
  EXPECT_EQ(pulled.status, Errc::ok);
  EXPECT_TRUE(pulled.flags & frame_flag::kPayloadWritten);
  EXPECT_EQ(server->metrics().reads, 8u) << "parts that are a gap are not fetched";
  EXPECT_EQ(back, values);
}

TEST_F(ServerTest, KeyListsOfSparseTablesInEveryForm) {
  start({sparse(Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  std::vector<std::vector<Key>> keys(kSlots);
  for (Key key = 0; key < 40000; ++key) keys[geometry(1).slot_of_key(key).value].push_back(key * 1);
  // Eager: keys, then values.
  std::vector<std::byte> payload = bytes(std::vector<Key>{keys[2][0], keys[2][5]});
  const auto values = bytes(std::vector<float>{3, 4});
  payload.insert(payload.end(), values.begin(), values.end());
  PushRun run;
  run.slot = SlotIndex(2);
  run.part_count = 1;
  run.first_q = Sequence(1);
  run.row_count = 2;
  run.since = Epoch{1, 1}.packed();
  PushMeta meta;
  meta.run_count = 1;
  EXPECT_EQ(wait(a, a.send(header_for(FrameKind::push, 1, 0, frame_flag::kKeyList), meta,
                           std::vector{run}, payload))
                .status,
            Errc::ok);
  // Rendezvous: all keys of slots 0 and 2, their values 1.
  std::vector<Key> list = keys[0];
  list.insert(list.end(), keys[2].begin(), keys[2].end());
  std::vector<float> ones(list.size(), 1.0f), back(list.size(), -1.0f);
  meta.keys = lend(a, reinterpret_cast<std::byte*>(list.data()), list.size() * 8, Access::read);
  meta.values = lend(a, reinterpret_cast<std::byte*>(ones.data()), list.size() * 4, Access::read);
  std::vector<PushRun> runs(2, run);
  runs[0].slot = SlotIndex(0);
  runs[0].row_count = keys[0].size();
  runs[1].first_q = Sequence(2);
  runs[1].row_begin = keys[0].size();
  runs[1].row_count = keys[2].size();
  runs[1].offset = keys[0].size() * 4;
  meta.run_count = 2;
  EXPECT_EQ(wait(a, a.send(header_for(FrameKind::push, 1, 0,
                                      frame_flag::kKeyList | frame_flag::kRendezvous),
                           meta, runs))
                .status,
            Errc::ok);
  // Pulled back: keys READ, rows WRITTEN.
  PullMeta ask;
  ask.run_count = 2;
  ask.need = WorkerClock(-100);
  ask.time_left = ~std::uint64_t{0};
  ask.keys = meta.keys;
  ask.destination =
      lend(a, reinterpret_cast<std::byte*>(back.data()), list.size() * 4, Access::write);
  std::vector<PullRun> asked(2);
  for (std::size_t i = 0; i < 2; ++i) {
    asked[i].slot = runs[i].slot;
    asked[i].part_count = 1;
    asked[i].row_begin = runs[i].row_begin;
    asked[i].row_count = runs[i].row_count;
    asked[i].offset = runs[i].offset;
    asked[i].have = WorkerClock(-1);
    asked[i].since = run.since;
  }
  EXPECT_EQ(
      wait(a, a.send(header_for(FrameKind::pull, 1, 0, frame_flag::kKeyList), ask, asked)).status,
      Errc::ok);
  auto expected = ones;
  expected[keys[0].size()] += 3;
  expected[keys[0].size() + 5] += 4;
  EXPECT_EQ(back, expected);
  // Few rows, but keys that are scattered in the worker's memory: READ, answered in the message.
  ask.destination = {};
  asked[0].row_count = 3;
  asked[0].offset = 0;
  asked[1].row_count = 6;
  asked[1].offset = 12;
  const auto& small =
      wait(a, a.send(header_for(FrameKind::pull, 1, 0, frame_flag::kKeyList), ask, asked));
  EXPECT_EQ(small.status, Errc::ok);
  EXPECT_EQ(small.floats(), (std::vector<float>{1, 1, 1, 4, 1, 1, 1, 1, 5}));
  // Keys in the message; one was never pushed: its initial value, and no new row.
  const auto rows = server->shard().find(TableId(1))->slots[1]->sparse()->row_count();
  ask.keys = {};
  ask.run_count = 1;
  asked.resize(1);
  asked[0].slot = SlotIndex(1);
  asked[0].row_begin = 0;
  asked[0].row_count = 1;
  EXPECT_EQ(wait(a, a.send(header_for(FrameKind::pull, 1, 0, frame_flag::kKeyList), ask, asked,
                           bytes(std::vector<Key>{keys[1][0]})))
                .floats(),
            std::vector<float>{0});
  EXPECT_EQ(server->shard().find(TableId(1))->slots[1]->sparse()->row_count(), rows);
  // A key of another slot is refused, and takes its number.
  run.first_q = Sequence(3);
  run.row_count = 1;
  meta = {};
  meta.run_count = 1;
  payload = bytes(std::vector<Key>{keys[0][0]});
  payload.resize(12);
  const auto& wrong = wait(a, a.send(header_for(FrameKind::push, 1, 0, frame_flag::kKeyList), meta,
                                     std::vector{run}, payload));
  EXPECT_EQ(wrong.status, Errc::out_of_range);
}

TEST_F(ServerTest, EachNumberIsAppliedOnce) {
  start({dense(256, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  EXPECT_EQ(wait(a, push(a, 1, 2, {0, 10}, 1)).status, Errc::gap);
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 10}, 1)).status, Errc::ok);
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 10}, 1)).status, Errc::ok) << "acknowledged again";
  EXPECT_EQ(wait(a, push(a, 1, 2, {0, 10}, 1, 0, frame_flag::kBurnt)).status, Errc::cancelled);
  EXPECT_EQ(wait(a, push(a, 1, 2, {0, 10}, 1)).status, Errc::cancelled)
      << "its number was burnt: the data must not count";
  EXPECT_EQ(wait(a, push(a, 1, 2, {0, 10}, 1, 0, frame_flag::kBurnt)).status, Errc::cancelled);
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 10}, 1, 0, frame_flag::kBurnt)).status, Errc::ok)
      << "burnt too late: it had been applied";
  EXPECT_EQ(wait(a, push(a, 1, 3, {0, 10}, 1)).status, Errc::ok);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 1}, -1)).floats(), std::vector<float>{2});
  EXPECT_EQ(wait(*clients[1], push(*clients[1], 1, 1, {0, 10}, 1)).status, Errc::ok)
      << "each worker has numbers of its own";
}

TEST_F(ServerTest, APushBeyondTheWindowWaitsUnreadAndGivesItsCreditBack) {
  start({dense(256, Apply::per_clock, 0)});
  auto& a = *clients[0];
  const auto early = push(a, 1, 1, {0, 4}, 5, 2);  // G + window = 2
  const auto later = push(a, 1, 2, {0, 4}, 7, 2);
  run_for(100ms);
  EXPECT_EQ(a.answer(early), nullptr);
  EXPECT_EQ(a.credits_returned, 2u);
  EXPECT_EQ(server->metrics().parked, 2u);
  const auto waiting = pull(*clients[1], 1, {0, 4}, 3);
  scheduler->set_clock(1);
  EXPECT_EQ(wait(a, early).status, Errc::ok);
  EXPECT_EQ(wait(a, later).status, Errc::ok);
  EXPECT_EQ(clients[1]->answer(waiting), nullptr) << "clock 2 is not over";
  EXPECT_EQ(wait(*clients[1], pull(*clients[1], 1, {0, 4}, 1)).floats(),
            (std::vector<float>{0, 0, 0, 0}));
  scheduler->set_clock(3);
  const auto& pulled = wait(*clients[1], waiting);
  EXPECT_EQ(pulled.floats(), (std::vector<float>{12, 12, 12, 12}));
  EXPECT_EQ(pulled.prefix.oldest, WorkerClock(3));
  EXPECT_EQ(pulled.prefix.newest, WorkerClock(3));
  EXPECT_EQ(pulled.prefix.holder, NodeId(10));
  EXPECT_EQ(pulled.global_clock, WorkerClock(3));
  EXPECT_EQ(wait(a, push(a, 1, 3, {0, 4}, 1, 2)).status, Errc::invalid_argument)
      << "clock 2 is folded: no correct worker does this";
}

TEST_F(ServerTest, ABurntCopyTakesThePlaceOfAPartThatWaits) {
  start({dense(256, Apply::per_clock, 0)});
  auto& a = *clients[0];
  const auto data = push(a, 1, 1, {0, 4}, 5, 2);
  const auto behind = push(a, 1, 2, {0, 4}, 7, 2);
  run_for(50ms);
  const auto burnt = push(a, 1, 1, {0, 4}, 0, 2, frame_flag::kBurnt);
  EXPECT_EQ(wait(a, data).status, Errc::cancelled) << "its loan ends";
  scheduler->set_clock(1);
  EXPECT_EQ(wait(a, burnt).status, Errc::cancelled);
  EXPECT_EQ(wait(a, behind).status, Errc::ok);
  scheduler->set_clock(3);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 1}, 3)).floats(), std::vector<float>{7});
}

TEST_F(ServerTest, ViewsDecideWhoAnswersWhat) {
  start({dense(256, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  // A newer epoch than the server's: it asks for the view, and answers then.
  scheduler->mute_views = true;
  add_table(dense(64, Apply::on_arrival, unbounded));
  scheduler->view().tables.back().slots[0].since = {1, 1};
  scheduler->publish();
  const auto ahead = push(a, 2, 1, {0, 4}, 5);
  const auto behind_it = push(a, 2, 2, {0, 4}, 5);
  EXPECT_EQ(wait(a, ahead).status, Errc::ok);
  EXPECT_EQ(wait(a, behind_it).status, Errc::ok);
  EXPECT_GE(server->metrics().held, 1u);
  EXPECT_EQ(server->link().view()->epoch, (Epoch{1, 2}));
  // A chain that is not ours any more.
  scheduler->mute_views = false;
  scheduler->view().tables[0].slots[1].servers[0] = NodeId(2);
  scheduler->view().tables[0].slots[1].since = {1, 3};
  scheduler->publish();
  run_for(100ms);
  const auto& stale = wait(a, push(a, 1, 1, {64, 68}, 5));
  ASSERT_EQ(stale.status, Errc::stale_view);
  const auto view = (stale.flags & frame_flag::kDelta) != 0
                        ? apply_delta(*server->link().view(), stale.rest)
                        : decode_view(stale.rest);
  ASSERT_TRUE(view.ok()) << view.error().message();
  EXPECT_EQ(view->tables[0].slots[1].head(), NodeId(2));
  // A worker that is not in the roster.
  scheduler->view().roster.erase(scheduler->view().roster.begin());
  scheduler->publish();
  run_for(100ms);
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 4}, 5)).status, Errc::fenced);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 4}, -1)).status, Errc::fenced);
  EXPECT_EQ(wait(*clients[1], pull(*clients[1], 1, {0, 4}, -1)).status, Errc::ok);
  // A table that there never was.
  auto header = header_for(FrameKind::pull, 9, 0, 0);
  PullMeta meta;
  meta.run_count = 1;
  EXPECT_EQ(
      wait(*clients[1], clients[1]->send(header, meta, std::vector{pull_run(1, 0, {0, 4})})).status,
      Errc::unknown_name);
}

TEST_F(ServerTest, ADeltaIsSentToWhoHadARecentView) {
  start({dense(256, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  const auto before = scheduler->view();
  scheduler->view().tables[0].slots[0].since = {1, 2};
  scheduler->publish();
  run_for(100ms);
  auto header = header_for(FrameKind::pull, 1, 0, 0);
  header.epoch = before.epoch.packed();
  PullMeta meta;
  meta.run_count = 1;
  const auto& stale = wait(a, a.send(header, meta, std::vector{pull_run(1, 0, {0, 4})}));
  ASSERT_EQ(stale.status, Errc::stale_view);
  ASSERT_TRUE(stale.flags & frame_flag::kDelta);
  const auto now = apply_delta(before, stale.rest);
  ASSERT_TRUE(now.ok());
  EXPECT_EQ(*now, scheduler->view());
  // The connection has brought it: one of many requests under way brings it for all.
  const auto& again = wait(a, a.send(header, meta, std::vector{pull_run(1, 0, {0, 4})}));
  ASSERT_EQ(again.status, Errc::stale_view);
  EXPECT_TRUE(again.rest.empty());
}

TEST_F(ServerTest, ObserversPullAtOnceAndNeverPush) {
  start({dense(256, Apply::on_arrival, 1)});
  auto& observer = *clients[3];
  EXPECT_EQ(wait(*clients[0], push(*clients[0], 1, 1, {0, 4}, 3)).status, Errc::ok);
  EXPECT_EQ(wait(observer, pull(observer, 1, {0, 1}, 1000)).floats(), std::vector<float>{3});
  EXPECT_EQ(wait(observer, push(observer, 1, 1, {0, 4}, 3)).status, Errc::fenced);
}

TEST_F(ServerTest, PullsComeAfterThePushesTheyName) {
  auto spec = dense(256, Apply::on_arrival, unbounded);
  start({spec});
  auto& a = *clients[0];
  const auto pulled = pull(a, 1, {0, 1}, -1, 2);
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 4}, 3)).status, Errc::ok);
  run_for(50ms);
  EXPECT_EQ(a.answer(pulled), nullptr);
  EXPECT_EQ(wait(a, push(a, 1, 2, {0, 4}, 4)).status, Errc::ok);
  EXPECT_EQ(wait(a, pulled).floats(), std::vector<float>{7});
}

TEST_F(ServerTest, ParkedPullsAreCancelledOrTimeOut) {
  start({dense(256, Apply::on_arrival, 0)});
  auto& a = *clients[0];
  scheduler->set_clock(1);
  run_for(50ms);
  const auto parked = pull(a, 1, {0, 4}, 5);
  const auto doomed = pull(a, 1, {0, 4}, 5, 0, 300ms);
  run_for(100ms);
  EXPECT_EQ(a.answer(parked), nullptr);
  a.cancel(parked);
  EXPECT_EQ(wait(a, parked).status, Errc::cancelled);
  const auto& late = wait(a, doomed);
  EXPECT_EQ(late.status, Errc::timed_out);
  EXPECT_EQ(late.prefix.holder, NodeId(10)) << "who held it back";
  EXPECT_EQ(server->metrics().timed_out, 1u);
}

TEST_F(ServerTest, FullPoolsSayOverloadedAndRecover) {
  auto limits = small_limits();
  limits.waiting_bytes = 2 * Arena::kGranule;
  start({dense(256, Apply::per_clock, 0)}, limits);
  auto& a = *clients[0];
  std::vector<RequestId> early;
  for (std::uint64_t q = 1; q <= 4; ++q) early.push_back(push(a, 1, q, {0, 4}, 1, 2));
  EXPECT_EQ(wait(a, early[2]).status, Errc::overloaded);
  EXPECT_EQ(wait(a, early[3]).status, Errc::gap) << "what follows a refused part is ahead";
  EXPECT_EQ(wait(*clients[1], push(*clients[1], 1, 1, {0, 4}, 1, 0)).status, Errc::ok)
      << "who everybody waits for needs no room";
  scheduler->set_clock(1);
  EXPECT_EQ(wait(a, early[1]).status, Errc::ok);
  EXPECT_EQ(wait(a, push(a, 1, 3, {0, 4}, 1, 2)).status, Errc::ok);
  EXPECT_EQ(server->metrics().overloaded, 1u);
}

TEST_F(ServerTest, ThoseWhoAreAheadLeaveRoomForThoseWhomTheyWaitFor) {
  auto limits = small_limits();
  limits.parts_max = 8;
  start({dense(256, Apply::per_clock, 0)}, limits);
  auto& a = *clients[0];
  std::vector<RequestId> early;
  for (std::uint64_t q = 1; q <= 8; ++q) early.push_back(push(a, 1, q, {0, 4}, 1, 2));
  EXPECT_EQ(wait(a, early[4]).status, Errc::overloaded) << "half of the parts";
  std::vector<float> values(256, 1.0f);
  const auto lent =
      lend(*clients[1], reinterpret_cast<std::byte*>(values.data()), 1024, Access::read);
  EXPECT_EQ(wait(*clients[1], push_all(*clients[1], 1, 1, lent, 0)).status, Errc::ok)
      << "a part that is READ needs a place";
  scheduler->set_clock(1);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(wait(a, early[i]).status, Errc::ok);
  EXPECT_EQ(wait(a, push(a, 1, 5, {0, 4}, 1, 2)).status, Errc::ok);
  for (std::uint64_t q = 6; q <= 9; ++q) early.push_back(push(a, 1, q, {0, 4}, 1, 3));
  run_for(50ms);
  EXPECT_EQ(a.answer(early.back()), nullptr) << "the places are free again";
}

TEST_F(ServerTest, CollectiveRoundsAnswerAsSoonAsAllHaveContributed) {
  auto spec = dense(200000, Apply::collective, 0, 0);
  spec.deterministic = true;
  start({spec});
  std::vector<std::vector<float>> gradients(3, std::vector<float>(200000));
  std::vector<std::vector<float>> results(3, std::vector<float>(200000));
  for (int round = 0; round < 2; ++round) {  // The window: beyond it, G has to rise.
    std::vector<RequestId> pushed(3), pulled(3);
    for (const std::size_t i : {2u, 0u, 1u}) {  // Not in the order of rank.
      auto& gradient = gradients[i];
      for (std::size_t j = 0; j < gradient.size(); ++j)
        gradient[j] = 0.1f * static_cast<float>(i + j % 7) + static_cast<float>(round);
      pushed[i] = push_all(
          *clients[i], 1, static_cast<std::uint64_t>(round) + 1,
          lend(*clients[i], reinterpret_cast<std::byte*>(gradient.data()), 800000, Access::read),
          round);
      pulled[i] = pull_all(
          *clients[i], 1,
          lend(*clients[i], reinterpret_cast<std::byte*>(results[i].data()), 800000, Access::write),
          round + 1);
      run_for(20ms);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(wait(*clients[i], pushed[i]).status, Errc::ok);
      const auto& got = wait(*clients[i], pulled[i]);
      ASSERT_EQ(got.status, Errc::ok);
      ASSERT_EQ(got.prefix.oldest, WorkerClock(round + 1));
      ASSERT_EQ(got.prefix.newest, WorkerClock(round + 1));
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
    EXPECT_EQ(server->link().global_clock(), WorkerClock(0)) << "nobody ticked";
    for (std::size_t j = 0; round == 0 && j < results[0].size(); ++j)
      ASSERT_EQ(results[0][j], (gradients[0][j] + gradients[1][j]) + gradients[2][j]);
    regions.clear();
  }
}

TEST_F(ServerTest, AWorkerThatLeavesHoldsNobodyBack) {
  start({dense(64, Apply::collective, 0)});
  const auto pulled = pull(*clients[0], 1, {0, 1}, 1);
  EXPECT_EQ(wait(*clients[0], push(*clients[0], 1, 1, {0, 64}, 1)).status, Errc::ok);
  EXPECT_EQ(wait(*clients[1], push(*clients[1], 1, 1, {0, 64}, 2)).status, Errc::ok);
  run_for(50ms);
  EXPECT_EQ(clients[0]->answer(pulled), nullptr) << "rank 2 has not contributed";
  scheduler->view().roster.pop_back();
  scheduler->publish();
  EXPECT_EQ(wait(*clients[0], pulled).floats(), std::vector<float>{3});
}

TEST_F(ServerTest, TablesThatDoNotFitOrWhoseRuleIsUnknownSaySo) {
  auto unknown = dense(64, Apply::on_arrival, unbounded);
  unknown.update.rule = "nothing";
  auto limits = small_limits();
  limits.memory_bytes = 8u << 20;
  start({dense(3000000, Apply::on_arrival, unbounded, 0), unknown,
         dense(64, Apply::on_arrival, unbounded)},
        limits);
  auto& a = *clients[0];
  const auto words = [](const auto& answer) {
    return std::string(reinterpret_cast<const char*>(answer.rest.data()), answer.rest.size());
  };
  const auto large = wait(a, push(a, 1, 1, {0, 4}, 1));
  EXPECT_EQ(large.status, Errc::no_memory);
  EXPECT_NE(words(large).find("raise memory_budget"), std::string::npos) << words(large);
  const auto other = wait(a, pull(a, 2, {0, 4}, -1));
  EXPECT_EQ(other.status, Errc::unknown_name);
  EXPECT_NE(words(other).find("no update rule 'nothing'"), std::string::npos) << words(other);
  EXPECT_EQ(wait(a, push(a, 3, 1, {0, 4}, 1)).status, Errc::ok);
}

TEST_F(ServerTest, ADroppedTableAnswersWhoWaitsAndFreesItsMemory) {
  start({dense(64, Apply::on_arrival, 0)});
  auto& a = *clients[0];
  const auto used = server->memory_used();
  const auto parked = pull(a, 1, {0, 4}, 5);
  run_for(50ms);
  scheduler->view().tables.clear();
  scheduler->publish();
  EXPECT_EQ(wait(a, parked).status, Errc::unknown_name);
  EXPECT_LT(server->memory_used(), used);
}

TEST_F(ServerTest, ParametersChangeWithAView) {
  auto spec = dense(64, Apply::on_arrival, unbounded);
  spec.update = Sgd{.learning_rate = 1};
  start({spec});
  auto& a = *clients[0];
  wait(a, push(a, 1, 1, {0, 1}, 1));
  scheduler->view().tables[0].parameters.push_back({"learning_rate", 0.5, WorkerClock(0)});
  scheduler->publish();
  run_for(50ms);
  wait(a, push(a, 1, 2, {0, 1}, 1));
  EXPECT_EQ(wait(a, pull(a, 1, {0, 1}, -1)).floats(), std::vector<float>{-1.5});
}

TEST_F(ServerTest, StoresSetRowsPastTheRule) {
  start({dense(64, Apply::per_clock, 0)});
  auto& a = *clients[0];
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 2}, 9, 0, frame_flag::kStore)).status, Errc::ok);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 3}, 0)).floats(), (std::vector<float>{9, 9, 0}));
  EXPECT_EQ(wait(a, push(a, 1, 2, {0, 2}, 1, 0)).status, Errc::ok);
  EXPECT_EQ(wait(a, push(a, 1, 3, {0, 2}, 5, 0, frame_flag::kStore)).status, Errc::invalid_argument)
      << "only before the first push";
}

TEST_F(ServerTest, RequestsThatNoTableCanMeanAreRefusedAndNonsenseLosesItsSession) {
  start({dense(256, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  PushMeta meta;
  meta.run_count = 1;
  const auto header = header_for(FrameKind::push, 1, 0, 0);
  auto run = push_run(1, 0, 1, {0, 4});
  EXPECT_EQ(wait(a, a.send(header, meta, std::vector{run}, std::vector<std::byte>(8))).status,
            Errc::mismatch)
      << "fewer values than rows";
  run.row_count = 65;
  run.part_count = 2;
  EXPECT_EQ(wait(a, a.send(header, meta, std::vector{run}, std::vector<std::byte>(260))).status,
            Errc::out_of_range)
      << "rows of the next slot";
  meta.inputs = 2;
  run = push_run(1, 0, 1, {0, 4});
  EXPECT_EQ(wait(a, a.send(header, meta, std::vector{run}, std::vector<std::byte>(32))).status,
            Errc::mismatch);
  EXPECT_EQ(server->metrics().malformed, 3u);
  meta = {};
  meta.run_count = 7;  // Not what follows.
  a.send(header, meta, std::vector{run}, std::vector<std::byte>(16));
  EXPECT_TRUE(until([&] { return a.breaks > 0; })) << "the session is lost";
  EXPECT_EQ(wait(*clients[1], push(*clients[1], 1, 1, {0, 4}, 1)).status, Errc::ok);
}

}  // namespace
}  // namespace shoal
