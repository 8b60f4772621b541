#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/memory/dtype.h"
#include "core/wire/codec.h"

namespace shoal {

/// How a table names its rows.
enum class Layout : std::uint8_t {
  dense,   ///< Rows 0 .. rows-1, all of which exist.
  sparse,  ///< Any 64-bit key; a row exists from its first push on.
};

/// When pushes take effect. See docs/design/consistency.md.
enum class Apply : std::uint8_t {
  on_arrival,  ///< Each push runs the update rule when it arrives.
  per_clock,   ///< Pushes of a clock are summed; the rule runs once, when every worker has ticked.
  collective,  ///< per_clock, dense, each row pushed once a clock: a segment folds when all have.
};

std::string_view name_of(Apply apply);

/// A staleness bound: 0 is BSP, k is bounded (SSP, Ho et al. NIPS'13), `unbounded` is asynchronous.
inline constexpr std::int64_t unbounded = std::numeric_limits<std::int64_t>::max();

/// How pushes of one row combine before the update rule sees them: repeated keys of a push, and the
/// pushes of a clock on per_clock and collective tables.
enum class Aggregate : std::uint8_t { sum = 0, last = 1, min = 2, max = 3 };

/// The name of an update rule and its parameters, as they travel: the server looks the rule up in
/// its RuleSet. Parameters not named have the rule's defaults. Rules convert to it (core/ops), so
/// that
/// `.update = shoal::Ftrl{.l1 = 1e-4f}` fills in all four.
struct UpdateSpec {
  std::string rule = "add";
  std::vector<std::pair<std::string, double>> parameters;
  std::uint32_t inputs = 1;  ///< values pushed for each weight
  Aggregate aggregate = Aggregate::sum;

  friend bool operator==(const UpdateSpec&, const UpdateSpec&) = default;
};

/// The value of a row before its first push: a function of (seed, row or key, column).
struct Initializer {
  enum class Kind : std::uint8_t { zero, constant, uniform, normal };
  Kind kind = Kind::zero;
  double a = 0;  ///< constant: the value; uniform: low; normal: mean
  double b = 0;  ///< uniform: high; normal: standard deviation
  std::uint64_t seed = 0;

  friend bool operator==(const Initializer&, const Initializer&) = default;
};

/// What a table is. Whoever opens a table gives its spec; the first makes it, and others must
/// agree.
struct TableSpec {
  std::string name{};
  DType dtype = DType::f32;
  Layout layout = Layout::dense;
  std::uint64_t rows = 0;       ///< dense: how many; sparse: 0
  std::uint32_t row_width = 1;  ///< values a row
  UpdateSpec update{};
  Initializer initializer{};
  std::optional<Apply> apply{};     ///< not given: per_clock for staleness 0, else on_arrival
  std::int64_t staleness = 0;       ///< clocks
  bool deterministic = false;       ///< collective: sums in order of rank, bit for bit
  std::uint32_t slots = 0;          ///< 0: chosen when the table is made
  std::uint32_t segment_bytes = 0;  ///< at most kSegmentBytes; 0: that. Smaller ones cost speed.

  Apply apply_mode() const {
    return apply.value_or(staleness == 0 ? Apply::per_clock : Apply::on_arrival);
  }
  std::size_t row_bytes() const { return byte_size(dtype) * row_width; }
  /// The staleness bound + 2: a push at clock >= G + window is parked unread.
  std::int64_t window() const { return staleness == unbounded ? unbounded : staleness + 2; }
  friend bool operator==(const TableSpec&, const TableSpec&) = default;
};

/// Errc::invalid_argument with what is wrong and what is allowed; checks what needs no rule and no
/// cluster (names, sizes, combinations that protocol.md section 3 refuses).
Status validate(const TableSpec& spec);

/// Errc::mismatch naming the first field in which an opener's spec differs from the table's.
Status agrees(const TableSpec& existing, const TableSpec& opened);

void encode(Writer& out, const TableSpec& spec);
TableSpec decode_table_spec(Reader& in);

}  // namespace shoal
