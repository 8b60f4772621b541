#pragma once

#include <cstdint>

#include "core/base/result.h"
#include "core/memory/device_memory.h"
#include "cuda/cuda_device.h"
#include "cuda/index_tiles.h"

namespace shoal::cuda {

/// Maps 64-bit keys to 32-bit positions in a GPU's memory, as the host's SparseIndex does in its
/// own: every key is legal, and new keys get positions in the order in which they first occur. All
/// work goes into the device's stream; lists and results are memory that kernels reach. Nothing
/// waits, so how many keys a list brought is known later (`settle`); until then as many count as it
/// had. 16 bytes a slot, at most 0.8 of them in use. Belongs to one loop.
class SparseIndex {
 public:
  static constexpr std::uint32_t kAbsent = IndexSlot::kNone;

  /// For lists of up to `list_max` keys; with room for `keys` keys. Errors: no_memory.
  static Result<SparseIndex> create(CudaDevice& device, std::uint64_t keys, std::uint32_t list_max);

  /// positions[i] = the position of keys[i], or kAbsent.
  void find(const std::uint64_t* keys, std::uint32_t count, std::uint32_t* positions) const;
  /// The same, and keys without a position get first_new, first_new + 1, ... How many stands at
  /// `added()` when the work is done; copy it before the next insertion. Errors: no_memory (nothing
  /// was inserted).
  Status insert_absent(const std::uint64_t* keys, std::uint32_t count, std::uint32_t* positions,
                       std::uint32_t first_new);
  /// 4 bytes of device memory.
  ConstMemoryView added() const;
  /// A list of `count` keys brought `added` new ones.
  void settle(std::uint32_t count, std::uint32_t added) { claimed_ -= count - added; }
  /// Takes the positions of keys away, each of which has one and stands in the list once. Their
  /// room is free when the index is made anew, which `reserve` does when it is full.
  void erase(const std::uint64_t* keys, std::uint32_t count);
  /// Forgets all keys, keeps the memory.
  void clear();
  /// Grows so that `more` keys fit. Errors: no_memory.
  Status reserve(std::uint64_t more);

  std::uint64_t memory_bytes() const { return slots_.bytes() + scratch_memory_.bytes(); }
  std::uint64_t slot_count() const { return table_.count; }

 private:
  SparseIndex(CudaDevice& device, std::uint32_t list_max) : device_(&device), list_max_(list_max) {}
  Status make_scratch();
  Result<DeviceMemory> make_table(std::uint64_t slots, IndexTable& table) const;

  CudaDevice* device_;
  std::uint32_t list_max_;
  IndexTable table_;
  DeviceMemory slots_;
  DeviceMemory scratch_memory_;
  InsertScratch scratch_;
  std::uint32_t last_count_ = 0;
  std::uint64_t claimed_ = 0;  ///< slots that may be in use
  std::uint64_t erased_ = 0;   ///< of those, without a position
};

}  // namespace shoal::cuda
