#pragma once

#include <string>
#include <vector>

#include "core/base/config.h"

namespace shoal::verbs {

/// What RDMA over libibverbs finds on this machine under `config.devices` and `config.interfaces`,
/// for people: a line for each port, "yes: rxe0 port 1 (RoCE v2 10.77.0.1, ...)" or "no: rxe0 port
/// 2: the port is down: ..."; or one "no: " with what the machine lacks. Opens and closes devices.
std::vector<std::string> describe(const Config& config);

}  // namespace shoal::verbs
