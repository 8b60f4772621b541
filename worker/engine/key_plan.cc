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

/// One memcpy of a size the compiler knows where rows are a single value: the common case.
template <class Copy>
void for_each_row(std::size_t count, std::size_t row_bytes, Copy&& copy) {
  switch (row_bytes) {
    case 2:
      for (std::size_t i = 0; i < count; ++i) copy(i, std::size_t{2});
      break;
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

/// A stream takes about this many keys: its part of the index then lies in a core's cache.
constexpr std::size_t kStreamKeys = 2048;
/// More streams than this, and their last lines and pages do not stay at hand.
constexpr unsigned kStreamBitsMax = 9;
/// While keys and rows go to their streams, the lines that so many will be written to are under
/// way: stores leave a core in order, and each that misses holds up all others.
constexpr std::size_t kPlaceAhead = 32;

/// Into how many streams, as a power of two, the keys of one slot go.
unsigned bits_within_slot(std::size_t keys, std::uint32_t slots) {
  const auto wanted = static_cast<unsigned>(std::bit_width(keys / kStreamKeys));
  const auto slot_bits = static_cast<unsigned>(std::bit_width(slots - 1));
  const auto bits = std::min(wanted, kStreamBitsMax);
  return bits > slot_bits ? bits - slot_bits : 0;
}

}  // namespace

void KeyPlan::group(std::span<const Key> keys, const Geometry& geometry,
                    std::span<const std::uint32_t> slot_rank, bool fold, Scratch& scratch) {
  if (keys.size() > grouped_.capacity()) {
    keys_region.revoke();
    grouped_.reserve(std::bit_ceil(keys.size()));
  }
  signatures_.clear();
  const auto slots = static_cast<std::uint32_t>(slot_rank.size());
  const bool sparse = geometry.layout() == Layout::sparse;
  const auto slot_bits = sparse ? static_cast<unsigned>(std::countr_zero(slots)) : 0;
  const auto bits = sparse ? bits_within_slot(keys.size(), slots) : 0;
  const auto low = (1u << bits) - 1;
  const auto stream_of = [&](Key key) {
    if (!sparse) return slot_rank[geometry.slot_of(geometry.segment_of(key)).value];
    // Rotated, the top bits of the hash (slot, then stream) are the bottom ones; of 1 slot too.
    const auto top = static_cast<std::uint32_t>(
        std::rotl(mix64(key), static_cast<int>(slot_bits + bits)) & ((slots << bits) - 1));
    return slot_rank[top >> bits] << bits | (top & low);
  };

  auto& ends = scratch.ends;  // while keys are placed: where the next of a stream goes
  ends.assign((std::size_t{slots} << bits) + 1, 0);
  if (scratch.stream_of.size() < keys.size()) scratch.stream_of.resize(keys.size());
  auto* streams = scratch.stream_of.data();
  bool ascending = true;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto stream = stream_of(keys[i]);
    streams[i] = stream;
    ++ends[stream + 1];
    ascending = ascending && (i == 0 || keys[i - 1] < keys[i]);
  }
  for (std::size_t s = 1; s < ends.size(); ++s) ends[s] += ends[s - 1];
  grouped_.resize(keys.size());
  place_.resize(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i + kPlaceAhead < keys.size())
      __builtin_prefetch(&grouped_[ends[streams[i + kPlaceAhead]]], 1, 3);
    const auto at = ends[streams[i]]++;
    grouped_[at] = keys[i];
    place_[i] = at;
  }
  repeats_ = false;
  folded_ = fold;
  distinct_ = ascending;
  if (fold && !ascending) fold_repeats(scratch);

  groups_.clear();
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    const auto first = std::size_t{slot_rank[slot]} << bits;
    const auto begin = first == 0 ? 0 : ends[first - 1];
    const auto end = ends[first + low];
    if (begin != end) groups_.push_back({SlotIndex(slot), begin, end - begin, 0});
  }
  const auto earlier = [](const Group& a, const Group& b) { return a.begin < b.begin; };
  if (!std::is_sorted(groups_.begin(), groups_.end(), earlier))
    std::sort(groups_.begin(), groups_.end(), earlier);
}

/// Stream by stream, so that the hash table of one stays in cache. Keys move down over the repeats.
void KeyPlan::fold_repeats(Scratch& scratch) {
  auto& buckets = scratch.buckets;
  auto& moved = scratch.moved;
  if (moved.size() < grouped_.size()) moved.resize(grouped_.size());
  std::uint32_t kept = 0;
  std::uint32_t begin = 0;
  for (auto& end : scratch.ends) {
    const auto size = std::bit_ceil(std::size_t{end - begin} * 2);
    buckets.assign(size, kEmpty);
    for (auto i = begin; i < end; ++i) {
      const auto key = grouped_[i];
      auto bucket = mix64(key ^ 0x5bd1e995) & (size - 1);
      while (buckets[bucket] != kEmpty && grouped_[buckets[bucket]] != key)
        bucket = (bucket + 1) & (size - 1);
      if (buckets[bucket] == kEmpty) {
        buckets[bucket] = kept;
        grouped_[kept++] = key;
      } else {
        repeats_ = true;
      }
      moved[i] = buckets[bucket];
    }
    begin = std::exchange(end, kept);
  }
  distinct_ = !repeats_;
  if (!repeats_) return;
  grouped_.resize(kept);
  for (auto& place : place_) place = moved[place];
}

void KeyPlan::sign(std::uint64_t rows_per_part) {
  signatures_.clear();
  for (auto& group : groups_) {
    group.first_part = static_cast<std::uint32_t>(signatures_.size());
    for (std::uint64_t at = 0; at < group.count; at += rows_per_part)
      signatures_.push_back(signature_of(std::span<const Key>(grouped_).subspan(
          group.begin + at, std::min(rows_per_part, group.count - at))));
  }
}

void KeyPlan::reserve_values(std::size_t row_bytes) {
  const auto bytes = grouped_.size() * row_bytes;
  if (bytes > values_.size()) {
    values_region.revoke();
    values_.resize(std::bit_ceil(bytes));
  }
}

void KeyPlan::gather(ConstMemoryView rows, DType dtype, std::uint32_t values_per_row,
                     Aggregate aggregate, Scratch& scratch) {
  const auto row_bytes = byte_size(dtype) * values_per_row;
  reserve_values(row_bytes);
  const auto* from = rows.data;
  auto* to = values_.data();
  if (!repeats_) {
    const auto count = place_.size();
    for_each_row(count, row_bytes, [&](std::size_t i, std::size_t n) {
      if (i + kPlaceAhead < count) __builtin_prefetch(to + place_[i + kPlaceAhead] * n, 1, 3);
      std::memcpy(to + place_[i] * n, from + i * n, n);
    });
    return;
  }
  // The first row of a key starts its sum, later ones combine with it.
  auto& seen = scratch.moved;
  seen.assign(grouped_.size(), 0);
  const auto is_first = [&](std::size_t i) { return std::exchange(seen[place_[i]], 1u) == 0; };
  const auto& combine = aggregate_kernels(aggregate, dtype);
  const auto sum_bytes = byte_size(accumulator_of(dtype)) * values_per_row;
  if (sum_bytes == row_bytes) {
    for_each_row(place_.size(), row_bytes, [&](std::size_t i, std::size_t n) {
      auto* row = to + place_[i] * n;
      if (is_first(i))
        std::memcpy(row, from + i * n, n);
      else
        combine.dense(row, from + i * n, values_per_row);
    });
    return;
  }
  scratch.sums.resize(std::max(scratch.sums.size(), grouped_.size() * sum_bytes));
  for (std::size_t i = 0; i < place_.size(); ++i) {
    const auto add = is_first(i) ? combine.start : combine.dense;
    add(scratch.sums.data() + place_[i] * sum_bytes, from + i * row_bytes, values_per_row);
  }
  combine.finish(to, scratch.sums.data(), grouped_.size() * values_per_row);
}

void KeyPlan::scatter(MemoryView rows, std::size_t row_bytes) const {
  const auto* from = values_.data();
  auto* to = rows.data;
  for_each_row(place_.size(), row_bytes, [&](std::size_t i, std::size_t n) {
    std::memcpy(to + i * n, from + place_[i] * n, n);
  });
}

}  // namespace shoal
