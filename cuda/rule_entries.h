#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/memory/dtype.h"
#include "core/ops/functor.h"
#include "core/ops/rule_kind.h"
#include "cuda/dense_tiles.h"
#include "cuda/listed_tiles.h"

// The entry points of a functor as kernels: bodies for its elements, and who runs them. `Executor`
// has `run(body, stream)`: a launch (launch.cuh), or run_on_host for tests.

namespace shoal::cuda {

template <class F>
struct ResetElement {
  static constexpr bool kKeepsWeights = true;
  F rule;
  template <class S, class... States>
  SHOAL_HOST_DEVICE void operator()(S weight, States&... states) const {
    reset_states(rule, weight, states...);
  }
};

template <class F>
struct AppliedRows {
  F rule;
  SHOAL_HOST_DEVICE auto at(std::uint64_t, [[maybe_unused]] const std::uint32_t* step) const {
    if constexpr (CountsSteps<F>)
      return at_step(rule, *step);
    else
      return rule;
  }
};
template <class F>
struct ResetRows {
  F rule;
  SHOAL_HOST_DEVICE auto at(std::uint64_t, const std::uint32_t*) const {
    return ResetElement<F>{rule};
  }
};
template <class F>
struct CaughtUpRows {
  F rule;
  const std::uint64_t* missed;
  SHOAL_HOST_DEVICE bool skips(std::uint64_t r) const { return missed[r] == 0; }
  SHOAL_HOST_DEVICE auto at(std::uint64_t r, const std::uint32_t*) const {
    return rule.after(missed[r]);
  }
};

template <class Executor, class F, class T>
class RuleEntries {
  static constexpr auto kStates = F::kTraits.states;
  static constexpr auto kInputs = F::kTraits.inputs;
  static const F& functor(const void* rule) { return *static_cast<const F*>(rule); }
  /// Of a dense segment the host counts updates, and a launch takes what it was then.
  static auto element(const void* rule, const SegmentArrays& arrays) {
    return at_step(functor(rule), CountsSteps<F> ? *arrays.steps : 0);
  }

  template <class In>
  static void apply_pushes_of(const void* rule, const RowShape& shape,
                              std::span<const DensePushes> updates, RuleKernels::Stream stream) {
    if (updates.empty()) return;
    using Element = decltype(at_step(functor(rule), 0));
    using Tiles = DenseTiles<Element, T, In, kStates, kInputs, F::kTraits.aggregate>;
    static_assert(Tiles::kPushesMax == DensePushes::kMax);
    const auto pushes = static_cast<std::uint32_t>(updates.front().pushes.size());
    for (std::size_t next = 0; next < updates.size();) {
      Tiles tiles(shape, pushes);
      for (; next < updates.size(); ++next) {
        const auto& update = updates[next];
        if (!tiles.add(update.arrays, update.first, update.count, update.pushes,
                       element(rule, update.arrays)))
          break;
      }
      Executor::run(tiles, stream);
    }
  }

  template <class In>
  static void apply_rows_of(const void* rule, const ListedRows& rows, const std::byte* inputs,
                            RuleKernels::Stream stream) {
    if (CountsSteps<F> && rows.shape.steps_per_row) Executor::run(StepTiles(rows, false), stream);
    Executor::run(
        ListedTiles<AppliedRows<F>, T, In, kStates, kInputs>(rows, inputs, {functor(rule)}),
        stream);
  }

 public:
  static void apply_pushes(const void* rule, const RowShape& shape,
                           std::span<const DensePushes> updates, bool sums,
                           RuleKernels::Stream stream) {
    if (kSumsDiffer<T> && sums)
      apply_pushes_of<Accumulator<T>>(rule, shape, updates, stream);
    else
      apply_pushes_of<T>(rule, shape, updates, stream);
  }

  static void apply_dense(const void* rule, const DenseRows& rows, RuleInputs inputs,
                          RuleKernels::Stream stream) {
    const DensePushes one{rows.arrays, rows.first, rows.count, {&inputs.values, 1}};
    apply_pushes(rule, rows.shape, {&one, 1}, inputs.sums, stream);
  }

  /// Distinct rows.
  static void apply_rows(const void* rule, const ListedRows& rows, RuleInputs inputs,
                         RuleKernels::Stream stream) {
    if (kSumsDiffer<T> && inputs.sums)
      apply_rows_of<Accumulator<T>>(rule, rows, inputs.values, stream);
    else
      apply_rows_of<T>(rule, rows, inputs.values, stream);
  }

  static void reset_dense(const void* rule, const DenseRows& rows, RuleKernels::Stream stream) {
    if constexpr (kStates != 0) {
      DenseTiles<ResetElement<F>, T, T, kStates, 0> tiles(rows.shape, 0);
      tiles.add(rows.arrays, rows.first, rows.count, {}, {functor(rule)});
      Executor::run(tiles, stream);
    }
  }

  static void reset_rows(const void* rule, const ListedRows& rows, RuleKernels::Stream stream) {
    if constexpr (kStates != 0)
      Executor::run(ListedTiles<ResetRows<F>, T, T, kStates, 0>(rows, nullptr, {functor(rule)}),
                    stream);
    if (CountsSteps<F> && rows.shape.steps_per_row) Executor::run(StepTiles(rows, true), stream);
  }

  static void catch_up_dense(const void* rule, const DenseRows& rows, std::uint64_t missed,
                             RuleKernels::Stream stream) {
    if (missed == 0) return;
    using Element = decltype(functor(rule).after(missed));
    DenseTiles<Element, T, T, kStates, 0> tiles(rows.shape, 0);
    tiles.add(rows.arrays, rows.first, rows.count, {}, functor(rule).after(missed));
    Executor::run(tiles, stream);
  }

  /// `missed` is in memory that kernels can read.
  static void catch_up_rows(const void* rule, const ListedRows& rows, const std::uint64_t* missed,
                            RuleKernels::Stream stream) {
    Executor::run(
        ListedTiles<CaughtUpRows<F>, T, T, kStates, 0>(rows, nullptr, {functor(rule), missed}),
        stream);
  }
};

template <class Executor, class F>
struct MakeKernels {
  template <class T>
  constexpr RuleKernels of() const {
    using Entries = RuleEntries<Executor, F, T>;
    RuleKernels kernels{.apply_dense = &Entries::apply_dense,
                        .apply_rows = &Entries::apply_rows,
                        .reset_dense = &Entries::reset_dense,
                        .reset_rows = &Entries::reset_rows,
                        .apply_pushes = &Entries::apply_pushes};
    if constexpr (kHasDecay<F>) {
      kernels.catch_up_dense = &Entries::catch_up_dense;
      kernels.catch_up_rows = &Entries::catch_up_rows;
    }
    return kernels;
  }
};

/// A rule's entry points for each of its types.
template <class Executor, class F>
constexpr RuleKernelTable kernel_table() {
  return by_dtype<F>(MakeKernels<Executor, F>());
}

}  // namespace shoal::cuda
