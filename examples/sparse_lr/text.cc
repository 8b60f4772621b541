#include "examples/sparse_lr/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace shoal::sparse_lr {

std::string quoted(std::string_view text) {
  constexpr std::size_t kShownMax = 40;
  std::string shown(text.substr(0, kShownMax));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return '\'' + shown + (text.size() > kShownMax ? "...'" : "'");
}

std::string number_text(double number) {
  constexpr double kExactWholeMax = 1e15;
  if (std::trunc(number) == number && std::abs(number) < kExactWholeMax)
    return std::to_string(
        static_cast<long long>(number));  // to_chars would shorten 100000 to 1e+05
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  return {buffer.data(), end};
}

std::string grouped(unsigned long long number) {
  auto text = std::to_string(number);
  for (auto at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string bytes_text(unsigned long long bytes) {
  constexpr std::array<const char*, 6> kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
  auto scaled = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; scaled >= 999.5 && unit + 1 < kUnits.size(); ++unit) scaled /= 1000;
  std::array<char, 32> buffer;
  const int length = std::snprintf(buffer.data(), buffer.size(), unit == 0 ? "%.0f %s" : "%.1f %s",
                                   scaled, kUnits[unit]);
  return {buffer.data(), static_cast<std::size_t>(length)};
}

}  // namespace shoal::sparse_lr
