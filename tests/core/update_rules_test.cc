#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/rules.h"
#include "tests/core/rule_fixture.h"

namespace shoal {
namespace {

using test::of_double;
using test::Pages;
using test::random_inputs;
using test::RawRule;
using test::Reference;
using test::simds_here;
using test::to_double;
using test::UnalignedBytes;

class UpdateRules : public ::testing::TestWithParam<Reference> {
 protected:
  const RuleSet rules_ = RuleSet::builtin();
  const Reference& reference_ = GetParam();
  const RuleKind& kind_ = *rules_.find(reference_.rule);

  /// Calls f.operator()<T>() for every dtype the rule has.
  template <class F>
  void for_each_dtype(F f) {
    f.template operator()<float>();
    f.template operator()<double>();
    f.template operator()<Float16>();
    f.template operator()<BFloat16>();
    if (reference_.integers) {
      f.template operator()<std::int32_t>();
      f.template operator()<std::int64_t>();
    }
  }

  template <class T>
  std::vector<T> inputs(Random& random, std::size_t rows, std::size_t width) {
    return random_inputs<T>(random, reference_, kind_.traits.inputs, rows, width);
  }

  /// Weights of both signs and their states, the same in `pages` and in the reference's doubles.
  template <class T>
  std::vector<std::vector<double>> start(Random& random, const RawRule& rule, Pages<T>& pages,
                                         std::vector<double>& weights) {
    auto& values = pages.weights(0);
    std::vector<std::vector<double>> states;
    for (auto& value : values) {
      const double w = random.chance(0.3) ? 0 : 2 * random.uniform() - 1;
      value = of_double<T>(std::is_integral_v<T> ? 1000 * w : w);
      weights.push_back(to_double(value));
      states.push_back(reference_.initial(weights.back()));
    }
    rule.kernels().reset_dense(rule.functor(), pages.dense(0), nullptr);
    return states;
  }

  template <class T>
  void matches_the_reference(std::size_t rows, std::uint32_t width, host::Simd simd) {
    Random random(rows * 1000 + width);
    RawRule rule(kind_, reference_, dtype_of<T>(), simd);
    Pages<T> pages(kind_, 1, rows, width, false);
    std::vector<double> weights;
    auto states = start(random, rule, pages, weights);
    const std::size_t n_inputs = kind_.traits.inputs;
    // Weights of 16 bits are rounded once an update: by half a unit in the last place at most.
    const double tolerance = std::is_same_v<Accumulator<T>, float> ? 2e-5 : 1e-12;
    const double rounding = std::is_same_v<T, Float16>    ? 0x1p-11
                            : std::is_same_v<T, BFloat16> ? 0x1p-8
                                                          : 0;
    for (std::uint32_t t = 1; t <= 6; ++t) {
      const auto pushed = inputs<T>(random, rows, width);
      pages.step(0) = t;
      rule.kernels().apply_dense(rule.functor(), pages.dense(0), UnalignedBytes(pushed).data(),
                                 nullptr);
      for (std::size_t i = 0; i < rows * width; ++i) {
        std::vector<double> input;
        for (std::size_t k = 0; k < n_inputs; ++k)
          input.push_back(to_double(pushed[(i / width * n_inputs + k) * width + i % width]));
        reference_.update(weights[i], states[i], input, t);
        const double weight = to_double(pages.weights(0)[i]);
        ASSERT_NEAR(weight, weights[i],
                    (tolerance + rounding) * std::max(1.0, std::fabs(weights[i])))
            << reference_.rule << " weight " << i << " of " << rows << "x" << width
            << ", t = " << t;
        for (std::size_t k = 0; k < states[i].size(); ++k)
          ASSERT_NEAR(static_cast<double>(pages.state(0, k, i)), states[i][k],
                      tolerance * std::max(1.0, std::fabs(states[i][k])))
              << reference_.rule << " state " << k;
        if (rounding != 0) weights[i] = weight;  // what the rule goes on with
      }
    }
  }

  template <class T>
  static bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
  }
};

TEST_P(UpdateRules, MatchTheirPapersAtEveryLength) {
  for_each_dtype([this]<class T>() {
    for (const auto simd : simds_here())
      for (const std::size_t rows : {1, 2, 7, 8, 9, 31, 32, 33, 41, 63, 64, 65, 103})
        for (const std::uint32_t width : {1, 3, 40}) matches_the_reference<T>(rows, width, simd);
  });
}

TEST_P(UpdateRules, GiveTheSameBitsInAllForms) {
  if (simds_here().size() == 1) GTEST_SKIP() << "this CPU or compiler has no AVX2";
  for_each_dtype([this]<class T>() {
    constexpr std::size_t kRows = 1003;
    for (const auto simd : simds_here().subspan(1)) {
      Random random(7);
      RawRule baseline(kind_, reference_, dtype_of<T>(), host::Simd::baseline);
      RawRule wide(kind_, reference_, dtype_of<T>(), simd);
      Pages<T> a(kind_, 1, kRows, 1, false);
      Pages<T> b(kind_, 1, kRows, 1, false);
      for (auto* pages : {&a, &b})
        baseline.kernels().reset_dense(baseline.functor(), pages->dense(0), nullptr);
      for (std::uint32_t t = 1; t <= 20; ++t) {
        a.step(0) = b.step(0) = t;
        const auto pushed = inputs<T>(random, kRows, 1);
        const auto* bytes = reinterpret_cast<const std::byte*>(pushed.data());
        baseline.kernels().apply_dense(baseline.functor(), a.dense(0), bytes, nullptr);
        wide.kernels().apply_dense(wide.functor(), b.dense(0), bytes, nullptr);
        ASSERT_TRUE(same_bits(a.weights(0), b.weights(0)));
        ASSERT_TRUE(same_bits(a.all_states(0), b.all_states(0)));
      }
    }
  });
}

/// Sums of pushes of 16-bit floats come in f32, and are not rounded before the rule sees them.
TEST_P(UpdateRules, SumsComeInTheAccumulatorsType) {
  static constexpr std::size_t kRows = 75;
  const auto check = [this]<class T>() {
    for (const auto simd : simds_here())
      for (const std::uint32_t width : {1, 5}) {
        Random random(width);
        RawRule narrow(kind_, reference_, dtype_of<T>(), simd);
        RawRule wide(kind_, reference_, DType::f32, simd);
        Pages<T> a(kind_, 1, kRows, width, true), c(kind_, 1, kRows, width, true);
        Pages<float> b(kind_, 1, kRows, width, true);
        for (std::size_t i = 0; i < kRows * width; ++i) {
          a.weights(0)[i] = c.weights(0)[i] = of_double<T>(2 * random.uniform() - 1);
          b.weights(0)[i] = static_cast<float>(a.weights(0)[i]);
        }
        const auto sums = inputs<float>(random, kRows, width);
        std::vector<std::uint32_t> all(kRows);
        for (std::size_t r = 0; r < kRows; ++r) all[r] = a.position(0, r);
        const UnalignedBytes bytes(sums);
        const auto of_sums = RuleInputs::of_sums(bytes.data());
        for (auto* rows : {&a, &c})
          narrow.kernels().reset_dense(narrow.functor(), rows->dense(0), {});
        wide.kernels().reset_dense(wide.functor(), b.dense(0), {});
        a.step(0) = b.step(0) = 1;
        narrow.kernels().apply_dense(narrow.functor(), a.dense(0), of_sums, {});
        narrow.kernels().apply_rows(narrow.functor(), c.listed(all), of_sums, {});
        wide.kernels().apply_dense(wide.functor(), b.dense(0), bytes.data(), {});
        for (std::size_t i = 0; i < kRows * width; ++i) {
          ASSERT_EQ(a.weights(0)[i], T(b.weights(0)[i])) << reference_.rule;
          ASSERT_EQ(c.weights(0)[i], T(b.weights(0)[i])) << reference_.rule;
          for (std::size_t k = 0; k < kind_.traits.states; ++k)
            ASSERT_EQ(a.state(0, k, i), b.state(0, k, i)) << reference_.rule;
        }
      }
  };
  check.template operator()<Float16>();
  check.template operator()<BFloat16>();
}

/// A dense run works on either way to lay out states.
TEST_P(UpdateRules, DenseRunsWorkOnRowWiseStates) {
  constexpr std::size_t kRows = 37;
  for (const std::uint32_t width : {1, 9}) {
    RawRule rule(kind_, reference_, DType::f32, host::widest_simd());
    Pages<float> arrays(kind_, 1, kRows, width, false);
    Pages<float> by_row(kind_, 1, kRows, width, true);
    Random random(width);
    for (std::uint32_t t = 0; t < 3; ++t) {
      const auto pushed = inputs<float>(random, kRows, width);
      for (auto* pages : {&arrays, &by_row}) {
        if (t == 0) rule.kernels().reset_dense(rule.functor(), pages->dense(0), nullptr);
        pages->step(0) = t + 1;
        rule.kernels().apply_dense(rule.functor(), pages->dense(0), UnalignedBytes(pushed).data(),
                                   nullptr);
      }
    }
    EXPECT_EQ(arrays.weights(0), by_row.weights(0));
    for (std::size_t i = 0; i < kRows * width; ++i)
      for (std::size_t k = 0; k < kind_.traits.states; ++k)
        EXPECT_EQ(arrays.state(0, k, i), by_row.state(0, k, i));
    for (std::size_t row = 0; row < kRows; ++row) {
      const auto row_values = kind_.traits.states * width;
      EXPECT_EQ(by_row.all_states(0)[row * (row_values + 1) + row_values], 0.0f) << "a gap";
    }
  }
}

/// A run in the middle of a segment touches nothing else.
TEST_P(UpdateRules, TouchOnlyTheirRows) {
  RawRule rule(kind_, reference_, DType::f32, host::Simd::baseline);
  Pages<float> pages(kind_, 1, 50, 3, false);
  for (auto& w : pages.weights(0)) w = 0.5f;
  rule.kernels().reset_dense(rule.functor(), pages.dense(0), nullptr);
  const auto weights = pages.weights(0);
  const auto states = pages.all_states(0);
  pages.step(0) = 1;
  DenseRows rows = pages.dense(0);
  rows.first = 11;
  rows.count = 17;
  const std::vector<float> pushed(17 * 3 * kind_.traits.inputs, 1.75f);
  rule.kernels().apply_dense(rule.functor(), rows, UnalignedBytes(pushed).data(), nullptr);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const bool inside = i >= 11 * 3 && i < 28 * 3;
    // min(0.5, 1.75) leaves a weight as it was, too.
    if (!inside || reference_.rule == "min")
      EXPECT_EQ(pages.weights(0)[i], weights[i]) << i;
    else
      EXPECT_NE(pages.weights(0)[i], weights[i]) << i;
    for (std::size_t k = 0; k < kind_.traits.states && !inside; ++k)
      EXPECT_EQ(pages.state(0, k, i), states[k * pages.shape().state_stride / sizeof(float) + i]);
  }
}

/// Listed rows over several pages, in any order, get what the same rows get in a dense run.
TEST_P(UpdateRules, ListedRowsEqualDenseRows) {
  for_each_dtype([this]<class T>() {
    for (const auto simd : simds_here())
      for (const std::uint32_t width : {1, 5, 8, 35}) {
        constexpr std::size_t kPages = 3;
        constexpr std::size_t kRows = 21;  // no power of two: positions have holes
        Random random(width);
        RawRule rule(kind_, reference_, dtype_of<T>(), simd);
        Pages<T> listed(kind_, kPages, kRows, width, true);
        Pages<T> dense(kind_, kPages, kRows, width, false);
        std::vector<std::uint32_t> positions;
        for (std::size_t p = 0; p < kPages; ++p)
          for (std::size_t r = 0; r < kRows; ++r) positions.push_back(listed.position(p, r));
        for (std::size_t i = positions.size(); i > 1; --i)
          std::swap(positions[i - 1], positions[random.below(i)]);
        rule.kernels().reset_rows(rule.functor(), listed.listed(positions), nullptr);
        for (std::size_t p = 0; p < kPages; ++p)
          rule.kernels().reset_dense(rule.functor(), dense.dense(p), nullptr);
        for (std::uint32_t t = 1; t <= 3; ++t) {
          const auto row_values = kind_.traits.inputs * width;
          const auto pushed = inputs<T>(random, positions.size(), width);
          rule.kernels().apply_rows(rule.functor(), listed.listed(positions),
                                    UnalignedBytes(pushed).data(), nullptr);
          for (std::size_t i = 0; i < positions.size(); ++i) {
            const auto page = positions[i] >> listed.shape().page_shift;
            DenseRows row = dense.dense(page);
            dense.step(page) = t;
            row.first = positions[i] & ((1u << listed.shape().page_shift) - 1);
            row.count = 1;
            rule.kernels().apply_dense(
                rule.functor(), row,
                reinterpret_cast<const std::byte*>(pushed.data() + i * row_values), nullptr);
          }
          for (std::size_t p = 0; p < kPages; ++p) {
            ASSERT_EQ(listed.weights(p), dense.weights(p)) << reference_.rule << " width " << width;
            for (std::size_t i = 0; i < kRows * width; ++i)
              for (std::size_t k = 0; k < kind_.traits.states; ++k)
                ASSERT_EQ(listed.state(p, k, i), dense.state(p, k, i)) << reference_.rule;
            for (std::size_t r = 0; r < kRows && kind_.counts_steps; ++r)
              ASSERT_EQ(listed.step(p, r), t);
          }
        }
      }
  });
}

/// Repeated rows in a list are applied one after another.
TEST_P(UpdateRules, RepeatedRowsAreAppliedInOrder) {
  RawRule rule(kind_, reference_, DType::f64, host::Simd::baseline);
  Pages<double> together(kind_, 1, 4, 1, true);
  Pages<double> apart(kind_, 1, 4, 1, true);
  const std::vector<std::uint32_t> all{0, 1, 2, 3};
  for (auto* pages : {&together, &apart})
    rule.kernels().reset_rows(rule.functor(), pages->listed(all), nullptr);
  // Enough rows that a repetition lies within the distance that is fetched ahead.
  std::vector<std::uint32_t> positions;
  Random random(3);
  for (int i = 0; i < 50; ++i) positions.push_back(static_cast<std::uint32_t>(random.below(4)));
  const auto pushed = inputs<double>(random, positions.size(), 1);
  const auto* bytes = reinterpret_cast<const std::byte*>(pushed.data());
  rule.kernels().apply_rows(rule.functor(), together.listed(positions), bytes, nullptr);
  for (std::size_t i = 0; i < positions.size(); ++i)
    rule.kernels().apply_rows(rule.functor(), apart.listed(std::span(positions).subspan(i, 1)),
                              bytes + i * kind_.traits.inputs * sizeof(double), nullptr);
  EXPECT_EQ(together.weights(0), apart.weights(0));
  EXPECT_EQ(together.all_states(0), apart.all_states(0));
  for (std::size_t row = 0; row < 4; ++row) EXPECT_EQ(together.step(0, row), apart.step(0, row));
}

/// Where a rule says that repeats compose, rows one after another give what their aggregate gives;
/// where it does not, they would give something else.
TEST_P(UpdateRules, RepeatsComposeExactlyWhereTheRuleSaysSo) {
  RawRule rule(kind_, reference_, DType::f64, host::Simd::baseline);
  Pages<double> repeated(kind_, 1, 1, 1, true);
  Pages<double> merged(kind_, 1, 1, 1, true);
  const std::size_t inputs = kind_.traits.inputs;
  const std::vector<std::uint32_t> thrice{0, 0, 0};
  std::vector<double> pushed;
  for (const double x : {0.5, -0.75, 2.0}) {
    pushed.push_back(x);
    if (inputs == 2) pushed.push_back(1 + x);
  }
  for (auto* pages : {&repeated, &merged}) {
    pages->weights(0)[0] = 0.25;
    rule.kernels().reset_rows(rule.functor(), pages->listed(std::span(thrice).first(1)), nullptr);
  }
  const auto* bytes = reinterpret_cast<const std::byte*>(pushed.data());
  rule.kernels().apply_rows(rule.functor(), repeated.listed(thrice), bytes, nullptr);
  const auto& aggregate = aggregate_kernels(kind_.traits.aggregate, DType::f64);
  std::vector<double> sum(inputs);
  auto* sum_bytes = reinterpret_cast<std::byte*>(sum.data());
  aggregate.clear(sum_bytes, inputs);
  for (std::size_t i = 0; i < 3; ++i)
    aggregate.dense(sum_bytes, bytes + i * inputs * sizeof(double), inputs);
  rule.kernels().apply_rows(rule.functor(), merged.listed(std::span(thrice).first(1)), sum_bytes,
                            nullptr);
  double difference = std::fabs(repeated.weights(0)[0] - merged.weights(0)[0]);
  for (std::size_t k = 0; k < kind_.traits.states; ++k)
    difference += std::fabs(repeated.state(0, k, 0) - merged.state(0, k, 0));
  if (kind_.traits.repeats_compose)
    EXPECT_LT(difference, 1e-12);
  else
    EXPECT_GT(difference, 1e-3);
}

/// NaN goes through: a NaN input makes the weight NaN (in vector blocks and tails), and its
/// neighbours stay what they are.
TEST_P(UpdateRules, PassNanThrough) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const auto simd : simds_here()) {
    for (std::size_t input = 0; input < kind_.traits.inputs; ++input)
      for (const std::size_t at : {0, 5, 31, 38, 42}) {
        RawRule rule(kind_, reference_, DType::f32, simd);
        Pages<float> pages(kind_, 1, 43, 1, false);
        rule.kernels().reset_dense(rule.functor(), pages.dense(0), nullptr);
        pages.step(0) = 1;
        std::vector<float> pushed(43 * kind_.traits.inputs, 0.5f);
        pushed[at * kind_.traits.inputs + input] = kNan;
        rule.kernels().apply_dense(rule.functor(), pages.dense(0),
                                   reinterpret_cast<const std::byte*>(pushed.data()), nullptr);
        for (std::size_t i = 0; i < 43; ++i)
          EXPECT_EQ(std::isnan(pages.weights(0)[i]), i == at)
              << reference_.rule << " input " << input << " weight " << i;
        // A NaN weight stays NaN, whatever comes (only an assignment heals it).
        const std::vector<float> good(43 * kind_.traits.inputs, 0.5f);
        pages.step(0) = 2;
        rule.kernels().apply_dense(rule.functor(), pages.dense(0),
                                   reinterpret_cast<const std::byte*>(good.data()), nullptr);
        EXPECT_EQ(std::isnan(pages.weights(0)[at]), reference_.rule != "assign") << reference_.rule;
      }
  }
}

/// Catching up k rounds equals k rounds with a gradient of 0.
TEST_P(UpdateRules, CatchUpEqualsRoundsWithoutGradient) {
  if (!kind_.has_decay) {
    EXPECT_EQ(nullptr, kind_.host_kernels(host::Simd::baseline)[0].catch_up_dense);
    return;
  }
  RawRule rule(kind_, reference_, DType::f64, host::Simd::baseline);
  for (const std::uint64_t missed : {0, 1, 2, 3, 8, 25}) {
    Pages<double> skipped(kind_, 1, 9, 2, true);
    Pages<double> listed(kind_, 1, 9, 2, true);
    Pages<double> rounds(kind_, 1, 9, 2, true);
    Random random(missed);
    std::vector<double> first(18);
    for (auto& value : first) value = 2 * random.uniform() - 1;
    const std::vector<double> none(18, 0.0);
    const auto apply = [&](Pages<double>& pages, const std::vector<double>& gradient) {
      rule.kernels().apply_dense(rule.functor(), pages.dense(0),
                                 reinterpret_cast<const std::byte*>(gradient.data()), nullptr);
    };
    for (auto* pages : {&skipped, &listed, &rounds}) apply(*pages, first);
    for (std::uint64_t k = 0; k < missed; ++k) apply(rounds, none);
    rule.kernels().catch_up_dense(rule.functor(), skipped.dense(0), missed, nullptr);
    const std::vector<std::uint32_t> positions{4, 0, 8, 1, 7, 2, 3, 5, 6};
    const std::vector<std::uint64_t> counts(9, missed);
    rule.kernels().catch_up_rows(rule.functor(), listed.listed(positions), counts.data(), nullptr);
    for (std::size_t i = 0; i < 18; ++i) {
      EXPECT_NEAR(skipped.weights(0)[i], rounds.weights(0)[i], 1e-13) << missed;
      for (std::size_t k = 0; k < kind_.traits.states; ++k)
        EXPECT_NEAR(skipped.state(0, k, i), rounds.state(0, k, i), 1e-13);
    }
    EXPECT_EQ(listed.weights(0), skipped.weights(0));
  }
}

/// A stored model survives its first updates: with a gradient of 0 the weight stays (but for what
/// the rule's penalty takes), whatever its value.
TEST(Ftrl, KeepsAStoredWeight) {
  const auto rules = RuleSet::builtin();
  auto rule = rules.make(Ftrl{.alpha = 0.3, .beta = 0.5, .l1 = 0.1, .l2 = 0.2}, DType::f64).value();
  for (const double stored : {0.75, -0.001, 0.0, 40.0}) {
    double weight = stored;
    double states[2] = {99, 99};
    DenseRows row{
        {reinterpret_cast<std::byte*>(&weight), reinterpret_cast<std::byte*>(states), nullptr},
        {.state_stride = sizeof(double)},
        0,
        1};
    rule.reset(row);
    const double gradient = 0;
    rule.apply(row, reinterpret_cast<const std::byte*>(&gradient));
    EXPECT_NEAR(weight, stored, 1e-12);
  }
}

/// A sparse row's first Adam step has the full size, however late it comes.
TEST(Adam, CountsEachRowsOwnSteps) {
  const auto rules = RuleSet::builtin();
  auto rule = rules.make(Adam{.learning_rate = 0.125}, DType::f64).value();
  std::vector<double> weights(2);
  std::vector<double> states(4);
  std::vector<std::uint32_t> steps(2);
  const SegmentArrays page{reinterpret_cast<std::byte*>(weights.data()),
                           reinterpret_cast<std::byte*>(states.data()), steps.data()};
  const RowShape shape{.width = 1, .page_shift = 1, .state_stride = 16, .steps_per_row = true};
  const double gradient = 3;
  const std::uint32_t busy = 0;
  const std::uint32_t late = 1;
  for (int i = 0; i < 100; ++i)
    rule.apply(ListedRows{&page, shape, std::span(&busy, 1)},
               reinterpret_cast<const std::byte*>(&gradient));
  rule.apply(ListedRows{&page, shape, std::span(&late, 1)},
             reinterpret_cast<const std::byte*>(&gradient));
  EXPECT_NEAR(weights[1], -0.125, 1e-8);
  EXPECT_EQ(steps[0], 100u);
  EXPECT_EQ(steps[1], 1u);
}

TEST(Add, IntegersWrapInsteadOfOverflowing) {
  const auto rules = RuleSet::builtin();
  auto rule = rules.make(Add{}, DType::i32).value();
  std::int32_t weight = std::numeric_limits<std::int32_t>::max();
  const std::int32_t one = 1;
  rule.apply(DenseRows{{reinterpret_cast<std::byte*>(&weight), nullptr, nullptr}, {}, 0, 1},
             reinterpret_cast<const std::byte*>(&one));
  EXPECT_EQ(weight, std::numeric_limits<std::int32_t>::lowest());
}

INSTANTIATE_TEST_SUITE_P(Builtin, UpdateRules, ::testing::ValuesIn(test::references()),
                         [](const auto& info) {
                           return info.param.rule + "_" + std::to_string(info.index);
                         });

}  // namespace
}  // namespace shoal
