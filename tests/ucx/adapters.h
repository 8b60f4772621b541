#pragma once

#include <algorithm>
#include <chrono>

#include "core/base/clock.h"
#include "transport/ucx/context.h"
#include "transport/ucx/devices.h"
#include "transport/ucx/ucx.h"

// UCX over the RDMA devices of this machine: an adapter's, or a guest's soft ones.

namespace shoal::ucx::test {

/// As UCX_TLS.
inline constexpr const char* kAdapters = "rc,ud";
/// An emulated machine takes its time.
inline constexpr Duration kAdapterPatience = std::chrono::seconds(30);

/// Whether the kernel has any that UCX can use.
inline bool has_adapters() {
  const auto devices = survey({}).taken;
  const bool any = std::any_of(devices.begin(), devices.end(), [](const auto& device) {
    return device.find(':') != std::string::npos;
  });
  const auto api = load();
  return any && api.ok() && Context::create(*api, {.transports = kAdapters}).ok();
}

}  // namespace shoal::ucx::test
