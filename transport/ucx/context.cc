#include "transport/ucx/context.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "transport/pinned_memory.h"
#include "transport/ucx/limits.h"

namespace shoal::ucx {

namespace {

Error unusable(const Api& api, std::string_view what, ucs_status_t status) {
  return {Errc::unavailable,
          fmt::format("UCX {}: {}: {}", version_of(api), what, api.status_string(status))};
}

/// 0: not known.
std::size_t descriptors_in_use() {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/self/fd", error);
  std::size_t count = 0;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error))
    ++count;
  return error || count == 0 ? 0 : count - 1;  // without the directory's own
}

}  // namespace

Status check_descriptor_share() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  const auto in_use = descriptors_in_use();
  if (in_use + kLinkDescriptors <= limit.rlim_cur / 2) return {};
  return Error{Errc::unavailable,
               fmt::format("{} of this process's {} descriptors are in use, and UCX, which takes "
                           "{} for each peer, leaves half of them to sockets: raise the limit "
                           "(ulimit -n)",
                           in_use, limit.rlim_cur, kLinkDescriptors)};
}

Status check_pins() {
  const auto limit = pin_limit();
  const auto pinned = pinned_bytes();
  if (!limit || pinned + kLinkPins <= *limit) return {};
  return Error{Errc::unavailable,
               fmt::format("UCX pins {} KiB for each link where it has RDMA devices, {} KiB are "
                           "pinned, and {}",
                           kLinkPins >> 10, pinned >> 10, about_lock_limit(*limit))};
}

Status try_thread_and_descriptors() {
  std::array<int, kDescriptorsFree> descriptors;
  for (auto& fd : descriptors) fd = ::eventfd(0, EFD_CLOEXEC);
  const bool enough = descriptors.back() >= 0;
  for (const int fd : descriptors)
    if (fd >= 0) ::close(fd);
  if (!enough)
    return Error{Errc::unavailable,
                 "UCX needs descriptors, and few are left: raise the limit (ulimit -n)"};
  try {
    std::thread([] {}).join();
  } catch (const std::system_error& error) {
    return Error{Errc::unavailable,
                 fmt::format("UCX needs a thread, and there can be no more (ulimit -u, or the "
                             "container's pids.max): {}",
                             error.what())};
  }
  return {};
}

// Only packets of host memory are made, whatever UCX could do.
std::string memory_left_out(std::uint64_t types) {
  const bool cuda = (types >> UCS_MEMORY_TYPE_CUDA & 1) != 0;
  return fmt::format("CUDA memory: {}", cuda ? "this UCX could, and Shoal does not ask it to"
                                             : "this UCX was built without it");
}

Result<std::unique_ptr<Context>> Context::create(const Api& api, const Options& options) {
  SHOAL_TRY(try_thread_and_descriptors());
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
  std::unique_ptr<Context> made(new Context(api, context));
  made->left_out_ = options.left_out;
  return made;
}

Context::~Context() { api_.cleanup(context_); }

std::uint64_t Context::memory_types() const {
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  return api_.context_query(context_, &attributes) == UCS_OK ? attributes.memory_types : 0;
}

}  // namespace shoal::ucx
