#include "server/store/dense_memory.h"

#include <algorithm>
#include <limits>

#include "server/store/memory.h"
#include "server/store/round_sums.h"

namespace shoal {

namespace {

std::uint64_t saturated(unsigned __int128 bytes) {
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  return bytes > kMost ? kMost : static_cast<std::uint64_t>(bytes);
}

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
  return saturated(static_cast<unsigned __int128>(a) * b);
}

std::uint64_t sum(std::uint64_t a, std::uint64_t b) {
  return saturated(static_cast<unsigned __int128>(a) + b);
}

/// Of the segments of a slot: all are of one size, but for the last of the table.
std::uint64_t blocks(const Geometry& geometry, SlotIndex slot, std::uint64_t row_bytes) {
  const auto rows = geometry.rows_of(slot).size();
  const auto per_segment = geometry.rows_per_segment();
  return sum(
      product(rows / per_segment, SegmentPool::block_bytes(per_segment * row_bytes)),
      rows % per_segment == 0 ? 0 : SegmentPool::block_bytes(rows % per_segment * row_bytes));
}

}  // namespace

std::uint64_t DenseMemory::total() const { return sum(sum(values, states), sums); }

void DenseMemory::add(const DenseMemory& other) {
  values = sum(values, other.values);
  states = sum(states, other.states);
  sums = sum(sums, other.sums);
}

StateLayout dense_states(const TableSpec& spec, const Geometry& geometry, std::size_t states,
                         bool counts_steps) {
  const auto rows = std::min(geometry.rows_per_segment(), geometry.rows());
  return StateLayout::of(states, counts_steps, spec.dtype, static_cast<std::size_t>(rows),
                         spec.row_width, false);
}

DenseMemory dense_memory(const TableSpec& spec, const Geometry& geometry, SlotIndex slot,
                         const StateLayout& states) {
  const auto window = spec.apply_mode() == Apply::on_arrival
                          ? std::uint64_t{0}
                          : static_cast<std::uint64_t>(spec.window());
  const auto segments =
      geometry.first_segment(SlotIndex(slot.value + 1)) - geometry.first_segment(slot);
  DenseMemory memory;
  memory.values = blocks(geometry, slot, geometry.row_bytes());
  if (states.bytes != 0) memory.states = product(segments, SegmentPool::block_bytes(states.bytes));
  const auto sum_row_bytes =
      byte_size(accumulator_of(spec.dtype)) * spec.row_width * spec.update.inputs;
  memory.sums = sum(product(blocks(geometry, slot, sum_row_bytes), window),
                    product(segments, window * sizeof(RoundSum)));
  return memory;
}

}  // namespace shoal
