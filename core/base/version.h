#pragma once

#include <string_view>

namespace shoal {

/// Shoal's version, "major.minor.patch": a change of the minor number may break programs and the
/// wire.
std::string_view version() noexcept;

}  // namespace shoal
