#include "server/attached_device.h"

#include <utility>

#include "core/base/log.h"

namespace shoal {

Result<MemoryView> AttachedDevice::allocate(std::size_t bytes, AllocateOptions options) {
  SHOAL_ASSIGN(const auto memory, device_.allocate(bytes, options));
  const auto attached = transport_.attach(memory);
  if (!attached.ok() && !std::exchange(told_, true))
    log_warn("server", "rows are copied on their way, which costs RDMA its speed: {}",
             attached.error().message());
  return memory;
}

void AttachedDevice::deallocate(MemoryView memory) {
  transport_.detach(memory);
  device_.deallocate(memory);
}

}  // namespace shoal
