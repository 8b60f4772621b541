#include "core/base/nearest.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace shoal {

namespace {

/// Row by row of the table of prefixes, of which the last three are kept.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      row[j + 1] = std::min({above[j + 1] + 1, row[j] + 1, above[j] + (a[i] == b[j] ? 0 : 1)});
      if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j])
        row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> known) {
  constexpr std::size_t kNameBytesMax = 256;  // Names come from users and peers: bound the work.
  if (name.size() > kNameBytesMax) return {};
  std::string_view nearest;
  auto fewest = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const auto candidate : known)
    if (const auto n = edits(name, candidate); n < fewest) fewest = n, nearest = candidate;
  return nearest;
}

std::string suggest_name(std::string_view name, std::span<const std::string_view> known) {
  if (const auto nearest = nearest_name(name, known); !nearest.empty())
    return " (did you mean '" + std::string(nearest) + "'?)";
  if (known.empty()) return {};
  std::string text = " (known: ";
  for (const auto& candidate : known) {
    if (&candidate != known.data()) text += ", ";
    text += candidate;
  }
  return text + ")";
}

}  // namespace shoal
