#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/host_device.h"

// Gradients in fewer bits. Values are encoded by blocks, whose scales come first, in an array of
// their own; what rounding took stays with the sender, who adds it to the next gradient (error
// feedback: Seide, Fu, Droppo, Li, Yu, "1-bit stochastic gradient descent and its application to
// data-parallel distributed training of speech DNNs", Interspeech'14; Karimireddy, Rebjock, Stich,
// Jaggi, "Error feedback fixes SignSGD and other gradient compression schemes", ICML'19).

namespace shoal::codec {

/// Values that share a scale. The last block may have fewer, and takes the room of a whole one.
inline constexpr std::size_t kBlock = 256;

constexpr std::size_t block_count(std::size_t values) { return (values + kBlock - 1) / kBlock; }

/// A byte each: x = scale * q, scale the largest magnitude of the block / 127, q in [-127, 127],
/// rounded to nearest even. Of a block with a value that is not finite the scale is not either, and
/// all of it decodes to NaN; its error is 0.
struct Int8 {
  using Scale = float;
  static constexpr std::size_t kBlockBytes = kBlock;
};

/// A bit each: 1 where x >= 0, for which the receiver takes the mean of those of the block, and 0
/// for the others. Of a block with a value that is not finite a mean is not either.
struct OneBit {
  struct Scale {
    float below, above;  ///< means of what is negative, and of what is not; 0 of none
  };
  static constexpr std::size_t kBlockBytes = kBlock / 8;
  /// Bit `lane` of word `word` of a block's eight is value i, so that a warp makes a word of a
  /// comparison: lane l has values 4 l to 4 l + 3 of each half of the block.
  SHOAL_HOST_DEVICE static std::uint32_t word_of(std::uint32_t i) { return i / kHalf * 4 + i % 4; }
  SHOAL_HOST_DEVICE static std::uint32_t lane_of(std::uint32_t i) { return i % kHalf / 4; }

 private:
  static constexpr std::uint32_t kHalf = kBlock / 2;
};

/// Bytes of `values` encoded values: the scales of all blocks, then their bits.
template <class Codec>
constexpr std::size_t encoded_bytes(std::size_t values) {
  return block_count(values) * (sizeof(typename Codec::Scale) + Codec::kBlockBytes);
}

}  // namespace shoal::codec
