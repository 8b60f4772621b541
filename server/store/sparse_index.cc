#include "server/store/sparse_index.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/ops/simd.h"

#if SHOAL_HAS_X86_TARGETS
#include <immintrin.h>
#endif

namespace shoal {

namespace {
constexpr std::uint64_t kBucketsMin = 4;

std::uint64_t keys_of(std::uint64_t buckets) { return buckets * 4; }  // load 0.8 of five entries
std::uint64_t buckets_for(std::uint64_t keys) { return (keys + 3) / 4; }
}  // namespace

// Which entries of a bucket hold a key, a bit for each. All are compared and none decides a jump:
// where in its bucket a key stands is not to be foreseen.

struct SparseIndex::PlainMatches {
  SHOAL_ALWAYS_INLINE unsigned operator()(const Bucket& bucket, std::uint64_t key) const {
    unsigned found = 0;
    for (std::size_t i = 0; i < kBucketEntries; ++i)
      found |= static_cast<unsigned>(bucket.keys[i] == key) << i;
    return found & ((1u << bucket.count) - 1);
  }
};

#if SHOAL_HAS_X86_TARGETS
struct SparseIndex::Avx2Matches {
  SHOAL_TARGET_AVX2 unsigned operator()(const Bucket& bucket, std::uint64_t key) const {
    static_assert(kBucketEntries == 5, "four in a vector, and one");
    const auto keys = _mm256_load_si256(reinterpret_cast<const __m256i*>(bucket.keys));
    const auto equal = _mm256_cmpeq_epi64(keys, _mm256_set1_epi64x(static_cast<long long>(key)));
    const auto found = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal))) |
                       static_cast<unsigned>(bucket.keys[4] == key) << 4;
    return found & ((1u << bucket.count) - 1);
  }
};
#endif

SparseIndex::SparseIndex(Device& host, MemoryBudget& budget, unsigned slot_bits, std::uint32_t slot)
    : host_(&host),
      budget_(&budget),
      slot_bits_(slot_bits),
      slot_(slot),
      slot_prefix_(slot_bits == 0 ? 0 : std::uint64_t{slot} << (64 - slot_bits)),
      avx2_(host::widest_simd() >= host::Simd::avx2) {}

SparseIndex::SparseIndex(SparseIndex&& other) noexcept
    : host_(other.host_),
      budget_(other.budget_),
      slot_bits_(other.slot_bits_),
      slot_(other.slot_),
      slot_prefix_(other.slot_prefix_),
      avx2_(other.avx2_),
      buckets_(std::move(other.buckets_)),
      bucket_count_(std::exchange(other.bucket_count_, 0)),
      size_(std::exchange(other.size_, 0)),
      size_max_(std::exchange(other.size_max_, 0)) {}

SparseIndex::~SparseIndex() {
  if (bucket_count_ == 0) return;
  budget_->give(bucket_count_ * sizeof(Bucket));
  budget_->release(bucket_count_ * sizeof(Bucket));
}

std::uint32_t SparseIndex::find_or_put(std::uint64_t bucket, std::uint64_t key,
                                       std::uint32_t position) {
  for (;;) {
    auto& b = table()[bucket];
    if (const auto found = PlainMatches()(b, key); found != 0)
      return b.positions[std::countr_zero(found)];
    // A bucket that overflowed was full then, and stays so: nothing is ever erased.
    if (b.count < kBucketEntries) {
      b.keys[b.count] = key;
      b.positions[b.count] = position;
      ++b.count;
      return position;
    }
    b.overflowed = 1;
    if (++bucket == bucket_count_) bucket = 0;
  }
}

std::uint32_t SparseIndex::find(std::uint64_t key) const {
  if (bucket_count_ == 0) return kAbsent;
  for (auto bucket = home(hash(key));;) {
    const auto& b = table()[bucket];
    if (const auto found = PlainMatches()(b, key); found != 0)
      return b.positions[std::countr_zero(found)];
    if (b.overflowed == 0) return kAbsent;
    if (++bucket == bucket_count_) bucket = 0;
  }
}

template <class Matches>
bool SparseIndex::find_all(std::span<const std::uint64_t> keys, std::span<std::uint32_t> positions,
                           Matches matches) const {
  SHOAL_ASSERT(keys.size() == positions.size(), "as many positions as keys");
  if (bucket_count_ == 0) {
    std::fill(positions.begin(), positions.end(), kAbsent);
    return std::all_of(keys.begin(), keys.end(), [&](auto key) { return owns(mix64(key)); });
  }
  // A line is asked for kBatch keys before it is looked at, one with each lookup: a core has few
  // misses under way at a time, and in bursts they would wait for each other and lookups for them.
  std::uint64_t homes[kBatch];
  std::uint64_t strange = 0;  // the bits in which hashes differ from this slot's
  const auto prefetch = [&](std::uint64_t key) {
    const auto mixed = mix64(key);
    strange |= mixed ^ slot_prefix_;
    const auto bucket = home(mixed << slot_bits_);
    __builtin_prefetch(&table()[bucket], 0, 2);
    return bucket;
  };
  // One key in twelve has passed its full home. Its next line is asked for, too, before it is
  // looked at, and no jump tells such keys from the others, as they come at random.
  struct Passed {
    std::size_t at;
    std::uint64_t next;
  } passed[kBatch];
  std::size_t passed_count = 0;
  const auto look = [&](std::size_t i, std::uint64_t bucket) {
    const auto& b = table()[bucket];
    const auto found = matches(b, keys[i]);
    // Of none found the last entry is read, and not used.
    const auto position = b.positions[std::countr_zero(found | 1u << (kBucketEntries - 1))];
    const std::uint32_t absent = found == 0;
    positions[i] = position | -absent;  // kAbsent
    const auto passes = absent & b.overflowed;
    const auto next = bucket + passes == bucket_count_ ? 0 : bucket + passes;
    passed[passed_count] = {i, next};
    passed_count += passes;
    __builtin_prefetch(&table()[next], 0, 2);
  };
  const auto follow = [&] {
    const auto count = std::exchange(passed_count, 0);
    for (std::size_t i = 0; i < count; ++i) look(passed[i].at, passed[i].next);
    return passed_count != 0;  // by those that have passed that bucket too
  };
  const auto count = keys.size();
  const auto ahead = std::min(kBatch, count);
  for (std::size_t i = 0; i < ahead; ++i) homes[i] = prefetch(keys[i]);
  for (std::size_t i = 0; i < count; ++i) {
    while (passed_count == kBatch) follow();
    auto& place = homes[i % kBatch];
    look(i, i + kBatch < count ? std::exchange(place, prefetch(keys[i + kBatch])) : place);
  }
  while (follow()) continue;
  return slot_bits_ == 0 || strange >> (64 - slot_bits_) == 0;
}

bool SparseIndex::find(std::span<const std::uint64_t> keys,
                       std::span<std::uint32_t> positions) const {
  return avx2_ ? find_avx2(keys, positions) : find_all(keys, positions, PlainMatches());
}

#if SHOAL_HAS_X86_TARGETS
SHOAL_TARGET_AVX2 __attribute__((flatten)) bool SparseIndex::find_avx2(
    std::span<const std::uint64_t> keys, std::span<std::uint32_t> positions) const {
  return find_all(keys, positions, Avx2Matches());
}
#else
bool SparseIndex::find_avx2(std::span<const std::uint64_t> keys,
                            std::span<std::uint32_t> positions) const {
  return find_all(keys, positions, PlainMatches());
}
#endif

Result<std::uint32_t> SparseIndex::insert_absent(std::span<const std::uint64_t> keys,
                                                 std::span<std::uint32_t> positions,
                                                 std::uint32_t first_new) {
  SHOAL_ASSERT(keys.size() == positions.size(), "as many positions as keys");
  const auto absent =
      static_cast<std::uint64_t>(std::count(positions.begin(), positions.end(), kAbsent));
  SHOAL_TRY(reserve(size_ + absent));
  // In bursts: `find` has just brought these lines.
  auto next = first_new;
  for (std::size_t at = 0; at < keys.size(); at += kBatch) {
    std::uint64_t homes[kBatch];
    const auto n = std::min(kBatch, keys.size() - at);
    for (std::size_t i = 0; i < n; ++i) {
      if (positions[at + i] != kAbsent) continue;
      homes[i] = home(hash(keys[at + i]));
      __builtin_prefetch(&table()[homes[i]], 1);
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (positions[at + i] != kAbsent) continue;
      positions[at + i] = find_or_put(homes[i], keys[at + i], next);
      if (positions[at + i] == next) ++next;
    }
  }
  size_ += next - first_new;
  return next - first_new;
}

Status SparseIndex::reserve(std::uint64_t count) {
  if (count <= size_max_) return {};
  return rebuild(std::max({kBucketsMin, buckets_for(count), bucket_count_ + bucket_count_ / 4}));
}

void SparseIndex::clear() {
  if (size_ != 0) std::memset(buckets_.data(), 0, bucket_count_ * sizeof(Bucket));
  size_ = 0;
}

Status SparseIndex::rebuild(std::uint64_t bucket_count) {
  const auto bytes = bucket_count * sizeof(Bucket);
  SHOAL_TRY(budget_->take(bytes, "the index of a sparse slot"));
  auto made = DeviceMemory::create(*host_, bytes, {.huge_pages = bytes >= (std::size_t{2} << 20)});
  if (!made.ok()) {
    budget_->give(bytes);
    return std::move(made).error();
  }
  budget_->hold(bytes);
  std::memset(made->data(), 0, bytes);
  auto old = std::exchange(buckets_, std::move(made).value());
  const auto old_count = std::exchange(bucket_count_, bucket_count);
  size_max_ = keys_of(bucket_count);
  const auto* from = reinterpret_cast<const Bucket*>(old.data());
  for (std::uint64_t b = 0; b < old_count; ++b)
    for (std::size_t i = 0; i < from[b].count; ++i)
      find_or_put(home(hash(from[b].keys[i])), from[b].keys[i], from[b].positions[i]);
  old = {};
  budget_->give(old_count * sizeof(Bucket));
  budget_->release(old_count * sizeof(Bucket));
  return {};
}

}  // namespace shoal
