#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/memory/memory_view.h"

namespace shoal {

/// Every allocation of a Device begins on a cache line; CUDA's own alignment is larger.
inline constexpr std::size_t kMemoryAlignment = 64;

/// The moment at which everything enqueued on a Device so far is done. A Device's work is ordered,
/// so a position says it all: nothing to destroy, and later positions imply earlier ones. 0 is
/// 'done'.
using DeviceEvent = StrongCount<struct DeviceEventTag, std::uint64_t>;

/// Where a table's rows live and its update rules run: host memory and this thread, or a GPU and
/// one of its streams. Belongs to one loop. Operations run in the order in which they were issued,
/// and no call waits for them: whoever needs a result (an ack, a send from the memory) polls
/// `done`.
class Device {
 public:
  virtual ~Device() = default;

  /// For logs and `explain`: "host", "cuda:0".
  virtual std::string_view name() const = 0;
  /// The space and ordinal of what `allocate` returns.
  virtual MemorySpace space() const = 0;
  virtual std::uint16_t ordinal() const = 0;
  /// The native queue that kernels of core/ops are launched into (a cudaStream_t); null on the
  /// host.
  virtual void* stream() const = 0;

  struct AllocateOptions {
    bool huge_pages = false;  ///< Ask for 2 MiB pages (host); advice, never an error.
  };
  /// `bytes` > 0 bytes of unspecified content, aligned to kMemoryAlignment. The caller owes a
  /// `deallocate`. Errors: no_memory, invalid_argument.
  virtual Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) = 0;
  /// Gives back what `allocate` returned, once the work issued so far is done.
  virtual void deallocate(MemoryView memory) = 0;
  /// Gives back what stands behind `part` of an allocation, to be had again at the next touch; what
  /// was in it is lost. In whole pages: memory that has none behind it stays as it is. False:
  /// nothing of it can be given back while the allocation lives (a network device has pinned it).
  virtual bool discard(MemoryView allocation, MemoryView part) = 0;

  /// Copies `from` to `to` (equal lengths, no overlap); one of them is this device's, the other its
  /// or the host's. Both must stay until the event is done. Errors: invalid_argument, io.
  virtual Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) = 0;
  /// Sets every byte of this device's memory.
  virtual Result<DeviceEvent> fill(MemoryView memory, std::byte value) = 0;
  /// Lets operations issued after it see what peers wrote into `memory` by one-sided writes whose
  /// completion was polled (GPUDirect needs a flush).
  virtual Result<DeviceEvent> make_visible(MemoryView memory) = 0;

  /// The event of all work issued so far, kernels launched into `stream()` included.
  virtual Result<DeviceEvent> record() = 0;
  /// Whether the event has come. Errors: io, once a kernel or copy has failed; the device is then
  /// of no further use.
  virtual Result<bool> done(DeviceEvent event) = 0;
};

/// The host: every operation is done when its call returns.
class HostDevice final : public Device {
 public:
  std::string_view name() const override { return "host"; }
  MemorySpace space() const override { return MemorySpace::host; }
  std::uint16_t ordinal() const override { return 0; }
  void* stream() const override { return nullptr; }

  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) override;
  void deallocate(MemoryView memory) override;
  bool discard(MemoryView allocation, MemoryView part) override;
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override;
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override;
  Result<DeviceEvent> make_visible(MemoryView memory) override;
  Result<DeviceEvent> record() override { return DeviceEvent(); }
  Result<bool> done(DeviceEvent) override { return true; }
};

}  // namespace shoal
