#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp.h"
#include "transport/transport.h"

namespace shoal::paths {

struct PathOptions {
  tcp::TcpOptions tcp;
  /// Those that are usable here, the best first; each pair of peers takes the first that both have.
  std::vector<std::unique_ptr<Fabric>> fabrics;
  /// A connection that no fabric can carry ends with Errc::unavailable: TCP only makes connections.
  bool fabric_required = false;
  /// Why there are not more fabrics, for `explain`: "verbs: this machine has no RDMA device".
  std::string missing = {};
  /// How long a path may take to be made and tried, before TCP is used instead.
  Duration try_timeout = std::chrono::seconds(5);
};

/// TCP for connecting, for noticing who dies, and for whatever no fabric can carry; and fabrics for
/// all else. See docs/design/selection.md. Errors: as create_tcp().
Result<std::unique_ptr<Transport>> create_paths(PathOptions options, const Clock& clock);

}  // namespace shoal::paths
