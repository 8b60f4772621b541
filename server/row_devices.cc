#include "server/row_devices.h"

#include <fmt/core.h>

#include "core/base/log.h"
#ifdef SHOAL_HAS_CUDA
#include "cuda/cuda_device.h"
#include "cuda/gpus.h"
#include "cuda/pinned_device.h"
#include "cuda/rule_kernels.h"
#endif

namespace shoal {

namespace {

#ifdef SHOAL_HAS_CUDA
Status fits(const Gpu& gpu, const Config& config) {
  if (config.memory_budget <= gpu.memory_bytes) return {};
  return Error{Errc::invalid_argument,
               fmt::format("memory_budget = {}, and {} ({}) has {}: lower memory_budget, or add "
                           "servers",
                           bytes_to_string(config.memory_budget), config.device.to_string(),
                           gpu.name, bytes_to_string(gpu.memory_bytes))};
}
#else
Error without_cuda(const DeviceName& device) {
  return {
      Errc::unavailable,
      fmt::format("device = {}: this build has no CUDA (no toolkit was found when it was made); "
                  "use device = cpu",
                  device.to_string())};
}
#endif

}  // namespace

Result<RowDevices> RowDevices::open(const Config& config, const RuleSet& rules) {
  RowDevices devices;
  devices.rules_ = std::make_unique<RuleSet>(rules);
  if (!config.device.cuda) {
    devices.rows_ = std::make_unique<HostDevice>();
    return devices;
  }
#ifdef SHOAL_HAS_CUDA
  SHOAL_ASSIGN(devices.rows_, CudaDevice::create(config.device.ordinal));
  SHOAL_ASSIGN(const auto gpus, find_gpus());
  const auto& gpu = gpus[config.device.ordinal];
  SHOAL_TRY(fits(gpu, config));
  devices.pinned_ = std::make_unique<PinnedDevice>(config.device.ordinal);
  SHOAL_TRY(cuda::attach_kernels(*devices.rules_));
  log_info("server", "tables are on {}, {}", config.device.to_string(), gpu.name);
  return devices;
#else
  return without_cuda(config.device);
#endif
}

}  // namespace shoal
