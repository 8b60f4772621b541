#pragma once

#include <cstddef>
#include <utility>

#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/memory/memory_view.h"

namespace shoal {

/// Owned memory of a Device, aligned to kMemoryAlignment, freed with the object. Move-only; the
/// device must outlive it.
class DeviceMemory {
 public:
  /// `bytes` > 0 bytes of unspecified content. Errors: no_memory, invalid_argument.
  static Result<DeviceMemory> create(Device& device, std::size_t bytes,
                                     Device::AllocateOptions options = {}) {
    SHOAL_ASSIGN(auto memory, device.allocate(bytes, options));
    return DeviceMemory(&device, memory);
  }

  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept
      : device_(std::exchange(other.device_, nullptr)), memory_(std::exchange(other.memory_, {})) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    if (this != &other) {
      free();
      device_ = std::exchange(other.device_, nullptr);
      memory_ = std::exchange(other.memory_, {});
    }
    return *this;
  }
  ~DeviceMemory() { free(); }

  bool valid() const { return device_ != nullptr; }
  MemoryView view() const { return memory_; }
  std::byte* data() const { return memory_.data; }
  std::size_t bytes() const { return memory_.bytes; }

 private:
  DeviceMemory(Device* device, MemoryView memory) : device_(device), memory_(memory) {}
  void free() {
    if (device_ != nullptr) std::exchange(device_, nullptr)->deallocate(std::exchange(memory_, {}));
  }

  Device* device_ = nullptr;
  MemoryView memory_;
};

}  // namespace shoal
