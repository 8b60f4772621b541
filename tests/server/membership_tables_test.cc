#include <cmath>
#include <limits>

#include "server/scheduler/membership.h"
#include "server/store/dense_store.h"
#include "tests/server/membership_fixture.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

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
  s.members.suspect(s.servers[0], "is silent");
  const auto id = s.take(s.open(s.workers[0], dense("w", 100 * kSegmentRows))).table;
  for (const auto& chain : s.view().find_table(id)->slots) EXPECT_EQ(chain.head(), s.servers[1]);
  s.members.suspect(s.servers[1], "is silent");
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

TEST(MembershipTables, WhatSparseTablesHoldCountsAsTheServersTellIt) {
  Script s(expecting(1, 1));
  const auto spec = dense("large", 1000, Apply::on_arrival, unbounded);
  const auto needs = memory_of(spec, Geometry::choose_slots(spec, 1));
  s.memory_bytes = needs + 1000;
  s.form(1, 1);
  TableSpec sparse;
  sparse.name = "sparse";
  sparse.layout = Layout::sparse;
  const auto rows = s.take(s.open(s.workers[0], sparse)).table;
  Tick tick;
  tick.node = s.servers[0];
  const auto tells = [&](std::uint64_t bytes, Epoch seen) {
    tick.sparse_bytes = bytes;
    s.members.tick(tick, seen, s.now);
  };
  const auto before = s.view().epoch;
  tells(1001, before);
  const auto refused = s.take(s.open(s.workers[0], spec));
  EXPECT_EQ(refused.code, Errc::no_memory);
  s.members.drop_table(s.next, s.workers[0], rows);
  ASSERT_EQ(s.take(s.next++).code, Errc::ok);
  tells(1001, before);  // It was on its way.
  const auto opened = s.take(s.open(s.workers[0], spec));
  ASSERT_EQ(opened.code, Errc::ok) << opened.text;
  s.members.drop_table(s.next, s.workers[0], opened.table);
  ASSERT_EQ(s.take(s.next++).code, Errc::ok);
  tells(1000, s.view().epoch);
  EXPECT_EQ(s.take(s.open(s.workers[0], spec)).code, Errc::ok) << "just enough is left";
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

}  // namespace
}  // namespace shoal
