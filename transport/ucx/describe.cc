#include <fmt/core.h>

#include "transport/ucx/ucx.h"

namespace shoal::ucx {

namespace {

std::string devices_of(std::uint64_t types) {
  const auto has = [&](ucs_memory_type_t type) { return (types >> type & 1) != 0; };
  if (has(UCS_MEMORY_TYPE_CUDA)) return "this UCX knows memory of CUDA, too, which Shoal copies";
  if (has(UCS_MEMORY_TYPE_ROCM)) return "this UCX knows memory of ROCm, too";
  return "this UCX was built without CUDA";
}

}  // namespace

std::vector<std::string> describe(const Config& config) {
  const auto api = load();
  if (!api.ok()) return {"no: " + api.error().what};
  const auto context = Context::create(*api, {});
  if (!context.ok()) return {"no: " + context.error().message()};
  // It is not used unless it is asked for.
  const bool wanted = config.transports.find("ucx") != std::string::npos;
  return {fmt::format("yes{}: UCX {}, moves host memory ({})",
                      wanted ? "" : ", if transports names it", version_of(*api),
                      devices_of((*context)->memory_types()))};
}

}  // namespace shoal::ucx
