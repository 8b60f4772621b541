#include "server/scheduler/membership.h"

#include <cmath>
#include <limits>
#include <set>

#include "core/base/log.h"
#include "core/base/random.h"
#include "core/ops/rules.h"
#include "core/wire/frame.h"
#include "server/store/dense_store.h"
#include "tests/server/membership_fixture.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

constexpr std::uint64_t kSegmentRows = kSegmentBytes / sizeof(float);

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
  s.members.suspect(s.servers[0]);
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
                   "server 'server 1' (node 1, host100:1) has left, and the rows of 1 slots "
                   "that only it held are gone (tables 'w')"))
      << left;
  EXPECT_FALSE(says(left, "lost")) << left;
  const auto killed = log_of([&] { s.members.lost(s.servers[1], "its port refuses connections"); });
  EXPECT_TRUE(says(killed, "is lost: its port refuses connections, and the rows of 1 slots"))
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
  EXPECT_TRUE(says(silent, "is lost: silent for 30 s (lost_after), and the rows of 1 slots"))
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

// ---- Tables.

TEST(MembershipTables, SlotsLieOnServersInEqualRuns) {
  Script s(expecting(3, 1));
  s.form(3, 1);
  const auto id = s.take(s.open(s.workers[0], dense("w", 1000 * kSegmentRows))).table;
  const auto& slots = s.view().find_table(id)->slots;
  EXPECT_EQ(slots.size(), 64u);
  std::map<NodeId, std::size_t> counts;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    ++counts[slots[i].head()];
    EXPECT_EQ(slots[i].since, s.view().epoch);
    if (i > 0) {
      EXPECT_GE(slots[i].head(), slots[i - 1].head());
    }
  }
  for (const auto& [server, count] : counts) EXPECT_NEAR(static_cast<double>(count), 64 / 3.0, 1.0);
}

TEST(MembershipTables, SmallTablesTakeTurns) {
  Script s(expecting(4, 1));
  s.form(4, 1);
  std::map<NodeId, int> counts;
  for (int i = 0; i < 8; ++i) {
    const auto id = s.take(s.open(s.workers[0], dense("w" + std::to_string(i), 10))).table;
    ++counts[s.view().find_table(id)->slots.at(0).head()];
  }
  for (const auto server : s.servers) EXPECT_EQ(counts[server], 2);
}

TEST(MembershipTables, SuspectServersGetNoNewSlots) {
  Script s(expecting(2, 1));
  s.form(2, 1);
  s.members.suspect(s.servers[0]);
  const auto id = s.take(s.open(s.workers[0], dense("w", 100 * kSegmentRows))).table;
  for (const auto& chain : s.view().find_table(id)->slots) EXPECT_EQ(chain.head(), s.servers[1]);
  s.members.suspect(s.servers[1]);
  EXPECT_EQ(s.take(s.open(s.workers[0], dense("v", 10))).code, Errc::not_ready);
}

TEST(MembershipTables, OpenersMustAgree) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto id = s.take(s.open(s.workers[0], dense("w", 10))).table;
  EXPECT_EQ(s.take(s.open(s.workers[1], dense("w", 10))).table, id);
  const auto other = s.take(s.open(s.workers[1], dense("w", 11)));
  EXPECT_EQ(other.code, Errc::mismatch);
  EXPECT_NE(other.text.find("rows"), std::string::npos) << other.text;
  EXPECT_EQ(s.take(s.open(s.workers[1], dense("v", 0))).code, Errc::invalid_argument);
  s.members.drop_table(s.next, s.workers[0], id);
  EXPECT_EQ(s.take(s.next++).code, Errc::ok);
  EXPECT_EQ(s.view().find_table(id), nullptr);
  const auto again = s.take(s.open(s.workers[0], dense("w", 11))).table;
  EXPECT_GT(again, id) << "ids are never used twice";
}

TEST(MembershipTables, ARuleThatServersDoNotKnowIsRefusedAtOpen) {
  Script script(expecting(2, 1));
  script.form(2, 1);
  auto spec = dense("t", 100);
  spec.update.rule = "ad";
  const auto unknown = script.take(script.open(script.workers[0], spec));
  EXPECT_EQ(unknown.code, Errc::unknown_name);
  EXPECT_NE(unknown.text.find("did you mean 'add'"), std::string::npos) << unknown.text;
  spec.update = Sgd{.learning_rate = -1};
  const auto range = script.take(script.open(script.workers[0], spec));
  EXPECT_EQ(range.code, Errc::out_of_range);
  EXPECT_NE(range.text.find("a finite number at least 0"), std::string::npos) << range.text;
  spec.update.parameters = {{"lerning_rate", 0.1}};
  const auto parameter = script.take(script.open(script.workers[0], spec));
  EXPECT_EQ(parameter.code, Errc::unknown_name);
  EXPECT_NE(parameter.text.find("did you mean 'learning_rate'"), std::string::npos)
      << parameter.text;
  spec.update = Sgd{};
  spec.dtype = DType::i32;
  const auto dtype = script.take(script.open(script.workers[0], spec));
  EXPECT_EQ(dtype.code, Errc::unavailable);
  EXPECT_NE(dtype.text.find("it has f32, f64"), std::string::npos) << dtype.text;
  spec.update.inputs = 2;
  EXPECT_EQ(script.take(script.open(script.workers[0], spec)).code, Errc::mismatch);
  // At once, not when the others of the roster have come.
  spec.apply = Apply::collective;
  EXPECT_EQ(script.take(script.open(script.workers[0], spec)).code, Errc::mismatch);
  EXPECT_TRUE(script.view().tables.empty());
}

TEST(MembershipTables, AnInitializerOrANameThatCannotBeIsRefusedAtOpen) {
  Script script(expecting(1, 1));
  script.form(1, 1);
  auto spec = dense("t", 100);
  const auto refused = [&](Initializer initializer) {
    spec.initializer = initializer;
    return script.take(script.open(script.workers[0], spec)).code == Errc::invalid_argument;
  };
  constexpr auto kNaN = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(refused({Initializer::Kind::constant, kNaN, 0, 0}));
  EXPECT_TRUE(refused({Initializer::Kind::uniform, 1, -1, 0}));
  EXPECT_TRUE(refused({Initializer::Kind::normal, 0, -1, 0}));
  spec.name = "two\nlines";
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(script.view().tables.empty());
}

/// What the servers' stores take for a dense table of `slots` slots that lies on one of them.
std::uint64_t memory_of(const TableSpec& spec, std::uint32_t slots) {
  test::StoreFixture store(0, ~std::uint64_t{0});
  const auto rules = store.rules(spec, slots);
  std::vector<std::unique_ptr<DenseStore>> made;
  for (std::uint32_t i = 0; i < slots; ++i)
    made.push_back(DenseStore::create(rules, SlotIndex(i), store.context()).value());
  return store.budget.used();
}

TEST(MembershipTables, ADenseTableThatDoesNotFitIsRefusedAtOpen) {
  auto spec = dense("large", 100000, Apply::per_clock, 3);
  spec.update = Adam{};
  const auto other = dense("other", 1000, Apply::on_arrival, unbounded);
  const auto needs = memory_of(spec, Geometry::choose_slots(spec, 1));
  const auto needs_other = memory_of(other, Geometry::choose_slots(other, 1));
  for (const bool fits : {true, false}) {
    Script s(expecting(1, 1));
    s.memory_bytes = needs + needs_other - (fits ? 0 : 1);
    s.form(1, 1);
    ASSERT_EQ(s.take(s.open(s.workers[0], other)).code, Errc::ok);
    s.restart();  // What the servers said is stored.
    s.tick(s.workers[0], 0);
    const auto opened = s.take(s.open(s.workers[0], spec));
    if (fits) {
      EXPECT_EQ(opened.code, Errc::ok) << opened.text;
      continue;
    }
    ASSERT_EQ(opened.code, Errc::no_memory);
    for (const auto* words : {"table 'large' needs 4 MiB", "memory_budget", "staleness"})
      EXPECT_NE(opened.text.find(words), std::string::npos) << opened.text;
    EXPECT_EQ(s.view().find_table("large"), nullptr);
    s.servers.push_back(s.joined(Role::server, 101));
    EXPECT_EQ(s.take(s.open(s.workers[0], spec)).code, Errc::ok) << "two servers hold it";
  }
}

TEST(MembershipTables, SparseTablesAndThoseThatWentTakeNothing) {
  Script s(expecting(1, 1));
  const auto spec = dense("large", 1000, Apply::on_arrival, unbounded);
  s.memory_bytes = memory_of(spec, Geometry::choose_slots(spec, 1));
  s.form(1, 1);
  TableSpec sparse;
  sparse.name = "sparse";
  sparse.layout = Layout::sparse;
  ASSERT_EQ(s.take(s.open(s.workers[0], sparse)).code, Errc::ok);
  const auto first = s.take(s.open(s.workers[0], spec)).table;
  auto second = spec;
  second.name = "second";
  EXPECT_EQ(s.take(s.open(s.workers[0], second)).code, Errc::no_memory);
  s.members.drop_table(s.next, s.workers[0], first);
  ASSERT_EQ(s.take(s.next++).code, Errc::ok);
  EXPECT_EQ(s.take(s.open(s.workers[0], second)).code, Errc::ok);
}

TEST(MembershipTables, EveryServerMustKnowTheRule) {
  Script script(expecting(2, 1));
  script.rules.push_back({"lion", 1, 1, Aggregate::sum});
  const auto with = script.joined(Role::server, 100);
  script.rules.pop_back();
  const auto without = script.joined(Role::server, 101);
  const auto worker = script.joined(Role::worker, 200);
  auto spec = dense("t", 100);
  spec.update.rule = "lion";
  const auto refused = script.take(script.open(worker, spec));
  EXPECT_EQ(refused.code, Errc::unknown_name);
  EXPECT_NE(refused.text.find("on server " + std::to_string(without.value)), std::string::npos)
      << refused.text;
  script.leave(without);
  EXPECT_EQ(script.take(script.open(worker, spec)).code, Errc::ok);
  EXPECT_EQ(script.view().tables[0].slots[0].head(), with);
  // From now on a server needs it to join.
  const auto late = script.take(script.join(Role::server, 102));
  EXPECT_EQ(late.code, Errc::unknown_name);
  EXPECT_NE(late.text.find("table 't'"), std::string::npos) << late.text;
  EXPECT_NE(late.text.find("'lion'"), std::string::npos) << late.text;
  script.rules.push_back({"lion", 2, 1, Aggregate::sum});
  EXPECT_EQ(script.take(script.join(Role::server, 103)).code, Errc::unavailable);
  script.rules.back().dtypes = 3;
  EXPECT_EQ(script.take(script.join(Role::server, 104)).code, Errc::ok);
}

TEST(MembershipTables, OnlyWorkersMakeTables) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  const auto observer = s.joined(Role::observer, 300);
  EXPECT_EQ(s.take(s.open(observer, dense("w", 10))).code, Errc::unknown_name);
  EXPECT_EQ(s.take(s.open(NodeId(99), dense("w", 10))).code, Errc::fenced);
  const auto id = s.take(s.open(s.workers[0], dense("w", 10))).table;
  EXPECT_EQ(s.take(s.open(observer, dense("w", 10))).table, id);
  s.members.drop_table(s.next, observer, id);
  EXPECT_EQ(s.take(s.next++).code, Errc::fenced);
  EXPECT_EQ(s.take(s.set(observer, id, {"rate", 1, WorkerClock(-1)})).code, Errc::fenced);
}

TEST(MembershipTables, TheirNumberOfSlotsIsBounded) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  auto spec = dense("w", kSlotsMax * kSegmentRows);
  spec.slots = kSlotsMax;
  EXPECT_EQ(s.take(s.open(s.workers[0], spec)).code, Errc::ok);
  EXPECT_EQ(s.take(s.open(s.workers[0], dense("v", 10))).code, Errc::overloaded);
}

TEST(MembershipTables, ATableStartsAtTheClockOfItsView) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  s.tick(s.workers[0], 5);
  const auto id = s.take(s.open(s.workers[0], dense("w", 10), 5)).table;
  EXPECT_EQ(s.view().find_table(id)->start, WorkerClock(5));
}

// ---- Collective tables.

TEST(MembershipCollective, IsOpenedByAllTogether) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.tick(s.workers[0], 2, 3);
  s.tick(s.workers[1], 3);
  const auto spec = dense("w", 10, Apply::collective);
  const auto first = s.open(s.workers[0], spec, 3);
  EXPECT_EQ(s.find(first), nullptr);
  const auto again = s.open(s.workers[0], spec, 3);  // another thread of the same worker
  EXPECT_EQ(s.find(again), nullptr);
  const auto second = s.open(s.workers[1], spec, 3);
  const auto id = s.take(second).table;
  EXPECT_EQ(s.take(first).table, id);
  EXPECT_EQ(s.take(again).table, id);
  EXPECT_EQ(s.view().find_table(id)->start, WorkerClock(3))
      << "rounds before the common clock had no contributions";
}

TEST(MembershipCollective, UnequalClocksAreRefusedForAll) {
  Script s(expecting(1, 3));
  s.form(1, 3);
  const auto spec = dense("w", 10, Apply::collective);
  const auto first = s.open(s.workers[0], spec, 1);
  const auto second = s.open(s.workers[2], spec, 2);
  for (const auto asker : {first, second}) {
    const auto answer = s.take(asker);
    EXPECT_EQ(answer.code, Errc::mismatch);
    EXPECT_NE(answer.text.find("by worker 0 at clock 1, by worker 2 at clock 2"), std::string::npos)
        << answer.text;
  }
  EXPECT_TRUE(s.view().tables.empty());
}

TEST(MembershipCollective, DifferentSpecsAreRefusedForAll) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto first = s.open(s.workers[0], dense("w", 10, Apply::collective));
  const auto second = s.open(s.workers[1], dense("w", 11, Apply::collective));
  EXPECT_EQ(s.take(first).code, Errc::mismatch);
  EXPECT_EQ(s.take(second).code, Errc::mismatch);
}

TEST(MembershipCollective, TheDeadlineNamesWhoDidNotCome) {
  Script s(expecting(1, 3));
  s.form(1, 3);
  const auto first = s.open(s.workers[1], dense("w", 10, Apply::collective));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(s.find(first), nullptr);
    s.now += seconds(1);
    s.beat();
  }
  const auto answer = s.take(first);
  EXPECT_EQ(answer.code, Errc::timed_out);
  EXPECT_NE(answer.text.find("2 of 3 did not come in time (workers 0, 2)"), std::string::npos)
      << answer.text;
}

TEST(MembershipCollective, WhoLeavesIsNotWaitedFor) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto first = s.open(s.workers[0], dense("w", 10, Apply::collective));
  s.leave(s.workers[1]);
  EXPECT_EQ(s.take(first).code, Errc::ok);
}

TEST(MembershipCollective, ALateJoinerOpensItAtItsFirstClock) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  s.tick(s.workers[0], 4);
  const auto spec = dense("w", 10, Apply::collective);
  const auto first = s.open(s.workers[0], spec, 4);
  const auto id = s.take(first).table;
  const auto late = s.take(s.join(Role::worker, 400));
  EXPECT_EQ(s.take(s.open(late.joined->node, spec, late.joined->start.value)).table, id);
  // And while another is being opened: it contributes from its first clock on.
  const auto other = dense("v", 10, Apply::collective);
  const auto its = s.open(late.joined->node, other, late.joined->start.value);
  EXPECT_EQ(s.find(its), nullptr);
  const auto old = s.open(s.workers[0], other, 4);
  EXPECT_EQ(s.take(its).table, s.take(old).table);
  EXPECT_EQ(s.view().find_table(s.take(old).table)->start, WorkerClock(4));
}

TEST(MembershipCollective, WhoGivesUpHasNotOpenedIt) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto spec = dense("c", 100, Apply::collective);
  const auto given_up = s.open(s.workers[0], spec);
  s.cancel(given_up);
  EXPECT_EQ(s.take(given_up).code, Errc::cancelled);
  EXPECT_NE(s.take(given_up).text.find("(workers 1)"), std::string::npos) << s.take(given_up).text;
  s.tick(s.workers[0], 1);
  s.tick(s.workers[1], 1);
  const auto second = s.open(s.workers[1], spec, 1);
  EXPECT_EQ(s.find(second), nullptr);
  EXPECT_EQ(s.take(s.open(s.workers[0], spec, 1)).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
}

TEST(MembershipCollective, ABrokenConnectionTakesItsOpenBack) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto spec = dense("w", 10, Apply::collective);
  const auto first = s.open(s.workers[0], spec);
  s.members.forget(first);
  const auto second = s.open(s.workers[1], spec);
  EXPECT_EQ(s.find(second), nullptr);
  const auto repeated = s.open(s.workers[0], spec);
  EXPECT_EQ(s.take(second).table, s.take(repeated).table);
  EXPECT_EQ(s.find(first), nullptr);
}

// ---- Parameters.

TEST(MembershipParameters, OfRoundsChangeOnlyAheadOfEveryFold) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  auto spec = dense("w", 10, Apply::per_clock, 3);
  spec.update = Sgd{.learning_rate = 0.1};
  const auto id = s.take(s.open(s.workers[0], spec)).table;
  s.tick(s.workers[0], 10);
  const auto early = s.take(s.set(s.workers[0], id, {"learning_rate", 0.5, WorkerClock(14)}));
  EXPECT_EQ(early.code, Errc::out_of_range);
  EXPECT_NE(early.text.find("from clock 15 on"), std::string::npos) << early.text;
  EXPECT_EQ(s.take(s.set(s.workers[0], id, {"learning_rate", 0.5, WorkerClock(15)})).code,
            Errc::ok);
  EXPECT_EQ(s.take(s.set(s.workers[0], id, {"learning_rate", 0.6, WorkerClock(-1)})).code,
            Errc::ok);
  const auto unknown = s.take(s.set(s.workers[0], id, {"lerning_rate", 0.5, WorkerClock(-1)}));
  EXPECT_EQ(unknown.code, Errc::unknown_name);
  EXPECT_NE(unknown.text.find("did you mean 'learning_rate'"), std::string::npos) << unknown.text;
  EXPECT_EQ(s.take(s.set(s.workers[0], id, {"learning_rate", HUGE_VAL, WorkerClock(-1)})).code,
            Errc::invalid_argument);
  EXPECT_EQ(s.take(s.set(s.workers[0], TableId(9), {"learning_rate", 1, WorkerClock(-1)})).code,
            Errc::unknown_name);
  const std::vector<ParameterChange> expected{{"learning_rate", 0.5, WorkerClock(15)},
                                              {"learning_rate", 0.6, WorkerClock(15)}};
  EXPECT_EQ(s.view().find_table(id)->parameters, expected);
}

/// A link asks again when an answer was lost.
TEST(MembershipParameters, AChangeThatIsAskedForAgainIsOne) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  auto spec = dense("w", 10, Apply::per_clock, 3);
  spec.update = Sgd{.learning_rate = 0.1};
  const auto rounds = s.take(s.open(s.workers[0], spec)).table;
  spec.name = "v";
  spec.apply = Apply::on_arrival;
  const auto arrivals = s.take(s.open(s.workers[0], spec)).table;
  const auto set = [&](TableId table, double value, std::int64_t from) {
    return s.take(s.set(s.workers[0], table, {"learning_rate", value, WorkerClock(from)})).code;
  };
  const auto changes = [&](TableId table) { return s.view().find_table(table)->parameters.size(); };
  EXPECT_EQ(set(rounds, 0.5, 15), Errc::ok);
  EXPECT_EQ(set(arrivals, 0.5, -1), Errc::ok);
  s.tick(s.workers[0], 20);
  EXPECT_EQ(set(rounds, 0.5, 15), Errc::ok) << "though no change may begin there now";
  EXPECT_EQ(set(rounds, 0.5, -1), Errc::ok);
  EXPECT_EQ(set(arrivals, 0.5, -1), Errc::ok);
  EXPECT_EQ(changes(rounds), 1u);
  EXPECT_EQ(changes(arrivals), 1u);
  EXPECT_EQ(set(rounds, 0.5, 14), Errc::out_of_range) << "it holds from 15 on only";
  EXPECT_EQ(set(rounds, 0.6, 40), Errc::ok);
  EXPECT_EQ(set(rounds, 0.6, 30), Errc::ok) << "earlier than it did";
  EXPECT_EQ(set(rounds, 0.5, 40), Errc::ok) << "the last one holds";
  EXPECT_EQ(changes(rounds), 4u);
}

TEST(MembershipParameters, OfArrivalsChangeAtOnce) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  auto spec = dense("w", 10, Apply::on_arrival, 3);
  spec.update.rule = "sgd";  // by its name alone
  const auto id = s.take(s.open(s.workers[0], spec)).table;
  EXPECT_EQ(s.take(s.set(s.workers[0], id, {"lerning_rate", 1, WorkerClock(-1)})).code,
            Errc::unknown_name);
  const auto range = s.take(s.set(s.workers[0], id, {"learning_rate", -5, WorkerClock(-1)}));
  EXPECT_EQ(range.code, Errc::out_of_range);
  EXPECT_NE(range.text.find("a finite number at least 0"), std::string::npos) << range.text;
  EXPECT_TRUE(s.view().find_table(id)->parameters.empty());
  EXPECT_EQ(s.take(s.set(s.workers[0], id, {"learning_rate", 0.5, WorkerClock(-1)})).code,
            Errc::ok);
  EXPECT_EQ(s.view().find_table(id)->parameters.size(), 1u);
}

// ---- Barriers.

TEST(MembershipBarrier, OpensWhenAllHaveComeOrAreGone) {
  Script s(expecting(1, 3));
  s.form(1, 3);
  const auto first = s.barrier(s.workers[0], 1);
  const auto second = s.barrier(s.workers[1], 1);
  EXPECT_EQ(s.find(first), nullptr);
  s.leave(s.workers[2]);
  EXPECT_EQ(s.take(first).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  EXPECT_EQ(s.take(s.barrier(s.workers[2], 1)).code, Errc::fenced);
}

TEST(MembershipBarrier, CountsOfLateJoinersDoNotMatter) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  for (std::uint64_t n = 1; n <= 5; ++n)
    EXPECT_EQ(s.take(s.barrier(s.workers[0], n)).code, Errc::ok);
  const auto late = s.joined(Role::worker, 400);
  const auto sixth = s.barrier(s.workers[0], 6);
  EXPECT_EQ(s.find(sixth), nullptr);
  const auto first = s.barrier(late, 1);
  EXPECT_EQ(s.take(sixth).code, Errc::ok);
  EXPECT_EQ(s.take(first).code, Errc::ok);
}

TEST(MembershipBarrier, WhoJoinsLaterIsNotAwaited) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto first = s.barrier(s.workers[0], 1);
  s.joined(Role::worker, 400);
  const auto second = s.barrier(s.workers[1], 1);
  EXPECT_EQ(s.take(first).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
}

TEST(MembershipBarrier, ABrokenConnectionTakesItsArrivalBack) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.members.forget(s.barrier(s.workers[0], 1));
  const auto second = s.barrier(s.workers[1], 1);
  EXPECT_EQ(s.find(second), nullptr);
  const auto repeated = s.barrier(s.workers[0], 1);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  EXPECT_EQ(s.take(repeated).code, Errc::ok);
}

TEST(MembershipBarrier, WhoGivesUpIsAwaitedAgain) {
  Script s(expecting(1, 3));
  s.form(1, 3);
  const auto given_up = s.barrier(s.workers[0], 1);
  const auto other = s.barrier(s.workers[1], 1);
  s.cancel(given_up);
  EXPECT_EQ(s.take(given_up).code, Errc::cancelled);
  EXPECT_NE(s.take(given_up).text.find("1 of 3 workers did not arrive in time (workers 2)"),
            std::string::npos)
      << s.take(given_up).text;
  const auto third = s.barrier(s.workers[2], 1);
  EXPECT_EQ(s.find(other), nullptr) << "it opened without worker 0";
  const auto again = s.barrier(s.workers[0], 2);
  for (const auto asker : {again, other, third}) EXPECT_EQ(s.take(asker).code, Errc::ok);
}

TEST(MembershipBarrier, WhatHasOpenedIsNotTakenBack) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto first = s.barrier(s.workers[0], 1);
  const auto second = s.barrier(s.workers[1], 1);
  s.cancel(first);
  EXPECT_EQ(s.take(first).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  s.cancel(first);  // answered long since
  EXPECT_EQ(s.find(s.barrier(s.workers[0], 2)), nullptr);
}

TEST(MembershipBarrier, ARepeatBeforeTheOldConnectionEndsCountsOnce) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto before = s.barrier(s.workers[0], 1);
  const auto repeated = s.barrier(s.workers[0], 1);
  s.members.forget(before);
  const auto second = s.barrier(s.workers[1], 1);
  EXPECT_EQ(s.take(repeated).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  EXPECT_EQ(s.find(s.barrier(s.workers[1], 2)), nullptr) << "worker 0 counted twice";
}

TEST(MembershipBarrier, AnEarlierArrivalThatComesLateIsIgnored) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto second = s.barrier(s.workers[0], 2);  // over a new connection
  const auto first = s.barrier(s.workers[0], 1);   // given up, over the old one
  EXPECT_EQ(s.take(first).code, Errc::cancelled);
  EXPECT_EQ(s.take(s.barrier(s.workers[1], 1)).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  EXPECT_EQ(s.find(s.barrier(s.workers[1], 2)), nullptr);
}

TEST(MembershipBarrier, LaterArrivalsOfTheSameWorkerMoveUp) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  const auto first = s.barrier(s.workers[0], 1);
  const auto second = s.barrier(s.workers[0], 2);  // of another thread
  const auto third = s.barrier(s.workers[0], 3);
  s.cancel(first);
  EXPECT_EQ(s.take(s.barrier(s.workers[1], 1)).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  EXPECT_EQ(s.find(third), nullptr);
  EXPECT_EQ(s.take(s.barrier(s.workers[1], 2)).code, Errc::ok);
  EXPECT_EQ(s.take(third).code, Errc::ok);
}

TEST(MembershipBarrier, OneThatNobodyIsAtIsNone) {
  for (const bool dies : {false, true}) {
    Script s(expecting(1, 3));
    s.form(1, 3);
    const auto only = s.barrier(s.workers[2], 1);
    if (dies)
      s.leave(s.workers[2]);
    else
      s.cancel(only);
    const auto late = s.joined(Role::worker, 400);
    const auto first = s.barrier(s.workers[0], 1);
    s.barrier(s.workers[1], 1);
    if (!dies) s.barrier(s.workers[2], 2);
    EXPECT_EQ(s.find(first), nullptr) << "the late joiner was there at the first arrival";
    EXPECT_EQ(s.take(s.barrier(late, 1)).code, Errc::ok);
    EXPECT_EQ(s.take(first).code, Errc::ok);
  }
}

TEST(MembershipBarrier, WhoMissedTheAnswerGetsItFromTheNextScheduler) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.barrier(s.workers[0], 1);
  const auto second = s.barrier(s.workers[1], 1);
  EXPECT_EQ(s.take(second).code, Errc::ok);
  s.restart();  // worker 0 never heard, worker 1 went on
  EXPECT_EQ(s.take(s.barrier(s.workers[0], 1)).code, Errc::ok);
}

// ---- Restarts.

TEST(MembershipRestart, RaisesTheTermAndKeepsWhatWasStored) {
  Script s(expecting(2, 2));
  s.form(2, 2);
  const auto id = s.take(s.open(s.workers[0], dense("w", 10))).table;
  const auto before = s.view();
  s.restart();
  EXPECT_EQ(s.view().epoch, (Epoch{before.epoch.term + 1, 1}));
  EXPECT_EQ(s.view().tables, before.tables);
  EXPECT_EQ(s.view().roster, before.roster);
  EXPECT_EQ(s.joined(Role::server, 100), s.servers[0]);
  for (const auto worker : s.workers) s.tick(worker, 0);
  EXPECT_GT(s.joined(Role::worker, 400), s.workers[1]);
  EXPECT_GT(s.take(s.open(s.workers[0], dense("v", 10))).table, id);
}

TEST(MembershipRestart, KnowsTheServersRules) {
  Script script(expecting(2, 1));
  script.form(2, 1);
  script.restart();
  script.tick(script.workers[0], 0);
  auto spec = dense("t", 100);
  spec.update.rule = "ad";
  EXPECT_EQ(script.take(script.open(script.workers[0], spec)).code, Errc::unknown_name);
  spec.update.rule = "add";
  EXPECT_EQ(script.take(script.open(script.workers[0], spec)).code, Errc::ok);
}

TEST(MembershipRestart, NobodyJoinsUntilTheRosterHasReported) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.tick(s.workers[0], 7);
  s.tick(s.workers[1], 7);
  s.restart();
  EXPECT_TRUE(s.members.recovering());
  const auto late = s.join(Role::worker, 400);
  const auto open = s.open(s.workers[0], dense("w", 10), 9);
  EXPECT_EQ(s.find(late), nullptr);
  EXPECT_EQ(s.find(open), nullptr);
  s.tick(s.workers[0], 9);
  EXPECT_EQ(s.find(late), nullptr);
  EXPECT_LE(s.clock(), 7);
  s.tick(s.workers[1], 8);
  EXPECT_FALSE(s.members.recovering());
  EXPECT_EQ(s.clock(), 8);
  EXPECT_EQ(s.take(late).joined->start, WorkerClock(10));
  EXPECT_EQ(s.view().find_table(s.take(open).table)->start, WorkerClock(8));
}

/// However long the roster takes to report, the others have open_timeout to come.
TEST(MembershipRestart, ACollectiveOpenIsWaitedForFromTheRecoveryOn) {
  auto options = expecting(1, 2);
  options.worker_lease = options.lost_after = 4 * options.open_timeout;
  Script s(options);
  s.form(1, 2);
  s.restart();
  const auto spec = dense("w", 10, Apply::collective);
  s.tick(s.workers[0], 1);
  const auto first = s.open(s.workers[0], spec, 1);
  s.pass(options.open_timeout + Duration(1));
  s.tick(s.workers[1], 1);
  ASSERT_FALSE(s.members.recovering());
  EXPECT_EQ(s.find(first), nullptr);
  s.pass(options.open_timeout - Duration(1));
  s.beat();
  const auto second = s.open(s.workers[1], spec, 1);
  EXPECT_EQ(s.take(first).code, Errc::ok);
  EXPECT_EQ(s.take(second).code, Errc::ok);
}

TEST(MembershipRestart, GivesEverybodyAFreshLease) {
  Script s(expecting(1, 2));
  s.form(1, 2);
  s.now += seconds(1000);
  s.restart();
  EXPECT_EQ(s.view().nodes.size(), 3u);
  EXPECT_EQ(s.view().roster.size(), 2u);
  s.tick(s.workers[0], 3);
  s.now += s.options.worker_lease - Duration(1);
  s.tick(s.workers[0], 3);
  EXPECT_TRUE(s.members.recovering()) << "the other may still report";
  s.pass(Duration(1));
  EXPECT_FALSE(s.members.recovering());
  EXPECT_EQ(s.view().roster.size(), 1u);
  EXPECT_EQ(s.clock(), 3);
}

TEST(MembershipRestart, AServerLostRightAfterwardsChangesItsChainsInTheNewTerm) {
  Script s(expecting(1, 1));
  s.form(1, 1);
  const auto id = s.take(s.open(s.workers[0], dense("w", 10))).table;
  const auto old_term = s.view().epoch.term;
  s.members = Membership(s.options, s.stored, s.now);
  s.members.lost(s.servers[0], "the test says so");  // before the new scheduler has stored anything
  EXPECT_EQ(s.view().find_table(id)->slots[0].since, (Epoch{old_term + 1, 1}));
}

// ---- Anything, in any order.

/// Random events, restarts and stale messages. After each: G and epochs do not go back, G is at
/// most what each worker of the roster told, newcomers stand ahead of every clock that may be
/// folded, ranks are the lowest free ones.
class MembershipStorm : public testing::TestWithParam<std::uint64_t> {
 protected:
  void check(Script& s) {
    const auto& view = s.view();
    ASSERT_GE(view.epoch, epoch_);
    epoch_ = view.epoch;
    if (!s.members.recovering()) {
      ASSERT_GE(s.clock(), clock_) << "G went back";
      clock_ = s.clock();
    }
    std::set<Rank> ranks;
    for (const auto& entry : view.roster) {
      ASSERT_TRUE(ranks.insert(entry.rank).second);
      const auto told = told_.find(entry.worker);
      const auto reported = told == told_.end() ? entry.start.value : told->second;
      ASSERT_LE(s.clock(), reported) << "G is ahead of worker " << entry.worker.value;
      if (!seen_.insert(entry.worker).second || entry.start.value == 0) continue;
      ASSERT_GE(entry.start.value, clock_before_ + window_before_) << "a newcomer below a fold";
    }
  }
  Epoch epoch_;
  std::int64_t clock_ = 0, clock_before_ = 0, window_before_ = 2;
  std::map<NodeId, std::int64_t> told_;
  std::set<NodeId> seen_;
};

TEST_P(MembershipStorm, KeepsItsInvariants) {
  Random random(GetParam());
  auto options = expecting(2, 3);
  options.straggler_limit = random.chance(0.3) ? 6 : 0;
  Script s(options);
  s.form(2, 3);
  check(s);
  std::uint64_t incarnation = 1000;
  for (int step = 0; step < 400; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    clock_before_ = clock_;
    window_before_ = s.view().window;
    const auto roster = s.view().roster;
    const auto worker = roster.empty() ? NodeId(9999) : roster[random.below(roster.size())].worker;
    const auto start = roster.empty() ? 0 : s.view().find_worker(worker)->start.value;
    auto& told = told_[worker];
    told = std::max(told, start);
    switch (random.below(12)) {
      case 0:
        s.join(Role::worker, ++incarnation);
        break;
      case 1:
        s.join(Role::server, ++incarnation);
        break;
      case 2:
        if (random.chance(0.3)) s.members.leave(s.next++, worker);
        break;
      case 3:
        if (random.chance(0.2)) s.restart();
        break;
      case 4:
        s.members.suspect(NodeId(static_cast<std::uint32_t>(random.below(20))));
        break;
      case 5:
        if (random.chance(0.3))
          s.members.lost(NodeId(static_cast<std::uint32_t>(random.below(20))), "the test says so");
        break;
      case 6: {
        const auto name = "t" + std::to_string(random.below(6));
        const auto mode = static_cast<Apply>(random.below(3));
        s.open(worker, dense(name, 10, mode, static_cast<std::int64_t>(random.below(4))), told);
        break;
      }
      case 7:
        s.barrier(worker, 1 + random.below(50));
        break;
      case 8:
        s.now += std::chrono::milliseconds(random.below(random.chance(0.1) ? 12000 : 1500));
        if (random.chance(0.9)) s.beat();
        break;
      case 9:
        if (random.chance(0.5) && s.next > 2) s.members.forget(1 + random.below(s.next - 1));
        break;
      default: {
        told += static_cast<std::int64_t>(random.below(3));
        s.tick(worker, told, told + static_cast<std::int64_t>(random.below(2)));
        if (random.chance(0.2)) s.tick(worker, std::max<std::int64_t>(0, told - 2));  // an old one
      }
    }
    check(s);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MembershipStorm, testing::Range<std::uint64_t>(1, 101));

}  // namespace
}  // namespace shoal
