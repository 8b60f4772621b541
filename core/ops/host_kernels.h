#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "core/ops/host_loops.h"
#include "core/ops/rule_kind.h"
#include "core/ops/simd.h"

// The host executor: the entry points of a functor, in a form for every x86-64 and one for AVX2.
// The forms give the same bits.

namespace shoal::host {

// The two forms of the hot entry points.
template <class F, class T>
void apply_dense_baseline(const void* rule, const DenseRows& rows, const std::byte* in, void*) {
  apply_dense<F, T>(rule, rows, in);
}
template <class F, class T>
void apply_rows_baseline(const void* rule, const ListedRows& rows, const std::byte* in, void*) {
  apply_rows<F, T>(rule, rows, in);
}
template <class F, class T>
SHOAL_TARGET_AVX2 void apply_dense_avx2(const void* rule, const DenseRows& rows,
                                        const std::byte* in, void*) {
  apply_dense<F, T>(rule, rows, in);
}
template <class F, class T>
SHOAL_TARGET_AVX2 void apply_rows_avx2(const void* rule, const ListedRows& rows,
                                       const std::byte* in, void*) {
  apply_rows<F, T>(rule, rows, in);
}

template <class F, class T>
constexpr RuleKernels kernels(bool avx2) {
  RuleKernels k{.apply_dense = avx2 ? &apply_dense_avx2<F, T> : &apply_dense_baseline<F, T>,
                .apply_rows = avx2 ? &apply_rows_avx2<F, T> : &apply_rows_baseline<F, T>,
                .reset_dense = &reset_dense<F, T>,
                .reset_rows = &reset_rows<F, T>};
  if constexpr (kHasDecay<F>) {
    k.catch_up_dense = &catch_up_dense<F, T>;
    k.catch_up_rows = &catch_up_rows<F, T>;
  }
  return k;
}

template <class F>
constexpr RuleKernelTable kernel_table(bool avx2) {
  RuleKernelTable table{};
  const auto at = [](DType type) { return static_cast<std::size_t>(type); };
  if constexpr (F::kTraits.floats) {
    table[at(DType::f32)] = kernels<F, float>(avx2);
    table[at(DType::f64)] = kernels<F, double>(avx2);
  }
  if constexpr (F::kTraits.integers) {
    table[at(DType::i32)] = kernels<F, std::int32_t>(avx2);
    table[at(DType::i64)] = kernels<F, std::int64_t>(avx2);
  }
  return table;
}

}  // namespace shoal::host

namespace shoal {

namespace detail {
template <UpdateFunctor F>
inline constexpr auto kParameters = F::parameters();
template <UpdateFunctor F>
inline constexpr RuleKernelTable kHostBaseline = host::kernel_table<F>(false);
template <UpdateFunctor F>
inline constexpr RuleKernelTable kHostAvx2 = host::kernel_table<F>(true);
}  // namespace detail

/// The erased form of functor F: what `RuleSet::add` takes.
template <UpdateFunctor F>
inline constexpr RuleKind kRuleKind = {
    .traits = F::kTraits,
    .parameters = detail::kParameters<F>,
    .counts_steps = host::CountsSteps<F>,
    .has_decay = host::kHasDecay<F>,
    .bytes = sizeof(F),
    .construct = [](void* at) { ::new (at) F(); },
    .host_baseline = &detail::kHostBaseline<F>,
    .host_avx2 = SHOAL_HAS_AVX2_TARGET ? &detail::kHostAvx2<F> : nullptr,
};

}  // namespace shoal
