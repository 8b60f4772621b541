#include "transport/transport_list.h"

#include <algorithm>

namespace shoal {

Result<TransportList> TransportList::parse(const Config& config) {
  SHOAL_TRY(check_transports(config));
  SHOAL_ASSIGN(const auto names, parse_transports(config.transports));

  TransportList parsed;
  const auto tcp = std::find(names.begin(), names.end(), "tcp");
  parsed.has_tcp_ = tcp != names.end();
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (*name == "tcp") continue;
    if (name > tcp) {
      // What stands behind TCP is never better than what is at hand everywhere.
      parsed.left_out_.push_back({*name, "tcp stands before it in transports"});
    } else if (config.require == Config::Require::rdma && *name != "verbs") {
      // Whatever UCX uses, it does not say that it is RDMA.
      parsed.left_out_.push_back({*name, "require = rdma, which only verbs is sure to be"});
    } else {
      parsed.fabrics_.push_back(*name);
    }
  }
  for (const auto* name : {"verbs", "ucx"})
    if (std::find(names.begin(), names.end(), name) == names.end())
      parsed.left_out_.push_back({name, "not named in transports"});
  return parsed;
}

std::string_view TransportList::why_not(std::string_view name) const {
  for (const auto& one : left_out_)
    if (one.name == name) return one.why;
  return {};
}

}  // namespace shoal
