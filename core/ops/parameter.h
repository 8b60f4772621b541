#pragma once

#include <string_view>
#include <type_traits>

#include "core/table/parameter_range.h"  // IWYU pragma: export

namespace shoal {

/// A field of a rule's functor that can be set by name, on creation and while training.
struct ParameterInfo {
  std::string_view name;
  ParameterRange range;
  std::string_view meaning;
  double (*get)(const void* functor);
  void (*set)(void* functor, double value);
};

namespace detail {
template <class F, class M>
F functor_of(M F::*);
}

/// Describes the arithmetic field `Field`: parameter<&Sgd::learning_rate>("learning_rate", ...).
template <auto Field>
constexpr ParameterInfo parameter(std::string_view name, ParameterRange range,
                                  std::string_view meaning) {
  using F = decltype(detail::functor_of(Field));
  return {name, range, meaning,
          [](const void* functor) {
            return static_cast<double>(static_cast<const F*>(functor)->*Field);
          },
          [](void* functor, double value) {
            auto& field = static_cast<F*>(functor)->*Field;
            field = static_cast<std::remove_reference_t<decltype(field)>>(value);
          }};
}

}  // namespace shoal
