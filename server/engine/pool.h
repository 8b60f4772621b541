#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/assert.h"

namespace shoal {

/// Where an object hangs in one List. An object has one Link for each list it can be in.
template <class T>
struct Link {
  T* prev = nullptr;
  T* next = nullptr;
  bool linked = false;
};

/// A doubly linked list through its objects: nothing is allocated, and an object leaves in one
/// step. Does not own.
template <class T, Link<T> T::*Member>
class List {
 public:
  bool empty() const { return front_ == nullptr; }
  T* front() const { return front_; }
  T* next(const T* object) const { return (object->*Member).next; }
  static bool contains(const T* object) { return (object->*Member).linked; }
  std::size_t size() const { return size_; }

  void push_back(T* object) {
    auto& link = object->*Member;
    SHOAL_ASSERT(!link.linked, "already in the list");
    link = {back_, nullptr, true};
    (back_ != nullptr ? (back_->*Member).next : front_) = object;
    back_ = object;
    ++size_;
  }
  void erase(T* object) {
    auto& link = object->*Member;
    SHOAL_ASSERT(link.linked, "not in the list");
    (link.prev != nullptr ? (link.prev->*Member).next : front_) = link.next;
    (link.next != nullptr ? (link.next->*Member).prev : back_) = link.prev;
    link = {};
    --size_;
  }
  void erase_if_linked(T* object) {
    if (contains(object)) erase(object);
  }
  T* pop_front() {
    auto* object = front_;
    if (object != nullptr) erase(object);
    return object;
  }

 private:
  T* front_ = nullptr;
  T* back_ = nullptr;
  std::size_t size_ = 0;
};

/// Objects of one type that are used again and again, at most `max` at a time. Grows in chunks to
/// what was needed at once, and then allocates no more. Addresses are stable, and so is an object's
/// `pool_index`, which names it to a transport: unlike an address it is the same in every run of a
/// simulation.
template <class T>
class Pool {
 public:
  explicit Pool(std::size_t max) : max_(max) {}

  /// A fresh-looking object (see T::recycle), or nullptr: `max` are in use.
  T* take() {
    if (free_.empty() && !grow()) return nullptr;
    auto* object = free_.back();
    free_.pop_back();
    return object;
  }
  void give(T* object) {
    const auto index = object->pool_index;
    object->recycle();
    object->pool_index = index;
    free_.push_back(object);
  }
  T& at(std::uint64_t pool_index) { return chunks_[pool_index / kChunk][pool_index % kChunk]; }
  std::size_t in_use() const { return total_ - free_.size(); }
  std::size_t available() const { return max_ - in_use(); }

 private:
  static constexpr std::size_t kChunk = 64;
  bool grow() {
    const auto count = total_ + kChunk <= max_ ? kChunk : max_ - total_;
    if (count == 0) return false;
    chunks_.push_back(std::make_unique<T[]>(count));
    total_ += count;
    free_.reserve(total_);
    for (std::size_t i = count; i-- > 0;) {
      auto& object = chunks_.back()[i];
      object.pool_index = static_cast<std::uint32_t>(total_ - count + i);
      free_.push_back(&object);
    }
    return true;
  }
  std::size_t max_;
  std::size_t total_ = 0;
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<T*> free_;
};

}  // namespace shoal
