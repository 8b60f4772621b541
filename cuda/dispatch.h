#pragma once

#include <cstdint>

#include "core/memory/dtype.h"
#include "core/table/table_spec.h"
#include "cuda/tiles.h"

// From values that are known when a program runs to templates.

namespace shoal::cuda {

/// Calls f.operator()<T>() for the C++ type of `dtype`.
template <class F>
void of_type(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::f16:
      return f.template operator()<Float16>();
    case DType::bf16:
      return f.template operator()<BFloat16>();
    case DType::i32:
      return f.template operator()<std::int32_t>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
  }
}

/// The same for types of floats alone. False: it is none.
template <class F>
bool of_float(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>(), true;
    case DType::f64:
      return f.template operator()<double>(), true;
    case DType::f16:
      return f.template operator()<Float16>(), true;
    case DType::bf16:
      return f.template operator()<BFloat16>(), true;
    default:
      return false;
  }
}

/// Calls f.operator()<A>() for the value of `aggregate`.
template <class F>
void of_aggregate(Aggregate aggregate, const F& f) {
  switch (aggregate) {
    case Aggregate::sum:
      return f.template operator()<Aggregate::sum>();
    case Aggregate::last:
      return f.template operator()<Aggregate::last>();
    case Aggregate::min:
      return f.template operator()<Aggregate::min>();
    case Aggregate::max:
      return f.template operator()<Aggregate::max>();
  }
}

/// Calls f.operator()<Unit>() for the widest unit of which lengths and addresses, all of them in
/// `bits` by or, are made.
template <class F>
void of_unit(std::uintptr_t bits, const F& f) {
  if (bits % kPackBytes == 0)
    f.template operator()<Pack<std::uint32_t>>();
  else if (bits % sizeof(std::uint64_t) == 0)
    f.template operator()<std::uint64_t>();
  else if (bits % sizeof(std::uint32_t) == 0)
    f.template operator()<std::uint32_t>();
  else
    f.template operator()<std::uint16_t>();
}

}  // namespace shoal::cuda
