#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/memory/dtype.h"
#include "core/ops/parameter.h"
#include "core/ops/simd.h"
#include "core/table/geometry.h"
#include "core/table/table_spec.h"

// What an update rule is, seen without its type. See docs/design/update_rules.md.

namespace shoal {

/// The fixed properties of a rule; its functor's `kTraits`.
struct RuleTraits {
  std::string_view name;
  std::uint8_t states = 0;  ///< optimizer values per weight, at most kRuleStatesMax
  std::uint8_t inputs = 1;  ///< values that a push carries per weight, at most kInputsMax
  Aggregate aggregate = Aggregate::sum;
  bool floats = true;     ///< has f32, f64, f16 and bf16 forms
  bool integers = false;  ///< has i32 and i64 forms
  /// Applying repeated rows one after another equals applying their aggregate once (up to
  /// rounding). For other rules the caller merges repeated rows first (RowMerger).
  bool repeats_compose = false;
};

inline constexpr std::size_t kRuleBytesMax = 128;

/// Where the values of one segment (dense) or page (sparse) begin. Aligned to the value's size.
/// Weights are packed, row after row, so that they are sent as they stand; how states, which are of
/// the accumulator's type, lie says RowShape.
struct SegmentArrays {
  std::byte* weights = nullptr;  ///< rows x width values
  std::byte* states = nullptr;   ///< state 0 of row 0
  std::uint32_t* steps =
      nullptr;  ///< only of a rule that counts steps: see RowShape::steps_per_row
};

/// What the segments of a table (or a slot) have in common. StateLayout makes it. Dense segments
/// keep each state in an array of its own, since a loop over arrays is a loop over vectors; pages
/// of sparse rows keep a row's states and count side by side, since there a cache miss is what
/// costs.
struct RowShape {
  std::uint32_t width = 1;  ///< values a row
  std::uint32_t page_shift =
      0;  ///< a listed row's position is page << page_shift | row in the page
  std::size_t state_stride = 0;  ///< bytes from a row's state k to its state k + 1
  /// True (sparse): `steps` has a count for each row, raised by the kernels. False (dense): `steps`
  /// is one count of the segment, raised by the caller before it applies a push.
  bool steps_per_row = false;
  std::size_t state_row_bytes =
      0;  ///< bytes from a row's states to the next row's; 0: packed arrays
  std::size_t step_row_bytes =
      sizeof(std::uint32_t);  ///< bytes from a row's count to the next one's
};

/// Consecutive rows of one segment.
struct DenseRows {
  SegmentArrays arrays;
  RowShape shape;
  std::size_t first = 0;  ///< row in the segment
  std::size_t count = 0;
};

/// Rows by position, in any order. May repeat only where a function says so.
struct ListedRows {
  const SegmentArrays* pages = nullptr;
  RowShape shape;
  std::span<const std::uint32_t> positions;
};

/// What a rule is given: row after row, each row's `width` values of input 0, then of input 1, ...;
/// they may be unaligned. As pushed they are of the table's dtype, sums of pushes of its
/// accumulator's.
struct RuleInputs {
  const std::byte* values = nullptr;
  bool sums = false;

  RuleInputs(const std::byte* pushed) : values(pushed) {}
  static RuleInputs of_sums(const std::byte* sums) {
    RuleInputs inputs(sums);
    inputs.sums = true;
    return inputs;
  }
};

/// Consecutive rows of a segment and all that a round pushed to them: what a GPU reads in one pass,
/// where the host adds each push to a sum when it comes.
struct DensePushes {
  SegmentArrays arrays;
  std::size_t first = 0;  ///< row in the segment
  std::size_t count = 0;
  std::span<const std::byte* const> pushes;  ///< in the order in which they combine; aligned

  static constexpr std::size_t kMax = 16;  ///< pushes; of more, sums are made first
};

/// The entry points of a rule for one dtype on one kind of device. `rule` is the functor. `stream`
/// is Device::stream().
struct RuleKernels {
  using Stream = void*;
  void (*apply_dense)(const void* rule, const DenseRows&, RuleInputs, Stream) = nullptr;
  void (*apply_rows)(const void* rule, const ListedRows&, RuleInputs, Stream) = nullptr;
  void (*reset_dense)(const void* rule, const DenseRows&, Stream) = nullptr;
  void (*reset_rows)(const void* rule, const ListedRows&, Stream) = nullptr;
  /// Null for rules without decay.
  void (*catch_up_dense)(const void* rule, const DenseRows&, std::uint64_t missed,
                         Stream) = nullptr;
  void (*catch_up_rows)(const void* rule, const ListedRows&, const std::uint64_t* missed,
                        Stream) = nullptr;
  /// Rows of several segments of a table, by the same number of pushes each; `sums`: of the
  /// accumulator's type. Null on the host.
  void (*apply_pushes)(const void* rule, const RowShape&, std::span<const DensePushes>, bool sums,
                       Stream) = nullptr;
};
using RuleKernelTable = std::array<RuleKernels, kDTypeCount>;
/// By host::Simd.
using HostKernelTables = std::array<RuleKernelTable, std::size(host::kSimds)>;

/// A rule's functor type, erased. Constant data of the program or plugin that holds the functor.
struct RuleKind {
  RuleTraits traits;
  std::span<const ParameterInfo> parameters;
  bool counts_steps = false;  ///< needs SegmentArrays::steps
  bool has_decay = false;     ///< a round without a push changes the row: needs catch_up
  std::size_t bytes = 0;      ///< of the functor
  void (*construct)(void* functor) = nullptr;  ///< the functor with its defaults
  const HostKernelTables* host = nullptr;

  const RuleKernelTable& host_kernels(host::Simd simd) const {
    return (*host)[static_cast<std::size_t>(simd)];
  }
};

/// What a functor must be. `operator()` is checked where the kernels are made.
template <class F>
concept UpdateFunctor = std::is_trivially_copyable_v<F> && std::is_default_constructible_v<F> &&
                            sizeof(F) <= kRuleBytesMax
                        && alignof(F) <= alignof(std::max_align_t) && requires {
  { F::kTraits } -> std::convertible_to<RuleTraits>;
  F::parameters();
};

/// The functor's name, parameters and ways, for a TableSpec.
template <UpdateFunctor F>
UpdateSpec update_spec(const F& functor) {
  UpdateSpec spec{std::string(F::kTraits.name), {}, F::kTraits.inputs, F::kTraits.aggregate};
  for (const auto& info : F::parameters())
    spec.parameters.emplace_back(std::string(info.name), info.get(&functor));
  return spec;
}

}  // namespace shoal
