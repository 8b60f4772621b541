#include "core/ops/aggregate.h"

#include <array>
#include <limits>

#include "core/ops/host_device.h"
#include "core/ops/simd.h"

namespace shoal {

namespace {

using host::kBlock;
using host::kPrefetchRows;
using host::kRowBlock;
using host::kSmallBlock;
using host::load;
using host::Simd;

template <Aggregate A, class T>
SHOAL_ALWAYS_INLINE T combine(T sum, T pushed) {
  if constexpr (A == Aggregate::sum)
    return math::add(sum, pushed);
  else if constexpr (A == Aggregate::min)
    return math::lesser(sum, pushed);
  else if constexpr (A == Aggregate::max)
    return math::greater(sum, pushed);
  else
    return pushed;
}

template <Aggregate A, class T>
constexpr T identity() {
  using Limits = std::numeric_limits<T>;
  constexpr bool kInfinite = Limits::has_infinity;
  if (A == Aggregate::min) return kInfinite ? Limits::infinity() : Limits::max();
  if (A == Aggregate::max) return kInfinite ? -Limits::infinity() : Limits::lowest();
  return T{};
}

template <Aggregate A, std::size_t Block, class T>
SHOAL_ALWAYS_INLINE void combine_run(T* sums, const std::byte* pushed, std::size_t n) {
  std::size_t i = 0;
  for (; i + Block <= n; i += Block) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = i; j < i + Block; ++j) sums[j] = combine<A>(sums[j], load<T>(pushed, j));
  }
  for (; i + kSmallBlock <= n; i += kSmallBlock) {
    SHOAL_SIMD_LOOP
    for (std::size_t j = i; j < i + kSmallBlock; ++j)
      sums[j] = combine<A>(sums[j], load<T>(pushed, j));
  }
  for (; i < n; ++i) sums[i] = combine<A>(sums[i], load<T>(pushed, i));
}

template <Aggregate A, class T, bool One>
SHOAL_ALWAYS_INLINE void combine_rows(std::byte* const* pages, std::uint32_t page_shift,
                                      std::size_t row_values,
                                      std::span<const std::uint32_t> positions,
                                      const std::byte* pushed) {
  const auto width = One ? 1 : row_values;
  const auto mask = (1u << page_shift) - 1;
  const auto row_at = [=](std::uint32_t position) {
    return reinterpret_cast<T*>(pages[position >> page_shift]) + (position & mask) * width;
  };
  for (std::size_t r = 0; r < positions.size(); ++r) {
    if (r + kPrefetchRows < positions.size())
      host::prefetch_for_write(row_at(positions[r + kPrefetchRows]));
    T* row = row_at(positions[r]);
    if constexpr (One)
      *row = combine<A>(*row, load<T>(pushed, r));
    else
      combine_run<A, kRowBlock>(row, pushed + r * width * sizeof(T), width);
  }
}

template <Aggregate A, class T>
void clear(std::byte* sums, std::size_t n) {
  auto* values = reinterpret_cast<T*>(sums);
  for (std::size_t i = 0; i < n; ++i) values[i] = identity<A, T>();
}

template <Aggregate A, class T>
void dense(std::byte* sums, const std::byte* pushed, std::size_t n) {
  combine_run<A, kBlock>(reinterpret_cast<T*>(sums), pushed, n);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX2 void dense_avx2(std::byte* sums, const std::byte* pushed, std::size_t n) {
  combine_run<A, kBlock>(reinterpret_cast<T*>(sums), pushed, n);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX512 void dense_avx512(std::byte* sums, const std::byte* pushed, std::size_t n) {
  combine_run<A, kBlock>(reinterpret_cast<T*>(sums), pushed, n);
}

template <Aggregate A, class T>
SHOAL_ALWAYS_INLINE void combine_listed(std::byte* const* pages, std::uint32_t page_shift,
                                        std::size_t row_values,
                                        std::span<const std::uint32_t> positions,
                                        const std::byte* pushed) {
  if (row_values == 1)
    combine_rows<A, T, true>(pages, page_shift, 1, positions, pushed);
  else
    combine_rows<A, T, false>(pages, page_shift, row_values, positions, pushed);
}
template <Aggregate A, class T>
void rows(std::byte* const* pages, std::uint32_t page_shift, std::size_t row_values,
          std::span<const std::uint32_t> positions, const std::byte* pushed) {
  combine_listed<A, T>(pages, page_shift, row_values, positions, pushed);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX2 void rows_avx2(std::byte* const* pages, std::uint32_t page_shift,
                                 std::size_t row_values, std::span<const std::uint32_t> positions,
                                 const std::byte* pushed) {
  combine_listed<A, T>(pages, page_shift, row_values, positions, pushed);
}
template <Aggregate A, class T>
SHOAL_TARGET_AVX512 void rows_avx512(std::byte* const* pages, std::uint32_t page_shift,
                                     std::size_t row_values,
                                     std::span<const std::uint32_t> positions,
                                     const std::byte* pushed) {
  combine_listed<A, T>(pages, page_shift, row_values, positions, pushed);
}

template <Aggregate A, class T>
constexpr AggregateKernels kernels(Simd simd) {
  return {&clear<A, T>, host::form_for(simd, &dense<A, T>, &dense_avx2<A, T>, &dense_avx512<A, T>),
          host::form_for(simd, &rows<A, T>, &rows_avx2<A, T>, &rows_avx512<A, T>)};
}

using Table = std::array<AggregateKernels, kDTypeCount>;

template <Aggregate A>
constexpr Table table(Simd simd) {
  Table result{};
  result[static_cast<std::size_t>(DType::f32)] = kernels<A, float>(simd);
  result[static_cast<std::size_t>(DType::f64)] = kernels<A, double>(simd);
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
