#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/config.h"

namespace shoal::ucx {

/// The network devices of a machine, as UCX names them: ports of RDMA devices ("mlx5_0:1"), and
/// interfaces ("eth0") for its own TCP.
struct Devices {
  std::vector<std::string> taken;
  std::vector<std::string> left_out;  ///< "eth0: '^docker,eth' leaves it out (^eth)"
};

/// Which of them `devices` and `interfaces` of `config` take: the first says which RDMA devices,
/// the second which interfaces, those of RoCE devices among them.
Devices survey(const Config& config, const std::filesystem::path& sysfs = "/sys");

}  // namespace shoal::ucx
