#pragma once

#include <cstddef>
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
/// what was needed at once, and then allocates no more. Addresses are stable.
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
    object->recycle();
    free_.push_back(object);
  }
  std::size_t in_use() const { return total_ - free_.size(); }
  std::size_t available() const { return max_ - in_use(); }

 private:
  bool grow() {
    constexpr std::size_t kChunk = 64;
    const auto count = total_ + kChunk <= max_ ? kChunk : max_ - total_;
    if (count == 0) return false;
    chunks_.push_back(std::make_unique<T[]>(count));
    total_ += count;
    free_.reserve(total_);
    for (std::size_t i = count; i-- > 0;) free_.push_back(&chunks_.back()[i]);
    return true;
  }
  std::size_t max_;
  std::size_t total_ = 0;
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<T*> free_;
};

}  // namespace shoal
