#include "core/ops/aggregate.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "core/ops/combine.h"
#include "core/ops/halves.h"
#include "core/ops/simd.h"

namespace shoal {

namespace {

using host::kBlock;
using host::kPrefetchRows;
using host::kRowBlock;
using host::kSmallBlock;
using host::load;
using host::Simd;

/// A pushed value in the type of its sum.
template <class T>
SHOAL_ALWAYS_INLINE Accumulator<T> addend(const std::byte* pushed, std::size_t i) {
  return static_cast<Accumulator<T>>(load<T>(pushed, i));
}

template <Aggregate A, std::size_t Block, class T>
SHOAL_ALWAYS_INLINE void combine_plain(Accumulator<T>* sums, const std::byte* pushed,
                                       std::size_t n) {
  std::size_t i = 0;
  for (; i + Block <= n; i += Block) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = i; j < i + Block; ++j)
      sums[j] = math::combine<A>(sums[j], addend<T>(pushed, j));
  }
  for (; i + kSmallBlock <= n; i += kSmallBlock) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = i; j < i + kSmallBlock; ++j)
      sums[j] = math::combine<A>(sums[j], addend<T>(pushed, j));
  }
  for (; i < n; ++i) sums[i] = math::combine<A>(sums[i], addend<T>(pushed, i));
}

template <Simd S, Aggregate A, std::size_t Block, class T>
SHOAL_ALWAYS_INLINE void combine_run(Accumulator<T>* sums, const std::byte* pushed, std::size_t n) {
  if constexpr (std::is_same_v<T, Float16> && S != Simd::baseline) {
    float wide[host::kHalfBlock];
    for (std::size_t at = 0; at < n; at += host::kHalfBlock) {
      const auto count = std::min(host::kHalfBlock, n - at);
      host::widen<S>(wide, pushed + at * sizeof(T), count);
      combine_plain<A, Block, float>(sums + at, reinterpret_cast<const std::byte*>(wide), count);
    }
  } else {
    combine_plain<A, Block, T>(sums, pushed, n);
  }
}

template <Simd S, Aggregate A, class T, bool One>
SHOAL_ALWAYS_INLINE void combine_rows(std::byte* const* pages, std::uint32_t page_shift,
                                      std::size_t row_values,
                                      std::span<const std::uint32_t> positions,
                                      const std::byte* pushed) {
  const auto width = One ? 1 : row_values;
  const auto mask = (1u << page_shift) - 1;
  const auto row_at = [=](std::uint32_t position) {
    return reinterpret_cast<Accumulator<T>*>(pages[position >> page_shift]) +
           (position & mask) * width;
  };
  for (std::size_t r = 0; r < positions.size(); ++r) {
    if (r + kPrefetchRows < positions.size())
      host::prefetch_for_write(row_at(positions[r + kPrefetchRows]));
    auto* row = row_at(positions[r]);
    if constexpr (One)
      *row = math::combine<A>(*row, addend<T>(pushed, r));
    else
      combine_run<S, A, kRowBlock, T>(row, pushed + r * width * sizeof(T), width);
  }
}

template <Aggregate A, class T>
void clear(std::byte* sums, std::size_t n) {
  auto* values = reinterpret_cast<Accumulator<T>*>(sums);
  for (std::size_t i = 0; i < n; ++i) values[i] = math::identity<A, Accumulator<T>>();
}

template <Aggregate A, class T>
void dense(std::byte* sums, const std::byte* pushed, std::size_t n) {
  combine_run<Simd::baseline, A, kBlock, T>(reinterpret_cast<Accumulator<T>*>(sums), pushed, n);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX2 void dense_avx2(std::byte* sums, const std::byte* pushed, std::size_t n) {
  combine_run<Simd::avx2, A, kBlock, T>(reinterpret_cast<Accumulator<T>*>(sums), pushed, n);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX512 void dense_avx512(std::byte* sums, const std::byte* pushed, std::size_t n) {
  combine_run<Simd::avx512, A, kBlock, T>(reinterpret_cast<Accumulator<T>*>(sums), pushed, n);
}

template <Simd S, Aggregate A, class T>
SHOAL_ALWAYS_INLINE void combine_listed(std::byte* const* pages, std::uint32_t page_shift,
                                        std::size_t row_values,
                                        std::span<const std::uint32_t> positions,
                                        const std::byte* pushed) {
  if (row_values == 1)
    combine_rows<S, A, T, true>(pages, page_shift, 1, positions, pushed);
  else
    combine_rows<S, A, T, false>(pages, page_shift, row_values, positions, pushed);
}
template <Aggregate A, class T>
void rows(std::byte* const* pages, std::uint32_t page_shift, std::size_t row_values,
          std::span<const std::uint32_t> positions, const std::byte* pushed) {
  combine_listed<Simd::baseline, A, T>(pages, page_shift, row_values, positions, pushed);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX2 void rows_avx2(std::byte* const* pages, std::uint32_t page_shift,
                                 std::size_t row_values, std::span<const std::uint32_t> positions,
                                 const std::byte* pushed) {
  combine_listed<Simd::avx2, A, T>(pages, page_shift, row_values, positions, pushed);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX512 void rows_avx512(std::byte* const* pages, std::uint32_t page_shift,
                                     std::size_t row_values,
                                     std::span<const std::uint32_t> positions,
                                     const std::byte* pushed) {
  combine_listed<Simd::avx512, A, T>(pages, page_shift, row_values, positions, pushed);
}

/// Pushed values and sums of one type are copied.
template <class T>
inline constexpr bool kOneType = std::is_same_v<T, Accumulator<T>>;

template <Simd S, class T>
SHOAL_ALWAYS_INLINE void start_run(std::byte* sums, const std::byte* pushed, std::size_t n) {
  if constexpr (kOneType<T>) {
    if (n != 0) std::memcpy(sums, pushed, n * sizeof(T));
  } else {
    combine_run<S, Aggregate::last, kBlock, T>(reinterpret_cast<Accumulator<T>*>(sums), pushed, n);
  }
}
template <class T>
void start(std::byte* sums, const std::byte* pushed, std::size_t n) {
  start_run<Simd::baseline, T>(sums, pushed, n);
}
template <class T>
SHOAL_TARGET_AVX2 void start_avx2(std::byte* sums, const std::byte* pushed, std::size_t n) {
  start_run<Simd::avx2, T>(sums, pushed, n);
}
template <class T>
SHOAL_TARGET_AVX512 void start_avx512(std::byte* sums, const std::byte* pushed, std::size_t n) {
  start_run<Simd::avx512, T>(sums, pushed, n);
}

template <class T>
SHOAL_ALWAYS_INLINE void round_one(std::byte* values, const std::byte* sums, std::size_t i) {
  const auto value = static_cast<T>(load<Accumulator<T>>(sums, i));
  std::memcpy(values + i * sizeof(T), &value, sizeof(T));
}
template <Simd S, class T>
SHOAL_ALWAYS_INLINE void finish_run(std::byte* values, const std::byte* sums, std::size_t n) {
  if constexpr (kOneType<T>) {
    if (n != 0) std::memcpy(values, sums, n * sizeof(T));
    return;
  }
  if constexpr (std::is_same_v<T, Float16> && S != Simd::baseline)
    return host::round<S>(values, reinterpret_cast<const float*>(sums), n);
  std::size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = i; j < i + kBlock; ++j) round_one<T>(values, sums, j);
  }
  for (; i < n; ++i) round_one<T>(values, sums, i);
}
template <class T>
void finish(std::byte* values, const std::byte* sums, std::size_t n) {
  finish_run<Simd::baseline, T>(values, sums, n);
}
template <class T>
SHOAL_TARGET_AVX2 void finish_avx2(std::byte* values, const std::byte* sums, std::size_t n) {
  finish_run<Simd::avx2, T>(values, sums, n);
}
template <class T>
SHOAL_TARGET_AVX512 void finish_avx512(std::byte* values, const std::byte* sums, std::size_t n) {
  finish_run<Simd::avx512, T>(values, sums, n);
}

template <Aggregate A, class T>
constexpr AggregateKernels kernels(Simd simd) {
  return {.clear = &clear<A, T>,
          .start = host::form_for(simd, &start<T>, &start_avx2<T>, &start_avx512<T>),
          .dense = host::form_for(simd, &dense<A, T>, &dense_avx2<A, T>, &dense_avx512<A, T>),
          .rows = host::form_for(simd, &rows<A, T>, &rows_avx2<A, T>, &rows_avx512<A, T>),
          .finish = host::form_for(simd, &finish<T>, &finish_avx2<T>, &finish_avx512<T>)};
}

using Table = std::array<AggregateKernels, kDTypeCount>;

template <Aggregate A>
constexpr Table table(Simd simd) {
  Table result{};
  result[static_cast<std::size_t>(DType::f32)] = kernels<A, float>(simd);
  result[static_cast<std::size_t>(DType::f64)] = kernels<A, double>(simd);
  result[static_cast<std::size_t>(DType::f16)] = kernels<A, Float16>(simd);
  result[static_cast<std::size_t>(DType::bf16)] = kernels<A, BFloat16>(simd);
  result[static_cast<std::size_t>(DType::i32)] = kernels<A, std::int32_t>(simd);
  result[static_cast<std::size_t>(DType::i64)] = kernels<A, std::int64_t>(simd);
  return result;
}

constexpr std::array<Table, 4> tables(Simd simd) {
  return {table<Aggregate::sum>(simd), table<Aggregate::last>(simd), table<Aggregate::min>(simd),
          table<Aggregate::max>(simd)};
}

constexpr std::array kTables = {tables(Simd::baseline), tables(Simd::avx2), tables(Simd::avx512)};

}  // namespace

const AggregateKernels& aggregate_kernels(Aggregate aggregate, DType dtype, host::Simd simd) {
  return kTables[static_cast<std::size_t>(simd)][static_cast<std::size_t>(aggregate)]
                [static_cast<std::size_t>(dtype)];
}

}  // namespace shoal
