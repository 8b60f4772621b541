#pragma once

#include <cstddef>

#include "core/memory/device.h"
#include "transport/transport.h"

namespace shoal {

/// A device whose memory the transport moves without a copy: every allocation is attached. Belongs
/// to the transport's loop.
class AttachedDevice final : public Device {
 public:
  /// Both outlive it.
  AttachedDevice(Device& device, Transport& transport) : device_(device), transport_(transport) {}

  std::string_view name() const override { return device_.name(); }
  MemorySpace space() const override { return device_.space(); }
  std::uint16_t ordinal() const override { return device_.ordinal(); }
  void* stream() const override { return device_.stream(); }
  /// What cannot be attached is allocated all the same, and copied on its way; logged once.
  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) override;
  void deallocate(MemoryView memory) override;
  bool discard(MemoryView allocation, MemoryView part) override {
    return !transport_.pins() && device_.discard(allocation, part);
  }
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override {
    return device_.copy(to, from);
  }
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override {
    return device_.fill(memory, value);
  }
  Result<DeviceEvent> make_visible(MemoryView memory) override {
    return device_.make_visible(memory);
  }
  Result<DeviceEvent> record() override { return device_.record(); }
  Result<bool> done(DeviceEvent event) override { return device_.done(event); }

 private:
  Device& device_;
  Transport& transport_;
  bool told_ = false;
};

}  // namespace shoal
