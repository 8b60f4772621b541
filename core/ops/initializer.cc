#include "core/ops/initializer.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "core/ops/initial_value.h"

namespace shoal {

namespace {

using Kind = Initializer::Kind;

template <class T>
void write_rows(const Initializer& init, std::uint64_t first, std::size_t count, std::size_t width,
                std::byte* rows) {
  T* values = reinterpret_cast<T*>(rows);
  if (init.kind == Kind::zero) {
    std::memset(rows, 0, count * width * sizeof(T));
    return;
  }
  if (init.kind == Kind::constant) {
    const auto value = initial_value<T>(init, first, 0);
    for (std::size_t i = 0; i < count * width; ++i) values[i] = value;
    return;
  }
  for (std::size_t r = 0; r < count; ++r)
    for (std::size_t c = 0; c < width; ++c)
      values[r * width + c] = initial_value<T>(init, first + r, c);
}

bool is_finite(double value, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return std::isfinite(static_cast<float>(value));
    case DType::f16:
      return std::isfinite(static_cast<float>(Float16(static_cast<float>(value))));
    case DType::bf16:
      return std::isfinite(static_cast<float>(BFloat16(static_cast<float>(value))));
    default:
      return std::isfinite(value);
  }
}

Error wrong(std::string what) {
  return {Errc::invalid_argument, "initializer: " + std::move(what)};
}

}  // namespace

Status validate(const Initializer& init, DType dtype) {
  if (init.kind == Kind::zero) return {};
  if (!is_finite(init.a, dtype))
    return wrong(fmt::format("{} is not a finite {} number", init.a, name_of(dtype)));
  const bool integer = dtype == DType::i32 || dtype == DType::i64;
  if (init.kind == Kind::constant && integer) {
    const double limit = dtype == DType::i32 ? 0x1p31 : 0x1p63;
    if (std::trunc(init.a) != init.a || init.a < -limit || init.a >= limit)
      return wrong(fmt::format("{} is not an {} value", init.a, name_of(dtype)));
  }
  if (init.kind == Kind::constant) return {};
  if (!is_finite(init.b, dtype))
    return wrong(fmt::format("{} is not a finite {} number", init.b, name_of(dtype)));
  if (init.kind == Kind::uniform && !(init.a <= init.b && std::isfinite(init.b - init.a)))
    return wrong(fmt::format("uniform from {} to {}: the low end must not lie above the high one",
                             init.a, init.b));
  if (init.kind == Kind::normal && init.b < 0)
    return wrong(fmt::format("a standard deviation of {} is negative", init.b));
  return {};
}

void write_initial_rows(const Initializer& init, DType dtype, Row first, std::size_t count,
                        std::uint32_t width, std::byte* rows) {
  switch (dtype) {
    case DType::f32:
      return write_rows<float>(init, first, count, width, rows);
    case DType::f64:
      return write_rows<double>(init, first, count, width, rows);
    case DType::i32:
      return write_rows<std::int32_t>(init, first, count, width, rows);
    case DType::i64:
      return write_rows<std::int64_t>(init, first, count, width, rows);
    case DType::f16:
      return write_rows<Float16>(init, first, count, width, rows);
    case DType::bf16:
      return write_rows<BFloat16>(init, first, count, width, rows);
  }
}

void write_initial_row(const Initializer& init, DType dtype, Key key, std::uint32_t width,
                       std::byte* row) {
  write_initial_rows(init, dtype, key, 1, width, row);
}

}  // namespace shoal
