#include "server/scheduler/membership.h"
#include "tests/server/membership_fixture.h"

namespace shoal {
namespace {

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

}  // namespace
}  // namespace shoal
