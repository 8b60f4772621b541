#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/base/assert.h"
#include "core/memory/memory_view.h"

namespace shoal {

struct MemoryRecord;
class WorkerCore;

/// Memory that is registered with the transports once, for many operations. Move-only.
class RegisteredMemory {
 public:
  RegisteredMemory() = default;
  RegisteredMemory(std::shared_ptr<WorkerCore> core, MemoryRecord* record, MemoryView memory,
                   bool owned)
      : core_(std::move(core)), record_(record), memory_(memory), owned_(owned) {}
  RegisteredMemory(RegisteredMemory&& other) noexcept { swap(other); }
  RegisteredMemory& operator=(RegisteredMemory&& other) noexcept {
    RegisteredMemory(std::move(other)).swap(*this);
    return *this;
  }
  /// Memory of Shoal's own is freed when the last operation on it is done. For memory of yours it
  /// waits for that moment, so that you may free it next.
  ~RegisteredMemory();

  MemoryView memory() const { return memory_; }
  MemoryRecord* record() const { return record_; }
  bool owned() const { return owned_; }

 private:
  void swap(RegisteredMemory& other) noexcept {
    std::swap(core_, other.core_);
    std::swap(record_, other.record_);
    std::swap(memory_, other.memory_);
    std::swap(owned_, other.owned_);
  }
  std::shared_ptr<WorkerCore> core_;
  MemoryRecord* record_ = nullptr;
  MemoryView memory_;
  bool owned_ = false;
};

/// An array of T in registered memory: Worker::allocate. 64-byte aligned, zeroed. Operations on it
/// need no registration of their own, and keep its memory alive until they are done.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(RegisteredMemory memory) : memory_(std::move(memory)) {}

  std::size_t size() const { return memory_.memory().bytes / sizeof(T); }
  T* data() const { return reinterpret_cast<T*>(memory_.memory().data); }
  T& operator[](std::size_t i) const { return data()[i]; }
  T* begin() const { return data(); }
  T* end() const { return data() + size(); }
  std::span<T> span() const { return {data(), size()}; }
  const RegisteredMemory& registration() const { return memory_; }

 private:
  RegisteredMemory memory_;
};

/// Values that an operation reads: a Buffer, a part of one, or any contiguous range of T of yours.
template <class T>
struct Source {
  const T* data = nullptr;
  std::size_t size = 0;
  MemoryRecord* record = nullptr;
  bool borrowed = true;  ///< the memory is the user's own

  Source(const Buffer<T>& buffer) : Source(buffer, 0, buffer.size()) {}
  /// `count` values from `offset`.
  Source(const Buffer<T>& buffer, std::size_t offset, std::size_t count)
      : data(buffer.data() + offset),
        size(count),
        record(buffer.registration().record()),
        borrowed(!buffer.registration().owned()) {
    SHOAL_ASSERT(offset <= buffer.size() && count <= buffer.size() - offset, "outside the buffer");
  }
  Source(std::span<const T> values) : data(values.data()), size(values.size()) {}
  Source(std::span<T> values) : data(values.data()), size(values.size()) {}
  Source(const std::vector<T>& values) : data(values.data()), size(values.size()) {}
  Source(const std::vector<T>&&) = delete;  // gone before the loan has ended
};

/// Memory that an operation writes into: a Buffer, a part of one, or any contiguous range of T.
template <class T>
struct Target {
  T* data = nullptr;
  std::size_t size = 0;
  MemoryRecord* record = nullptr;
  bool borrowed = true;

  Target(const Buffer<T>& buffer) : Target(buffer, 0, buffer.size()) {}
  Target(const Buffer<T>& buffer, std::size_t offset, std::size_t count)
      : data(buffer.data() + offset),
        size(count),
        record(buffer.registration().record()),
        borrowed(!buffer.registration().owned()) {
    SHOAL_ASSERT(offset <= buffer.size() && count <= buffer.size() - offset, "outside the buffer");
  }
  Target(std::span<T> values) : data(values.data()), size(values.size()) {}
  Target(std::vector<T>& values) : data(values.data()), size(values.size()) {}
};

}  // namespace shoal
