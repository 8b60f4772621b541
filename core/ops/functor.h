#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/base/host_device.h"
#include "core/memory/dtype.h"
#include "core/ops/rule_kind.h"

// What the executors, host and CUDA, ask an update functor for.

namespace shoal {

template <class F>
using StateIndices = std::make_index_sequence<F::kTraits.states>;
template <class F>
using InputIndices = std::make_index_sequence<F::kTraits.inputs>;

template <class F>
concept CountsSteps = requires(const F& f) {
  f.at_step(std::uint32_t{1});
};

/// The functor for weights that are updated for the `step`-th time.
template <class F>
SHOAL_HOST_DEVICE auto at_step(const F& rule, std::uint32_t step) {
  if constexpr (CountsSteps<F>)
    return rule.at_step(step);
  else
    return rule;
}

namespace detail {
template <class T, std::size_t>
using StateOf = T&;
template <class F, class T, std::size_t... S>
constexpr bool decays(std::index_sequence<S...>) {
  return requires(const F& f, T& weight, StateOf<T, S>... states) {
    f.after(std::uint64_t{1})(weight, states...);
  };
}
}  // namespace detail
/// Whether rounds without a push change a row: the functor has `after(missed)`, which returns a
/// functor that makes up for `missed` rounds.
template <class F>
inline constexpr bool kHasDecay = detail::decays<F, float>(StateIndices<F>());

/// Whether sums of pushes have another type than pushes.
template <class T>
inline constexpr bool kSumsDiffer = !std::is_same_v<T, Accumulator<T>>;

/// What `make.template of<T>()` gives for each type that the functor has a form for; else nothing.
template <class F, class Make>
constexpr auto by_dtype(const Make& make) {
  std::array<decltype(make.template of<float>()), kDTypeCount> table{};
  const auto at = [&](DType type) -> auto& { return table[static_cast<std::size_t>(type)]; };
  if constexpr (F::kTraits.floats) {
    at(DType::f32) = make.template of<float>();
    at(DType::f64) = make.template of<double>();
    at(DType::f16) = make.template of<Float16>();
    at(DType::bf16) = make.template of<BFloat16>();
  }
  if constexpr (F::kTraits.integers) {
    at(DType::i32) = make.template of<std::int32_t>();
    at(DType::i64) = make.template of<std::int64_t>();
  }
  return table;
}

/// The states that belong to a weight which was just set: `f.reset(weight, state...)`; a functor
/// without it has states of 0.
template <class F, class A, class... States>
SHOAL_HOST_DEVICE void reset_states(const F& rule, A weight, States&... states) {
  ((states = A(0)), ...);
  if constexpr (requires { rule.reset(weight, states...); }) rule.reset(weight, states...);
}

}  // namespace shoal
