#include "core/base/nearest.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace shoal {

namespace {

std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
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
