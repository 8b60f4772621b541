#include <gtest/gtest.h>

#include "server/engine/shard.h"
#include "server/server.h"
#include "tests/server/server_fixture.h"

// Connections that break, peers that stall, a scheduler that falls silent.

namespace shoal {
namespace {

using namespace std::chrono_literals;
using test::RawClient;
using test::ServerTest;

TEST_F(ServerTest, APushWhoseConnectionBreaksMidReadCountsOnce) {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(seed);
    SimOptions sim;
    sim.seed = seed;
    start({dense(500000, Apply::on_arrival, unbounded, 0)}, small_limits(), sim);
    if (HasFatalFailure()) return;
    auto& a = *clients[0];
    std::vector<float> ones(500000, 1.0f), back(500000, -1.0f);
    const auto source = lend(a, reinterpret_cast<std::byte*>(ones.data()), 2000000, Access::read);
    const auto target = lend(a, reinterpret_cast<std::byte*>(back.data()), 2000000, Access::write);
    const auto pushed = push_all(a, 1, 1, source);
    for (int i = 0; i < 3; ++i) {
      run_for(std::chrono::microseconds(network->random(3000)));
      network->drop_connections(client_nodes[0], server_node);
    }
    EXPECT_EQ(wait(a, pushed).status, Errc::ok) << "the session repeats it";
    const auto pulled = pull_all(a, 1, target, -1);
    run_for(std::chrono::microseconds(network->random(3000)));
    network->drop_connections(client_nodes[0], server_node);
    EXPECT_EQ(wait(a, pulled).status, Errc::ok);
    EXPECT_EQ(back, ones);
    EXPECT_GE(a.breaks, 1);
  }
}

/// What is still on its way over the last one would pass for a repeat of what this one brings.
TEST_F(ServerTest, AConnectionOfAWorkerEndsItsLast) {
  start({dense(256, Apply::on_arrival, unbounded)});
  const auto node = network->create_node("client10 again");
  RawClient again(*network, node, 10, Role::worker);
  driver->attach(node, again);
  ASSERT_TRUE(until([&] { return again.session().open(); }));
  EXPECT_TRUE(until([&] { return clients[0]->breaks == 1; }));
  driver->detach(node);
}

TEST_F(ServerTest, AServerThatForgetsWhatItAppliedIsFoundOut) {
  faults.forget_last = true;
  start({dense(64, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 1}, 1)).status, Errc::ok);
  network->drop_connections(client_nodes[0], server_node);
  ASSERT_TRUE(until([&] { return a.breaks == 1 && a.session().open(); }));
  run_for(100ms);
  EXPECT_EQ(wait(a, push(a, 1, 1, {0, 1}, 1)).status, Errc::ok);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 1}, -1)).floats(), std::vector<float>{2})
      << "the switch does what the search has to find";
}

/// What waits of a connection goes with it, and what a newer connection sent behind it is a gap.
TEST_F(ServerTest, PartsThatWaitGoWithTheirConnection) {
  start({dense(256, Apply::per_clock, 0)});
  auto& a = *clients[0];
  const auto first = push(a, 1, 1, {0, 4}, 1, 2);
  const auto second = push(a, 1, 2, {0, 4}, 2, 2);
  run_for(50ms);
  network->drop_connections(client_nodes[0], server_node);
  run_for(500ms);  // Both were repeated on the new connection, and wait again.
  scheduler->set_clock(1);
  EXPECT_EQ(wait(a, first).status, Errc::ok);
  EXPECT_EQ(wait(a, second).status, Errc::ok);
  scheduler->set_clock(3);
  EXPECT_EQ(wait(a, pull(a, 1, {0, 1}, 3)).floats(), std::vector<float>{3});
}

/// The answer to a burn ends the loan of the memory: what still READs it must have ended.
TEST_F(ServerTest, ABurnIsAnsweredWhenNoReadOfWhatItBurntIsLeft) {
  constexpr std::uint64_t kRows = 4 * 65536;  // of a slot, in four parts
  SimOptions sim;
  sim.bulk_time_per_mib = std::chrono::milliseconds(200);
  start({dense(kSlots * kRows, Apply::on_arrival, unbounded, 0)}, small_limits(), sim);
  auto& a = *clients[0];
  std::vector<float> values(kRows, 1.0f);
  PushMeta meta;
  meta.run_count = 1;
  meta.values =
      lend(a, reinterpret_cast<std::byte*>(values.data()), values.size() * 4, Access::read);
  const auto pushed = a.send(header_for(FrameKind::push, 1, 0, frame_flag::kRendezvous), meta,
                             std::vector{push_run(1, 0, 1, {0, kRows})});
  ASSERT_TRUE(until([&] { return server->metrics().reads >= 1; }));
  const auto burnt = push(a, 1, 1, {0, kRows}, 0, 0, frame_flag::kBurnt);
  EXPECT_EQ(wait(a, burnt).status, Errc::cancelled);
  network->protect(host_view(std::span(values)));
  const auto applied = server->metrics().parts_applied;
  EXPECT_LT(applied, 4u) << "nothing was left to burn";
  EXPECT_EQ(wait(a, pushed).status, Errc::cancelled);
  run_for(std::chrono::seconds(1));
  EXPECT_EQ(server->metrics().parts_applied, applied);
  EXPECT_TRUE(network->violations().empty());
}

/// What workers on the server's host share with it.
class ServerReadsInPlace : public ServerTest {
 protected:
  static constexpr std::uint64_t kRows = 500000;
  void begin(Apply apply, std::int64_t staleness, double in_place = 1.0) {
    SimOptions sim;
    sim.reads_by_copy = true;
    sim.reads_in_place = in_place;
    start({dense(kRows, apply, staleness, 0)}, small_limits(), sim);
  }
  WireSpan lend_ones(RawClient& client) {
    return lend(client, reinterpret_cast<std::byte*>(ones_.data()), kRows * 4, Access::read);
  }
  std::vector<float> all(RawClient& client, std::int64_t need = -100) {
    std::vector<float> rows(kRows, -1.0f);
    const auto at =
        lend(client, reinterpret_cast<std::byte*>(rows.data()), kRows * 4, Access::write);
    EXPECT_EQ(wait(client, pull_all(client, 1, at, need)).status, Errc::ok);
    regions.back().revoke();
    return rows;
  }
  std::vector<float> ones_ = std::vector<float>(kRows, 1.0f);
};

TEST_F(ServerReadsInPlace, EachPartIsAppliedOnce) {
  for (const double in_place : {1.0, 0.5, 0.0}) {
    begin(Apply::on_arrival, unbounded, in_place);
    auto& a = *clients[0];
    const auto source = lend_ones(a);
    EXPECT_EQ(wait(a, push_all(a, 1, 1, source)).status, Errc::ok);
    EXPECT_EQ(wait(a, push_all(a, 1, 1, source)).status, Errc::ok) << "it came before";
    EXPECT_EQ(server->metrics().reads == 0, in_place == 1.0);
    EXPECT_EQ(all(a), ones_);
  }
}

TEST_F(ServerReadsInPlace, APartThatIsBurntIsNotReadAnyMore) {
  begin(Apply::per_clock, 2);
  auto& a = *clients[0];
  const auto early = push_all(a, 1, 1, lend_ones(a), 4);
  run_for(50ms);
  std::vector<RequestId> burnt;
  for (std::uint32_t slot = 0; slot < geometry(1).slots(); ++slot)
    burnt.push_back(push(a, 1, 1, geometry(1).rows_of(SlotIndex(slot)), 0, 4, frame_flag::kBurnt));
  run_for(50ms);
  scheduler->set_clock(3);
  for (const auto id : burnt) EXPECT_EQ(wait(a, id).status, Errc::cancelled);
  EXPECT_EQ(wait(a, early).status, Errc::cancelled);
  network->protect(host_view(std::span(ones_)));
  scheduler->set_clock(6);
  EXPECT_EQ(all(a, 6), std::vector<float>(kRows, 0.0f));
  EXPECT_TRUE(network->violations().empty());
}

TEST_F(ServerReadsInPlace, APartThatMustWaitIsReadWhenItsTimeHasCome) {
  begin(Apply::per_clock, 2);
  auto& a = *clients[0];
  const auto source = lend_ones(a);
  const auto early = push_all(a, 1, 1, source, 4);  // beyond the window of clocks
  run_for(50ms);
  EXPECT_EQ(a.answer(early), nullptr);
  ones_.assign(kRows, 3.0f);  // still lent, so what is there when it is read counts
  scheduler->set_clock(3);
  EXPECT_EQ(wait(a, early).status, Errc::ok);
  EXPECT_EQ(server->metrics().reads, 0u);
  scheduler->set_clock(6);
  EXPECT_EQ(all(a, 6), std::vector<float>(kRows, 3.0f));
}

/// What cannot be read where it is is asked for, and that says why.
TEST_F(ServerReadsInPlace, MemoryThatWasTakenBackIsRefused) {
  begin(Apply::on_arrival, unbounded);
  auto& a = *clients[0];
  const auto source = lend_ones(a);
  regions.back().revoke();
  EXPECT_EQ(wait(a, push_all(a, 1, 1, source)).status, Errc::revoked);
  EXPECT_GT(server->metrics().reads, 0u);
  EXPECT_EQ(server->metrics().parts_applied, 0u);
}

TEST_F(ServerTest, AReaderThatStallsLosesItsSessionOnlyWhenCopiesRunOut) {
  auto limits = small_limits();
  limits.copies_max = 2;
  SimOptions sim;
  sim.keepalive = 60s;  // The server's own patience is tried here.
  sim.window_bytes = 300u << 10;
  start({dense(500000, Apply::on_arrival, unbounded, 0)}, limits, sim);
  auto& slow = *clients[0];
  auto& fast = *clients[1];
  std::vector<float> ones(500000, 1.0f), back(500000);
  const auto target = lend(slow, reinterpret_cast<std::byte*>(back.data()), 2000000, Access::write);
  const auto source = lend(fast, reinterpret_cast<std::byte*>(ones.data()), 2000000, Access::read);
  pull_all(slow, 1, target, -1);
  network->wake(client_nodes[0]);
  run_for(60us);
  network->stop(client_nodes[0]);
  ASSERT_TRUE(until([&] { return server->metrics().writes > 2; }));
  EXPECT_EQ(wait(fast, push_all(fast, 1, 1, source)).status, Errc::ok);
  EXPECT_GT(server->metrics().copies_exhausted, 0u);
  EXPECT_EQ(server->metrics().sends_given_up, 1u);
  network->resume(client_nodes[0]);
  run_for(2s);
  for (std::size_t i = 0; i < back.size(); i += 65536)
    for (std::size_t j = i; j < std::min(back.size(), i + 65536); ++j)
      ASSERT_EQ(back[j], back[i]) << "a torn segment";
}

/// All have contributed, so nobody's request comes to try again: the fold itself has to wait.
TEST_F(ServerTest, AReaderThatStallsDoesNotHoldACollectiveRound) {
  auto limits = small_limits();
  limits.copies_max = 1;
  SimOptions sim;
  sim.keepalive = 60s;
  sim.window_bytes = 256;
  start({dense(4096, Apply::collective, 0, 4096)}, limits, sim);
  auto& observer = *clients[3];
  std::vector<float> back(4096);
  const auto target =
      lend(observer, reinterpret_cast<std::byte*>(back.data()), 16384, Access::write);
  pull_all(observer, 1, target, -1);
  ASSERT_TRUE(until([&] { return server->metrics().writes >= 4; }));
  network->stop(client_nodes[3]);
  for (int c = 0; c < 3; ++c)
    for (std::uint32_t slot = 0; slot < kSlots; ++slot)
      EXPECT_EQ(wait(*clients[c], push(*clients[c], 1, 1, geometry(1).rows_of(SlotIndex(slot)), 1))
                    .status,
                Errc::ok);
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
    const auto row = geometry(1).rows_of(SlotIndex(slot)).begin;
    EXPECT_EQ(wait(*clients[0], pull(*clients[0], 1, {row, row + 1}, 1)).floats(),
              std::vector<float>{3});
  }
  EXPECT_GT(server->metrics().copies_exhausted, 0u);
  EXPECT_EQ(server->metrics().sends_given_up, 1u);
}

/// 1024 rows of 64 values of table 1, by their keys: gathered, and WRITTEN to `target`.
class GatherTest : public ServerTest {
 protected:
  static constexpr std::size_t kBytes = 1024 * 64 * 4;

  void start_gathering(ServerLimits limits) {
    SimOptions sim;
    sim.keepalive = 600s;  // The server's own patience is tried here.
    sim.window_bytes = 256;
    auto spec = dense(4096, Apply::on_arrival, unbounded, 0);
    spec.row_width = 64;
    start({spec}, limits, sim);
  }
  RequestId pull_keys(RawClient& client) {
    PullMeta meta;
    meta.run_count = 1;
    meta.destination =
        lend(client, reinterpret_cast<std::byte*>(back.data()), kBytes, Access::write);
    meta.need = WorkerClock(-1);
    meta.time_left = ~std::uint64_t{0};
    auto run = pull_run(1, 0, {0, 1024});
    run.part_count = geometry(1).part_count_of_keys(1024);
    return client.send(header_for(FrameKind::pull, 1, -1, frame_flag::kKeyList), meta,
                       std::vector{run}, std::vector<std::byte>(1024 * sizeof(Key)));
  }
  /// All the memory to gather rows in stands for this client, which does not take them.
  void stall(std::size_t client, const ServerLimits& limits) {
    const auto pulls = 2 * limits.gather_bytes / kBytes;
    for (std::size_t i = 0; i < pulls; ++i) pull_keys(*clients[client]);
    network->wake(client_nodes[client]);
    ASSERT_TRUE(until([&] { return server->metrics().pulls == pulls; }));
    network->stop(client_nodes[client]);
    run_for(10ms);
    ASSERT_LT(server->metrics().writes, pulls) << "there is room for all";
  }
  std::vector<float> back = std::vector<float>(kBytes / 4);
};

TEST_F(GatherTest, AReaderThatStallsDoesNotHoldTheMemoryOfGatheredRows) {
  const auto limits = small_limits();
  start_gathering(limits);
  stall(3, limits);
  auto& a = *clients[0];
  const auto started = network->now();
  EXPECT_EQ(wait(a, pull(a, 1, {0, 1}, -1)).status, Errc::ok) << "a small answer needs none of it";
  EXPECT_LT(network->now() - started, 100ms);
  EXPECT_EQ(server->metrics().sends_given_up, 0u) << "nobody waits";
  EXPECT_EQ(wait(a, pull_keys(a)).status, Errc::ok);
  EXPECT_LT(network->now() - started, limits.stall + 1s);
  EXPECT_EQ(server->metrics().sends_given_up, 1u);
  EXPECT_EQ(server->metrics().overloaded, 0u);
}

TEST_F(GatherTest, AReaderThatMovesKeepsItsSession) {
  auto limits = small_limits();
  limits.stall = 50ms;
  start_gathering(limits);
  auto& slow = *clients[3];
  std::vector<RequestId> asked;
  for (std::size_t i = 0; i < 2 * limits.gather_bytes / kBytes; ++i)
    asked.push_back(pull_keys(slow));
  auto& a = *clients[0];
  EXPECT_EQ(wait(a, pull_keys(a)).status, Errc::ok);
  for (const auto id : asked) EXPECT_EQ(wait(slow, id).status, Errc::ok);
  EXPECT_GT(network->now() - TimePoint{}, 4 * limits.stall) << "some waited for long";
  EXPECT_EQ(server->metrics().sends_given_up, 0u);
}

/// Its READs and WRITEs end with its connection, not when its process does.
TEST_F(GatherTest, AWorkerThatIsDroppedHoldsNothing) {
  auto limits = small_limits();
  limits.stall = 300s;
  start_gathering(limits);
  stall(0, limits);
  auto& b = *clients[1];
  const auto waits = pull_keys(b);
  run_for(5s);
  EXPECT_EQ(b.answer(waits), nullptr);
  auto& roster = scheduler->view().roster;
  roster.erase(roster.begin());
  scheduler->publish();
  EXPECT_EQ(wait(b, waits).status, Errc::ok);
  EXPECT_EQ(server->metrics().sends_given_up, 0u);
  network->resume(client_nodes[0]);
  EXPECT_EQ(wait(*clients[0], pull(*clients[0], 1, {0, 1}, -1)).status, Errc::fenced)
      << "it connects again, and hears why";
}

TEST_F(ServerTest, WithoutAWordOfTheSchedulerNothingIsAnswered) {
  start({dense(256, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  network->partition(scheduler_node, server_node);
  run_for(3s);
  const auto pushed = push(a, 1, 1, {0, 4}, 1);
  const auto pulled = pull(a, 1, {0, 4}, -1);
  run_for(1s);
  EXPECT_EQ(a.answer(pushed), nullptr);
  EXPECT_EQ(a.answer(pulled), nullptr);
  network->heal_all();
  EXPECT_EQ(wait(a, pushed).status, Errc::ok);
  EXPECT_EQ(wait(a, pulled).floats(), (std::vector<float>{1, 1, 1, 1}));
}

TEST_F(ServerTest, AnEpochThatNobodyHasHoldsNothing) {
  start({dense(4, Apply::on_arrival, unbounded)});
  auto& a = *clients[0];
  PullMeta meta;
  meta.run_count = 1;
  meta.need = WorkerClock(-1);
  meta.time_left = static_cast<std::uint64_t>(Duration(100s).count());
  auto header = header_for(FrameKind::pull, 1, -1, 0);
  header.epoch = Epoch{1000, 1000}.packed();
  const auto id = a.send(header, meta, std::vector{pull_run(1, 0, {0, 1})});
  EXPECT_EQ(wait(a, id).floats(), std::vector<float>{0});
  const auto asked = scheduler->views_asked;
  run_for(500ms);
  EXPECT_LE(scheduler->views_asked, asked + 1) << "the server asks for it for ever";
}

/// Random traffic of three workers over connections that break: sums are exact.
TEST_F(ServerTest, RandomTrafficOverBreakingConnectionsAddsUp) {
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    SimOptions sim;
    sim.seed = seed;
    start({dense(1000, Apply::on_arrival, unbounded)}, small_limits(), sim);
    if (HasFatalFailure()) return;
    std::vector<float> model(1000);
    std::uint64_t next_q[3][kSlots] = {};
    std::vector<std::pair<RawClient*, RequestId>> pending;
    for (int step = 0; step < 120; ++step) {
      const auto who = network->random(3);
      const auto slot = static_cast<std::uint32_t>(network->random(kSlots));
      const auto all = geometry(1).rows_of(SlotIndex(slot));
      const auto begin = all.begin + network->random(all.size());
      const RowRange rows{begin, begin + 1 + network->random(all.end - begin)};
      const auto value = static_cast<float>(1 + network->random(9));
      auto& q = next_q[who][slot];
      pending.emplace_back(clients[who].get(), push(*clients[who], 1, q + 1, rows, value));
      q += geometry(1).part_count(rows);
      for (auto row = rows.begin; row < rows.end; ++row) model[row] += value;
      run_for(std::chrono::microseconds(network->random(300)));
      if (network->random(20) == 0) network->drop_connections(client_nodes[who], server_node);
    }
    for (const auto& [client, id] : pending) {
      const auto& got = wait(*client, id);
      ASSERT_EQ(got.status, Errc::ok);
    }
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
      const auto rows = geometry(1).rows_of(SlotIndex(slot));
      const auto values = wait(*clients[0], pull(*clients[0], 1, rows, -1)).floats();
      ASSERT_EQ(values, std::vector<float>(model.begin() + static_cast<std::ptrdiff_t>(rows.begin),
                                           model.begin() + static_cast<std::ptrdiff_t>(rows.end)));
    }
  }
}

}  // namespace
}  // namespace shoal
