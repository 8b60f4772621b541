#pragma once

#include <cstddef>

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

}  // namespace shoal
