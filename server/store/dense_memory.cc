#include "server/store/dense_memory.h"

#include <algorithm>
#include <limits>

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
  memory.values = product(geometry.rows_of(slot).size(), geometry.row_bytes());
  memory.states = product(segments, states.bytes);
  memory.sums = sum(product(memory.values, window * spec.update.inputs),
                    product(segments, window * sizeof(RoundSum)));
  return memory;
}

}  // namespace shoal
