#pragma once

#include <cstdint>

#include "cuda/index_tiles.h"

namespace shoal::cuda {

/// The sparse index for an executor (see rule_entries.h) that has Passes, too. All of it in the
/// order of the stream; what it works on is the caller's.
template <class Executor>
struct IndexEntries {
  static void clear(IndexTable table, void* stream) {
    Executor::run(ClearIndexTiles(table), stream);
  }
  static void find(IndexTable table, const std::uint64_t* keys, std::uint64_t count,
                   std::uint32_t* positions, void* stream) {
    Executor::run(FindTiles(table, keys, count, positions), stream);
  }
  /// Positions of all keys; those without one get first_new, first_new + 1, ... in the order in
  /// which they first occur. scratch.ranks[count] says how many. There are `count` free slots.
  static void insert(IndexTable table, const std::uint64_t* keys, std::uint64_t count,
                     std::uint32_t* positions, std::uint32_t first_new, InsertScratch scratch,
                     void* stream) {
    Executor::run(ClaimTiles(table, keys, count, positions, scratch), stream);
    Executor::run(NewTiles(table, count, positions, scratch), stream);
    Executor::exclusive_sum(scratch.sum, scratch.is_new, scratch.ranks, count + 1, stream);
    Executor::run(PlaceTiles(table, count, positions, scratch, first_new), stream);
    Executor::run(RepeatedTiles(table, count, positions, scratch), stream);
  }
  static void erase(IndexTable table, const std::uint64_t* keys, std::uint64_t count,
                    void* stream) {
    Executor::run(EraseTiles(table, keys, count), stream);
  }
  /// `to` is cleared here.
  static void rehash(IndexTable from, IndexTable to, void* stream) {
    clear(to, stream);
    Executor::run(RehashTiles(from, to), stream);
  }
};

}  // namespace shoal::cuda
