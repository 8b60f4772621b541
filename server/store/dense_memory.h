#pragma once

#include <cstdint>

#include "core/ops/update_rule.h"
#include "core/table/geometry.h"

namespace shoal {

/// What the dense rows of one slot take of a server's memory_budget, all of it when the slot is
/// made. The server reserves it; the scheduler judges by it whether a table has room. Numbers that
/// no memory holds are 2^64 - 1.
struct DenseMemory {
  std::uint64_t values = 0;
  std::uint64_t states = 0;
  std::uint64_t sums = 0;  ///< of the clocks of the window

  std::uint64_t total() const;
  void add(const DenseMemory& other);
};

/// How the optimizer values of one segment lie, of a rule that keeps `states` of them for each
/// weight.
StateLayout dense_states(const TableSpec& spec, const Geometry& geometry, std::size_t states,
                         bool counts_steps);

/// `states`: of one segment.
DenseMemory dense_memory(const TableSpec& spec, const Geometry& geometry, SlotIndex slot,
                         const StateLayout& states);

}  // namespace shoal
