#pragma once

#include <cstddef>

#include "core/memory/dtype.h"
#include "core/ops/simple_rules.h"
#include "cuda/codec_tiles.h"
#include "cuda/dense_tiles.h"

namespace shoal::cuda {

/// The codecs of core/ops/codec.h for an executor (see rule_entries.h), for values of T.
template <class Executor, class Codec, class T>
struct CodecEntries {
  static void encode(const std::byte* values, float* errors, std::size_t count, std::byte* encoded,
                     void* stream) {
    Executor::run(EncodeTiles<Codec, T>(reinterpret_cast<const T*>(values), errors, count, encoded),
                  stream);
  }
  static void decode(const std::byte* encoded, std::size_t count, std::byte* values, void* stream) {
    Executor::run(DecodeTiles<Codec, T>(encoded, count, reinterpret_cast<T*>(values)), stream);
  }
};

/// Values of f32 as Half: each is rounded to nearest even, and nothing is kept.
template <class Executor, class Half>
class NarrowEntries {
  template <class To, class From>
  static void convert(std::byte* to, const std::byte* from, std::size_t count, void* stream) {
    DenseTiles<Assign, To, From, 0, 1> tiles(RowShape{}, 1);
    tiles.add({to, nullptr, nullptr}, 0, count, {&from, 1}, {});
    Executor::run(tiles, stream);
  }

 public:
  static void encode(const std::byte* values, float*, std::size_t count, std::byte* encoded,
                     void* stream) {
    convert<Half, float>(encoded, values, count, stream);
  }
  static void decode(const std::byte* encoded, std::size_t count, std::byte* values, void* stream) {
    convert<float, Half>(values, encoded, count, stream);
  }
};

/// A codec's entry points for one type.
struct CodecKernels {
  /// Encodes values + errors and leaves what it lost in `errors` (null for casts, which keep
  /// nothing). `encoded` is aligned to a scale, or to the narrow type.
  void (*encode)(const std::byte* values, float* errors, std::size_t count, std::byte* encoded,
                 void* stream) = nullptr;
  void (*decode)(const std::byte* encoded, std::size_t count, std::byte* values,
                 void* stream) = nullptr;
};

template <class Executor, class Codec>
constexpr CodecKernels codec_kernels(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return {&CodecEntries<Executor, Codec, float>::encode,
              &CodecEntries<Executor, Codec, float>::decode};
    case DType::f16:
      return {&CodecEntries<Executor, Codec, Float16>::encode,
              &CodecEntries<Executor, Codec, Float16>::decode};
    case DType::bf16:
      return {&CodecEntries<Executor, Codec, BFloat16>::encode,
              &CodecEntries<Executor, Codec, BFloat16>::decode};
    default:
      return {};
  }
}

/// From f32 to a narrower type and back; null for others.
template <class Executor>
constexpr CodecKernels narrow_kernels(DType narrow) {
  if (narrow == DType::f16)
    return {&NarrowEntries<Executor, Float16>::encode, &NarrowEntries<Executor, Float16>::decode};
  if (narrow == DType::bf16)
    return {&NarrowEntries<Executor, BFloat16>::encode, &NarrowEntries<Executor, BFloat16>::decode};
  return {};
}

}  // namespace shoal::cuda
