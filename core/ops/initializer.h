#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/base/ids.h"
#include "core/base/random.h"
#include "core/base/result.h"
#include "core/memory/dtype.h"
#include "core/ops/math.h"
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

namespace math {

/// ln(x) of a normal x > 0 from IEEE operations only: 2^e m, and the series of artanh for m in
/// [1/sqrt(2), sqrt(2)). Within 2 units in the last place of 1 + |ln x|.
double log(double x);

/// The normal distribution's quantile function at 0 < p < 1, to about 16 digits: Wichura,
/// "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37,
/// 1988 (PPND16).
double normal_quantile(double p);

}  // namespace math

}  // namespace shoal
