#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/memory/device.h"
#include "cuda/pinned_memory.h"

namespace shoal {

/// The host, with memory that GPUs reach without copies: what passes between a network and a GPU
/// lies there. Every operation is done when its call returns.
class PinnedDevice final : public Device {
 public:
  /// Memory near the GPU `gpu`.
  explicit PinnedDevice(std::uint16_t gpu) : gpu_(gpu) {}

  std::string_view name() const override { return "pinned"; }
  MemorySpace space() const override { return MemorySpace::pinned; }
  std::uint16_t ordinal() const override { return gpu_; }
  void* stream() const override { return nullptr; }

  /// Of whole pages, which take milliseconds to pin: allocate much at a time, and keep it. Errors:
  /// no_memory, unavailable, invalid_argument.
  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) override;
  /// Waits for all work of the GPU.
  void deallocate(MemoryView memory) override;
  /// What is pinned is given back whole: false.
  bool discard(MemoryView, MemoryView) override { return false; }
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override {
    return host_.copy(to, from);
  }
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override {
    return host_.fill(memory, value);
  }
  Result<DeviceEvent> make_visible(MemoryView) override { return DeviceEvent(); }
  Result<DeviceEvent> record() override { return DeviceEvent(); }
  Result<bool> done(DeviceEvent) override { return true; }

 private:
  std::uint16_t gpu_;
  HostDevice host_;
  std::vector<PinnedMemory> allocations_;
};

}  // namespace shoal
