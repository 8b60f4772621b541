#include "perf/bench/rule_field.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

// What the kernels are measured against does their arithmetic, value for value.

namespace shoal::perf {
namespace {

constexpr std::size_t kValues = 256;
constexpr int kPushes = 5;

/// Values that rules treat apart, among those that they do not.
void put_edges(RuleField& field, std::size_t inputs) {
  constexpr auto kNan = std::numeric_limits<float>::quiet_NaN();
  const float edges[] = {0.0f, -0.0f, kNan, 1e-3f, -1e-3f, 1e30f};
  for (std::size_t w = 0; w < std::size(edges); ++w)
    for (std::size_t g = 0; g < std::size(edges); ++g) {
      const auto i = w * std::size(edges) + g;
      field.set_weight(i, edges[w]);
      field.set_input(i * inputs, edges[g]);
    }
  if (inputs == 2)
    for (std::size_t i = 0; i < kValues; i += 5)
      field.set_input(2 * i + 1, i % 2 == 0 ? 0.0f : -1.0f);  // no example has the coordinate
}

bool same(float a, float b) {
  // Which NaN it is, IEEE 754 leaves open.
  return std::isnan(a) ? std::isnan(b) : std::memcmp(&a, &b, sizeof a) == 0;
}

class RuleFieldForms : public testing::TestWithParam<HandForm> {};

TEST_P(RuleFieldForms, GiveTheBitsOfTheKernels) {
  if (!can_run(GetParam())) GTEST_SKIP() << "this processor or compiler has no such form";
  for (const auto& rule : rule_cases()) {
    SCOPED_TRACE(rule.name());
    auto ours = RuleField::create(rule, 0, kValues).value();
    auto by_hand = RuleField::create(rule, 0, kValues).value();
    ASSERT_EQ(ours.weight_count(), kValues);
    std::vector<float> before;
    for (std::size_t i = 0; i < kValues; ++i) before.push_back(ours.weight(i));
    for (auto* field : {&ours, &by_hand}) put_edges(*field, field->input_count() / kValues);
    for (int i = 0; i < kPushes; ++i) {
      ours.apply();
      by_hand.apply_by_hand(GetParam());
    }
    std::size_t changed = 0;
    for (std::size_t i = 0; i < kValues; ++i) {
      EXPECT_TRUE(same(ours.weight(i), by_hand.weight(i)))
          << "weight " << i << ": " << ours.weight(i) << ", by hand " << by_hand.weight(i);
      if (!same(ours.weight(i), before[i])) ++changed;
    }
    EXPECT_GT(changed, kValues / 8);
    ASSERT_EQ(ours.states().size(), by_hand.states().size());
    for (std::size_t i = 0; i < ours.states().size(); i += sizeof(float)) {
      float a = 0, b = 0;
      std::memcpy(&a, ours.states().data() + i, sizeof a);
      std::memcpy(&b, by_hand.states().data() + i, sizeof b);
      ASSERT_TRUE(same(a, b)) << "state at byte " << i << ": " << a << ", by hand " << b;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, RuleFieldForms,
                         testing::Values(HandForm::portable, HandForm::avx2, HandForm::avx512),
                         [](const auto& form) {
                           return form.param == HandForm::portable ? "portable"
                                  : form.param == HandForm::avx2   ? "avx2"
                                                                   : "avx512";
                         });

TEST(RuleField, FillsWhatItIsGiven) {
  for (const auto& rule : rule_cases()) {
    const auto field = RuleField::create(rule, 8u << 20).value();
    EXPECT_GT(field.bytes_touched(), 4u << 20) << rule.name();
    EXPECT_LT(field.bytes_touched(), 16u << 20) << rule.name();
  }
}

}  // namespace
}  // namespace shoal::perf
