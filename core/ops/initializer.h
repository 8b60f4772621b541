#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/memory/dtype.h"
#include "core/table/table_spec.h"

namespace shoal {

/// Whether the initializer makes sense for the dtype. Errors: invalid_argument.
Status validate(const Initializer& initializer, DType dtype);

/// Writes the initial values of `count` rows from row `first` (aligned to the dtype). A pure
/// function of (initializer, row, column): every machine writes the same bits, in any order.
void write_initial_rows(const Initializer& initializer, DType dtype, Row first, std::size_t count,
                        std::uint32_t width, std::byte* rows);

/// The same for one sparse row.
void write_initial_row(const Initializer& initializer, DType dtype, Key key, std::uint32_t width,
                       std::byte* row);

}  // namespace shoal
