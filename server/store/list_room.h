#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/memory/device_memory.h"

namespace shoal {

/// Memory for lists that the CPU writes and kernels read: a ring, of which a piece comes back when
/// the work that was issued until the next `take` is done. On the host that is at once, and each
/// list has the memory of the last, which is still in the caches. Belongs to one loop.
class ListRoom {
 public:
  /// `memory` is where the lists are, `worker` the device that reads them; it outlives the room.
  /// Errors: no_memory, invalid_argument.
  static Result<ListRoom> create(Device& memory, Device& worker, std::size_t bytes);

  /// Room for `count` values of T, on a cache line, until the work that is issued before the next
  /// `end_of_use` is done. Empty: there is none before more of the device's work is done.
  template <class T>
  std::span<T> take(std::size_t count) {
    auto* memory = take_bytes(count * sizeof(T));
    return memory == nullptr ? std::span<T>() : std::span<T>(reinterpret_cast<T*>(memory), count);
  }
  /// What was taken since the last call is read by work that has been issued.
  void end_of_use();

  /// The largest list that there can be room for.
  std::size_t capacity() const { return memory_.bytes(); }

 private:
  struct Use {
    std::size_t end;  ///< of the pieces, in the ring
    DeviceEvent event;
  };
  ListRoom(DeviceMemory memory, Device& worker) : memory_(std::move(memory)), worker_(&worker) {}
  std::byte* take_bytes(std::size_t bytes);
  void collect();

  DeviceMemory memory_;
  Device* worker_;
  std::deque<Use> uses_;
  std::size_t head_ = 0;    ///< the next piece begins here,
  std::size_t tail_ = 0;    ///< the oldest that is in use there; equal: all is free
  std::size_t marked_ = 0;  ///< what `end_of_use` has seen
};

}  // namespace shoal
