// The group over shared memory, of threads and of processes: what it computes, and what it refuses.

#include <gtest/gtest.h>

#include "tests/group/members.h"

namespace shoal {
namespace {

using test::as_threads;
using test::group_name;
using test::MemberProcess;
using test::reduce_and_gather;

const SteadyClock kSteady;

GroupOptions options_of(const std::string& name, std::uint32_t rank, std::uint32_t size) {
  return {.name = name, .rank = rank, .size = size, .algorithm = GroupAlgorithm::host};
}

/// Everything with a group: dtypes, sizes that are odd, smaller than the group, of several pieces.
std::string try_all(Group& group) {
  std::string wrong;
  const auto expect = [&](const std::string& outcome) {
    if (wrong.empty()) wrong = outcome;
  };
  std::uint64_t seed = 0;
  for (const std::uint64_t rows : {0, 1, 2, 3, 5, 127, 1000})
    for (const std::uint64_t row_values : {1, 7}) {
      ++seed;
      expect(reduce_and_gather<float>(group, {3, 3 + rows}, row_values, seed));
      expect(reduce_and_gather<double>(group, {0, rows}, row_values, seed));
      expect(reduce_and_gather<Float16>(group, {0, rows}, row_values, seed));
      expect(reduce_and_gather<BFloat16>(group, {0, rows}, row_values, seed));
      expect(reduce_and_gather<std::int32_t>(group, {0, rows}, row_values, seed));
      expect(reduce_and_gather<std::int64_t>(group, {0, rows}, row_values, seed));
      expect(reduce_and_gather<float>(group, {0, rows}, row_values, seed, Aggregate::min));
      expect(reduce_and_gather<float>(group, {0, rows}, row_values, seed, Aggregate::max));
    }
  expect(reduce_and_gather<float>(group, {0, 20'011}, 3, ++seed));
  return wrong;
}

TEST(HostGroup, ThreadsReduceByRank) {
  for (std::uint32_t size = 1; size <= 5; ++size) {
    const auto name = group_name();
    as_threads(size, [&](std::uint32_t rank) {
      auto options = options_of(name, rank, size);
      options.stage_bytes = 8192;  // so that there are many pieces
      const auto group = open_group(options, kSteady);
      ASSERT_TRUE(group.ok()) << group.error().message();
      EXPECT_EQ(try_all(**group), "");
    });
  }
}

TEST(HostGroup, ProcessesReduceByRank) {
  for (std::uint32_t size = 2; size <= 5; ++size) {
    const auto name = group_name();
    std::vector<MemberProcess> members;
    for (std::uint32_t rank = 0; rank < size; ++rank)
      members.emplace_back([&, rank] {
        const auto group = open_group(options_of(name, rank, size), kSteady);
        return group.ok() && try_all(**group).empty() ? 0 : 1;
      });
    for (auto& member : members) EXPECT_EQ(member.wait(), 0);
  }
}

TEST(HostGroup, SaysWhatItIsAndWhy) {
  const auto name = group_name();
  as_threads(2, [&](std::uint32_t rank) {
    auto options = options_of(name, rank, 2);
    options.algorithm = GroupAlgorithm::automatic;
    const auto group = open_group(options, kSteady).value();
    EXPECT_EQ(group->explain(), "group '" + name + "': member " + std::to_string(rank) +
                                    " of 2, reduce-scatter and all-gather through shared memory, "
                                    "2048 KiB of each: member 0 has no GPU");
  });
}

TEST(HostGroup, NameIsFreeAgainWhenAllAreThere) {
  const auto name = group_name();
  as_threads(2, [&](std::uint32_t rank) {
    const auto first = open_group(options_of(name, rank, 2), kSteady).value();
    const auto second = open_group(options_of(name, rank, 2), kSteady).value();
    EXPECT_EQ(reduce_and_gather<float>(*first, {0, 10}, 1, 1), "");
    EXPECT_EQ(reduce_and_gather<float>(*second, {0, 10}, 1, 2), "");
  });
}

TEST(HostGroup, OptionsThatCannotBeAreRefused) {
  const auto refused = [](GroupOptions options) { return open_group(options, kSteady).error(); };
  EXPECT_EQ(refused({.name = "a", .rank = 2, .size = 2}).code, Errc::invalid_argument);
  EXPECT_EQ(refused({.name = "a", .size = 0}).code, Errc::invalid_argument);
  EXPECT_EQ(refused({.name = "a", .size = 65}).code, Errc::invalid_argument);
  EXPECT_EQ(refused({.name = "", .size = 2}).code, Errc::invalid_argument);
  EXPECT_EQ(refused({.name = std::string(200, 'x'), .size = 2}).code, Errc::invalid_argument);
  EXPECT_EQ(refused({.name = "a", .size = 8, .stage_bytes = 64}).code, Errc::invalid_argument);
}

/// What members of rank 0 and 1 hear who call for different things.
std::vector<Error> calls_that_differ(const std::function<Status(Group&)>& call) {
  const auto name = group_name();
  std::vector<Error> heard(2);
  as_threads(2, [&](std::uint32_t rank) {
    const auto group = open_group(options_of(name, rank, 2), kSteady).value();
    const auto status = call(*group);
    ASSERT_FALSE(status.ok());
    heard[rank] = status.error();
    EXPECT_EQ(reduce_and_gather<float>(*group, {0, 10}, 1, 1), "") << "the group goes on";
  });
  return heard;
}

Status reduce_rows(Group& group, RowRange rows, std::int64_t clock = 0, std::size_t extra = 0) {
  GroupWork work{.shares = Shares(rows, group.size())};
  work.clock = clock;
  std::vector<float> in(rows.size() + extra), share(work.shares.of(group.rank()).size());
  return group.reduce_scatter(work, host_view(std::span<const float>(in)),
                              host_view(std::span(share)));
}

TEST(HostGroup, MembersThatReduceDifferentRowsAreNamed) {
  for (const auto& error : calls_that_differ([](Group& group) {
         return reduce_rows(group, {0, 10 + 2ul * group.rank()});
       })) {
    EXPECT_EQ(error.code, Errc::mismatch);
    EXPECT_NE(error.what.find("member 0 called for rows [0, 10), member 1 for rows [0, 12)"),
              std::string::npos)
        << error.what;
  }
}

/// Though they may be the same rows by chance.
TEST(HostGroup, SharesOfOtherUnitsAreTold) {
  for (const auto& error : calls_that_differ([](Group& group) {
         const GroupWork work{.shares = Shares({0, 100}, group.size(), 1 + group.rank())};
         std::vector<float> in(100), share(work.shares.of(group.rank()).size());
         return group.reduce_scatter(work, host_view(std::span<const float>(in)),
                                     host_view(std::span(share)));
       }))
    EXPECT_EQ(error.code, Errc::mismatch) << error.what;
}

TEST(HostGroup, MembersAtDifferentClocksAreNamed) {
  for (const auto& error : calls_that_differ([](Group& group) {
         return reduce_rows(group, {0, 10}, 5 + group.rank());
       }))
    EXPECT_NE(error.what.find("member 0 called for clock 5, member 1 for clock 6"),
              std::string::npos)
        << error.what;
}

TEST(HostGroup, BufferOfAnotherSizeIsEverybodysError) {
  for (const auto& error : calls_that_differ([](Group& group) {
         return reduce_rows(group, {0, 10}, 0, group.rank());  // a value too many at member 1
       })) {
    EXPECT_EQ(error.code, Errc::mismatch);
    EXPECT_NE(error.what.find("member 1: a buffer of 10 rows of 4 bytes has 44 bytes"),
              std::string::npos)
        << error.what;
  }
}

TEST(HostGroup, WhatAMemberTellsIsHeardInTheMiddleOfAnotherCall) {
  for (const auto& error : calls_that_differ([](Group& group) {
         if (group.rank() == 0) return reduce_rows(group, {0, 10});
         return group.agree(Error{Errc::slot_lost, "server 7 is gone"});
       })) {
    EXPECT_EQ(error.code, Errc::slot_lost);
    EXPECT_NE(error.what.find("member 1: server 7 is gone"), std::string::npos) << error.what;
  }
}

TEST(HostGroup, MemoryOfAGpuNeedsOne) {
  for (const auto& error : calls_that_differ([](Group& group) {
         if (group.rank() == 0) return group.agree(Error{Errc::cancelled, "not at all"});
         return group.agree({});
       }))
    EXPECT_EQ(error.code, Errc::cancelled);
  const auto group = open_group(options_of(group_name(), 0, 1), kSteady).value();
  std::vector<float> values(4);
  auto in = host_view(std::span(values));
  in.space = MemorySpace::cuda;
  const GroupWork work{.shares = Shares({0, 4}, 1)};
  const auto status = group->reduce_scatter(work, in, host_view(std::span(values)));
  EXPECT_EQ(status.code(), Errc::invalid_argument);
}

}  // namespace
}  // namespace shoal
