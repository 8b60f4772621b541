#pragma once

#include <bit>
#include <cstdint>

#include "core/base/host_device.h"
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

// Floats of 16 bits, as they are stored and sent. They have no arithmetic: what is computed with
// them is computed in float (see Accumulator) and rounded to nearest even at the end. Without
// branches, so that loops over them become vectors. Every NaN becomes 0x7fff, as on a GPU. Trivial
// types: like a float, one that is not initialised holds anything.

namespace shoal {

/// IEEE 754 binary16: 5 bits of exponent, 10 of fraction; 65504 is the largest.
struct Float16 {
  std::uint16_t bits;

  Float16() = default;
  SHOAL_HOST_DEVICE explicit Float16(float value) {
#if defined(__CUDA_ARCH__)
    bits = __half_as_ushort(__float2half_rn(value));
#else
    // Signed: gcc makes no vectors of choices between unsigned numbers.
    const auto all = std::bit_cast<std::int32_t>(value);
    const auto x = all & 0x7fffffff;
    const auto normal = (x - (112 << 23) + 0xfff + (x >> 13 & 1)) >> 13;
    // Below 2^-14 the last bit stands for 2^-24, as a float's does from 0.5 on: adding 0.5 rounds.
    const auto tiny = std::bit_cast<std::int32_t>(std::bit_cast<float>(x) + 0.5f) -
                      std::bit_cast<std::int32_t>(0.5f);
    auto number = x < 113 << 23 ? tiny : normal;
    number = x >= 143 << 23 ? 0x7c00 : number;
    number |= all >> 16 & 0x8000;
    bits = static_cast<std::uint16_t>(x > 0x7f800000 ? 0x7fff : number);
#endif
  }
  SHOAL_HOST_DEVICE explicit operator float() const {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(bits));
#else
    const auto x = (bits & 0x7fffu) << 13;
    const auto normal = x + (x >= 0x7c00u << 13 ? 224u << 23 : 112u << 23);
    const auto tiny = std::bit_cast<std::uint32_t>(std::bit_cast<float>(x + (113u << 23)) -
                                                   std::bit_cast<float>(113u << 23));
    const auto number = x < 0x400u << 13 ? tiny : normal;
    return std::bit_cast<float>(number | (bits & 0x8000u) << 16);
#endif
  }
  friend bool operator==(Float16, Float16) = default;  ///< of the bits
};

/// bfloat16: the upper half of a float, with its range and 7 bits of fraction. (Kalamkar et al., "A
/// study of BFLOAT16 for deep learning training", 2019.)
struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  SHOAL_HOST_DEVICE explicit BFloat16(float value) {
#if defined(__CUDA_ARCH__)
    bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const auto x = std::bit_cast<std::uint32_t>(value);
    const auto number = (x + 0x7fffu + (x >> 16 & 1)) >> 16;
    bits = static_cast<std::uint16_t>((x & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : number);
#endif
  }
  SHOAL_HOST_DEVICE explicit operator float() const {
#if defined(__CUDA_ARCH__)
    return __bfloat162float(__ushort_as_bfloat16(bits));
#else
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
#endif
  }
  friend bool operator==(BFloat16, BFloat16) = default;  ///< of the bits
};

}  // namespace shoal
