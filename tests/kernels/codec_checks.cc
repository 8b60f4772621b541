#include "tests/kernels/codec_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <vector>

#include "core/base/random.h"
#include "core/ops/aggregate.h"
#include "core/ops/codec.h"

namespace shoal::test {

namespace {

using codec::kBlock;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::byte kPoison{0x7b};

/// Values, errors, codes and decoded values in memory that kernels reach, with a poisoned line on
/// either side of each.
template <class T>
struct Arrays {
  Arrays(Target& target, std::size_t values, std::size_t encoded, std::size_t offset)
      : count(values),
        encoded_bytes(encoded),
        values_(reinterpret_cast<T*>(guarded(target, values * sizeof(T), offset * sizeof(T)))),
        errors_(reinterpret_cast<float*>(
            guarded(target, values * sizeof(float), offset * sizeof(float)))),
        encoded_(guarded(target, encoded, 0)),
        decoded_(reinterpret_cast<T*>(guarded(target, values * sizeof(T), offset * sizeof(T)))) {
    std::fill_n(errors_, values, 0.0f);
  }
  void expect_guards() const {
    for (const auto& [begin, bytes] : guards_)
      for (std::size_t i = 0; i < kMemoryAlignment; ++i) {
        ASSERT_EQ(begin[-1 - static_cast<std::ptrdiff_t>(i)], kPoison);
        ASSERT_EQ(begin[bytes + i], kPoison);
      }
  }
  float value(std::size_t i) const { return static_cast<float>(values_[i]); }
  float decoded(std::size_t i) const { return static_cast<float>(decoded_[i]); }

  std::size_t count, encoded_bytes;

 private:
  std::byte* guarded(Target& target, std::size_t bytes, std::size_t offset) {
    const auto all = bytes + offset + 2 * kMemoryAlignment;
    auto* memory = target.allocate(all);
    std::memset(memory, std::to_integer<int>(kPoison), all);
    auto* begin = memory + kMemoryAlignment + offset;
    guards_.push_back({begin, bytes});
    return begin;
  }
  struct Guard {
    std::byte* begin;
    std::size_t bytes;
  };
  std::vector<Guard> guards_;

 public:
  T* values_;
  float* errors_;
  std::byte* encoded_;
  T* decoded_;
};

template <class T>
void fill(Arrays<T>& arrays, Random& random) {
  for (std::size_t i = 0; i < arrays.count; ++i) {
    // Blocks of all sizes of values, some of zeros alone.
    const auto unit = std::ldexp(1.0, static_cast<int>(i / kBlock % 7) - 3);
    const auto x = i / kBlock % 5 == 4 ? 0 : unit * (2 * random.uniform() - 1);
    arrays.values_[i] = static_cast<T>(static_cast<float>(x));
    arrays.errors_[i] = static_cast<float>(unit * (random.uniform() - 0.5) / 16);
  }
}

template <class F>
void for_each_shape(const F& f) {
  for (const std::size_t count : {0, 1, 3, 4, 255, 256, 257, 1000, 2048, 5001})
    for (const std::size_t offset : {0, 1, 4}) {
      SCOPED_TRACE(testing::Message() << count << " values at " << offset);
      f(count, offset);
    }
}

template <class T>
void run(Target& target, const cuda::CodecKernels& kernels, Arrays<T>& arrays) {
  kernels.encode(reinterpret_cast<const std::byte*>(arrays.values_), arrays.errors_, arrays.count,
                 arrays.encoded_, nullptr);
  kernels.decode(arrays.encoded_, arrays.count, reinterpret_cast<std::byte*>(arrays.decoded_),
                 nullptr);
  target.finish();
}

/// Three blocks, with a poison in the second.
template <class T>
Arrays<T> run_poisoned(Target& target, const cuda::CodecKernels& kernels,
                       std::size_t (*encoded_bytes)(std::size_t), float poison) {
  Arrays<T> arrays(target, 3 * kBlock, encoded_bytes(3 * kBlock), 0);
  Random random(1);
  fill(arrays, random);
  arrays.values_[kBlock + 77] = static_cast<T>(poison);
  run(target, kernels, arrays);
  return arrays;
}

/// Half a unit in the last place of T at x.
template <class T>
double rounding(double x) {
  const double unit = std::is_same_v<T, Float16>    ? 0x1p-11
                      : std::is_same_v<T, BFloat16> ? 0x1p-8
                                                    : 0x1p-23;
  return unit * std::fabs(x) + (std::is_same_v<T, Float16> ? 0x1p-25 : 0);
}

template <class T>
void check_int8_of(Target& target, const cuda::CodecKernels& kernels) {
  for_each_shape([&](std::size_t count, std::size_t offset) {
    Random random(count + offset);
    Arrays<T> arrays(target, count, codec::encoded_bytes<codec::Int8>(count), offset);
    fill(arrays, random);
    std::vector<double> sums(count);
    for (std::size_t i = 0; i < count; ++i)
      sums[i] = static_cast<double>(arrays.value(i) + arrays.errors_[i]);
    run(target, kernels, arrays);
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
      const auto end = std::min(count, begin + kBlock);
      double most = 0;
      for (auto i = begin; i < end; ++i) most = std::max(most, std::fabs(sums[i]));
      const auto unit = most / 127;
      for (auto i = begin; i < end; ++i) {
        const auto of_type = rounding<T>(std::fabs(sums[i]) + unit);
        const auto near = unit / 2 * 1.0001 + of_type;
        ASSERT_NEAR(static_cast<double>(arrays.decoded(i)), sums[i], near) << i;
        // What it kept is exact in f32; what T took of the decoded value is not its business.
        ASSERT_NEAR(static_cast<double>(arrays.errors_[i]) + static_cast<double>(arrays.decoded(i)),
                    sums[i], of_type + rounding<float>(most))
            << i;
      }
    }
    ASSERT_NO_FATAL_FAILURE(arrays.expect_guards());
  });
  for (const float poison : {kNan, kInfinity, -kInfinity}) {
    const auto arrays = run_poisoned<T>(target, kernels, codec::encoded_bytes<codec::Int8>, poison);
    for (std::size_t i = 0; i < arrays.count; ++i) {
      const bool in_its_block = i / kBlock == 1;
      ASSERT_EQ(std::isnan(arrays.decoded(i)), in_its_block) << i;
      if (in_its_block) {
        ASSERT_EQ(arrays.errors_[i], 0.0f);
      }
    }
  }
}

template <class T>
void check_onebit_of(Target& target, const cuda::CodecKernels& kernels) {
  for_each_shape([&](std::size_t count, std::size_t offset) {
    Random random(count + offset);
    Arrays<T> arrays(target, count, codec::encoded_bytes<codec::OneBit>(count), offset);
    fill(arrays, random);
    std::vector<float> sums(count);
    for (std::size_t i = 0; i < count; ++i) sums[i] = arrays.value(i) + arrays.errors_[i];
    run(target, kernels, arrays);
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
      const auto end = std::min(count, begin + kBlock);
      double total[2] = {}, number[2] = {};
      for (auto i = begin; i < end; ++i) {
        total[sums[i] >= 0] += static_cast<double>(sums[i]);
        ++number[sums[i] >= 0];
      }
      for (auto i = begin; i < end; ++i) {
        const bool above = sums[i] >= 0;
        const auto mean = total[above] / number[above];
        ASSERT_NEAR(static_cast<double>(arrays.decoded(i)), mean,
                    1e-5 * std::fabs(mean) + rounding<T>(mean))
            << i;
        ASSERT_NEAR(static_cast<double>(arrays.errors_[i]), static_cast<double>(sums[i]) - mean,
                    1e-5 * (std::fabs(mean) + std::fabs(static_cast<double>(sums[i]))))
            << i;
      }
    }
    ASSERT_NO_FATAL_FAILURE(arrays.expect_guards());
  });
  for (const float poison : {kNan, kInfinity, -kInfinity}) {
    const auto arrays =
        run_poisoned<T>(target, kernels, codec::encoded_bytes<codec::OneBit>, poison);
    ASSERT_FALSE(std::isfinite(arrays.decoded(kBlock + 77)));
    for (std::size_t i = 0; i < arrays.count; ++i)
      if (i / kBlock == 1) {
        ASSERT_EQ(arrays.errors_[i], 0.0f);
      } else {
        ASSERT_TRUE(std::isfinite(arrays.decoded(i)));
      }
  }
}

}  // namespace

void check_int8(Target& target, cuda::CodecKernels kernels, DType dtype) {
  if (dtype == DType::f16) return check_int8_of<Float16>(target, kernels);
  if (dtype == DType::bf16) return check_int8_of<BFloat16>(target, kernels);
  check_int8_of<float>(target, kernels);
}

void check_onebit(Target& target, cuda::CodecKernels kernels, DType dtype) {
  if (dtype == DType::f16) return check_onebit_of<Float16>(target, kernels);
  if (dtype == DType::bf16) return check_onebit_of<BFloat16>(target, kernels);
  check_onebit_of<float>(target, kernels);
}

void check_narrow(Target& target, cuda::CodecKernels kernels, DType narrow) {
  const auto& host = aggregate_kernels(Aggregate::sum, narrow);
  for_each_shape([&](std::size_t count, std::size_t offset) {
    Random random(count + offset);
    Arrays<float> arrays(target, count, 2 * count, offset);
    fill(arrays, random);
    const float special[] = {kNan, kInfinity, -kInfinity, 1e-7f, 65520.0f, -0.0f};
    for (std::size_t i = 0; i < std::min(count, std::size(special)); ++i)
      arrays.values_[count - 1 - i] = special[i];
    run(target, kernels, arrays);
    std::vector<std::byte> narrowed(2 * count);
    std::vector<float> widened(count);
    host.finish(narrowed.data(), reinterpret_cast<const std::byte*>(arrays.values_), count);
    host.start(reinterpret_cast<std::byte*>(widened.data()), narrowed.data(), count);
    if (count == 0) return;
    ASSERT_EQ(0, std::memcmp(arrays.encoded_, narrowed.data(), narrowed.size()));
    ASSERT_EQ(0, std::memcmp(arrays.decoded_, widened.data(), count * sizeof(float)));
    ASSERT_NO_FATAL_FAILURE(arrays.expect_guards());
  });
}

void check_error_feedback(Target& target, cuda::CodecKernels kernels,
                          std::size_t (*encoded_bytes)(std::size_t values)) {
  constexpr std::size_t kCount = 1000;
  constexpr int kRounds = 60;
  Arrays<float> arrays(target, kCount, encoded_bytes(kCount), 0);
  Random random(5);
  std::vector<double> pushed(kCount), arrived(kCount);
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < kCount; ++i) {
      arrays.values_[i] = static_cast<float>(2 * random.uniform() - 1);
      pushed[i] += static_cast<double>(arrays.values_[i]);
    }
    run(target, kernels, arrays);
    for (std::size_t i = 0; i < kCount; ++i) arrived[i] += static_cast<double>(arrays.decoded(i));
  }
  for (std::size_t i = 0; i < kCount; ++i)
    ASSERT_NEAR(arrived[i] + static_cast<double>(arrays.errors_[i]), pushed[i], 1e-4) << i;
}

}  // namespace shoal::test
