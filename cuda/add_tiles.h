#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/memory/dtype.h"
#include "core/ops/copy_rows.h"
#include "core/ops/math.h"
#include "cuda/listed_tiles.h"
#include "cuda/tiles.h"

// Adding rows to others, of which some may be the same: by atomic operations, so in any order.

namespace shoal::cuda {

/// *at += value, whoever else does so meanwhile.
template <class T>
SHOAL_HOST_DEVICE void add_one(T* at, T value) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, Float16>)
    atomicAdd(reinterpret_cast<__half*>(at), __ushort_as_half(value.bits));
  else if constexpr (std::is_same_v<T, BFloat16>)
    atomicAdd(reinterpret_cast<__nv_bfloat16*>(at), __ushort_as_bfloat16(value.bits));
  else if constexpr (std::is_same_v<T, std::int64_t>)
    atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
  else
    atomicAdd(at, value);
#else
  using S = Accumulator<T>;
  *at = static_cast<T>(math::add(static_cast<S>(*at), static_cast<S>(value)));
#endif
}

/// A pack of them, on a pack.
template <class T>
SHOAL_HOST_DEVICE void add_pack(T* at, const T (&values)[kRun<T>]) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, Float16>) {
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < kRun<T>; i += 2)
      atomicAdd(
          reinterpret_cast<__half2*>(at + i),
          __halves2half2(__ushort_as_half(values[i].bits), __ushort_as_half(values[i + 1].bits)));
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < kRun<T>; i += 2)
      atomicAdd(reinterpret_cast<__nv_bfloat162*>(at + i),
                __halves2bfloat162(__ushort_as_bfloat16(values[i].bits),
                                   __ushort_as_bfloat16(values[i + 1].bits)));
#if __CUDA_ARCH__ >= 900
  } else if constexpr (std::is_same_v<T, float>) {
    atomicAdd(reinterpret_cast<float4*>(at),
              make_float4(values[0], values[1], values[2], values[3]));
#endif
  } else
#endif
  {
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < kRun<T>; ++i) add_one(at + i, values[i]);
  }
}

/// Adds packed rows to the weights of listed rows.
template <class T>
class AddTiles {
 public:
  /// `in` is aligned to T.
  AddTiles(const ListedRows& rows, const std::byte* in)
      : places_(rows),
        teams_((rows.shape.width + kRun<T> - 1) / kRun<T>),
        in_(reinterpret_cast<const T*>(in)),
        packed_(rows.shape.width % kRun<T> == 0 && on_pack(in)) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(places_.rows); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = teams_.row(tile, thread);
    if (r >= places_.rows) return;
    const auto position = places_.positions[r];
    if (position == kAbsentRow) return;
    const std::uint64_t width = places_.shape.width;
    auto* row =
        reinterpret_cast<T*>(places_.page(position).weights) + places_.row(position) * width;
    const auto* in = in_ + r * width;
    for (auto at = teams_.member(thread) * kRun<T>; at < width; at += teams_.size() * kRun<T>) {
      if (packed_) {
        T values[kRun<T>];
        load_run(values, in + at, true);
        add_pack(row + at, values);
      } else {
        for (auto one = at; one < width && one < at + kRun<T>; ++one) add_one(row + one, in[one]);
      }
    }
  }

 private:
  ListedPlaces places_;
  RowTeams teams_;
  const T* in_;
  bool packed_;
};

}  // namespace shoal::cuda
