#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/ops/functor.h"
#include "core/ops/halves.h"
#include "core/ops/rule_kind.h"
#include "core/ops/simd.h"

// Loops around an update functor, as the compiler turns them into SIMD: each is inlined into an
// entry point of host_kernels.h and takes that one's instruction set.

namespace shoal::host {

/// Where a run of weights, their states and inputs begin.
template <class F, class T>
struct Lanes {
  T* weights;
  std::array<Accumulator<T>*, std::max<std::size_t>(1, F::kTraits.states)> states;
  std::array<const std::byte*, F::kTraits.inputs> inputs;
};

/// One pass reads the inputs, of type In, and reads and writes weight and states once.
template <class F, class T, class In, std::size_t Stride, class Element, std::size_t... S,
          std::size_t... I>
SHOAL_ALWAYS_INLINE void apply_one(const Element& element, const Lanes<F, T>& lanes, std::size_t i,
                                   std::index_sequence<S...>, std::index_sequence<I...>) {
  using A = Accumulator<T>;
  A weight = static_cast<A>(lanes.weights[i]);
  [[maybe_unused]] A state[sizeof...(S) + 1] = {lanes.states[S][i]...};
  element(weight, state[S]..., static_cast<A>(load<In>(lanes.inputs[I], i * Stride))...);
  lanes.weights[i] = static_cast<T>(weight);
  ((lanes.states[S][i] = state[S]), ...);
}

/// Blocks of a constant length vectorise at -O2 too; the tail does the same arithmetic one by one.
template <class F, class T, class In, std::size_t Stride, std::size_t Block, class Element>
SHOAL_ALWAYS_INLINE void apply_plain(const Element element, const Lanes<F, T> lanes,
                                     std::size_t n) {
  std::size_t i = 0;
  for (; i + Block <= n; i += Block) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = 0; j < Block; ++j)
      apply_one<F, T, In, Stride>(element, lanes, i + j, StateIndices<F>(), InputIndices<F>());
  }
  for (; i + kSmallBlock <= n; i += kSmallBlock) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = 0; j < kSmallBlock; ++j)
      apply_one<F, T, In, Stride>(element, lanes, i + j, StateIndices<F>(), InputIndices<F>());
  }
  for (; i < n; ++i)
    apply_one<F, T, In, Stride>(element, lanes, i, StateIndices<F>(), InputIndices<F>());
}

/// By blocks of floats.
template <Simd S, class F, class In, std::size_t Stride, std::size_t Block, class Element>
SHOAL_ALWAYS_INLINE void apply_halves(const Element element, const Lanes<F, Float16> lanes,
                                      std::size_t n) {
  constexpr std::size_t kInputs = F::kTraits.inputs;
  constexpr bool kInterleaved = Stride != 1;
  float weights[kHalfBlock];
  float inputs[kInputs * kHalfBlock];
  for (std::size_t at = 0; at < n; at += kHalfBlock) {
    const auto count = std::min(kHalfBlock, n - at);
    Lanes<F, float> wide{weights, lanes.states, {}};
    for (std::size_t k = 0; k < F::kTraits.states; ++k) wide.states[k] += at;
    for (std::size_t k = 0; k < kInputs; ++k) {
      const auto* from = lanes.inputs[k] + at * Stride * sizeof(In);
      auto* to = inputs + (kInterleaved ? k : k * kHalfBlock);
      wide.inputs[k] = reinterpret_cast<const std::byte*>(to);
      if constexpr (!std::is_same_v<In, Float16>)
        wide.inputs[k] = from;
      else if (!kInterleaved || k == 0)
        widen<S>(to, from, count * Stride);
    }
    auto* halves = reinterpret_cast<std::byte*>(lanes.weights + at);
    widen<S>(weights, halves, count);
    apply_plain<F, float, float, Stride, Block>(element, wide, count);
    round<S>(halves, weights, count);
  }
}

template <Simd S, class F, class T, class In, std::size_t Stride, std::size_t Block, class Element>
SHOAL_ALWAYS_INLINE void apply_run(const Element element, const Lanes<F, T> lanes, std::size_t n) {
  if constexpr (std::is_same_v<T, Float16> && S != Simd::baseline)
    apply_halves<S, F, In, Stride, Block>(element, lanes, n);
  else
    apply_plain<F, T, In, Stride, Block>(element, lanes, n);
}

/// Whether the states of consecutive rows follow each other like their weights.
template <class F, class T>
SHOAL_ALWAYS_INLINE bool packed(const RowShape& shape) {
  return F::kTraits.states == 0 || shape.state_row_bytes == 0 ||
         shape.state_row_bytes == shape.width * sizeof(Accumulator<T>);
}

/// The lanes of row `row`, without inputs.
template <class F, class T>
SHOAL_ALWAYS_INLINE Lanes<F, T> lanes_at(const SegmentArrays& arrays, const RowShape& shape,
                                         std::size_t row) {
  Lanes<F, T> lanes{reinterpret_cast<T*>(arrays.weights) + row * shape.width, {}, {}};
  using A = Accumulator<T>;
  const auto row_bytes =
      shape.state_row_bytes != 0 ? shape.state_row_bytes : shape.width * sizeof(A);
  for (std::size_t s = 0; s < F::kTraits.states; ++s)
    lanes.states[s] =
        reinterpret_cast<A*>(arrays.states + s * shape.state_stride + row * row_bytes);
  return lanes;
}

/// The count of updates of a row of a page.
SHOAL_ALWAYS_INLINE std::uint32_t* step_of(const SegmentArrays& page, const RowShape& shape,
                                           std::size_t row) {
  return reinterpret_cast<std::uint32_t*>(reinterpret_cast<std::byte*>(page.steps) +
                                          row * shape.step_row_bytes);
}

/// Input k of the rows whose inputs begin at `inputs`.
template <class In, class F, class T>
SHOAL_ALWAYS_INLINE void point_inputs(Lanes<F, T>& lanes, const std::byte* inputs,
                                      std::size_t width) {
  for (std::size_t k = 0; k < F::kTraits.inputs; ++k)
    lanes.inputs[k] = inputs + k * width * sizeof(In);
}

template <Simd S, class F, class T, class In>
SHOAL_ALWAYS_INLINE void apply_dense_of(const void* rule, const DenseRows& rows,
                                        const std::byte* inputs) {
  constexpr std::size_t kInputs = F::kTraits.inputs;
  const F functor = *static_cast<const F*>(rule);
  const auto element = at_step(functor, CountsSteps<F> ? *rows.arrays.steps : 0);
  const std::size_t width = rows.shape.width;
  auto lanes = lanes_at<F, T>(rows.arrays, rows.shape, rows.first);
  if (kInputs == 1 && packed<F, T>(rows.shape)) {
    point_inputs<In>(lanes, inputs, width);
    apply_run<S, F, T, In, 1, kBlock>(element, lanes, rows.count * width);
  } else if (width == 1 && packed<F, T>(rows.shape)) {
    point_inputs<In>(lanes, inputs, width);
    apply_run<S, F, T, In, kInputs, kBlock>(element, lanes, rows.count);
  } else {
    for (std::size_t r = 0; r < rows.count; ++r) {
      lanes = lanes_at<F, T>(rows.arrays, rows.shape, rows.first + r);
      point_inputs<In>(lanes, inputs + r * width * kInputs * sizeof(In), width);
      apply_run<S, F, T, In, 1, kRowBlock>(element, lanes, width);
    }
  }
}

template <Simd S, class F, class T>
SHOAL_ALWAYS_INLINE void apply_dense(const void* rule, const DenseRows& rows, RuleInputs inputs) {
  if (kSumsDiffer<T> && inputs.sums)
    apply_dense_of<S, F, T, Accumulator<T>>(rule, rows, inputs.values);
  else
    apply_dense_of<S, F, T, T>(rule, rows, inputs.values);
}

template <class T>
SHOAL_ALWAYS_INLINE void prefetch_values(const T* values, std::size_t count) {
  const auto bytes = std::min<std::size_t>(count * sizeof(T), kPrefetchBytesMax);
  for (std::size_t at = 0; at < bytes; at += kCacheLine)
    prefetch_for_write(reinterpret_cast<const std::byte*>(values) + at);
}

template <class F, class T>
SHOAL_ALWAYS_INLINE void prefetch_row(const ListedRows& rows, std::uint32_t position) {
  const auto& page = rows.pages[position >> rows.shape.page_shift];
  const auto row = position & ((1u << rows.shape.page_shift) - 1);
  const auto lanes = lanes_at<F, T>(page, rows.shape, row);
  prefetch_values(lanes.weights, rows.shape.width);
  for (std::size_t s = 0; s < F::kTraits.states; ++s)
    prefetch_values(lanes.states[s], rows.shape.width);
  if constexpr (CountsSteps<F>)
    if (rows.shape.steps_per_row) prefetch_for_write(step_of(page, rows.shape, row));
}

/// Rows of one value are the common case of sparse models: `One` folds their inner loop away.
template <Simd S, class F, class T, class In, bool One>
SHOAL_ALWAYS_INLINE void apply_rows_of(const void* rule, const ListedRows& rows,
                                       const std::byte* inputs) {
  constexpr std::size_t kInputs = F::kTraits.inputs;
  const F functor = *static_cast<const F*>(rule);
  const auto* positions = rows.positions.data();
  const auto count = rows.positions.size();
  const std::size_t width = One ? 1 : rows.shape.width;
  const auto mask = (1u << rows.shape.page_shift) - 1;
  std::uint32_t step = 1;
  auto element = at_step(functor, step);
  for (std::size_t r = 0; r < count; ++r) {
    if (r + kPrefetchRows < count) prefetch_row<F, T>(rows, positions[r + kPrefetchRows]);
    const auto& page = rows.pages[positions[r] >> rows.shape.page_shift];
    const auto row = positions[r] & mask;
    if constexpr (CountsSteps<F>) {
      const auto now = rows.shape.steps_per_row ? ++*step_of(page, rows.shape, row) : *page.steps;
      if (now != step) element = at_step(functor, step = now);
    }
    auto lanes = lanes_at<F, T>(page, rows.shape, row);
    point_inputs<In>(lanes, inputs + r * width * kInputs * sizeof(In), width);
    if constexpr (One)
      apply_one<F, T, In, 1>(element, lanes, 0, StateIndices<F>(), InputIndices<F>());
    else
      apply_run<S, F, T, In, 1, kRowBlock>(element, lanes, width);
  }
}

template <Simd S, class F, class T, class In>
SHOAL_ALWAYS_INLINE void apply_rows_in(const void* rule, const ListedRows& rows,
                                       const std::byte* inputs) {
  if (rows.shape.width == 1)
    apply_rows_of<S, F, T, In, true>(rule, rows, inputs);
  else
    apply_rows_of<S, F, T, In, false>(rule, rows, inputs);
}

template <Simd S, class F, class T>
SHOAL_ALWAYS_INLINE void apply_rows(const void* rule, const ListedRows& rows, RuleInputs inputs) {
  if (kSumsDiffer<T> && inputs.sums)
    apply_rows_in<S, F, T, Accumulator<T>>(rule, rows, inputs.values);
  else
    apply_rows_in<S, F, T, T>(rule, rows, inputs.values);
}

template <class F, class T, std::size_t... S>
void reset_run(const F functor, const Lanes<F, T> lanes, std::size_t n, std::index_sequence<S...>) {
  using A = Accumulator<T>;
  for (std::size_t i = 0; i < n; ++i) {
    [[maybe_unused]] A state[sizeof...(S) + 1];
    reset_states(functor, static_cast<A>(lanes.weights[i]), state[S]...);
    ((lanes.states[S][i] = state[S]), ...);
  }
}

template <class F, class T>
void reset_dense(const void* rule, const DenseRows& rows, void*) {
  const F functor = *static_cast<const F*>(rule);
  for (std::size_t r = 0; r < rows.count; ++r)
    reset_run<F, T>(functor, lanes_at<F, T>(rows.arrays, rows.shape, rows.first + r),
                    rows.shape.width, StateIndices<F>());
}

template <class F, class T>
void reset_rows(const void* rule, const ListedRows& rows, void*) {
  const F functor = *static_cast<const F*>(rule);
  for (const auto position : rows.positions) {
    const auto& page = rows.pages[position >> rows.shape.page_shift];
    const auto row = position & ((1u << rows.shape.page_shift) - 1);
    reset_run<F, T>(functor, lanes_at<F, T>(page, rows.shape, row), rows.shape.width,
                    StateIndices<F>());
    if (CountsSteps<F> && rows.shape.steps_per_row) *step_of(page, rows.shape, row) = 0;
  }
}

template <class T, class F, class Missed, std::size_t... S>
SHOAL_ALWAYS_INLINE void catch_up_run(const Missed element, const Lanes<F, T> lanes, std::size_t n,
                                      std::index_sequence<S...>) {
  using A = Accumulator<T>;
  for (std::size_t i = 0; i < n; ++i) {
    A weight = static_cast<A>(lanes.weights[i]);
    [[maybe_unused]] A state[sizeof...(S) + 1] = {lanes.states[S][i]...};
    element(weight, state[S]...);
    lanes.weights[i] = static_cast<T>(weight);
    ((lanes.states[S][i] = state[S]), ...);
  }
}

template <class F, class T>
void catch_up_dense(const void* rule, const DenseRows& rows, std::uint64_t missed, void*) {
  if (missed == 0) return;
  const auto element = static_cast<const F*>(rule)->after(missed);
  for (std::size_t r = 0; r < rows.count; ++r)
    catch_up_run<T>(element, lanes_at<F, T>(rows.arrays, rows.shape, rows.first + r),
                    rows.shape.width, StateIndices<F>());
}

template <class F, class T>
void catch_up_rows(const void* rule, const ListedRows& rows, const std::uint64_t* missed, void*) {
  const F functor = *static_cast<const F*>(rule);
  std::uint64_t rounds = 0;
  auto element = functor.after(rounds);
  for (std::size_t r = 0; r < rows.positions.size(); ++r) {
    if (missed[r] == 0) continue;
    if (missed[r] != rounds) element = functor.after(rounds = missed[r]);
    const auto position = rows.positions[r];
    const auto& page = rows.pages[position >> rows.shape.page_shift];
    const auto row = position & ((1u << rows.shape.page_shift) - 1);
    catch_up_run<T>(element, lanes_at<F, T>(page, rows.shape, row), rows.shape.width,
                    StateIndices<F>());
  }
}

}  // namespace shoal::host
