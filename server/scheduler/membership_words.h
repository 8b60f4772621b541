#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/base/clock.h"
#include "core/cluster/cluster_view.h"

// How the scheduler speaks of nodes and times to people. Private to the scheduler.

namespace shoal {

/// "server 'ps 1' (node 3, 10.0.0.1:4711)".
std::string described(const NodeInfo& node);
/// "1 worker", "2 workers".
std::string counted(std::size_t count, std::string_view what);
/// "2.5 s".
std::string in_seconds(Duration time);

}  // namespace shoal
