#include "server/engine/sequence.h"

#include <gtest/gtest.h>

#include <map>

#include "core/base/random.h"

namespace shoal {
namespace {

using Known = PushSequence::Known;

Sequence q(std::uint64_t value) { return Sequence(value); }

TEST(PushSequence, TheRulesOneByOne) {
  PushSequence s;
  EXPECT_EQ(s.classify(q(1)), Known::next);
  EXPECT_EQ(s.classify(q(2)), Known::gap);
  s.accept(q(1));
  EXPECT_EQ(s.classify(q(1)), Known::waiting);
  EXPECT_EQ(s.classify(q(2)), Known::next);
  s.accept(q(2));
  s.accept(q(3));
  s.finish(q(1), false);
  EXPECT_EQ(s.last(), q(1));
  EXPECT_EQ(s.classify(q(1)), Known::applied);
  EXPECT_EQ(s.classify(q(2)), Known::waiting);
  s.fall_back(q(2));  // The connection ended.
  EXPECT_EQ(s.classify(q(2)), Known::next);
  EXPECT_EQ(s.classify(q(3)), Known::gap);
  s.accept(q(2));
  s.finish(q(2), true);
  EXPECT_EQ(s.classify(q(2)), Known::burnt);
  EXPECT_EQ(s.classify(q(1)), Known::applied);
}

TEST(PushSequence, RemembersBurntNumbersInRangesAndAdmitsWhatItForgot) {
  PushSequence s;
  std::uint64_t n = 1;
  const auto take = [&](bool burnt) {
    s.accept(q(n));
    s.finish(q(n), burnt);
    ++n;
  };
  for (int i = 0; i < 1000; ++i) take(true);  // One range.
  EXPECT_EQ(s.classify(q(1)), Known::burnt);
  EXPECT_EQ(s.classify(q(1000)), Known::burnt);
  take(false);
  for (std::size_t i = 0; i < PushSequence::kBurntRangesMax; ++i) {
    take(true);
    take(false);
  }
  EXPECT_EQ(s.classify(q(1)), Known::unclear) << "neither claimed as applied nor as burnt";
  EXPECT_EQ(s.classify(q(1001)), Known::applied);
  EXPECT_EQ(s.classify(q(1002)), Known::burnt);
}

/// Random arrivals, applies, burns and broken connections against a map of what happened.
TEST(PushSequence, AgreesWithAModel) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    PushSequence s;
    std::map<std::uint64_t, bool> done;  // number -> burnt
    std::uint64_t last = 0, next = 1;
    for (int step = 0; step < 400; ++step) {
      const auto asked = 1 + random.below(next + 2);
      const auto known = s.classify(q(asked));
      if (asked > next) {
        ASSERT_EQ(known, Known::gap);
      } else if (asked == next) {
        ASSERT_EQ(known, Known::next);
        if (random.chance(0.7)) s.accept(q(next++));
      } else if (asked > last) {
        ASSERT_EQ(known, Known::waiting);
      } else if (known != Known::unclear) {
        ASSERT_EQ(known, done.at(asked) ? Known::burnt : Known::applied);
      }
      if (last + 1 < next && random.chance(0.4)) {
        const bool burnt = random.chance(0.2);
        s.finish(q(++last), burnt);
        done[last] = burnt;
      }
      if (last + 1 < next && random.chance(0.1)) {
        next = last + 1 + random.below(next - last - 1);
        s.fall_back(q(next));
      }
      ASSERT_EQ(s.last(), q(last));
      ASSERT_EQ(s.next(), q(next));
    }
  }
}

}  // namespace
}  // namespace shoal
