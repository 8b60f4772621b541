#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/random.h"
#include "cuda/passes.h"
#include "cuda/tiles.h"

// Bodies of the sparse index in GPU memory: open addressing by slots of 16 bytes, one after another
// from a key's home, which is the high half of hash x slots. A slot is claimed by its key; the
// largest key, which is what a free slot holds, has one of its own behind the table.
//
// Positions go to new keys in the order in which they first occur in the list, whatever the order
// of threads: a slot's `first` becomes the least index of its key in the list, the key at that
// index is new if the slot has no position, and a scan over those counts them.

namespace shoal::cuda {

/// A key and its row. Without a position the key is erased, or about to get one.
struct alignas(16) IndexSlot {
  std::uint64_t key;
  std::uint32_t position;
  std::uint32_t first;

  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
};
static_assert(sizeof(IndexSlot) == kPackBytes);

/// Stores `desired` if there is `expected`; what there was.
SHOAL_HOST_DEVICE std::uint64_t compare_and_swap(std::uint64_t* at, std::uint64_t expected,
                                                 std::uint64_t desired) {
#if defined(__CUDA_ARCH__)
  return atomicCAS(reinterpret_cast<unsigned long long*>(at), expected, desired);
#else
  const auto was = *at;
  if (was == expected) *at = desired;
  return was;
#endif
}
SHOAL_HOST_DEVICE void store_least(std::uint32_t* at, std::uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMin(at, value);
#else
  if (value < *at) *at = value;
#endif
}

/// `count` slots and one more, in memory that kernels reach.
struct IndexTable {
  IndexSlot* slots = nullptr;
  std::uint64_t count = 0;

  SHOAL_HOST_DEVICE std::uint64_t home(std::uint64_t key) const {
    const auto hash = mix64(key);
#if defined(__CUDA_ARCH__)
    return __umul64hi(hash, count);
#else
    __extension__ typedef unsigned __int128 Wide;
    return static_cast<std::uint64_t>(Wide{hash} * count >> 64);
#endif
  }
  SHOAL_HOST_DEVICE std::uint64_t after(std::uint64_t slot) const {
    return slot + 1 == count ? 0 : slot + 1;
  }
  /// The slot of a key, or null.
  SHOAL_HOST_DEVICE IndexSlot* find(std::uint64_t key) const {
    if (key == IndexSlot::kFree) return slots + count;
    for (auto at = home(key);; at = after(at)) {
      const auto there = slots[at].key;
      if (there == key) return slots + at;
      if (there == IndexSlot::kFree) return nullptr;
    }
  }
  /// The slot of a key, claimed if it has none yet. There must be a free one.
  SHOAL_HOST_DEVICE IndexSlot* claim(std::uint64_t key) const {
    if (key == IndexSlot::kFree) return slots + count;
    for (auto at = home(key);; at = after(at)) {
      auto there = slots[at].key;
      if (there == IndexSlot::kFree)
        there = compare_and_swap(&slots[at].key, IndexSlot::kFree, key);
      if (there == IndexSlot::kFree || there == key) return slots + at;
    }
  }
};

/// Frees all slots.
class ClearIndexTiles : public OneEach {
 public:
  explicit ClearIndexTiles(IndexTable table) : OneEach(table.count + 1), table_(table) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (has(i)) table_.slots[i] = {IndexSlot::kFree, IndexSlot::kNone, IndexSlot::kNone};
  }

 private:
  IndexTable table_;
};

/// positions[i] = that of keys[i], or IndexSlot::kNone.
class FindTiles : public OneEach {
 public:
  FindTiles(IndexTable table, const std::uint64_t* keys, std::uint64_t count,
            std::uint32_t* positions)
      : OneEach(count), table_(table), keys_(keys), positions_(positions) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    const auto* slot = table_.find(keys_[i]);
    positions_[i] = slot == nullptr ? IndexSlot::kNone : slot->position;
  }

 private:
  IndexTable table_;
  const std::uint64_t* keys_;
  std::uint32_t* positions_;
};

/// Room for an insertion of a list, beside it.
struct InsertScratch {
  std::uint32_t* found = nullptr;   ///< the slot of each key
  std::uint32_t* is_new = nullptr;  ///< 1: the key first occurs here, and had no position; then a 0
  std::uint32_t* ranks = nullptr;   ///< how many were new before; behind the last, how many in all
  Scratch sum;                      ///< of the scan
};

/// First pass of an insertion: positions of keys that have one, slots for all others, and where in
/// the list each of those first occurs.
class ClaimTiles : public OneEach {
 public:
  ClaimTiles(IndexTable table, const std::uint64_t* keys, std::uint64_t count,
             std::uint32_t* positions, InsertScratch scratch)
      : OneEach(count), table_(table), keys_(keys), positions_(positions), scratch_(scratch) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    auto* slot = table_.claim(keys_[i]);
    scratch_.found[i] = static_cast<std::uint32_t>(slot - table_.slots);
    positions_[i] = slot->position;
    if (slot->position == IndexSlot::kNone)
      store_least(&slot->first, static_cast<std::uint32_t>(i));
  }

 private:
  IndexTable table_;
  const std::uint64_t* keys_;
  std::uint32_t* positions_;
  InsertScratch scratch_;
};

/// Second pass: which places of the list bring a new key. One more, which brings none, ends the
/// scan that follows.
class NewTiles : public OneEach {
 public:
  NewTiles(IndexTable table, std::uint64_t count, const std::uint32_t* positions,
           InsertScratch scratch)
      : OneEach(count + 1), table_(table), positions_(positions), scratch_(scratch), end_(count) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    scratch_.is_new[i] = i != end_ && positions_[i] == IndexSlot::kNone &&
                         table_.slots[scratch_.found[i]].first == i;
  }

 private:
  IndexTable table_;
  const std::uint32_t* positions_;
  InsertScratch scratch_;
  std::uint64_t end_;
};

/// Third, after the scan: positions for new keys.
class PlaceTiles : public OneEach {
 public:
  PlaceTiles(IndexTable table, std::uint64_t count, std::uint32_t* positions, InsertScratch scratch,
             std::uint32_t first_new)
      : OneEach(count),
        table_(table),
        positions_(positions),
        scratch_(scratch),
        first_new_(first_new) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i) || scratch_.is_new[i] == 0) return;
    auto& slot = table_.slots[scratch_.found[i]];
    slot.position = positions_[i] = first_new_ + scratch_.ranks[i];
    slot.first = IndexSlot::kNone;
  }

 private:
  IndexTable table_;
  std::uint32_t* positions_;
  InsertScratch scratch_;
  std::uint32_t first_new_;
};

/// Fourth: the positions of keys that occurred before in the list.
class RepeatedTiles : public OneEach {
 public:
  RepeatedTiles(IndexTable table, std::uint64_t count, std::uint32_t* positions,
                InsertScratch scratch)
      : OneEach(count), table_(table), positions_(positions), scratch_(scratch) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (has(i) && positions_[i] == IndexSlot::kNone)
      positions_[i] = table_.slots[scratch_.found[i]].position;
  }

 private:
  IndexTable table_;
  std::uint32_t* positions_;
  InsertScratch scratch_;
};

/// Takes the positions of keys away. Their slots stay theirs until the table is made anew.
class EraseTiles : public OneEach {
 public:
  EraseTiles(IndexTable table, const std::uint64_t* keys, std::uint64_t count)
      : OneEach(count), table_(table), keys_(keys) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    if (auto* slot = table_.find(keys_[i])) slot->position = IndexSlot::kNone;
  }

 private:
  IndexTable table_;
  const std::uint64_t* keys_;
};

/// Takes what one table has over to another, larger one that is cleared.
class RehashTiles : public OneEach {
 public:
  RehashTiles(IndexTable from, IndexTable to) : OneEach(from.count + 1), from_(from), to_(to) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    const auto& slot = from_.slots[i];
    if (slot.position != IndexSlot::kNone) to_.claim(slot.key)->position = slot.position;
  }

 private:
  IndexTable from_, to_;
};

}  // namespace shoal::cuda
