#include "perf/bench/eager_path.h"

#include <gtest/gtest.h>

#include "tests/support/allocations.h"

// A push or pull on the eager path, by worker and server together, allocates nothing once
// it has run for a while.

namespace shoal::perf {
namespace {

class EagerPathAllocations : public testing::TestWithParam<EagerCase> {};

TEST_P(EagerPathAllocations, NoneInSteadyState) {
  auto created = EagerPath::create(GetParam());
  if (created.code() == Errc::unavailable) GTEST_SKIP() << created.error().message();
  const auto path = std::move(created).value();
  const auto before_all = test::allocations();
  ASSERT_GT(before_all, 0u) << "making them was not counted";
  ASSERT_TRUE(path->run(300).ok());
  const auto before = test::allocations();
  const auto done = path->run(1000);
  const auto after = test::allocations();
  ASSERT_TRUE(done.ok()) << done.error().message();
  EXPECT_EQ(after - before, 0u) << "after " << before - before_all << " of the first operations";
}

INSTANTIATE_TEST_SUITE_P(All, EagerPathAllocations, testing::ValuesIn(eager_cases()),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::erase(name, '/');
                           return name;
                         });

}  // namespace
}  // namespace shoal::perf
