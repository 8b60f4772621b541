#pragma once

#include <algorithm>
#include <chrono>

#include "core/base/clock.h"
#include "transport/ucx/devices.h"

// UCX over the RDMA devices of this machine: an adapter's, or a guest's soft ones.

namespace shoal::ucx::test {

/// As UCX_TLS.
inline constexpr const char* kAdapters = "rc,ud";
/// An emulated machine takes its time.
inline constexpr Duration kAdapterPatience = std::chrono::seconds(30);

/// Whether the kernel has any.
inline bool has_adapters() {
  const auto devices = survey({}).taken;
  return std::any_of(devices.begin(), devices.end(),
                     [](const auto& device) { return device.find(':') != std::string::npos; });
}

}  // namespace shoal::ucx::test
