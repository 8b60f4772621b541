#include "transport/backends.h"

#include <fmt/core.h>

#include "transport/transport_list.h"

#ifdef SHOAL_HAS_UCX
#include "transport/ucx/ucx.h"
#endif
#ifdef SHOAL_HAS_VERBS
#include "transport/verbs/verbs.h"
#endif

namespace shoal {

namespace {

std::vector<std::string> describe_ucx([[maybe_unused]] const Config& config) {
#ifdef SHOAL_HAS_UCX
  return ucx::describe(config);
#else
  return {"no: built without libucx-dev"};
#endif
}

std::vector<std::string> describe_verbs([[maybe_unused]] const Config& config) {
#ifdef SHOAL_HAS_VERBS
  return verbs::describe(config);
#else
  return {"no: built without libibverbs-dev"};
#endif
}

/// What is there, and is not used all the same, says so: "yes, but not named in transports: ...".
void add_why_not(Backend& backend, std::string_view why) {
  for (auto& line : backend.lines)
    if (line.starts_with("yes")) line = fmt::format("yes, but {}{}", why, line.substr(3));
}

}  // namespace

Result<RdmaPort> first_rdma_port([[maybe_unused]] const Config& config) {
#ifdef SHOAL_HAS_VERBS
  SHOAL_ASSIGN(const auto port, verbs::first_port(config));
  return RdmaPort{port.device, port.number, port.gid_index};
#else
  return Error{Errc::unavailable, "built without libibverbs-dev"};
#endif
}

std::vector<Backend> describe_backends(const Config& config) {
  std::vector<Backend> backends = {
      {"tcp", {"yes"}}, {"ucx", describe_ucx(config)}, {"verbs", describe_verbs(config)}};
  const auto list = TransportList::parse(config);
  for (auto& backend : backends) {
    if (!list.ok())
      add_why_not(backend, list.error().what);
    else if (const auto why = list->why_not(backend.name); !why.empty())
      add_why_not(backend, why);
  }
  if (list.ok() && !list->has_tcp())
    add_why_not(backends.front(), "not named in transports: it connects, and carries no rows");
  return backends;
}

}  // namespace shoal
