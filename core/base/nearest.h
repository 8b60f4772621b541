#pragma once

#include <span>
#include <string>
#include <string_view>

namespace shoal {

/// The known name with the fewest single-character edits from `name`, two neighbours that changed
/// places counting as one (Damerau 1964, as optimal string alignment), for messages about names
/// that are not known. Empty if none is close enough to be a slip of the hand.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> known);

/// " (did you mean 'x'?)" for the nearest known name, else " (known: a, b, c)"; empty without
/// names.
std::string suggest_name(std::string_view name, std::span<const std::string_view> known);

}  // namespace shoal
