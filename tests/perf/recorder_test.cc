#include "perf/recorder.h"

#include <gtest/gtest.h>

#include "core/base/random.h"

namespace shoal::perf {
namespace {

TEST(Recorder, QuantilesAreExact) {
  Recorder recorder(1000);
  Random random(5);
  std::vector<int> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i) + 1;
  for (auto i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i)]);
  for (const int value : values) recorder.add(Duration(value));
  const auto latency = recorder.summary();
  EXPECT_EQ(latency.count, 1000u);
  EXPECT_EQ(latency.min, 1);
  EXPECT_EQ(latency.p50, 500);
  EXPECT_EQ(latency.p99, 990);
  EXPECT_EQ(latency.p999, 999);
  EXPECT_EQ(latency.max, 1000);
  EXPECT_DOUBLE_EQ(latency.mean, 500.5);
  EXPECT_NEAR(latency.stdev, 288.675, 0.001);
}

TEST(Recorder, OneSampleIsEveryQuantile) {
  Recorder recorder(4);
  recorder.add(Duration(7));
  const auto latency = recorder.summary();
  EXPECT_EQ(latency.min, 7);
  EXPECT_EQ(latency.p50, 7);
  EXPECT_EQ(latency.p999, 7);
  EXPECT_EQ(latency.stdev, 0);
  EXPECT_EQ(Recorder(4).summary().count, 0u);
}

TEST(Recorder, IsBounded) {
  Recorder recorder(2);
  for (int i = 1; i <= 5; ++i) recorder.add(Duration(i));
  EXPECT_TRUE(recorder.full());
  EXPECT_EQ(recorder.summary().max, 2);
  recorder.clear();
  EXPECT_FALSE(recorder.full());
  EXPECT_EQ(recorder.count(), 0u);
}

}  // namespace
}  // namespace shoal::perf
