#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/ids.h"
#include "core/base/list.h"
#include "core/memory/dtype.h"
#include "core/table/geometry.h"
#include "core/table/key_signature.h"
#include "transport/transport.h"

namespace shoal {

/// How a key list falls apart into slots: its keys grouped by slot, in an order of slots that the
/// caller gives (those of one server side by side), and for each of the user's positions the place
/// of its row among the grouped ones. Rows pass through `values`, in which peers READ and WRITE.
/// Belongs to one operation at a time and keeps its memory for the next.
///
/// A slot's keys stand roughly in the order of their hashes, as its index on the server does: that
/// finds neighbours in neighbouring cache lines, and their rows too where they were made by such
/// lists. One pass of a radix sort, with few enough streams that each one's last line stays in
/// cache.
class KeyPlan {
 public:
  struct Group {
    SlotIndex slot;
    std::uint64_t begin = 0;  ///< index of its first grouped key
    std::uint64_t count = 0;
    std::uint32_t first_part = 0;  ///< index of its first part's signature
  };
  /// What grouping needs besides, shared by all plans of a loop.
  struct Scratch {
    std::vector<std::uint32_t> stream_of, ends, buckets, moved;
    std::vector<std::byte> sums;
  };

  /// Groups `keys`. `slot_rank[slot]` is the slot's place in the wanted order. With `fold`,
  /// repeated keys share one place (pushes); else each position has its own (pulls). Equal keys
  /// stay in order.
  void group(std::span<const Key> keys, const Geometry& geometry,
             std::span<const std::uint32_t> slot_rank, bool fold, Scratch& scratch);
  /// Signs the groups part by part.
  void sign(std::uint64_t rows_per_part);
  /// Makes room for the rows: `row_bytes` for each grouped key.
  void reserve_values(std::size_t row_bytes);
  /// Puts the user's rows into their places; rows of a repeated key combine by `aggregate`.
  void gather(ConstMemoryView rows, DType dtype, std::uint32_t values_per_row, Aggregate aggregate,
              Scratch& scratch);
  /// Puts the rows of the places back to the user's positions.
  void scatter(MemoryView rows, std::size_t row_bytes) const;

  std::span<const Group> groups() const { return groups_; }
  std::span<const Key> keys() const { return grouped_; }
  /// Of every part, group after group; none if the plan is not signed.
  std::span<const KeySignature> signatures() const { return signatures_; }
  /// Whether it is what `group` with `fold` makes: of distinct keys it is the same with or without.
  bool serves(bool fold) const { return distinct_ || fold == folded_; }
  std::size_t memory_bytes() const {
    return grouped_.capacity() * sizeof(Key) + place_.capacity() * sizeof(std::uint32_t) +
           values_.capacity();
  }
  /// All the memory that grouped keys or values may ever fill before the vectors move: what the
  /// regions register.
  MemoryView keys_memory() {
    return {reinterpret_cast<std::byte*>(grouped_.data()), grouped_.capacity() * sizeof(Key)};
  }
  MemoryView values_memory() { return {values_.data(), values_.size()}; }

  /// Which list this is, for KeyPlans.
  struct Origin {
    KeySignature list;
    std::size_t keys = 0;
    TableId table;
    std::uint32_t routes = 0;
    bool again = false;  ///< The list had been seen before.
  };
  Origin origin;

  // Where it is kept, for KeyPlans.
  Link<KeyPlan> by_age;
  KeyPlan* chained = nullptr;  ///< the next of the same bucket

  // Registered by the owner when needed, revoked here before the vectors move.
  Region keys_region, values_region;

 private:
  void fold_repeats(Scratch& scratch);

  std::vector<Group> groups_;
  std::vector<Key> grouped_;
  std::vector<std::uint32_t> place_;  ///< user's position -> grouped index
  std::vector<std::byte> values_;
  std::vector<KeySignature> signatures_;
  bool repeats_ = false;  ///< some places have several positions
  bool folded_ = false;
  bool distinct_ = false;  ///< the grouped keys are known to be distinct
};

}  // namespace shoal
