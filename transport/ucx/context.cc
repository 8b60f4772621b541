#include "transport/ucx/context.h"

#include <fmt/core.h>

#include <cstdlib>
#include <utility>

#include "transport/ucx/limits.h"

namespace shoal::ucx {

namespace {

Error unusable(const Api& api, std::string_view what, ucs_status_t status) {
  return {Errc::unavailable,
          fmt::format("UCX {}: {}: {}", version_of(api), what, api.status_string(status))};
}

}  // namespace

Result<std::unique_ptr<Context>> Context::create(const Api& api, const Options& options) {
  ucp_config_t* raw = nullptr;
  auto status = api.config_read(nullptr, nullptr, &raw);
  if (status != UCS_OK) return unusable(api, "its configuration cannot be read", status);
  const std::unique_ptr<ucp_config_t, void (*)(ucp_config_t*)> config(raw, api.config_release);
  const auto set = [&](const char* name, const char* value) -> Status {
    const auto result = api.config_modify(raw, name, value);
    if (result == UCS_OK) return {};
    return unusable(api, fmt::format("it does not take {} = '{}'", name, value), result);
  };
  for (const auto& [name, value] : kSettings) SHOAL_TRY(set(name, value));
  if (!options.transports.empty())
    SHOAL_TRY(set("TLS", options.transports.c_str()));
  else if (std::getenv("UCX_TLS") == nullptr)
    SHOAL_TRY(set("TLS", kTransports));
  if (options.network_devices) SHOAL_TRY(set("NET_DEVICES", options.network_devices->c_str()));
  ucp_params_t parameters{};
  parameters.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  parameters.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  parameters.name = "shoal";
  ucp_context_h context = nullptr;
  status = api.init_version(UCP_API_MAJOR, UCP_API_MINOR, &parameters, raw, &context);
  if (status != UCS_OK)
    return unusable(api, "it finds no way to reach anybody (UCX_TLS, UCX_NET_DEVICES?)", status);
  return std::unique_ptr<Context>(new Context(api, context));
}

Context::~Context() { api_.cleanup(context_); }

std::uint64_t Context::memory_types() const {
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  return api_.context_query(context_, &attributes) == UCS_OK ? attributes.memory_types : 0;
}

}  // namespace shoal::ucx
