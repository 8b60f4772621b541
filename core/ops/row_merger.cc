#include "core/ops/row_merger.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "core/base/assert.h"
#include "core/base/random.h"
#include "core/ops/copy_rows.h"

namespace shoal {

Result<RowMerger> RowMerger::create(Device& device, std::size_t rows_max, std::size_t bytes_max) {
  constexpr std::size_t kRowsMax = std::size_t{1} << 30;
  if (rows_max == 0 || rows_max > kRowsMax)
    return Error{Errc::invalid_argument,
                 fmt::format("a row merger for {} rows: 1 to {} are possible", rows_max, kRowsMax)};
  SHOAL_ASSIGN(auto values, DeviceMemory::create(device, bytes_max));
  return RowMerger(std::move(values), rows_max);
}

RowMerger::RowMerger(DeviceMemory values, std::size_t rows_max)
    : values_(std::move(values)),
      rows_max_(rows_max),
      positions_(rows_max),
      seen_(std::bit_ceil(2 * rows_max)) {}

Status RowMerger::begin(std::size_t rows) {
  if (rows > rows_max_)
    return Error{Errc::overloaded,
                 fmt::format("a part of {} rows where {} were announced", rows, rows_max_)};
  if (++stamp_ == 0) {  // Wrapped: stamps of 2^32 calls ago would look like this call's.
    std::fill(seen_.begin(), seen_.end(), Seen{});
    stamp_ = 1;
  }
  return {};
}

RowMerger::Seen& RowMerger::look_up(std::uint32_t position) {
  const auto mask = seen_.size() - 1;
  auto at = mix64(position) & mask;
  while (seen_[at].stamp == stamp_ && seen_[at].position != position) at = (at + 1) & mask;
  return seen_[at];
}

Result<bool> RowMerger::repeats(std::span<const std::uint32_t> positions) {
  SHOAL_TRY(begin(positions.size()));
  for (const auto position : positions) {
    auto& seen = look_up(position);
    if (seen.stamp == stamp_) return true;
    seen = {stamp_, position, 0};
  }
  return false;
}

Result<std::size_t> RowMerger::group(std::span<const std::uint32_t> positions,
                                     std::span<std::uint32_t> distinct,
                                     std::span<std::uint32_t> begins,
                                     std::span<std::uint32_t> order) {
  SHOAL_TRY(begin(positions.size()));
  std::uint32_t count = 0;
  for (std::size_t r = 0; r < positions.size(); ++r) {
    auto& seen = look_up(positions[r]);
    if (seen.stamp != stamp_) {
      seen = {stamp_, positions[r], count};
      distinct[count] = positions[r];
      begins[count++] = 0;
    }
    positions_[r] = seen.row;
    ++begins[seen.row];
  }
  // From how many each has to where the next one's begin, which then fall to their own.
  std::uint32_t rows = 0;
  for (std::uint32_t r = 0; r < count; ++r) begins[r] = rows += begins[r];
  begins[count] = rows;
  for (auto r = positions.size(); r-- > 0;)
    order[--begins[positions_[r]]] = static_cast<std::uint32_t>(r);
  return std::size_t{count};
}

void RowMerger::keep_last(std::span<std::uint32_t> positions) {
  SHOAL_ASSERT(begin(positions.size()).ok(), "a part larger than what was announced");
  for (auto r = positions.size(); r-- > 0;) {
    auto& seen = look_up(positions[r]);
    if (seen.stamp == stamp_)
      positions[r] = kAbsentRow;
    else
      seen = {stamp_, positions[r], 0};
  }
}

Result<RowMerger::Rows> RowMerger::merge(Rows rows, const AggregateKernels& aggregate, DType dtype,
                                         std::size_t row_values) {
  SHOAL_TRY(begin(rows.positions.size()));
  const auto row_bytes = row_values * byte_size(dtype);
  const auto sum_bytes = row_values * byte_size(accumulator_of(dtype));
  const auto* pushed = rows.inputs.values;
  // Rows before the first repetition stay where they are until it is known that there is one.
  std::uint32_t distinct = 0;
  bool copied = false;
  for (std::size_t r = 0; r < rows.positions.size(); ++r) {
    const auto position = rows.positions[r];
    auto& seen = look_up(position);
    const auto* value = pushed + r * row_bytes;
    if (seen.stamp != stamp_) {
      seen = {stamp_, position, distinct};
      if (copied) {
        aggregate.start(values_.data() + distinct * sum_bytes, value, row_values);
        positions_[distinct] = position;
      }
      ++distinct;
      continue;
    }
    if (!copied) {
      if (rows.positions.size() > values_.bytes() / sum_bytes)
        return Error{Errc::overloaded,
                     fmt::format("a part of {} rows of {} bytes where {} bytes were announced",
                                 rows.positions.size(), sum_bytes, values_.bytes())};
      aggregate.start(values_.data(), pushed, distinct * row_values);
      std::copy_n(rows.positions.begin(), distinct, positions_.begin());
      copied = true;
    }
    aggregate.dense(values_.data() + seen.row * sum_bytes, value, row_values);
  }
  if (!copied) return rows;
  return Rows{std::span(positions_).first(distinct), RuleInputs::of_sums(values_.data())};
}

}  // namespace shoal
