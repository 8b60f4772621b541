#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/ids.h"
#include "worker/engine/key_plan.h"

namespace shoal {

/// The plans of a worker's key lists. A list is known by a hash of its contents, taken at each use,
/// so that one that was changed in place is another list. Its first use leaves the hash, its second
/// the plan: lists that never come back cost no memory, and all go through one plan's memory that
/// is still in cache. Belongs to one loop. See docs/design/worker.md.
class KeyPlans {
 public:
  static constexpr std::size_t kKeptMax = 8192;

  /// Keeps plans of lists of at least `keys_min` keys, and of at most `bytes_max` bytes together,
  /// besides those in use; 0: none. Also up to kSparesBytesMax of others' memory, for the next.
  KeyPlans(std::size_t keys_min, std::size_t bytes_max)
      : keys_min_(keys_min), bytes_max_(bytes_max), buckets_(kBuckets), seen_(kSeen) {
    spares_.reserve(kSparesMax);
  }
  ~KeyPlans();
  KeyPlans(const KeyPlans&) = delete;
  KeyPlans& operator=(const KeyPlans&) = delete;

  struct Asked {
    TableId table;
    const Geometry& geometry;
    std::span<const std::uint32_t> slot_rank;
    bool fold;  ///< as for KeyPlan::group
  };
  /// The plan of `keys`, as it was kept or made now. Signed if the list was seen before.
  std::unique_ptr<KeyPlan> take(std::span<const Key> keys, const Asked& asked);
  /// It is used no more: its memory is not lent to anybody.
  void give(std::unique_ptr<KeyPlan> plan);
  /// Slots have moved, so that plans made until now are void.
  void forget();

  KeyPlan::Scratch& scratch() { return scratch_; }
  std::size_t kept() const { return kept_.size(); }
  std::size_t kept_bytes() const { return kept_bytes_; }

 private:
  static constexpr std::size_t kSeen = 2 * kKeptMax;
  static constexpr std::size_t kBuckets = kKeptMax;
  static constexpr std::size_t kSparesMax = 4;
  static constexpr std::size_t kSparesBytesMax = std::size_t{64} << 20;

  bool seen(const KeySignature& list);
  KeyPlan*& bucket_of(const KeyPlan::Origin& origin) {
    return buckets_[origin.list.low % kBuckets];
  }
  /// Takes out the one that was given back last of those that fit; null: none does.
  std::unique_ptr<KeyPlan> take_kept(const KeyPlan::Origin& origin, bool fold);
  /// `place`: where its bucket's chain holds it.
  std::unique_ptr<KeyPlan> take_out(KeyPlan*& place);
  std::unique_ptr<KeyPlan> take_oldest();
  void spare(std::unique_ptr<KeyPlan> plan);

  std::size_t keys_min_;
  std::size_t bytes_max_;
  List<KeyPlan, &KeyPlan::by_age> kept_;          ///< owned; least recently used first
  std::vector<KeyPlan*> buckets_;                 ///< the kept ones, by their lists
  std::vector<std::unique_ptr<KeyPlan>> spares_;  ///< memory to use again; warmest last
  std::size_t kept_bytes_ = 0;
  std::vector<KeySignature> seen_;  ///< by the low bits; a newer list takes an older one's place
  std::uint32_t routes_ = 0;
  KeyPlan::Scratch scratch_;
};

}  // namespace shoal
