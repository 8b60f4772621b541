#pragma once

#include <memory>
#include <string>
#include <string_view>
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
  /// For `explain`: fabrics that were to be there, and why they are not ("verbs: this machine has
  /// no RDMA device"),
  std::string missing = {};
  /// and such that were not ("ucx: not named in transports").
  std::string left_out = {};
  /// How long a path may take to be made and tried, before TCP is used instead.
  Duration try_timeout = std::chrono::seconds(5);
};

/// How explain() ends: "; no faster path: ...; not used: ...", without what is empty.
std::string words_of(std::string_view no_faster_path, std::string_view not_used);

/// TCP for connecting, for noticing who dies, and for whatever no fabric can carry; and fabrics for
/// all else. See docs/design/selection.md. Errors: as create_tcp().
Result<std::unique_ptr<Transport>> create_paths(PathOptions options, const Clock& clock);

}  // namespace shoal::paths
