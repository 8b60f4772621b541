#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/random.h"
#include "core/base/result.h"
#include "core/memory/device_memory.h"
#include "server/store/memory.h"

namespace shoal {

/// Maps 64-bit keys to 32-bit positions: open addressing in buckets of one cache line, five entries
/// each. Every key value is legal, since a bucket counts its entries instead of marking free ones.
/// A key's bucket is the high half of hash x buckets (Lemire, "Fast random integer generation in an
/// interval", 2019), so the number of buckets need not be a power of two and buckets lie in the
/// order of hashes: growing by a quarter is one sequential pass, the load stays between 0.64 and
/// 0.8, and a key costs 16 to 20 bytes. Keys are never erased. `find` prefetches kBatch buckets
/// ahead, into the L2 cache, which takes more of them at a time than the L1, as a lookup in a table
/// beyond the cache is one miss; lists in the order of hashes (KeyPlan) touch each line once.
///
/// Memory is counted against the budget; while growing, the old and the new table are both there.
/// Every slot has an index of its own, so that this peak is a slot's and not a table's.
class SparseIndex {
 public:
  static constexpr std::uint32_t kAbsent = 0xffffffff;
  static constexpr std::size_t kBatch = 64;

  /// `slot_bits`: the top bits of mix64(key) that all keys here share (`slot`), which are of no use
  /// to tell them apart. Both device (host memory) and budget must outlive the index.
  SparseIndex(Device& host, MemoryBudget& budget, unsigned slot_bits, std::uint32_t slot = 0);
  SparseIndex(SparseIndex&& other) noexcept;
  SparseIndex& operator=(SparseIndex&&) = delete;
  ~SparseIndex();

  std::uint64_t size() const { return size_; }
  std::uint64_t memory_bytes() const { return buckets_.bytes(); }

  /// The position of a key, or kAbsent.
  std::uint32_t find(std::uint64_t key) const;
  /// positions[i] = position of keys[i], or kAbsent. Equal lengths. False: some are not of this
  /// slot.
  bool find(std::span<const std::uint64_t> keys, std::span<std::uint32_t> positions) const;
  /// Follows `find`: keys whose position is kAbsent are inserted, with the positions first_new,
  /// first_new + 1, ... in the order in which they first occur. Returns how many were new. Errors:
  /// no_memory (nothing was inserted).
  Result<std::uint32_t> insert_absent(std::span<const std::uint64_t> keys,
                                      std::span<std::uint32_t> positions, std::uint32_t first_new);
  /// Grows so that `count` keys fit without another pass. Errors: no_memory.
  Status reserve(std::uint64_t count);
  /// Forgets all keys, keeps the memory.
  void clear();

 private:
  static constexpr std::size_t kBucketEntries = 5;
  struct alignas(64) Bucket {
    std::uint64_t keys[kBucketEntries];
    std::uint32_t positions[kBucketEntries];
    std::uint16_t count;
    std::uint16_t overflowed;  ///< 1: a key of this bucket, or passing it, lies in a later one.
  };
  static_assert(sizeof(Bucket) == 64);
  struct PlainMatches;
  struct Avx2Matches;

  std::uint64_t hash(std::uint64_t key) const { return mix64(key) << slot_bits_; }
  bool owns(std::uint64_t mixed) const {
    return slot_bits_ == 0 || mixed >> (64 - slot_bits_) == slot_;
  }
  std::uint64_t home(std::uint64_t hash) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(hash) * bucket_count_) >> 64);
  }
  Bucket* table() const { return reinterpret_cast<Bucket*>(buckets_.data()); }
  template <class Matches>
  bool find_all(std::span<const std::uint64_t> keys, std::span<std::uint32_t> positions,
                Matches matches) const;
  bool find_avx2(std::span<const std::uint64_t> keys, std::span<std::uint32_t> positions) const;
  std::uint32_t find_or_put(std::uint64_t bucket, std::uint64_t key, std::uint32_t position);
  Status rebuild(std::uint64_t bucket_count);

  Device* host_;
  MemoryBudget* budget_;
  unsigned slot_bits_;
  std::uint32_t slot_;
  std::uint64_t slot_prefix_;  ///< the slot as the top bits of a hash
  bool avx2_;
  DeviceMemory buckets_;
  std::uint64_t bucket_count_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t size_max_ = 0;  ///< Beyond this the load is too high.
};

}  // namespace shoal
