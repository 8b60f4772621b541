#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/base/assert.h"

namespace shoal {

/// A FIFO that grows to its high-water mark and then allocates no more.
template <class T>
class Ring {
 public:
  bool empty() const { return head_ == tail_; }
  std::size_t size() const { return static_cast<std::size_t>(tail_ - head_); }
  T& front() { return (*this)[0]; }
  T& back() { return (*this)[size() - 1]; }
  T& operator[](std::size_t i) { return cells_[(head_ + i) & (cells_.size() - 1)]; }
  T& push_back(T value) {
    if (size() == cells_.size()) grow();
    auto& cell = cells_[tail_++ & (cells_.size() - 1)];
    cell = std::move(value);
    return cell;
  }
  void pop_front() { ++head_; }
  void clear() { head_ = tail_; }

 private:
  void grow() {
    std::vector<T> larger(cells_.empty() ? 16 : cells_.size() * 2);
    const auto count = size();
    for (std::size_t i = 0; i < count; ++i) larger[i] = std::move((*this)[i]);
    cells_ = std::move(larger);
    head_ = 0;
    tail_ = count;
  }
  std::vector<T> cells_;  // a power of two of them
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
};

/// A FIFO of byte runs, each contiguous, named by positions that stay valid when the ring grows (up
/// to `bytes_max`, to its high-water mark). Runs are freed in the order in which they were
/// reserved.
class ByteRing {
 public:
  explicit ByteRing(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  /// Whether reserve(bytes) will succeed.
  bool fits(std::size_t bytes) const {
    if (head_ == tail_) return bytes <= bytes_max_;
    return tail_ - head_ + bytes + gap(tail_, bytes, bytes_max_) <= bytes_max_;
  }
  /// The position of `bytes` contiguous bytes; fits() must hold.
  std::uint64_t reserve(std::size_t bytes) {
    SHOAL_ASSERT(fits(bytes), "staging ring is full: ask fits() first");
    if (head_ == tail_) head_ = tail_ = 0;  // start over where the cache is warm
    while (capacity_ == 0 || tail_ - head_ + bytes + gap(tail_, bytes, capacity_) > capacity_)
      grow();
    tail_ += gap(tail_, bytes, capacity_);
    const auto at = tail_;
    tail_ += bytes;
    return at;
  }
  std::byte* at(std::uint64_t position) { return bytes_.get() + (position & (capacity_ - 1)); }
  /// Everything before `position` is done with.
  void free_to(std::uint64_t position) { head_ = position; }
  void clear() { head_ = tail_ = 0; }

 private:
  /// What must be skipped so that a run does not wrap.
  static std::size_t gap(std::uint64_t tail, std::size_t bytes, std::size_t capacity) {
    const auto left = capacity - (tail & (capacity - 1));
    return bytes > left ? left : 0;
  }
  // A run that does not wrap in a ring does not wrap in one twice as large either, so positions
  // keep their meaning.
  void grow() {
    const auto larger = capacity_ == 0 ? std::size_t{4096} : capacity_ * 2;
    SHOAL_ASSERT(larger <= bytes_max_, "staging ring beyond its bound");
    auto bytes = std::make_unique_for_overwrite<std::byte[]>(larger);
    for (auto position = head_; position < tail_;) {
      const auto left = capacity_ - (position & (capacity_ - 1));
      const auto run = std::min<std::uint64_t>(left, tail_ - position);
      std::memcpy(bytes.get() + (position & (larger - 1)), at(position), run);
      position += run;
    }
    bytes_ = std::move(bytes);
    capacity_ = larger;
  }
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t bytes_max_;  // a power of two
  std::size_t capacity_ = 0;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
};

}  // namespace shoal
