#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "core/ops/rule_kind.h"

namespace shoal {

/// The position of a row that is not there.
inline constexpr std::uint32_t kAbsentRow = std::numeric_limits<std::uint32_t>::max();

/// Copies the weights of listed rows, in order, to `out` (row after row; may be unaligned): a pull
/// of a key list. Rows may repeat; the place of a kAbsentRow is left as it is.
void gather_rows(const ListedRows& rows, DType dtype, std::byte* out);

/// The opposite: sets the weights of listed rows (`store`). Of repeated rows the last wins.
void scatter_rows(const ListedRows& rows, DType dtype, const std::byte* in);

}  // namespace shoal
