#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "core/base/assert.h"

namespace shoal::sim {

/// A queue that keeps its memory: std::deque allocates as it moves along.
template <class T>
class Ring {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return items_[(head_ + i) & (items_.size() - 1)]; }
  T& front() { return (*this)[0]; }

  T& push_back(T value) {
    if (size_ == items_.size()) grow();
    auto& slot = items_[(head_ + size_++) & (items_.size() - 1)];
    slot = std::move(value);
    return slot;
  }
  void pop_front() {
    SHOAL_ASSERT(size_ > 0, "pop of an empty ring");
    head_ = (head_ + 1) & (items_.size() - 1);
    --size_;
  }
  void pop_back() {
    SHOAL_ASSERT(size_ > 0, "pop of an empty ring");
    --size_;
  }

 private:
  void grow() {
    std::vector<T> larger(items_.empty() ? 8 : items_.size() * 2);
    for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move((*this)[i]);
    items_.swap(larger);
    head_ = 0;
  }
  std::vector<T> items_;  // a power of two
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace shoal::sim
