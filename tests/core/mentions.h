#pragma once

#include <string>
#include <string_view>

#include "core/base/error.h"

namespace shoal {

inline bool mentions(const Error& error, std::string_view text) {
  return error.what.find(text) != std::string::npos;
}

}  // namespace shoal
