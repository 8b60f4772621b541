#include "tests/kernels/norm_checks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/random.h"

namespace shoal::test {

namespace {

template <class T>
struct Values {
  T* values;
  std::size_t count;

  Values(Target& target, Random& random, std::size_t values_count, std::size_t offset)
      : values(reinterpret_cast<T*>(target.allocate((values_count + offset) * sizeof(T))) + offset),
        count(values_count) {
    for (std::size_t i = 0; i < count; ++i)
      values[i] = static_cast<T>(static_cast<float>(4 * random.uniform() - 2));
  }
  void poison(Random& random) {
    constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()};
    for (const float bad : kBad) values[random.below(count)] = static_cast<T>(bad);
  }
};

template <class T>
Norms expected_of(const Values<T>& run) {
  Norms norms;
  for (std::size_t i = 0; i < run.count; ++i) {
    const double x = static_cast<double>(static_cast<Accumulator<T>>(run.values[i]));
    if (!std::isfinite(x)) {
      ++norms.not_finite;
      continue;
    }
    norms.squares += x * x;
    norms.magnitudes += std::fabs(x);
    norms.greatest = std::max(norms.greatest, std::fabs(x));
  }
  return norms;
}

template <class T>
void check_norms_of(Target& target, const cuda::NormKernels& kernels) {
  Random random(1);
  std::vector<Values<T>> runs;
  for (const std::size_t count : {0, 1, 3, 511, 512, 513, 5000})
    for (const std::size_t offset : {0, 1}) runs.emplace_back(target, random, count, offset);
  while (runs.size() < 300) runs.emplace_back(target, random, 1 + random.below(700), 0);
  // Pieces of more than a group of 1,024.
  runs.emplace_back(target, random, 2'200'000, 0);
  for (std::size_t i = 20; i < 40; ++i) runs[i].poison(random);
  runs.back().poison(random);

  std::vector<cuda::NormRun> asked;
  for (const auto& run : runs)
    asked.push_back({reinterpret_cast<const std::byte*>(run.values), run.count});
  const auto room = [&](std::size_t norms) {
    return reinterpret_cast<Norms*>(target.allocate(norms * sizeof(Norms)));
  };
  auto* results = room(asked.size());
  auto* scratch = room(kernels.scratch_norms(asked));
  kernels.run(asked, results, scratch, nullptr);
  target.finish();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto norms = expected_of(runs[i]);
    ASSERT_NEAR(results[i].squares, norms.squares, 1e-11 * norms.squares) << "run " << i;
    ASSERT_NEAR(results[i].magnitudes, norms.magnitudes, 1e-11 * norms.magnitudes) << "run " << i;
    ASSERT_EQ(results[i].greatest, norms.greatest) << "run " << i;
    ASSERT_EQ(results[i].not_finite, norms.not_finite) << "run " << i;
  }
  const std::vector<Norms> first(results, results + asked.size());
  kernels.run(asked, results, scratch, nullptr);
  target.finish();
  for (std::size_t i = 0; i < first.size(); ++i)
    ASSERT_EQ(0, std::memcmp(&first[i], &results[i], sizeof(Norms))) << "run " << i;
}

}  // namespace

void check_norms(Target& target, cuda::NormKernels kernels, DType dtype) {
  if (dtype == DType::f16) return check_norms_of<Float16>(target, kernels);
  if (dtype == DType::bf16) return check_norms_of<BFloat16>(target, kernels);
  if (dtype == DType::f64) return check_norms_of<double>(target, kernels);
  check_norms_of<float>(target, kernels);
}

}  // namespace shoal::test
