#pragma once

#include "core/memory/dtype.h"

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

}  // namespace shoal::cuda
