#include "core/base/name_filter.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace shoal {

namespace {

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

std::string_view example(NameFilter::Kind kind) {
  return kind == NameFilter::Kind::devices ? "as in mlx5_0,mlx5_1:1 or =mlx5_0 or ^mlx5_2"
                                           : "as in eth,ens5 or =eth0 or ^docker,lo";
}

bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }

/// What was expected instead of `item`, with the place where it stands; one line, of a length that
/// one reads.
Error wrong(NameFilter::Kind kind, std::size_t number, std::string_view item,
            std::string_view expected) {
  constexpr std::size_t kShownMax = 64;
  std::string shown(item.substr(0, kShownMax));
  std::replace_if(shown.begin(), shown.end(), is_control, '?');
  if (item.size() > kShownMax) shown += "...";
  return {Errc::invalid_argument, fmt::format("expected {} as number {} of the list, not '{}' ({})",
                                              expected, number, shown, example(kind))};
}

/// 1 to 255, as verbs count ports; none: it is no such number.
std::optional<std::uint8_t> parse_port(std::string_view text) {
  std::uint8_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return {};
  return port;
}

}  // namespace

Result<NameFilter> NameFilter::parse(Kind kind, std::string_view text) {
  NameFilter filter(kind);
  filter.text_ = text;
  auto rest = trimmed(text);
  bool exact = false, excludes = false, more = !rest.empty();
  for (std::size_t number = 1; more; ++number) {
    const auto comma = rest.find(',');
    more = comma != rest.npos;
    const auto whole = trimmed(rest.substr(0, comma));
    if (more) rest.remove_prefix(comma + 1);

    auto name = whole;
    if (name.starts_with('^') || name.starts_with('=')) {
      excludes = name.starts_with('^');
      if (excludes) name.remove_prefix(1);
      exact = name.starts_with('=');
      if (exact) name.remove_prefix(1);
      if (name.empty()) return wrong(kind, number, whole, "a name behind the marker");
    }
    if (name.empty()) return wrong(kind, number, whole, "a name");
    if (name.find_first_of("^=") != name.npos)
      return wrong(kind, number, whole, "one marker before a name: = or ^ or ^=");
    if (name.find_first_of(" /") != name.npos || std::any_of(name.begin(), name.end(), is_control))
      return wrong(kind, number, whole, "a name without spaces and slashes");

    std::optional<std::uint8_t> port;
    if (const auto colon = name.find(':'); colon != name.npos) {
      if (kind != Kind::devices)
        return wrong(kind, number, whole, "the name of an interface, without a port");
      port = parse_port(name.substr(colon + 1));
      name = name.substr(0, colon);
      if (!port || name.empty()) return wrong(kind, number, whole, "NAME or NAME:PORT (1 to 255)");
    }
    filter.items_.push_back({std::string(name), port, exact, excludes});
  }
  return filter;
}

bool NameFilter::Item::names(std::string_view other) const {
  return exact ? other == name : other.starts_with(name);
}

/// The first that leaves `name` out. One that is about a single port does so for that port.
const NameFilter::Item* NameFilter::excluding(std::string_view name,
                                              std::optional<std::uint8_t> port) const {
  const auto found = std::find_if(items_.begin(), items_.end(), [&](const Item& item) {
    return item.excludes && item.names(name) && (!item.port || item.port == port);
  });
  return found == items_.end() ? nullptr : &*found;
}

bool NameFilter::included(std::string_view name, std::optional<std::uint8_t> port) const {
  bool all = true;
  for (const auto& item : items_) {
    if (item.excludes) continue;
    all = false;
    if (item.names(name) && (!item.port || !port || item.port == port)) return true;
  }
  return all;
}

bool NameFilter::takes(std::string_view name, std::optional<std::uint8_t> port) const {
  return excluding(name, port) == nullptr && included(name, port);
}

std::string NameFilter::why_not(std::string_view name, std::optional<std::uint8_t> port) const {
  if (const auto* item = excluding(name, port))
    return fmt::format("'{}' leaves it out (^{}{}{})", text_, item->exact ? "=" : "", item->name,
                       item->port ? fmt::format(":{}", *item->port) : "");
  return included(name, port) ? "" : fmt::format("'{}' has no name that fits", text_);
}

}  // namespace shoal
