#pragma once

#include <cstdint>
#include <unordered_map>

#include "server/store/exporter.h"
#include "transport/transport.h"

namespace shoal {

/// Exports memory as read-only regions of a transport, whose names are the keys. Belongs to the
/// transport's loop.
class RegionExports final : public Exporter {
 public:
  /// `transport` outlives it.
  explicit RegionExports(Transport& transport) : transport_(transport) {}

  /// What cannot be registered is not exposed; logged once.
  std::uint64_t expose(MemoryView memory) override;
  void conceal(std::uint64_t key) override { regions_.erase(key); }

 private:
  Transport& transport_;
  std::unordered_map<std::uint64_t, Region> regions_;
  bool told_ = false;
};

}  // namespace shoal
