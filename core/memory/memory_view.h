#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/assert.h"

namespace shoal {

/// Which kind of memory an address means, and so who may touch it how.
enum class MemorySpace : std::uint8_t {
  host,    ///< Pageable host memory.
  pinned,  ///< Host memory that devices may read and write directly.
  cuda,    ///< Memory of a CUDA device; never dereferenced by the CPU.
};

/// A run of bytes somewhere: where it starts, how long it is, and which space and device it is in.
/// Trivially copyable; never owns.
struct MemoryView {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  MemorySpace space = MemorySpace::host;
  std::uint16_t device = 0;  ///< Ordinal within its space; 0 for host memory.

  /// The `length` bytes from `offset`; must lie inside.
  MemoryView sub(std::size_t offset, std::size_t length) const {
    SHOAL_ASSERT(offset <= bytes && length <= bytes - offset, "sub-view out of bounds");
    return {data + offset, length, space, device};
  }
  std::span<std::byte> host_span() const {
    SHOAL_ASSERT(space != MemorySpace::cuda, "device memory is not for the CPU to touch");
    return {data, bytes};
  }
};

/// The same for memory that is only read.
struct ConstMemoryView {
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  MemorySpace space = MemorySpace::host;
  std::uint16_t device = 0;

  ConstMemoryView() = default;
  ConstMemoryView(const std::byte* d, std::size_t n, MemorySpace s = MemorySpace::host,
                  std::uint16_t dev = 0)
      : data(d), bytes(n), space(s), device(dev) {}
  ConstMemoryView(const MemoryView& v)
      : data(v.data), bytes(v.bytes), space(v.space), device(v.device) {}

  ConstMemoryView sub(std::size_t offset, std::size_t length) const {
    SHOAL_ASSERT(offset <= bytes && length <= bytes - offset, "sub-view out of bounds");
    return {data + offset, length, space, device};
  }
  std::span<const std::byte> host_span() const {
    SHOAL_ASSERT(space != MemorySpace::cuda, "device memory is not for the CPU to touch");
    return {data, bytes};
  }
};

/// The bytes of a contiguous host range of T.
template <class T>
MemoryView host_view(std::span<T> values) {
  return {reinterpret_cast<std::byte*>(values.data()), values.size_bytes(), MemorySpace::host, 0};
}
template <class T>
ConstMemoryView host_view(std::span<const T> values) {
  return {reinterpret_cast<const std::byte*>(values.data()), values.size_bytes()};
}

}  // namespace shoal
