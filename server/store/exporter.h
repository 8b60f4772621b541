#pragma once

#include <cstdint>

#include "core/memory/memory_view.h"

namespace shoal {

/// Where memory can be READ; key 0: nowhere.
struct ExportedPlace {
  std::uint64_t key = 0;
  std::uint64_t address = 0;
};

/// Lets peers READ memory without a turn of this server. Belongs to the server's loop.
class Exporter {
 public:
  virtual ~Exporter() = default;
  /// The key under which peers may READ `memory` until conceal(key); 0: they cannot. It may take
  /// milliseconds. The memory must outlive the key.
  virtual std::uint64_t expose(MemoryView memory) = 0;
  /// From the return on nobody reads it any more.
  virtual void conceal(std::uint64_t key) = 0;
};

}  // namespace shoal
