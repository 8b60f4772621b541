#include "server/engine/exports.h"

#include <utility>

#include "core/base/log.h"

namespace shoal {

std::uint64_t RegionExports::expose(MemoryView memory) {
  auto region = transport_.register_memory(memory, Access::read);
  if (!region.ok()) {
    if (!std::exchange(told_, true))
      log_warn("server", "one-sided pulls become requests where segments cannot be exported: {}",
               region.error().message());
    return 0;
  }
  const auto key = region->remote(0, 0).region;
  regions_.emplace(key, std::move(region).value());
  return key;
}

}  // namespace shoal
