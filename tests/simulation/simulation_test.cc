#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/base/log.h"
#include "tests/simulation/cluster.h"

namespace shoal::simulation {
namespace {

/// Seeds of one test case; SHOAL's CI tries all of them, tests/simulation/search.cc as many as one
/// has time for.
constexpr std::uint64_t kSeedsPerCase = 100;
constexpr std::uint64_t kCases = 10;
constexpr std::uint64_t kMutationSeeds = 500;

std::string text(const Outcome& outcome) {
  std::string all = "replay: search --seed " + std::to_string(outcome.seed) + " --verbose\n";
  for (const auto& violation : outcome.violations) all += "  " + violation + "\n";
  return all;
}

/// What the cluster logs of its faults is of no interest here.
class Quiet : public testing::Environment {
  void SetUp() override { set_log_level(LogLevel::off); }
};
const auto* const kQuiet = testing::AddGlobalTestEnvironment(new Quiet);

class Simulation : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Simulation, EveryInvariantHolds) {
  std::uint64_t pushes = 0;
  std::uint64_t pulls = 0;
  std::uint64_t read = 0;
  for (auto seed = GetParam() * kSeedsPerCase + 1; seed <= (GetParam() + 1) * kSeedsPerCase;
       ++seed) {
    const auto outcome = run_seed(seed);
    ASSERT_TRUE(outcome.violations.empty()) << text(outcome);
    pushes += outcome.pushes_applied;
    pulls += outcome.pulls_answered;
    read += outcome.shares_read;
  }
  // A search in which nothing happens proves nothing.
  EXPECT_GT(pushes, kSeedsPerCase);
  EXPECT_GT(pulls, kSeedsPerCase);
  EXPECT_GT(read, kSeedsPerCase) << "one-sided pulls";
}

INSTANTIATE_TEST_SUITE_P(Seeds, Simulation, testing::Range<std::uint64_t>(0, kCases));

/// Found once in some ten thousands or more.
TEST(SimulationSeeds, ThatOnceBrokeStayMended) {
  for (const std::uint64_t seed : {43'846u, 73'508u, 867'109u}) {
    const auto outcome = run_seed(seed);
    EXPECT_TRUE(outcome.violations.empty()) << text(outcome);
  }
}

TEST(SimulationDeterminism, ASeedReplaysBitForBit) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const auto first = run_seed(seed);
    const auto second = run_seed(seed);
    EXPECT_EQ(first.events, second.events) << seed;
    EXPECT_EQ(first.trace_hash, second.trace_hash) << seed;
    EXPECT_EQ(first.pushes_applied, second.pushes_applied) << seed;
    EXPECT_EQ(first.pulls_answered, second.pulls_answered) << seed;
  }
}

/// The search is worth something only if it finds faults that are there.
bool found(const Mutation& mutation) {
  for (std::uint64_t seed = 1; seed <= kMutationSeeds; ++seed)
    if (!run_seed(seed, mutation).violations.empty()) return true;
  return false;
}

TEST(SimulationCanFail, FindsAClockReportedBeforeItsPushesEnded) {
  Mutation mutation;
  mutation.report_clock_early = true;
  EXPECT_TRUE(found(mutation));
}

TEST(SimulationCanFail, FindsALateJoinerAtG) {
  Mutation mutation;
  mutation.join_at_global_clock = true;
  EXPECT_TRUE(found(mutation));
}

TEST(SimulationCanFail, FindsAServerThatForgetsWhatItApplied) {
  Mutation mutation;
  mutation.forget_last = true;
  EXPECT_TRUE(found(mutation));
}

}  // namespace
}  // namespace shoal::simulation
