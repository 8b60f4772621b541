#pragma once

#include <string>
#include <string_view>

#include "core/base/error.h"

// Reasons in a row, for people: "verbs: no device; ucx: not named in transports". Private to
// transport/.

namespace shoal {

/// "one; other", if both say something.
inline std::string both(std::string_view one, std::string_view other) {
  std::string text(one);
  if (!one.empty() && !other.empty()) text += "; ";
  return text.append(other);
}

/// Of something that cannot be used, which goes without saying: no "(unavailable)" behind it.
inline std::string sentence_of(const Error& error) {
  return error.code == Errc::unavailable && error.native == 0 ? error.what : error.message();
}

}  // namespace shoal
