#include "transport/backends.h"

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
  return {{"tcp", {"yes"}}, {"ucx", describe_ucx(config)}, {"verbs", describe_verbs(config)}};
}

}  // namespace shoal
