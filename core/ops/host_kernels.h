#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "core/ops/host_loops.h"
#include "core/ops/rule_kind.h"
#include "core/ops/simd.h"

// The host executor: the entry points of a functor, the hot ones in a form for each host::Simd. The
// forms give the same bits.

namespace shoal::host {

template <class F, class T>
void apply_dense_baseline(const void* rule, const DenseRows& rows, RuleInputs in, void*) {
  apply_dense<Simd::baseline, F, T>(rule, rows, in);
}
template <class F, class T>
void apply_rows_baseline(const void* rule, const ListedRows& rows, RuleInputs in, void*) {
  apply_rows<Simd::baseline, F, T>(rule, rows, in);
}
template <class F, class T>
SHOAL_TARGET_AVX2 void apply_dense_avx2(const void* rule, const DenseRows& rows, RuleInputs in,
                                        void*) {
  apply_dense<Simd::avx2, F, T>(rule, rows, in);
}
template <class F, class T>
SHOAL_TARGET_AVX2 void apply_rows_avx2(const void* rule, const ListedRows& rows, RuleInputs in,
                                       void*) {
  apply_rows<Simd::avx2, F, T>(rule, rows, in);
}

template <class F, class T>
SHOAL_TARGET_AVX512 void apply_dense_avx512(const void* rule, const DenseRows& rows, RuleInputs in,
                                            void*) {
  apply_dense<Simd::avx512, F, T>(rule, rows, in);
}
template <class F, class T>
SHOAL_TARGET_AVX512 void apply_rows_avx512(const void* rule, const ListedRows& rows, RuleInputs in,
                                           void*) {
  apply_rows<Simd::avx512, F, T>(rule, rows, in);
}

template <class F, class T>
constexpr RuleKernels kernels(Simd simd) {
#ifdef SHOAL_SANITIZED
  // Compiling a form takes sanitizers minutes, and these two differ in their instruction set only.
  constexpr auto* dense_avx512 = &apply_dense_avx2<F, T>;
  constexpr auto* rows_avx512 = &apply_rows_avx2<F, T>;
#else
  constexpr auto* dense_avx512 = &apply_dense_avx512<F, T>;
  constexpr auto* rows_avx512 = &apply_rows_avx512<F, T>;
#endif
  RuleKernels k{
      .apply_dense =
          form_for(simd, &apply_dense_baseline<F, T>, &apply_dense_avx2<F, T>, dense_avx512),
      .apply_rows = form_for(simd, &apply_rows_baseline<F, T>, &apply_rows_avx2<F, T>, rows_avx512),
      .reset_dense = &reset_dense<F, T>,
      .reset_rows = &reset_rows<F, T>};
  if constexpr (kHasDecay<F>) {
    k.catch_up_dense = &catch_up_dense<F, T>;
    k.catch_up_rows = &catch_up_rows<F, T>;
  }
  return k;
}

template <class F>
struct MakeKernels {
  Simd simd;
  template <class T>
  constexpr RuleKernels of() const {
    return kernels<F, T>(simd);
  }
};
template <class F>
constexpr RuleKernelTable kernel_table(Simd simd) {
  return by_dtype<F>(MakeKernels<F>{simd});
}

}  // namespace shoal::host

namespace shoal {

namespace detail {
template <UpdateFunctor F>
inline constexpr auto kParameters = F::parameters();
template <UpdateFunctor F>
inline constexpr HostKernelTables kHostKernels = {host::kernel_table<F>(host::Simd::baseline),
                                                  host::kernel_table<F>(host::Simd::avx2),
                                                  host::kernel_table<F>(host::Simd::avx512)};
}  // namespace detail

/// The erased form of functor F: what `RuleSet::add` takes.
template <UpdateFunctor F>
inline constexpr RuleKind kRuleKind = {
    .traits = F::kTraits,
    .parameters = detail::kParameters<F>,
    .counts_steps = CountsSteps<F>,
    .has_decay = kHasDecay<F>,
    .bytes = sizeof(F),
    .construct = [](void* at) { ::new (at) F(); },
    .host = &detail::kHostKernels<F>,
};

}  // namespace shoal
