#include "transport/open_transport.h"

#include <fmt/core.h>

#include <span>

#include "core/base/token.h"
#include "transport/tcp/tcp.h"

namespace shoal {

Result<std::unique_ptr<Transport>> open_transport(const Config& config, const Clock& clock) {
  std::string_view names = config.transports;
  while (!names.empty()) {
    const auto comma = names.find(',');
    const auto name = names.substr(0, comma);
    if (name != "tcp")
      return Error{Errc::unavailable,
                   fmt::format("transports = '{}': this build has tcp, and not '{}'",
                               config.transports, name)};
    names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
  }
  SHOAL_ASSIGN(const auto token, read_token(config.token_file));
  tcp::TcpOptions options;
  const auto bytes = std::as_bytes(std::span(token));
  options.bulk_turn_bytes = config.bulk_turn_bytes;
  options.token.assign(bytes.begin(), bytes.end());
  return tcp::create_tcp(options, clock);
}

}  // namespace shoal
