#pragma once

#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/result.h"

namespace shoal {

/// A transport by its name in `Config::transports`, and what it finds on this machine.
struct Backend {
  std::string name;
  /// For people, at least one: each is a "yes" (it is used), "yes, but why it is not used" or "no:
  /// why it cannot be", with a device's port where it is about one.
  std::vector<std::string> lines;
};

/// All that this version knows, those that this build has not among them. Looks at the machine's
/// devices as `config` allows them, which may take milliseconds; connects to nobody.
std::vector<Backend> describe_backends(const Config& config);

/// An RDMA port, as tools of other projects want it named.
struct RdmaPort {
  std::string device;
  unsigned number = 1;     ///< on the device, from 1
  unsigned gid_index = 0;  ///< that Shoal uses
};
/// The first that can be used. Errors: unavailable (why not, of each; or no verbs in this build).
Result<RdmaPort> first_rdma_port(const Config& config);

}  // namespace shoal
