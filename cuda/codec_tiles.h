#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/ops/codec.h"
#include "core/ops/math.h"
#include "cuda/tiles.h"
#include "cuda/warp.h"

// Bodies for the codecs of core/ops/codec.h: a warp encodes a block, whose values lie in its
// registers meanwhile, so that each is read once.

namespace shoal::cuda {

/// Adds a block's values to the errors of the block before, for each lane: values 4 l to 4 l + 3 of
/// either half of the block. Packed where the whole block is there and arrays begin on packs.
template <class T>
class EncodedBlock {
 public:
  static constexpr std::uint32_t kEach = 8;  ///< values of a lane
  static constexpr std::uint32_t kHalf = codec::kBlock / 2;
  static_assert(kEach * kWarpLanes == codec::kBlock);

  SHOAL_HOST_DEVICE EncodedBlock(const T* values, float* errors, std::size_t count,
                                 std::uint64_t block, std::uint32_t thread)
      : values_(values + block * codec::kBlock),
        errors_(errors + block * codec::kBlock),
        count_(static_cast<std::uint32_t>(count - block * codec::kBlock < codec::kBlock
                                              ? count - block * codec::kBlock
                                              : codec::kBlock)),
        packed_(count_ == codec::kBlock && on_four(errors_) && on_four(values_)),
        thread_(thread) {
    each(thread_, [&](std::uint32_t lane) {
      SHOAL_UNROLL
      for (std::uint32_t half = 0; half < 2; ++half) {
        const auto at = place(half, lane);
        float error[4] = {};
        T value[4] = {};
        if (packed_) {
          const auto values = *reinterpret_cast<const Four<T>*>(values_ + at);
          const auto errors = *reinterpret_cast<const Four<float>*>(errors_ + at);
          SHOAL_UNROLL
          for (std::uint32_t i = 0; i < 4; ++i) {
            value[i] = values.values[i];
            error[i] = errors.values[i];
          }
        } else {
          for (std::uint32_t i = 0; i < 4 && at + i < count_; ++i) {
            value[i] = values_[at + i];
            error[i] = errors_[at + i];
          }
        }
        SHOAL_UNROLL
        for (std::uint32_t i = 0; i < 4; ++i)
          sums_[half * 4 + i][lane] = static_cast<float>(value[i]) + error[i];
      }
    });
  }

  /// Where a lane's values of a half begin, in the block.
  SHOAL_HOST_DEVICE static std::uint32_t place(std::uint32_t half, std::uint32_t lane) {
    return half * kHalf + lane * 4;
  }
  /// Whether value j of a lane is one.
  SHOAL_HOST_DEVICE bool there(std::uint32_t j, std::uint32_t lane) const {
    return place(j / 4, lane) + j % 4 < count_;
  }
  SHOAL_HOST_DEVICE float sum(std::uint32_t j, std::uint32_t lane) { return sums_[j][lane]; }

  /// error = sum - what the receiver gets, or 0 in a block that is not finite.
  template <class Decoded>
  SHOAL_HOST_DEVICE void keep_errors(bool finite, const Decoded& decoded) {
    each(thread_, [&](std::uint32_t lane) {
      SHOAL_UNROLL
      for (std::uint32_t half = 0; half < 2; ++half) {
        const auto at = place(half, lane);
        Four<float> errors;
        SHOAL_UNROLL
        for (std::uint32_t i = 0; i < 4; ++i) {
          const auto j = half * 4 + i;
          errors.values[i] = finite ? sum(j, lane) - decoded(j, lane) : 0.0f;
        }
        if (packed_)
          *reinterpret_cast<Four<float>*>(errors_ + at) = errors;
        else
          for (std::uint32_t i = 0; i < 4 && at + i < count_; ++i)
            errors_[at + i] = errors.values[i];
      }
    });
  }

 private:
  const T* values_;
  float* errors_;
  std::uint32_t count_;
  bool packed_;
  std::uint32_t thread_;
  PerLane<float> sums_[kEach];
};

/// Encodes `count` values plus the errors of the last time, and leaves the errors of this time.
template <class Codec, class T>
class EncodeTiles {
 public:
  static constexpr bool kByWarp = true;

  EncodeTiles(const T* values, float* errors, std::size_t count, std::byte* encoded)
      : values_(values), errors_(errors), count_(count), encoded_(encoded) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const {
    constexpr std::size_t kWarps = kBlockThreads / kWarpLanes;
    return static_cast<std::uint32_t>((codec::block_count(count_) + kWarps - 1) / kWarps);
  }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto block = std::uint64_t{tile} * (kBlockThreads / kWarpLanes) + thread / kWarpLanes;
    const auto blocks = codec::block_count(count_);
    if (block >= blocks) return;
    EncodedBlock<T> of(values_, errors_, count_, block, thread);
    auto* scale = reinterpret_cast<typename Codec::Scale*>(encoded_) + block;
    auto* bits = encoded_ + blocks * sizeof(typename Codec::Scale) + block * Codec::kBlockBytes;
    encode(Codec(), of, *scale, bits, thread);
  }

 private:
  using Block = EncodedBlock<T>;

  SHOAL_HOST_DEVICE static void encode(codec::Int8, Block& of, float& scale, std::byte* bits,
                                       std::uint32_t thread) {
    PerLane<float> magnitudes;
    each(thread, [&](std::uint32_t lane) {
      float most = 0;
      SHOAL_UNROLL
      for (std::uint32_t j = 0; j < Block::kEach; ++j)
        most = math::greater(most, math::magnitude(of.sum(j, lane)));
      magnitudes[lane] = most;
    });
    const float unit = greatest(magnitudes) / 127;
    const bool finite = unit - unit == 0;
    const auto level = [&](std::uint32_t j, std::uint32_t lane) {
      // 1.5 * 2^23: the sum's last bit stands for 1, so adding it rounds to nearest even.
      constexpr float kRound = 12582912;
      return unit == 0 || !finite ? 0.0f : (of.sum(j, lane) / unit + kRound) - kRound;
    };
    each(thread, [&](std::uint32_t lane) {
      if (lane == 0) scale = unit;
      SHOAL_UNROLL
      for (std::uint32_t half = 0; half < 2; ++half) {
        std::uint32_t four = 0;
        SHOAL_UNROLL
        for (std::uint32_t i = 0; i < 4; ++i)
          four |= static_cast<std::uint32_t>(
                      static_cast<std::uint8_t>(static_cast<int>(level(half * 4 + i, lane))))
                  << 8 * i;
        *reinterpret_cast<std::uint32_t*>(bits + Block::place(half, lane)) = four;
      }
    });
    of.keep_errors(finite,
                   [&](std::uint32_t j, std::uint32_t lane) { return level(j, lane) * unit; });
  }

  SHOAL_HOST_DEVICE static void encode(codec::OneBit, Block& of, codec::OneBit::Scale& scale,
                                       std::byte* bits, std::uint32_t thread) {
    PerLane<float> below, above, fewer, more;
    each(thread, [&](std::uint32_t lane) {
      float sums[2] = {}, counts[2] = {};
      SHOAL_UNROLL
      for (std::uint32_t j = 0; j < Block::kEach; ++j) {
        const auto x = of.sum(j, lane);
        const float is = of.there(j, lane) ? 1 : 0;
        // Not 'x < 0': a NaN is to show in one of the means.
        sums[0] += x >= 0 ? 0 : x;
        sums[1] += x >= 0 ? x : 0;
        counts[0] += x >= 0 ? 0 : is;
        counts[1] += x >= 0 ? is : 0;
      }
      below[lane] = sums[0];
      above[lane] = sums[1];
      fewer[lane] = counts[0];
      more[lane] = counts[1];
    });
    const float negative = sum(fewer), positive = sum(more);
    codec::OneBit::Scale means{sum(below), sum(above)};
    if (negative != 0) means.below /= negative;
    if (positive != 0) means.above /= positive;
    const float both = means.below + means.above;
    const bool finite = both - both == 0;
    SHOAL_UNROLL
    for (std::uint32_t j = 0; j < Block::kEach; ++j) {
      PerLane<bool> signs;
      each(thread, [&](std::uint32_t lane) { signs[lane] = of.sum(j, lane) >= 0; });
      const auto word = ballot(signs);
      each(thread, [&](std::uint32_t lane) {
        if (lane == j) reinterpret_cast<std::uint32_t*>(bits)[j] = word;
      });
    }
    each(thread, [&](std::uint32_t lane) {
      if (lane == 0) scale = means;
    });
    of.keep_errors(finite, [&](std::uint32_t j, std::uint32_t lane) {
      return of.sum(j, lane) >= 0 ? means.above : means.below;
    });
  }

  const T* values_;
  float* errors_;
  std::size_t count_;
  std::byte* encoded_;
};

/// Decodes to values of T: a thread takes four.
template <class Codec, class T>
class DecodeTiles {
 public:
  DecodeTiles(const std::byte* encoded, std::size_t count, T* values)
      : encoded_(encoded), count_(count), values_(values) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const {
    return static_cast<std::uint32_t>((count_ + kTileValues - 1) / kTileValues);
  }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto at = tile * kTileValues + thread * 4;
    if (at >= count_) return;
    const auto block = at / codec::kBlock;
    const auto within = static_cast<std::uint32_t>(at % codec::kBlock);
    const auto blocks = codec::block_count(count_);
    const auto scale = reinterpret_cast<const typename Codec::Scale*>(encoded_)[block];
    const auto* bits =
        encoded_ + blocks * sizeof(typename Codec::Scale) + block * Codec::kBlockBytes;
    float decoded[4];
    decode(Codec(), scale, bits, within, decoded);
    if (at + 4 <= count_ && on_four(values_)) {
      Four<T> values;
      SHOAL_UNROLL
      for (std::uint32_t i = 0; i < 4; ++i) values.values[i] = static_cast<T>(decoded[i]);
      *reinterpret_cast<Four<T>*>(values_ + at) = values;
    } else {
      for (std::uint32_t i = 0; i < 4 && at + i < count_; ++i)
        values_[at + i] = static_cast<T>(decoded[i]);
    }
  }

 private:
  static constexpr std::uint64_t kTileValues = kBlockThreads * 4;

  SHOAL_HOST_DEVICE static void decode(codec::Int8, float scale, const std::byte* bits,
                                       std::uint32_t within, float (&to)[4]) {
    const auto four = *reinterpret_cast<const std::uint32_t*>(bits + within);
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < 4; ++i)
      to[i] = static_cast<float>(static_cast<std::int8_t>(four >> 8 * i & 0xff)) * scale;
  }
  SHOAL_HOST_DEVICE static void decode(codec::OneBit, const codec::OneBit::Scale& scale,
                                       const std::byte* bits, std::uint32_t within,
                                       float (&to)[4]) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(bits);
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < 4; ++i)
      to[i] = words[codec::OneBit::word_of(within + i)] >> codec::OneBit::lane_of(within) & 1
                  ? scale.above
                  : scale.below;
  }

  const std::byte* encoded_;
  std::size_t count_;
  T* values_;
};

}  // namespace shoal::cuda
