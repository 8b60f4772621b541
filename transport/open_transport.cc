#include "transport/open_transport.h"

#include <fmt/core.h>

#include <span>
#include <string>
#include <string_view>

#include "core/base/token.h"
#include "transport/paths/paths.h"
#include "transport/reasons.h"
#include "transport/tcp/tcp.h"
#include "transport/transport_list.h"

#ifdef SHOAL_HAS_UCX
#include "transport/ucx/ucx.h"
#endif
#ifdef SHOAL_HAS_VERBS
#include "transport/verbs/verbs.h"
#endif

namespace shoal {

namespace {

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

/// "verbs: why", behind what is there already.
void add(std::string& list, std::string_view name, std::string_view why) {
  list = both(list, fmt::format("{}: {}", name, why));
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
  SHOAL_ASSIGN(const auto list, TransportList::parse(config));
  paths::PathOptions options;
  SHOAL_ASSIGN(options.tcp, tcp_options(config));
  // A session gives a try to connect so long; what is left is for TCP to be used instead.
  options.try_timeout = config.connect_timeout / 2;
  options.fabric_required = !list.has_tcp() || config.require == Config::Require::rdma;
  for (const auto& name : list.fabrics()) {
    auto fabric = name == "verbs" ? open_verbs(config, clock, exporter) : open_ucx(config, clock);
    if (fabric.ok())
      options.fabrics.push_back(std::move(fabric).value());
    else
      add(options.missing, name, sentence_of(fabric.error()));
  }
  for (const auto* name : {"verbs", "ucx"})
    if (const auto why = list.why_not(name); !why.empty()) add(options.left_out, name, why);
  if (options.fabric_required && options.fabrics.empty())
    return nothing_to_offer(config, options.missing.empty() ? options.left_out : options.missing);
  if (!options.fabrics.empty()) return paths::create_paths(std::move(options), clock);
  options.tcp.remark = paths::words_of(options.missing, options.left_out);
  return tcp::create_tcp(options.tcp, clock);
}

Result<std::unique_ptr<Transport>> open_control_transport(const Config& config,
                                                          const Clock& clock) {
  SHOAL_ASSIGN(auto options, tcp_options(config));
  options.control = true;
  return tcp::create_tcp(options, clock);
}

}  // namespace shoal
