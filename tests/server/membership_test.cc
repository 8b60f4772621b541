#include "server/scheduler/membership.h"

#include "core/base/log.h"
#include "core/wire/frame.h"
#include "tests/server/membership_fixture.h"

namespace shoal {
namespace {

// ---- The first roster.

TEST(MembershipJoin, TheFirstRosterStartsTogetherAtClockZero) {
  Script s(expecting(2, 3));
  const auto first = s.join(Role::worker, 1);
  const auto second = s.join(Role::worker, 2);
  const auto third = s.join(Role::worker, 3);
  s.joined(Role::server, 10);
  EXPECT_EQ(s.find(first), nullptr) << "a server is still missing";
  s.joined(Role::server, 11);
  std::uint32_t rank = 0;
  for (const auto asker : {first, second, third}) {
    const auto answer = s.take(asker);
    EXPECT_EQ(answer.joined->rank, Rank(rank++));
    EXPECT_EQ(answer.joined->start, WorkerClock(0));
    EXPECT_EQ(answer.joined->lease, s.options.worker_lease);
  }
  EXPECT_TRUE(s.view().formed);
  EXPECT_EQ(s.view().roster.size(), 3u);
}

TEST(MembershipJoin, RanksGoByName) {
  Script s(expecting(0, 4));
  std::vector<Membership::Asker> askers;
  for (const auto* name : {"worker 10", "worker 2", "", "worker 1"}) {
    Join join{Role::worker, Incarnation(50 + askers.size()), name, {}};
    s.members.join(s.next, join, s.now);
    askers.push_back(s.next++);
  }
  std::vector<std::uint32_t> ranks;
  for (const auto asker : askers) ranks.push_back(s.take(asker).joined->rank.value);
  EXPECT_EQ(ranks, (std::vector<std::uint32_t>{3, 2, 0, 1}));
  EXPECT_EQ(s.view().find_node(s.take(askers[2]).joined->node)->name, "worker 0");
  const auto late = s.joined(Role::worker, 60);
  EXPECT_EQ(s.view().find_node(late)->name, "worker 4");
}

TEST(MembershipJoin, WhoWaitsTooLongIsToldHowManyAreMissing) {
  Script s(expecting(2, 3));
  s.joined(Role::server, 10);
  const auto worker = s.join(Role::worker, 1);
  for (int i = 0; i < 60; ++i) {
    EXPECT_EQ(s.find(worker), nullptr);
    s.now += seconds(1);
    s.beat();
  }
  const auto answer = s.take(worker);
  EXPECT_EQ(answer.code, Errc::timed_out);
  EXPECT_NE(answer.text.find("1 of 2 servers and 2 of 3 workers are missing"), std::string::npos)
      << answer.text;
}

TEST(MembershipJoin, ARepeatedJoinIsTheSameNode) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  EXPECT_EQ(s.joined(Role::server, 100), s.servers[0]);
  EXPECT_EQ(s.joined(Role::worker, 200), s.workers[0]);
  const auto observer = s.joined(Role::observer, 300);
  EXPECT_EQ(s.joined(Role::observer, 300), observer);
  EXPECT_EQ(s.view().nodes.size(), 3u);
  EXPECT_EQ(s.view().roster.size(), 1u) << "observers are not waited for";
}

TEST(MembershipJoin, WhoHungUpBeforeTheRosterIsNotInIt) {
  Script s(expecting(1, 2));
  s.joined(Role::server, 10);
  s.members.forget(s.join(Role::worker, 1));
  const auto second = s.join(Role::worker, 2);
  EXPECT_EQ(s.find(second), nullptr);
  s.join(Role::worker, 3);
  EXPECT_EQ(s.take(second).joined->rank, Rank(0));
}

TEST(MembershipJoin, LateJoinersStartBehindTheWindowWithTheLowestFreeRank) {
  Script s(expecting(1, 3));
  s.form(1, 3);
  EXPECT_EQ(s.take(s.open(s.workers[0], dense("w", 1, Apply::per_clock, 5))).code, Errc::ok);
  EXPECT_EQ(s.view().window, 7);
  for (const auto worker : s.workers) s.tick(worker, 4);
  s.leave(s.workers[1]);
  const auto late = s.take(s.join(Role::worker, 400));
  EXPECT_EQ(late.joined->rank, Rank(1));
  EXPECT_EQ(late.joined->start, WorkerClock(4 + 7));
  const auto next = s.take(s.join(Role::worker, 401));
  EXPECT_EQ(next.joined->rank, Rank(3));
}

TEST(MembershipJoin, TheWindowNeverShrinks) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  const auto wide = s.take(s.open(s.workers[0], dense("wide", 1, Apply::per_clock, 9))).table;
  s.members.drop_table(s.next++, s.workers[0], wide);
  s.take(s.open(s.workers[0], dense("narrow", 1)));
  EXPECT_EQ(s.view().window, 11);
}

TEST(MembershipJoin, AnEmptyRosterLeavesTheClockAndNewcomersGoOnFromIt) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  s.tick(s.workers[0], 8);
  s.leave(s.workers[0]);
  EXPECT_EQ(s.clock(), 8);
  const auto late = s.take(s.join(Role::worker, 400));
  EXPECT_EQ(late.joined->rank, Rank(0));
  EXPECT_EQ(late.joined->start, WorkerClock(10));
  EXPECT_EQ(s.clock(), 10) << "nobody has anything to do below its first clock";
}

TEST(MembershipJoin, AClusterIsBounded) {
  Script s(expecting(1, 1));
  const std::string name(kNodeNameBytesMax, 'n');
  for (std::uint64_t i = 1; i <= kNodesMax; ++i)
    s.members.join(s.next++, {Role::observer, Incarnation(i), name, {}}, s.now);
  EXPECT_EQ(s.take(1).code, Errc::ok);
  EXPECT_EQ(s.take(4000).code, Errc::ok);
  EXPECT_EQ(s.take(kNodesMax).code, Errc::overloaded);
  EXPECT_LT(encode_view(s.view()).size(), FrameLimits{}.meta_bytes_max);
}

// ---- Liveness.

TEST(MembershipLiveness, ASilentServerIsSuspectThenLost) {
  Script s(expecting(2, 1));
  s.form(2, 1);
  const auto table = s.take(s.open(s.workers[0], dense("w", 64 * kSegmentRows))).table;
  const auto hear_all_but = [&](NodeId silent) {
    for (const auto& node : s.members.draft().nodes)
      if (node.id != silent) s.members.heard(node.id, node.incarnation, 1, s.now);
  };
  s.pass(s.options.server_lease - Duration(1));
  hear_all_but(s.servers[1]);
  EXPECT_EQ(s.view().find_node(s.servers[1])->state, NodeState::alive);
  EXPECT_EQ(s.members.next_timer(), s.now + Duration(1));
  s.pass(Duration(1));
  EXPECT_EQ(s.view().find_node(s.servers[1])->state, NodeState::suspect);
  EXPECT_EQ(s.members.suspects(), std::vector{s.servers[1]});
  EXPECT_FALSE(s.view().find_table(table)->slots.back().lost()) << "it keeps its slots";
  for (int i = 0; i < 27; ++i) {
    s.now += seconds(1);
    hear_all_but(s.servers[1]);
    s.settle();
  }
  EXPECT_NE(s.view().find_node(s.servers[1]), nullptr);
  s.pass(seconds(1));
  EXPECT_EQ(s.view().find_node(s.servers[1]), nullptr);
  const auto& slots = s.view().find_table(table)->slots;
  EXPECT_FALSE(slots.front().lost());
  EXPECT_TRUE(slots.back().lost());
  EXPECT_EQ(slots.back().since, s.view().epoch);
}

TEST(MembershipLiveness, ASuspectThatIsHeardOfHasLostNothing) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  const auto table = s.take(s.open(s.workers[0], dense("w", 10))).table;
  const auto chain = s.view().find_table(table)->slots[0];
  s.members.suspect(s.servers[0], "is silent");
  EXPECT_EQ(s.view().find_node(s.servers[0])->state, NodeState::suspect);
  s.members.heard(s.servers[0], Incarnation(999), 0, s.now);
  EXPECT_EQ(s.view().find_node(s.servers[0])->state, NodeState::suspect) << "another incarnation";
  EXPECT_EQ(s.joined(Role::server, 100), s.servers[0]);
  EXPECT_EQ(s.view().find_node(s.servers[0])->state, NodeState::alive);
  EXPECT_EQ(s.view().find_table(table)->slots[0], chain);
}

TEST(MembershipLiveness, AnotherProcessAtAnAddressMeansThatTheOldOneIsGone) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  const auto table = s.take(s.open(s.workers[0], dense("w", 10))).table;
  const auto again = s.take(s.join(Role::server, 500, "host100:1"));
  EXPECT_NE(again.joined->node, s.servers[0]);
  EXPECT_EQ(s.view().find_node(s.servers[0]), nullptr);
  EXPECT_TRUE(s.view().find_table(table)->slots[0].lost());
}

TEST(MembershipLiveness, ASilentWorkerStopsHoldingOthersBack) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.tick(s.workers[0], 5);
  EXPECT_EQ(s.clock(), 0);
  EXPECT_EQ(s.members.holder(), s.workers[1]);
  s.now += s.options.worker_lease - seconds(1);
  s.tick(s.workers[0], 6);
  s.pass(seconds(1));
  EXPECT_FALSE(s.members.in_roster(s.workers[1]));
  EXPECT_EQ(s.view().find_node(s.workers[1]), nullptr);
  EXPECT_EQ(s.clock(), 6);
  EXPECT_EQ(s.view().global_clock, WorkerClock(6));
}

TEST(MembershipLiveness, StragglersAreDroppedOnlyWhereThatIsAskedFor) {
  for (const std::int64_t limit : {0, 3}) {
    auto options = expecting(1, 3);
    options.straggler_limit = limit;
    Script s(options);
    s.form(1, 3);
    s.tick(s.workers[0], 2);
    s.tick(s.workers[1], 3);
    EXPECT_EQ(s.view().roster.size(), 3u);
    s.tick(s.workers[1], 3, 4);
    EXPECT_EQ(s.view().roster.size(), limit == 0 ? 3u : 2u);
    EXPECT_EQ(s.clock(), limit == 0 ? 0 : 2);
  }
}

TEST(MembershipLiveness, AServerThatLeavesTakesItsOnlyCopiesAlong) {
  Script s(expecting(2, 1));
  s.form(2, 1);
  const auto table = s.take(s.open(s.workers[0], dense("w", 2 * kSegmentRows))).table;
  s.leave(s.servers[0]);
  const auto& slots = s.view().find_table(table)->slots;
  EXPECT_TRUE(slots[0].lost());
  EXPECT_EQ(slots[1].head(), s.servers[1]);
  s.leave(s.servers[0]);  // a repeat
}

// ---- Clocks.

/// What is logged meanwhile.
template <class F>
std::string log_of(F&& happens) {
  testing::internal::CaptureStderr();
  set_log_level(LogLevel::info);
  happens();
  set_log_level(LogLevel::warn);
  return testing::internal::GetCapturedStderr();
}

bool says(const std::string& log, std::string_view words) {
  return log.find(words) != std::string::npos;
}

TEST(MembershipLog, SaysWhoJoinsAndWhoGoesAndWhy) {
  Script s(expecting(3, 1));
  const auto joins = log_of([&] { s.form(3, 1); });
  EXPECT_TRUE(says(joins, "server 'server 1' (node 1, host100:1) has joined")) << joins;
  EXPECT_TRUE(says(joins, "worker 'worker 0' (node 4) has joined")) << joins;
  const auto late = log_of([&] { s.joined(Role::worker, 300); });
  EXPECT_TRUE(says(late, "is worker 1 and begins at clock 2")) << late;
  ASSERT_EQ(s.take(s.open(s.workers[0], dense("w", 3 * kSegmentRows))).code, Errc::ok);

  const auto left = log_of([&] { s.leave(s.servers[0]); });
  EXPECT_TRUE(says(left,
                   "server 'server 1' (node 1, host100:1) has left, and the rows of 1 slot "
                   "that only it held are gone (tables 'w')"))
      << left;
  EXPECT_FALSE(says(left, "lost")) << left;
  const auto killed = log_of([&] { s.members.lost(s.servers[1], "its port refuses connections"); });
  EXPECT_TRUE(says(killed, "is lost: its port refuses connections, and the rows of 1 slot"))
      << killed;
  s.joined(Role::server, 101);
  const auto replaced = log_of([&] { s.take(s.join(Role::server, 103, "host101:1")); });
  EXPECT_TRUE(says(replaced, "is lost: another process listens at its address")) << replaced;
  EXPECT_FALSE(says(replaced, "tables")) << "it held none: " << replaced;
  const auto silent = log_of([&] {
    s.pass(s.options.server_lease);
    s.pass(s.options.lost_after);
  });
  EXPECT_TRUE(says(silent, "is silent; its slots are lost in 30 s unless it comes back")) << silent;
  EXPECT_TRUE(says(silent, "is lost: silent for 30 s (lost_after), and the rows of 1 slot"))
      << silent;
}

/// Its beats come from another thread.
TEST(MembershipLiveness, AServerWhoseLoopStandsStillIsTold) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  std::uint64_t turns = 1;
  const auto beat = [&](bool turns_on, int times) {
    return log_of([&] {
      for (int i = 0; i < times; ++i) {
        s.pass(s.options.server_beat);
        turns += turns_on ? 1 : 0;
        s.members.heard(s.servers[0], Incarnation(100), turns, s.now);
        s.members.heard(s.workers[0], Incarnation(200), 7, s.now);  // its caller turns it
      }
    });
  };
  EXPECT_EQ(beat(true, 20), "");
  const auto hung = beat(false, 20);
  EXPECT_TRUE(says(hung, "beats, but its loop has stood still for 2 s")) << hung;
  EXPECT_EQ(std::count(hung.begin(), hung.end(), '\n'), 1) << hung;
  EXPECT_TRUE(s.members.vitals().at(s.servers[0]).hung);
  EXPECT_TRUE(s.members.suspects().empty()) << "it keeps its slots";
  EXPECT_TRUE(says(beat(true, 1), "goes on after it stood still for 5.25 s"));
  EXPECT_FALSE(s.members.vitals().at(s.servers[0]).hung);
}

TEST(MembershipClock, IsTheLeastReportedOneAndNeverGoesBack) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.tick(s.workers[0], 3);
  s.tick(s.workers[1], 2, 4);
  EXPECT_EQ(s.clock(), 2);
  s.tick(s.workers[1], 1, 1);  // an old message
  EXPECT_EQ(s.clock(), 2);
  s.tick(NodeId(77), 9);
  s.tick(s.servers[0], 9);
  EXPECT_EQ(s.clock(), 2);
  EXPECT_EQ(s.members.vitals().at(s.workers[1]).tick.local, WorkerClock(4));
}

}  // namespace
}  // namespace shoal
