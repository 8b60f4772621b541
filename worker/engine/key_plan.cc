#include "worker/engine/key_plan.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/base/random.h"
#include "core/ops/aggregate.h"

namespace shoal {

namespace {

constexpr std::uint32_t kEmpty = ~std::uint32_t{0};

SlotIndex slot_of(const Geometry& geometry, Key key) {
  return geometry.layout() == Layout::sparse ? geometry.slot_of_key(key)
                                             : geometry.slot_of(geometry.segment_of(key));
}

/// One memcpy of a size the compiler knows where rows are one or two words: the common case.
template <class Copy>
void for_each_row(std::size_t count, std::size_t row_bytes, Copy&& copy) {
  switch (row_bytes) {
    case 4:
      for (std::size_t i = 0; i < count; ++i) copy(i, std::size_t{4});
      break;
    case 8:
      for (std::size_t i = 0; i < count; ++i) copy(i, std::size_t{8});
      break;
    default:
      for (std::size_t i = 0; i < count; ++i) copy(i, row_bytes);
  }
}

}  // namespace

void KeyPlan::group(std::span<const Key> keys, const Geometry& geometry,
                    std::span<const std::uint32_t> slot_rank, bool fold) {
  if (keys.size() > grouped_.capacity()) {
    keys_region.revoke();
    grouped_.reserve(std::bit_ceil(keys.size()));
  }
  next_.assign(slot_rank.size() + 1, 0);
  slot_of_.resize(keys.size());
  bool ascending = true;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto slot = slot_of(geometry, keys[i]).value;
    slot_of_[i] = slot;
    ++next_[slot_rank[slot] + 1];
    ascending = ascending && (i == 0 || keys[i - 1] < keys[i]);
  }
  for (std::size_t r = 1; r < next_.size(); ++r) next_[r] += next_[r - 1];

  groups_.clear();
  for (std::uint32_t slot = 0; slot < slot_rank.size(); ++slot) {
    const auto rank = slot_rank[slot];
    if (next_[rank + 1] != next_[rank])
      groups_.push_back({SlotIndex(slot), next_[rank], next_[rank + 1] - next_[rank]});
  }
  std::sort(groups_.begin(), groups_.end(),
            [](const Group& a, const Group& b) { return a.begin < b.begin; });

  grouped_.resize(keys.size());
  place_.resize(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto at = next_[slot_rank[slot_of_[i]]]++;
    grouped_[at] = keys[i];
    place_[i] = at;
  }
  repeats_ = false;
  if (fold && !ascending) fold_repeats();
}

/// Group by group, so that the hash table of a group stays in cache. Keys move down over the
/// repeats.
void KeyPlan::fold_repeats() {
  moved_.resize(grouped_.size());
  std::uint64_t kept = 0;
  for (auto& group : groups_) {
    const auto size = std::bit_ceil(group.count * 2);
    buckets_.assign(size, kEmpty);
    const auto begin = kept;
    for (auto i = group.begin; i < group.begin + group.count; ++i) {
      const auto key = grouped_[i];
      auto bucket = mix64(key ^ 0x5bd1e995) & (size - 1);
      while (buckets_[bucket] != kEmpty && grouped_[buckets_[bucket]] != key)
        bucket = (bucket + 1) & (size - 1);
      if (buckets_[bucket] == kEmpty) {
        buckets_[bucket] = static_cast<std::uint32_t>(kept);
        grouped_[kept++] = key;
      } else {
        repeats_ = true;
      }
      moved_[i] = buckets_[bucket];
    }
    group.begin = begin;
    group.count = kept - begin;
  }
  if (!repeats_) return;
  grouped_.resize(kept);
  for (auto& place : place_) place = moved_[place];
}

void KeyPlan::reserve_values(std::size_t row_bytes) {
  values_bytes_ = grouped_.size() * row_bytes;
  if (values_bytes_ > values_.size()) {
    values_region.revoke();
    values_.resize(std::bit_ceil(values_bytes_));
  }
}

void KeyPlan::gather(ConstMemoryView rows, DType dtype, std::uint32_t values_per_row,
                     Aggregate aggregate) {
  const auto row_bytes = byte_size(dtype) * values_per_row;
  reserve_values(row_bytes);
  const auto* from = rows.data;
  auto* to = values_.data();
  if (!repeats_) {
    for_each_row(place_.size(), row_bytes, [&](std::size_t i, std::size_t n) {
      std::memcpy(to + place_[i] * n, from + i * n, n);
    });
    return;
  }
  // The first row of a key is stored, later ones combine with it.
  auto& seen = moved_;
  seen.assign(grouped_.size(), 0);
  const auto combine = aggregate_kernels(aggregate, dtype).dense;
  for_each_row(place_.size(), row_bytes, [&](std::size_t i, std::size_t n) {
    auto* row = to + place_[i] * n;
    if (std::exchange(seen[place_[i]], 1u) == 0)
      std::memcpy(row, from + i * n, n);
    else
      combine(row, from + i * n, values_per_row);
  });
}

void KeyPlan::scatter(MemoryView rows, std::size_t row_bytes) const {
  const auto* from = values_.data();
  auto* to = rows.data;
  for_each_row(place_.size(), row_bytes, [&](std::size_t i, std::size_t n) {
    std::memcpy(to + i * n, from + place_[i] * n, n);
  });
}

}  // namespace shoal
