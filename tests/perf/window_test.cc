#include "perf/window.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace shoal::perf {
namespace {

using std::chrono::milliseconds;

/// A path whose operations end one every `interval`, `delay` after their issue at the earliest.
class Path final : public Clock {
 public:
  Path(Duration delay, Duration interval) : delay_(delay), interval_(interval) {}
  TimePoint now() const override { return now_; }
  Status issue(std::uint64_t i) {
    EXPECT_EQ(i, ends_.size());
    free_ = std::max(free_ + interval_, now_ + delay_);
    ends_.push_back(free_);
    ++under_way_;
    most_ = std::max(most_, under_way_);
    return {};
  }
  Status finish(std::uint64_t i) {
    now_ = std::max(now_, ends_.at(i));
    --under_way_;
    return {};
  }
  Result<Measured> run(const Limits& limits, std::uint32_t inflight) {
    Recorder recorder;
    return run_window(
        *this, limits, inflight, 1000, recorder, [this](std::uint64_t i) { return issue(i); },
        [this](std::uint64_t i) { return finish(i); });
  }
  std::size_t issued() const { return ends_.size(); }
  int most() const { return most_; }
  int under_way() const { return under_way_; }

 private:
  Duration delay_, interval_;
  TimePoint now_{}, free_{};
  std::vector<TimePoint> ends_;
  int under_way_ = 0, most_ = 0;
};

TEST(Window, OneAtATimeIsLatency) {
  Path path(milliseconds(2), milliseconds(1));
  const auto measured = path.run({milliseconds(10), milliseconds(100)}, 1);
  ASSERT_TRUE(measured.ok());
  EXPECT_DOUBLE_EQ(measured->latency.p50, 2e6);
  EXPECT_DOUBLE_EQ(measured->latency.max, 2e6);
  EXPECT_DOUBLE_EQ(measured->rate, 500);
  EXPECT_DOUBLE_EQ(measured->bytes_rate, 500e3);
  EXPECT_EQ(path.most(), 1);
}

TEST(Window, FillingAndDrainingDoNotCount) {
  // Eight at a time hide the delay: the rate is the path's own, though the first operation takes
  // eight times as long as the interval.
  Path path(milliseconds(8), milliseconds(1));
  const auto measured = path.run({milliseconds(0), milliseconds(20)}, 8);
  ASSERT_TRUE(measured.ok());
  EXPECT_NEAR(measured->rate, 1000, 1e-6);
  EXPECT_EQ(path.most(), 8);
  EXPECT_EQ(path.under_way(), 0);
  EXPECT_EQ(measured->moved, path.issued() * 1000);
}

TEST(Window, IterationsAreExact) {
  Path path(milliseconds(1), milliseconds(1));
  const auto measured = path.run({.warmup = {}, .duration = {}, .iterations = 7}, 1);
  ASSERT_TRUE(measured.ok());
  EXPECT_EQ(measured->latency.count, 7u);
  EXPECT_EQ(path.issued(), 8u);  // and the one whose end the measurement begins with
}

TEST(Window, SlowOperationsAreCountedAtLeastAFewTimes) {
  Path path(milliseconds(1000), milliseconds(1000));
  const auto measured = path.run({milliseconds(1), milliseconds(1)}, 2);
  ASSERT_TRUE(measured.ok());
  EXPECT_EQ(measured->latency.count, 4u);
  EXPECT_NEAR(measured->rate, 1, 1e-9);
}

TEST(Window, AFailureEndsTheRun) {
  Path path(milliseconds(1), milliseconds(1));
  Recorder recorder;
  const auto measured = run_window(
      path, {}, 4, 8, recorder, [&](std::uint64_t i) { return path.issue(i); },
      [&](std::uint64_t i) -> Status {
        if (i == 3) return Error{Errc::peer_lost, "gone"};
        return path.finish(i);
      });
  EXPECT_EQ(measured.code(), Errc::peer_lost);
}

}  // namespace
}  // namespace shoal::perf
