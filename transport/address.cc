#include <fmt/core.h>

#include <charconv>

#include "transport/transport.h"

namespace shoal {

Result<Address> Address::parse(std::string_view text) {
  const auto wrong = [&] {
    return Error{Errc::invalid_argument,
                 fmt::format("'{}' is not an address: expected host:port, as in 10.0.0.1:7000 or "
                             "[::1]:7000",
                             text)};
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return wrong();
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  if (host.front() == '[') {
    if (host.back() != ']' || host.size() < 3) return wrong();
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return wrong();
  }
  if (host.find_first_of("[]") != std::string_view::npos) return wrong();
  Address address{std::string(host), 0};
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty())
    return wrong();
  return address;
}

std::string Address::to_string() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

}  // namespace shoal
