#include "server/scheduler/membership.h"
#include "tests/server/membership_fixture.h"

namespace shoal {
namespace {

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

}  // namespace
}  // namespace shoal
