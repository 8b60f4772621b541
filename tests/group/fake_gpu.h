#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "group/gpu.h"

namespace shoal::test {

/// A GPU in this process: its stream is a queue, whose first piece of work is tried when somebody
/// asks whether an event has come, and stays while it says that it is not done. Its memory says
/// that it is not the CPU's.
class FakeGpu final : public GroupGpu, public Device {
 public:
  using Work = std::function<bool()>;  ///< false: not done yet, ask again

  explicit FakeGpu(std::string address) : address_(std::move(address)) {}

  Device& device() override { return *this; }
  const RowKernels& kernels() const override;
  std::string_view address() const override { return address_; }
  Result<std::unique_ptr<PinnedPiece>> pin(std::size_t bytes) override;

  std::string_view name() const override { return address_; }
  MemorySpace space() const override { return MemorySpace::cuda; }
  std::uint16_t ordinal() const override { return 0; }
  void* stream() const override { return const_cast<FakeGpu*>(this); }
  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions) override;
  void deallocate(MemoryView memory) override;
  bool discard(MemoryView, MemoryView) override { return false; }
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override;
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override;
  Result<DeviceEvent> make_visible(MemoryView) override { return record(); }
  Result<DeviceEvent> record() override { return DeviceEvent(issued_); }
  Result<bool> done(DeviceEvent event) override;

  void issue(Work work);

 private:
  std::string address_;
  std::deque<Work> waiting_;
  std::uint64_t issued_ = 0;
  std::uint64_t finished_ = 0;
};

}  // namespace shoal::test
