#include "transport/open_transport.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/base/token.h"
#include "transport/paths/paths.h"
#include "transport/tcp/tcp.h"

#ifdef SHOAL_HAS_UCX
#include "transport/ucx/ucx.h"
#endif
#ifdef SHOAL_HAS_VERBS
#include "transport/verbs/verbs.h"
#endif

namespace shoal {

namespace {

Result<std::vector<std::string>> parse_transports(const std::string& list) {
  std::vector<std::string> names;
  for (std::string_view rest = list; !rest.empty();) {
    const auto comma = rest.find(',');
    const std::string name(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    if (name != "verbs" && name != "ucx" && name != "tcp")
      return Error{
          Errc::invalid_argument,
          fmt::format("transports = '{}': '{}' is none: expected a list of verbs, ucx, tcp", list,
                      name)};
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (names.empty())
    return Error{Errc::invalid_argument, "transports is empty: expected a list of verbs, ucx, tcp"};
  return names;
}

Result<tcp::TcpOptions> tcp_options(const Config& config) {
  SHOAL_ASSIGN(const auto token, read_token(config.token_file));
  tcp::TcpOptions options;
  const auto bytes = std::as_bytes(std::span(token));
  options.bulk_turn_bytes = config.bulk_turn_bytes;
  options.token.assign(bytes.begin(), bytes.end());
  return options;
}

Result<std::unique_ptr<Fabric>> open_verbs([[maybe_unused]] const Config& config,
                                           [[maybe_unused]] const Clock& clock,
                                           [[maybe_unused]] DmaBufExporter* exporter) {
#ifdef SHOAL_HAS_VERBS
  SHOAL_ASSIGN(const auto api, verbs::load());
  return verbs::create_fabric(api, {config.devices, config.interfaces, config.rails}, clock,
                              nullptr, exporter);
#else
  return Error{Errc::unavailable, "built without libibverbs-dev"};
#endif
}

Result<std::unique_ptr<Fabric>> open_ucx([[maybe_unused]] const Config& config,
                                         [[maybe_unused]] const Clock& clock) {
#ifdef SHOAL_HAS_UCX
  SHOAL_ASSIGN(const auto api, ucx::load());
  return ucx::create_fabric(api, ucx::options_of(config), clock);
#else
  return Error{Errc::unavailable, "built without libucx-dev"};
#endif
}

Error nothing_to_offer(const Config& config, const std::string& missing) {
  const auto what = config.require == Config::Require::rdma
                        ? std::string("require = rdma")
                        : fmt::format("transports = '{}'", config.transports);
  return {Errc::unavailable, fmt::format("{}, and this process has none: {}", what, missing)};
}

}  // namespace

Result<std::unique_ptr<Transport>> open_transport(const Config& config, const Clock& clock,
                                                  DmaBufExporter* exporter) {
  SHOAL_ASSIGN(const auto names, parse_transports(config.transports));
  paths::PathOptions options;
  SHOAL_ASSIGN(options.tcp, tcp_options(config));
  // A session gives a try to connect so long; what is left is for TCP to be used instead.
  options.try_timeout = config.connect_timeout / 2;
  const auto tcp = std::find(names.begin(), names.end(), "tcp");
  options.fabric_required = tcp == names.end() || config.require == Config::Require::rdma;
  // What stands behind TCP is never better than what is at hand everywhere.
  for (auto name = names.begin(); name != tcp; ++name) {
    // Whatever UCX uses, it does not say that it is RDMA.
    if (config.require == Config::Require::rdma && *name != "verbs") continue;
    auto fabric = *name == "verbs" ? open_verbs(config, clock, exporter) : open_ucx(config, clock);
    if (fabric.ok())
      options.fabrics.push_back(std::move(fabric).value());
    else
      options.missing += fmt::format("{}{}: {}", options.missing.empty() ? "" : "; ", *name,
                                     fabric.error().message());
  }
  if (options.missing.empty() && options.fabrics.empty())
    options.missing = fmt::format("transports = '{}'", config.transports);
  if (options.fabric_required && options.fabrics.empty())
    return nothing_to_offer(config, options.missing);
  if (!options.fabrics.empty()) return paths::create_paths(std::move(options), clock);
  options.tcp.remark = "no faster path: " + options.missing;
  return tcp::create_tcp(options.tcp, clock);
}

Result<std::unique_ptr<Transport>> open_control_transport(const Config& config,
                                                          const Clock& clock) {
  SHOAL_ASSIGN(auto options, tcp_options(config));
  options.control = true;
  return tcp::create_tcp(options, clock);
}

}  // namespace shoal
