#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/memory/dtype.h"
#include "core/ops/norms.h"
#include "cuda/tiles.h"
#include "cuda/warp.h"

// Bodies for the norms of runs of values, several runs in one launch. A warp makes one Norms of 128
// packs; these are combined by groups, in place, until each run has one. The order of additions is
// that of the tiles, so that equal runs give equal bits.

namespace shoal::cuda {

/// A run of values and the Norms of its pieces.
struct NormItem {
  const std::byte* values;
  std::uint64_t count;
  Norms* pieces;
  std::uint64_t piece_count;
  std::uint32_t first_tile;
};

/// The runs of a launch.
class NormItems {
 public:
  static constexpr std::uint32_t kMax = 256;

  /// False: no more fits. `tiles`: that the run takes.
  bool add(NormItem item, std::uint64_t tiles) {
    if (count_ == kMax || tiles > kTilesMax - tiles_) return false;
    item.first_tile = tiles_;
    item_[count_++] = item;
    tiles_ += static_cast<std::uint32_t>(tiles);
    return true;
  }
  SHOAL_HOST_DEVICE std::uint32_t count() const { return count_; }
  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return tiles_; }
  SHOAL_HOST_DEVICE const NormItem& operator[](std::uint32_t i) const { return item_[i]; }
  /// Which run a tile is of.
  SHOAL_HOST_DEVICE std::uint32_t item_of(std::uint32_t tile) const {
    std::uint32_t low = 0;
    for (std::uint32_t high = count_; high - low > 1;) {
      const auto middle = (low + high) / 2;
      (item_[middle].first_tile <= tile ? low : high) = middle;
    }
    return low;
  }

 private:
  static constexpr std::uint64_t kTilesMax = 0x7fffffff;
  std::uint32_t count_ = 0;
  std::uint32_t tiles_ = 0;
  NormItem item_[kMax];
};

inline constexpr std::uint32_t kBlockWarps = kBlockThreads / kWarpLanes;

/// The Norms of each lane's values become one, which lane 0 stores.
class WarpNorms {
 public:
  SHOAL_HOST_DEVICE void set(std::uint32_t lane, const Norms& norms) {
    squares_[lane] = norms.squares;
    magnitudes_[lane] = norms.magnitudes;
    greatest_[lane] = norms.greatest;
    not_finite_[lane] = norms.not_finite;
  }
  SHOAL_HOST_DEVICE void store(std::uint32_t thread, Norms* to, Norms* and_to = nullptr) {
    const Norms all{sum(squares_), sum(magnitudes_), cuda::greatest(greatest_), sum(not_finite_)};
    each(thread, [&](std::uint32_t lane) {
      if (lane != 0) return;
      *to = all;
      if (and_to != nullptr) *and_to = all;
    });
  }

 private:
  PerLane<double> squares_, magnitudes_, greatest_;
  PerLane<unsigned long long> not_finite_;
};

template <class T>
class NormTiles {
 public:
  static constexpr bool kByWarp = true;
  static constexpr std::uint32_t kPieceValues = kWarpLanes * 4 * kRun<T>;

  static std::uint64_t pieces(std::uint64_t values) {
    return (values + kPieceValues - 1) / kPieceValues;
  }
  static std::uint64_t tiles_for(std::uint64_t values) {
    return (pieces(values) + kBlockWarps - 1) / kBlockWarps;
  }

  explicit NormTiles(const NormItems& items) : items_(items) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return items_.tiles(); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto& item = items_[items_.item_of(tile)];
    const auto piece = std::uint64_t{tile - item.first_tile} * kBlockWarps + thread / kWarpLanes;
    if (piece >= item.piece_count) return;
    const auto begin = piece * kPieceValues;
    const auto* values = reinterpret_cast<const T*>(item.values);
    const bool whole = begin + kPieceValues <= item.count && on_pack(values);
    WarpNorms of_lanes;
    each(thread, [&](std::uint32_t lane) {
      Norms norms;
      if (whole) {
        T mine[4][kRun<T>];
        SHOAL_UNROLL
        for (std::uint32_t p = 0; p < 4; ++p)
          load_run(mine[p], values + place(begin, p, lane), true);
        SHOAL_UNROLL
        for (std::uint32_t p = 0; p < 4; ++p) {
          SHOAL_UNROLL
          for (std::uint32_t i = 0; i < kRun<T>; ++i) norms.add(wide(mine[p][i]));
        }
      } else {
        for (std::uint32_t p = 0; p < 4; ++p)
          for (std::uint32_t i = 0; i < kRun<T>; ++i)
            if (const auto at = place(begin, p, lane) + i; at < item.count)
              norms.add(wide(values[at]));
      }
      of_lanes.set(lane, norms);
    });
    of_lanes.store(thread, item.pieces + piece);
  }

 private:
  /// Where a lane's pack p begins.
  SHOAL_HOST_DEVICE static std::uint64_t place(std::uint64_t begin, std::uint32_t p,
                                               std::uint32_t lane) {
    return begin + (p * kWarpLanes + lane) * kRun<T>;
  }
  SHOAL_HOST_DEVICE static double wide(T value) {
    return static_cast<double>(static_cast<Accumulator<T>>(value));
  }

  NormItems items_;
};

/// Combines groups of 1,024 pieces that stand `stride` apart, each into the place of its first. A
/// run of which one is left has its result.
class CombineNormTiles {
 public:
  static constexpr bool kByWarp = true;
  static constexpr std::uint64_t kGroup = 1024;

  /// results[i] is that of run i.
  CombineNormTiles(const NormItems& items, std::uint64_t stride, Norms* results)
      : stride_(stride), results_(results) {
    for (std::uint32_t i = 0; i < items.count(); ++i) {
      const auto groups = groups_of(items[i]);
      last_ = last_ && groups == 1;
      (void)items_.add(items[i], (groups + kBlockWarps - 1) / kBlockWarps);
    }
  }
  /// Every run has its result now.
  bool last() const { return last_; }

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return items_.tiles(); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto run = items_.item_of(tile);
    const auto& item = items_[run];
    const auto group = std::uint64_t{tile - item.first_tile} * kBlockWarps + thread / kWarpLanes;
    const auto groups = groups_of(item);
    if (group >= groups) return;
    const auto end =
        pieces_of(item) < (group + 1) * kGroup ? pieces_of(item) : (group + 1) * kGroup;
    WarpNorms of_lanes;
    each(thread, [&](std::uint32_t lane) {
      Norms norms;
      for (auto piece = group * kGroup + lane; piece < end; piece += kWarpLanes)
        norms.add(item.pieces[piece * stride_]);
      of_lanes.set(lane, norms);
    });
    auto* result = results_ + run;
    if (item.piece_count == 0)
      of_lanes.store(thread, result);
    else
      of_lanes.store(thread, item.pieces + group * kGroup * stride_,
                     groups == 1 ? result : nullptr);
  }

 private:
  SHOAL_HOST_DEVICE std::uint64_t pieces_of(const NormItem& item) const {
    return (item.piece_count + stride_ - 1) / stride_;
  }
  SHOAL_HOST_DEVICE std::uint64_t groups_of(const NormItem& item) const {
    const auto groups = (pieces_of(item) + kGroup - 1) / kGroup;
    return groups == 0 ? 1 : groups;
  }

  NormItems items_;
  std::uint64_t stride_;
  Norms* results_;
  bool last_ = true;
};

}  // namespace shoal::cuda
