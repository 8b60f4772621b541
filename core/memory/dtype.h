#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/memory/float16.h"

namespace shoal {

/// The type of one value of a row. Numbers travel on the wire and never change.
enum class DType : std::uint8_t { f32 = 0, f64 = 1, f16 = 2, bf16 = 3, i32 = 4, i64 = 5 };
inline constexpr std::uint8_t kDTypeCount = 6;

constexpr std::size_t byte_size(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
  }
  return 0;
}

/// What values of a type are computed in, and what their sums and optimizer states are kept in: f32
/// for f16 and bf16, of which a sum of many small values would lose all but the first; else itself.
constexpr DType accumulator_of(DType type) {
  return type == DType::f16 || type == DType::bf16 ? DType::f32 : type;
}

namespace detail {
template <class T>
struct AccumulatorOf {
  using Type = T;
};
template <>
struct AccumulatorOf<Float16> {
  using Type = float;
};
template <>
struct AccumulatorOf<BFloat16> {
  using Type = float;
};
}  // namespace detail
/// accumulator_of() for a C++ type.
template <class T>
using Accumulator = typename detail::AccumulatorOf<T>::Type;

constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
  }
  return "?";
}

constexpr std::optional<DType> parse_dtype(std::string_view name) {
  for (std::uint8_t i = 0; i < kDTypeCount; ++i)
    if (name == name_of(static_cast<DType>(i))) return static_cast<DType>(i);
  return std::nullopt;
}

/// The DType of a C++ type: dtype_of<float>() is DType::f32.
template <class T>
consteval DType dtype_of();
template <>
consteval DType dtype_of<float>() {
  return DType::f32;
}
template <>
consteval DType dtype_of<double>() {
  return DType::f64;
}
template <>
consteval DType dtype_of<Float16>() {
  return DType::f16;
}
template <>
consteval DType dtype_of<BFloat16>() {
  return DType::bf16;
}
template <>
consteval DType dtype_of<std::int32_t>() {
  return DType::i32;
}
template <>
consteval DType dtype_of<std::int64_t>() {
  return DType::i64;
}

}  // namespace shoal
