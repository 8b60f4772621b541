#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
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

/// Takes the ports out where this process may pin `pin_limit` bytes (nothing: as many as there
/// are), and so no link over them. True: there were any.
bool leave_out_ports(Devices& devices, std::optional<std::uint64_t> pin_limit);

}  // namespace shoal::ucx
