#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace shoal {

/// Bytes as golden tests write them.
inline std::string hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const auto byte : bytes) {
    text += kDigits[std::to_integer<int>(byte) >> 4];
    text += kDigits[std::to_integer<int>(byte) & 15];
  }
  return text;
}

/// The same with spaces between the fields, as people read them.
inline std::string packed(std::string_view spaced) {
  std::string text;
  for (const char c : spaced)
    if (c != ' ') text += c;
  return text;
}

}  // namespace shoal
