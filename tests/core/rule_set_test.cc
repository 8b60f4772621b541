#include "core/ops/rule_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/nearest.h"
#include "core/ops/rules.h"
#include "tests/core/mentions.h"

namespace shoal {
namespace {

TEST(RuleSet, HoldsTheBuiltinRules) {
  const auto rules = RuleSet::builtin();
  EXPECT_TRUE(rules.status().ok());
  for (const auto* name : {"assign", "add", "sgd", "momentum", "adagrad", "adam", "ftrl",
                           "proximal", "proximal_diagonal", "min", "max"})
    EXPECT_NE(rules.find(name), nullptr) << name;
  EXPECT_EQ(rules.names().size(), 11u);
  EXPECT_EQ(rules.find("nothing"), nullptr);
}

TEST(RuleSet, ASpecCarriesTheFunctorsParametersToTheRule) {
  const UpdateSpec spec = Ftrl{.alpha = 0.5, .l1 = 1e-4f};
  EXPECT_EQ(spec.rule, "ftrl");
  EXPECT_EQ(spec.inputs, 1u);
  EXPECT_EQ(spec.aggregate, Aggregate::sum);
  auto rule = RuleSet::builtin().make(spec, DType::f32).value();
  EXPECT_EQ(rule.name(), "ftrl");
  EXPECT_EQ(rule.parameter("alpha").value(), 0.5);
  EXPECT_EQ(rule.parameter("beta").value(), 1.0);
  EXPECT_EQ(rule.parameter("l1").value(), static_cast<double>(1e-4f));
  EXPECT_EQ(rule.spec(), spec);
  EXPECT_EQ(UpdateSpec(ProximalDiagonal{}).inputs, 2u);
  EXPECT_EQ(UpdateSpec(Assign{}).aggregate, Aggregate::last);
}

TEST(RuleSet, ParametersNotNamedHaveTheirDefaults) {
  const UpdateSpec spec{"momentum", {{"nesterov", 1}}, 1, Aggregate::sum};
  auto rule = RuleSet::builtin().make(spec, DType::f64).value();
  EXPECT_EQ(rule.parameter("momentum").value(), Momentum{}.momentum);
  EXPECT_EQ(rule.parameter("nesterov").value(), 1);
}

TEST(RuleSet, ExplainsWhatItDoesNotKnow) {
  const auto rules = RuleSet::builtin();
  const auto near = rules.make({"adagrd", {}, 1, Aggregate::sum}, DType::f32);
  EXPECT_EQ(near.code(), Errc::unknown_name);
  EXPECT_TRUE(mentions(near.error(), "did you mean 'adagrad'")) << near.error().what;
  const auto far = rules.make({"shampoo-like", {}, 1, Aggregate::sum}, DType::f32);
  EXPECT_TRUE(mentions(far.error(), "known: assign, add,")) << far.error().what;
  EXPECT_TRUE(mentions(far.error(), "--plugin")) << far.error().what;
  const auto parameter =
      rules.make({"sgd", {{"learning_rte", 0.1}}, 1, Aggregate::sum}, DType::f32);
  EXPECT_EQ(parameter.code(), Errc::unknown_name);
  EXPECT_TRUE(mentions(parameter.error(), "did you mean 'learning_rate'"))
      << parameter.error().what;
  const auto none = rules.make({"add", {{"x", 1}}, 1, Aggregate::sum}, DType::f32);
  EXPECT_TRUE(mentions(none.error(), "has no parameters")) << none.error().what;
}

TEST(RuleSet, RefusesWhatDoesNotFitTheRule) {
  const auto rules = RuleSet::builtin();
  EXPECT_EQ(rules.make({"proximal_diagonal", {}, 1, Aggregate::sum}, DType::f32).code(),
            Errc::mismatch);
  EXPECT_EQ(rules.make({"min", {}, 1, Aggregate::sum}, DType::f32).code(), Errc::mismatch);
  const auto integers = rules.make(Sgd{}, DType::i32);
  EXPECT_EQ(integers.code(), Errc::unavailable);
  EXPECT_TRUE(mentions(integers.error(), "it has f32, f64, f16, bf16")) << integers.error().what;
  EXPECT_TRUE(rules.make(Add{}, DType::bf16).ok());
  EXPECT_EQ(rules.make(Add{}, DType::f32, DeviceKind::cuda).code(), Errc::unavailable);
  EXPECT_TRUE(rules.make(Add{}, DType::i64).ok());
}

TEST(RuleSet, TellsWhatASchedulerHasToKnow) {
  const auto rules = RuleSet::builtin();
  const auto infos = rules.infos();
  ASSERT_TRUE(validate(infos).ok());
  ASSERT_EQ(infos.size(), rules.names().size());
  const auto info_of = [&](std::string_view name) {
    return *std::find_if(infos.begin(), infos.end(), [&](const auto& i) { return i.name == name; });
  };
  constexpr auto bit = [](DType dtype) { return 1u << static_cast<unsigned>(dtype); };
  constexpr auto kFloats = bit(DType::f32) | bit(DType::f64) | bit(DType::f16) | bit(DType::bf16);
  constexpr auto kAll = kFloats | bit(DType::i32) | bit(DType::i64);
  EXPECT_EQ(info_of("add"), (RuleInfo{"add", kAll, 1, Aggregate::sum}));
  EXPECT_EQ(info_of("min"), (RuleInfo{"min", kAll, 1, Aggregate::min}));
  EXPECT_EQ(info_of("proximal_diagonal"), (RuleInfo{"proximal_diagonal",
                                                    kFloats,
                                                    2,
                                                    Aggregate::sum,
                                                    {{"step", range::kNonNegative},
                                                     {"l1", range::kNonNegative},
                                                     {"l2", range::kNonNegative}}}));
  EXPECT_EQ(info_of("adam").states, 2);
  EXPECT_TRUE(info_of("adam").counts_steps);
  for (const auto& info : rules.infos(DeviceKind::cuda)) EXPECT_EQ(info.dtypes, 0) << info.name;
  // It says no exactly where make() does.
  for (const auto& info : infos)
    for (std::uint8_t i = 0; i < kDTypeCount; ++i) {
      const UpdateSpec spec{info.name, {}, info.inputs, info.aggregate};
      const auto dtype = static_cast<DType>(i);
      EXPECT_EQ(check_rule(infos, spec, dtype).ok(), rules.make(spec, dtype).ok());
    }
}

TEST(RuleSet, AListThatCannotBeToldIsRefused) {
  const auto with = [](std::vector<RuleParameter> parameters) {
    return validate(std::vector{RuleInfo{"mine", 1, 1, Aggregate::sum, std::move(parameters)}});
  };
  EXPECT_TRUE(with({kRuleParametersMax, {"l1"}}).ok());
  EXPECT_EQ(with({kRuleParametersMax + 1, {"l1"}}).code(), Errc::invalid_argument);
  EXPECT_EQ(with({{""}}).code(), Errc::invalid_argument);
  EXPECT_EQ(with({{"l1", {1, 0}}}).code(), Errc::invalid_argument);
  const RuleInfo large{
      "mine", 1, 1, Aggregate::sum, {kRuleParametersMax, {std::string(kTableNameBytesMax, 'x')}}};
  EXPECT_EQ(validate(std::vector(kRulesMax, large)).code(), Errc::invalid_argument);
  const RuleInfo rule{"mine", 1, 1, Aggregate::sum};
  EXPECT_TRUE(validate(std::vector(kRulesMax, rule)).ok());
  EXPECT_EQ(validate(std::vector(kRulesMax + 1, rule)).code(), Errc::invalid_argument);
  EXPECT_EQ(validate(std::vector{RuleInfo{}}).code(), Errc::invalid_argument);
  EXPECT_EQ(validate(std::vector{RuleInfo{std::string(kTableNameBytesMax + 1, 'x')}}).code(),
            Errc::invalid_argument);
}

TEST(UpdateRule, ParametersAreCheckedAndTakeEffect) {
  auto rule = RuleSet::builtin().make(Sgd{.learning_rate = 1}, DType::f32).value();
  float weight = 0;
  const float gradient = 1;
  const DenseRows row{{reinterpret_cast<std::byte*>(&weight), nullptr, nullptr}, {}, 0, 1};
  rule.apply(row, reinterpret_cast<const std::byte*>(&gradient));
  EXPECT_EQ(weight, -1.0f);
  ASSERT_TRUE(rule.set_parameter("learning_rate", 0.25).ok());
  rule.apply(row, reinterpret_cast<const std::byte*>(&gradient));
  EXPECT_EQ(weight, -1.25f);
  EXPECT_EQ(rule.set_parameter("learning", 1).code(), Errc::unknown_name);
  for (const double bad : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    const auto status = rule.set_parameter("learning_rate", bad);
    EXPECT_EQ(status.code(), Errc::out_of_range);
    EXPECT_TRUE(mentions(status.error(), "at least 0")) << status.error().what;
  }
  EXPECT_EQ(rule.parameter("learning_rate").value(), 0.25) << "a refused value changes nothing";
}

TEST(UpdateRule, EveryRangeIsHeld) {
  auto momentum = RuleSet::builtin().make(Momentum{}, DType::f32).value();
  EXPECT_TRUE(momentum.set_parameter("momentum", 0).ok());
  EXPECT_EQ(momentum.set_parameter("momentum", 1).code(), Errc::out_of_range);
  EXPECT_EQ(momentum.set_parameter("nesterov", 0.5).code(), Errc::out_of_range);
  EXPECT_EQ(momentum.set_parameter("nesterov", 2).code(), Errc::out_of_range);
  EXPECT_TRUE(momentum.set_parameter("nesterov", 0).ok());
  auto ftrl = RuleSet::builtin().make(Ftrl{}, DType::f32).value();
  EXPECT_EQ(ftrl.set_parameter("alpha", 0).code(), Errc::out_of_range);
  EXPECT_TRUE(ftrl.set_parameter("l1", 0).ok());
  EXPECT_EQ(RuleSet::builtin().make(Ftrl{.alpha = -1}, DType::f32).code(), Errc::out_of_range);
}

TEST(UpdateRule, CopiesAreIndependent) {
  auto a = RuleSet::builtin().make(Sgd{}, DType::f32).value();
  auto b = a;
  ASSERT_TRUE(b.set_parameter("learning_rate", 0.5).ok());
  EXPECT_EQ(a.parameter("learning_rate").value(), Sgd{}.learning_rate);
}

/// Rows updated in segments laid out by StateLayout get what single rows get, and nothing overlaps.
TEST(StateLayout, GivesEveryRowStatesOfItsOwn) {
  const auto rules = RuleSet::builtin();
  constexpr std::uint32_t kRows = 10;
  constexpr std::uint32_t kWidth = 3;
  for (const auto dtype : {DType::f32, DType::f64})
    for (const UpdateSpec& spec : {UpdateSpec(Add{}), UpdateSpec(Adagrad{}), UpdateSpec(Adam{}),
                                   UpdateSpec(Ftrl{.l1 = 0.01})})
      for (const bool by_row : {false, true}) {
        const auto rule = rules.make(spec, dtype).value();
        const auto layout = StateLayout::of(rule, kRows, kWidth, by_row);
        EXPECT_EQ(layout.bytes == 0, spec.rule == "add");
        const auto value_bytes = byte_size(dtype);
        std::vector<double> weights(kRows * kWidth);  // room and alignment for either dtype
        std::vector<double> states(layout.bytes / sizeof(double) + 2);
        auto* weight_bytes = reinterpret_cast<std::byte*>(weights.data());
        auto* state_bytes = reinterpret_cast<std::byte*>(states.data());
        // A guard behind the last state.
        state_bytes[layout.bytes] = std::byte{0x77};
        const auto arrays = layout.arrays(rule, weight_bytes, state_bytes);
        EXPECT_EQ(arrays.steps != nullptr, spec.rule == "adam");
        const auto shape = layout.shape(kWidth, 4);
        rule.reset(DenseRows{arrays, shape, 0, kRows});
        // Every row gets another gradient; those of row r show what r's states hold.
        std::vector<double> storage(kRows * kWidth);
        auto* gradients = reinterpret_cast<std::byte*>(storage.data());
        for (std::uint32_t i = 0; i < kRows * kWidth; ++i) {
          const double value = 1.0 + i;
          const auto narrow = static_cast<float>(value);
          std::memcpy(gradients + i * value_bytes,
                      dtype == DType::f32 ? static_cast<const void*>(&narrow) : &value,
                      value_bytes);
        }
        for (int round = 0; round < 3; ++round)
          for (std::uint32_t r = 0; r < kRows; ++r) {
            if (arrays.steps != nullptr && !by_row && r == 0) ++*arrays.steps;
            const auto* row = gradients + r * kWidth * value_bytes;
            if (by_row)
              rule.apply(ListedRows{&arrays, shape, std::span(&r, 1)}, row);
            else
              rule.apply(DenseRows{arrays, shape, r, 1}, row);
          }
        for (std::uint32_t r = 0; r < kRows; ++r) {
          std::vector<double> alone(kWidth);
          std::vector<double> alone_states(StateLayout::of(rule, 1, kWidth, by_row).bytes / 8 + 1);
          const auto one = StateLayout::of(rule, 1, kWidth, by_row);
          const auto alone_arrays = one.arrays(rule, reinterpret_cast<std::byte*>(alone.data()),
                                               reinterpret_cast<std::byte*>(alone_states.data()));
          const DenseRows row{alone_arrays, one.shape(kWidth, 0), 0, 1};
          rule.reset(row);
          for (int round = 0; round < 3; ++round) {
            if (alone_arrays.steps != nullptr) ++*alone_arrays.steps;
            rule.apply(row, gradients + r * kWidth * value_bytes);
          }
          EXPECT_EQ(0, std::memcmp(alone.data(), weight_bytes + r * kWidth * value_bytes,
                                   kWidth * value_bytes))
              << spec.rule << " row " << r << (by_row ? " by row" : "");
        }
        EXPECT_EQ(state_bytes[layout.bytes], std::byte{0x77});
      }
}

struct TwiceAdded {
  static constexpr RuleTraits kTraits{.name = "add"};
  static constexpr auto parameters() { return std::array<ParameterInfo, 0>{}; }
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight += 2 * input;
  }
};

TEST(RuleSet, TheFirstRuleOfANameStaysAndTheSecondIsReported) {
  auto rules = RuleSet::builtin();
  const auto* before = rules.find("add");
  rules.add<TwiceAdded>();
  EXPECT_EQ(rules.status().code(), Errc::exists);
  EXPECT_EQ(rules.find("add"), before);
}

TEST(RuleSet, OtherDevicesAttachTheirKernels) {
  auto rules = RuleSet::builtin();
  const auto& table = kRuleKind<TwiceAdded>.host_kernels(host::Simd::baseline);
  ASSERT_TRUE(rules.attach("add", DeviceKind::cuda, table).ok());
  EXPECT_TRUE(rules.make(Add{}, DType::f32, DeviceKind::cuda).ok());
  const auto unknown = rules.attach("ad", DeviceKind::cuda, table);
  EXPECT_EQ(unknown.code(), Errc::unknown_name);
  EXPECT_TRUE(mentions(unknown.error(), "'add'")) << unknown.error().what;
}

TEST(NearestName, FindsSlipsOnly) {
  const std::string_view known[] = {"learning_rate", "momentum", "l1", "l2"};
  EXPECT_EQ(nearest_name("learning-rate", known), "learning_rate");
  EXPECT_EQ(nearest_name("mometnum", known), "momentum");
  EXPECT_EQ(nearest_name("l3", known), "l1");
  const std::vector<std::string_view> rules{"add", "assign", "sgd"};
  EXPECT_EQ(nearest_name("sdg", rules), "sgd") << "one slip, as 'add' would be two";
  EXPECT_EQ(nearest_name("dad", rules), "add");
  EXPECT_EQ(nearest_name("something else", known), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'l'), known), "");
  EXPECT_EQ(nearest_name("x", {}), "");
  EXPECT_EQ(suggest_name("x", {}), "");
}

}  // namespace
}  // namespace shoal
