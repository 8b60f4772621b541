#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/base/random.h"
#include "core/ops/rule_set.h"
#include "tests/core/rule_references.h"

namespace shoal::test {

/// The forms that this CPU runs, the baseline first.
inline std::span<const host::Simd> simds_here() {
  return std::span(host::kSimds).first(static_cast<std::size_t>(host::widest_simd()) + 1);
}

/// A functor with its parameters, and one of its kernel tables.
class RawRule {
 public:
  RawRule(const RuleKind& kind, const Reference& reference, DType dtype, host::Simd simd)
      : kind_(kind), kernels_(&kind.host_kernels(simd)[static_cast<std::size_t>(dtype)]) {
    kind.construct(functor_);
    for (const auto& [name, value] : reference.parameters)
      for (const auto& info : kind.parameters)
        if (info.name == name) info.set(functor_, value);
  }
  const RuleKernels& kernels() const { return *kernels_; }
  const void* functor() const { return functor_; }
  const RuleKind& kind() const { return kind_; }

 private:
  const RuleKind& kind_;
  const RuleKernels* kernels_;
  alignas(std::max_align_t) std::byte functor_[kRuleBytesMax] = {};
};

template <class T>
T of_double(double value) {
  return static_cast<T>(static_cast<Accumulator<T>>(value));
}
template <class T>
double to_double(T value) {
  return static_cast<double>(static_cast<Accumulator<T>>(value));
}

/// Segments in ordinary vectors: pages of equal size with weights, states and step counts. As
/// sparse pages (`by_row`) the states of a row lie side by side, with gaps that nothing may touch.
template <class T>
class Pages {
 public:
  using State = Accumulator<T>;

  Pages(const RuleKind& kind, std::size_t pages, std::size_t rows, std::uint32_t width, bool by_row)
      : rows_(rows), weights_(pages), states_(pages), steps_(pages) {
    const std::size_t states = kind.traits.states;
    shape_.width = width;
    while ((std::size_t{1} << shape_.page_shift) < rows) ++shape_.page_shift;
    shape_.steps_per_row = by_row;
    shape_.state_stride = by_row ? width * sizeof(State) : (rows * width + 3) * sizeof(State);
    shape_.state_row_bytes = by_row ? (states * width + 1) * sizeof(State) : 0;
    shape_.step_row_bytes = kStepStride * sizeof(std::uint32_t);
    for (std::size_t p = 0; p < pages; ++p) {
      weights_[p].resize(rows * width);
      states_[p].resize(by_row ? rows * (states * width + 1) : states * (rows * width + 3));
      steps_[p].resize(by_row ? rows * kStepStride : 1);
      arrays_.push_back({reinterpret_cast<std::byte*>(weights_[p].data()),
                         reinterpret_cast<std::byte*>(states_[p].data()), steps_[p].data()});
    }
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  const RowShape& shape() const { return shape_; }
  DenseRows dense(std::size_t page) const { return {arrays_[page], shape_, 0, rows_}; }
  ListedRows listed(std::span<const std::uint32_t> positions) const {
    return {arrays_.data(), shape_, positions};
  }
  std::uint32_t position(std::size_t page, std::size_t row) const {
    return static_cast<std::uint32_t>(page << shape_.page_shift | row);
  }
  std::vector<T>& weights(std::size_t page) { return weights_[page]; }
  /// The count of a row, or (dense) of the segment.
  std::uint32_t& step(std::size_t page, std::size_t row = 0) {
    return steps_[page][row * kStepStride];
  }
  /// State k of weight i.
  State& state(std::size_t page, std::size_t k, std::size_t i) {
    const auto row_bytes =
        shape_.state_row_bytes != 0 ? shape_.state_row_bytes : shape_.width * sizeof(State);
    return states_[page][(k * shape_.state_stride + i / shape_.width * row_bytes) / sizeof(State) +
                         i % shape_.width];
  }
  /// Gaps included.
  std::vector<State>& all_states(std::size_t page) { return states_[page]; }

 private:
  static constexpr std::size_t kStepStride = 3;
  std::size_t rows_;
  RowShape shape_;
  std::vector<std::vector<T>> weights_;
  std::vector<std::vector<State>> states_;
  std::vector<std::vector<std::uint32_t>> steps_;
  std::vector<SegmentArrays> arrays_;
};

/// Values behind an odd address, as a payload in a frame may be.
class UnalignedBytes {
 public:
  template <class T>
  explicit UnalignedBytes(const std::vector<T>& values) : bytes_(values.size() * sizeof(T) + 1) {
    if (!values.empty()) std::memcpy(bytes_.data() + 1, values.data(), values.size() * sizeof(T));
  }
  const std::byte* data() const { return bytes_.data() + 1; }

 private:
  std::vector<std::byte> bytes_;
};

/// Inputs of `count` rows in a push's layout: small numbers of both signs, zeros among them.
template <class T>
std::vector<T> random_inputs(Random& random, const Reference& reference, std::size_t inputs,
                             std::size_t count, std::size_t width) {
  std::vector<T> values(count * inputs * width);
  for (std::size_t i = 0; i < values.size(); ++i) {
    double value = random.chance(0.1) ? 0.0 : 4 * random.uniform() - 2;
    const bool second = i / width % inputs == 1;
    if (second && reference.second_input_positive && !random.chance(0.1))
      value = 0.25 + random.uniform();
    else if (second && reference.second_input_positive)
      value = 0;
    if constexpr (std::is_integral_v<T>) value *= 1000;
    values[i] = of_double<T>(value);
  }
  return values;
}

}  // namespace shoal::test
