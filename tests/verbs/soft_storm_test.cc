#include "tests/verbs/soft_storm.h"

namespace shoal::verbs::test {
namespace {

class SoftStorm : public testing::TestWithParam<std::uint64_t> {};

/// --gtest_random_seed=N replays N's.
TEST_P(SoftStorm, MemoryHoldsWhatTheModelSays) {
  const auto fault = static_cast<Fault>(GetParam());
  const auto first = static_cast<std::uint64_t>(GTEST_FLAG_GET(random_seed)) * 1'000'000 + 1;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;
  for (auto seed = first; seed < first + 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", fault " << GetParam());
    Storm storm(seed, fault);
    storm.run();
    if (HasFailure()) return;
    completed += storm.completed;
    failed += storm.failed;
  }
  // A storm in which nothing happens proves nothing.
  EXPECT_GT(completed, 1000u);
  if (fault != Fault::none && fault != Fault::delays) {
    EXPECT_GT(failed, 30u);
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, SoftStorm, testing::Range<std::uint64_t>(0, kFaults));

}  // namespace
}  // namespace shoal::verbs::test
