// Members that do not come, die, stop or leave: nobody hangs, and the error says who.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "tests/group/members.h"

namespace shoal {
namespace {

using test::as_threads;
using test::group_name;
using test::HastyClock;
using test::MemberProcess;
using test::reduce_and_gather;

const SteadyClock kSteadyTime;
/// Longer than any test: what ends with it is not noticed otherwise.
constexpr Duration kLong = std::chrono::hours(1);

GroupOptions member_of(const std::string& name, std::uint32_t rank, std::uint32_t size) {
  return {.name = name,
          .rank = rank,
          .size = size,
          .algorithm = GroupAlgorithm::host,
          .timeout = kLong};
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(GroupFaults, MemberThatNeverComesIsNamed) {
  HastyClock clock;
  clock.hurry(kLong / 3);
  auto options = member_of(group_name(), 0, 3);
  const auto alone = open_group(options, clock);
  ASSERT_FALSE(alone.ok());
  EXPECT_EQ(alone.code(), Errc::timed_out);
  EXPECT_TRUE(has(alone.error().what, "no member of rank 1, 2 came")) << alone.error().what;
  options.rank = 1;
  const auto without_first = open_group(options, clock);
  EXPECT_EQ(without_first.code(), Errc::timed_out);
  EXPECT_TRUE(has(without_first.error().what, "member 0 did not come"));
}

TEST(GroupFaults, SizesThatDifferAreToldToBoth) {
  const auto name = group_name();
  as_threads(2, [&](std::uint32_t rank) {
    const auto opened = open_group(member_of(name, rank, 2 + rank), kSteadyTime);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.code(), Errc::mismatch);
    EXPECT_TRUE(has(opened.error().what, "member 0 says that it has 2 members, member 1 says 3"))
        << opened.error().what;
  });
}

TEST(GroupFaults, TwoOfOneRankAreRefused) {
  const auto name = group_name();
  as_threads(3, [&](std::uint32_t i) {
    const auto opened = open_group(member_of(name, i == 0 ? 0 : 1, 3), kSteadyTime);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.code(), Errc::mismatch) << opened.error().what;
    EXPECT_TRUE(has(opened.error().what, "two members say that they are of rank 1"));
  });
}

/// Processes of rank 1 and 2, of which 2 does `end` in the middle; this is member 0.
void lose_one(const std::function<void()>& end, int ends_with, Errc code, std::string_view why) {
  const auto name = group_name();
  const auto member = [&](std::uint32_t rank) {
    const auto group = open_group(member_of(name, rank, 3), kSteadyTime);
    if (!group.ok() || !reduce_and_gather<float>(**group, {0, 100}, 1, 1).empty()) return 1;
    if (rank == 2) {
      end();
      return 0;
    }
    const auto outcome = reduce_and_gather<float>(**group, {0, 100}, 1, 2);
    const auto again = (*group)->agree({});
    return has(outcome, why) && again.code() == code ? 0 : 2;
  };
  MemberProcess one([&] { return member(1); });
  MemberProcess two([&] { return member(2); });
  EXPECT_EQ(member(0), 0);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), ends_with);
}

TEST(GroupFaults, MemberThatIsKilledIsNamedAtOnce) {
  lose_one([] { ::kill(::getpid(), SIGKILL); }, -SIGKILL, Errc::peer_lost, "member 2 died");
}

TEST(GroupFaults, MemberThatLeavesIsNamedAtOnce) {
  lose_one([] {}, 0, Errc::peer_lost, "member 2 left the group");
}

TEST(GroupFaults, StoppedMemberIsNamedAtTheDeadlineAndHearsOfIt) {
  const auto name = group_name();
  MemberProcess stops([&] {
    const auto group = open_group(member_of(name, 1, 2), kSteadyTime);
    if (!group.ok()) return 1;
    ::raise(SIGSTOP);
    const auto outcome = reduce_and_gather<float>(**group, {0, 100}, 1, 1);
    return has(outcome, "member 0 waited in vain for member 1") ? 0 : 2;
  });
  HastyClock clock;
  const auto group = open_group(member_of(name, 0, 2), clock);
  ASSERT_TRUE(group.ok()) << group.error().message();
  stops.wait_until_stopped();
  clock.hurry(kLong / 3);
  const auto outcome = reduce_and_gather<float>(**group, {0, 100}, 1, 1);
  EXPECT_TRUE(has(outcome, "reduce_scatter")) << outcome;
  EXPECT_TRUE(has(outcome, "waited in vain for member 1: stopped")) << outcome;
  EXPECT_EQ((*group)->agree({}).code(), Errc::timed_out) << "for good";
  stops.signal(SIGCONT);
  EXPECT_EQ(stops.wait(), 0);
}

TEST(GroupFaults, MemberThatDiesWhileOthersAreAwaitedMayComeAgain) {
  const auto name = group_name();
  MemberProcess first([&] {
    // Waits for member 2, who comes only when this one is dead.
    (void)open_group(member_of(name, 1, 3), kSteadyTime);
    return 0;
  });
  MemberProcess zero([&] {
    const auto group = open_group(member_of(name, 0, 3), kSteadyTime);
    return group.ok() && reduce_and_gather<float>(**group, {0, 9}, 1, 1).empty() ? 0 : 1;
  });
  first.signal(SIGKILL);
  EXPECT_EQ(first.wait(), -SIGKILL);
  as_threads(2, [&](std::uint32_t i) {
    const auto group = open_group(member_of(name, 1 + i, 3), kSteadyTime);
    ASSERT_TRUE(group.ok()) << group.error().message();
    EXPECT_EQ(reduce_and_gather<float>(**group, {0, 9}, 1, 1), "");
  });
  EXPECT_EQ(zero.wait(), 0);
}

TEST(GroupFaults, ForkedChildIsNoMember) {
  const auto group = open_group(member_of(group_name(), 0, 1), kSteadyTime).value();
  MemberProcess child([&] {
    const auto status = group->agree({});
    return status.code() == Errc::unavailable ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(group->agree({}).ok());
}

}  // namespace
}  // namespace shoal
