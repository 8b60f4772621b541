#include "core/ops/copy_rows.h"

#include <cstring>
#include <type_traits>

#include "core/ops/simd.h"

namespace shoal {

namespace {

/// Far enough ahead for reads of single values, which cost no more than their miss.
constexpr std::size_t kAhead = 2 * host::kPrefetchRows;

SHOAL_ALWAYS_INLINE std::byte* row_at(const ListedRows& rows, std::uint32_t position,
                                      std::size_t row_bytes) {
  const auto row = position & ((1u << rows.shape.page_shift) - 1);
  return rows.pages[position >> rows.shape.page_shift].weights + row * row_bytes;
}

/// `Fixed`: bytes of a row if known to the compiler, else 0.
template <std::size_t Fixed>
void gather(const ListedRows& rows, std::size_t bytes, std::byte* out) {
  const std::size_t row_bytes = Fixed != 0 ? Fixed : bytes;
  const auto positions = rows.positions;
  for (std::size_t r = 0; r < positions.size(); ++r) {
    if (r + kAhead < positions.size() && positions[r + kAhead] != kAbsentRow)
      __builtin_prefetch(row_at(rows, positions[r + kAhead], row_bytes), 0, 3);
    if (positions[r] != kAbsentRow)
      std::memcpy(out + r * row_bytes, row_at(rows, positions[r], row_bytes), row_bytes);
  }
}

template <std::size_t Fixed>
void scatter(const ListedRows& rows, std::size_t bytes, const std::byte* in) {
  const std::size_t row_bytes = Fixed != 0 ? Fixed : bytes;
  const auto positions = rows.positions;
  for (std::size_t r = 0; r < positions.size(); ++r) {
    if (r + kAhead < positions.size())
      host::prefetch_for_write(row_at(rows, positions[r + kAhead], row_bytes));
    std::memcpy(row_at(rows, positions[r], row_bytes), in + r * row_bytes, row_bytes);
  }
}

}  // namespace

void gather_rows(const ListedRows& rows, DType dtype, std::byte* out) {
  const auto bytes = rows.shape.width * byte_size(dtype);
  if (bytes == 4)
    gather<4>(rows, bytes, out);
  else if (bytes == 8)
    gather<8>(rows, bytes, out);
  else
    gather<0>(rows, bytes, out);
}

void scatter_rows(const ListedRows& rows, DType dtype, const std::byte* in) {
  const auto bytes = rows.shape.width * byte_size(dtype);
  if (bytes == 4)
    scatter<4>(rows, bytes, in);
  else if (bytes == 8)
    scatter<8>(rows, bytes, in);
  else
    scatter<0>(rows, bytes, in);
}

}  // namespace shoal
