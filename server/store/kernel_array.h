#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "server/store/segment.h"

namespace shoal {

/// Where the pages of a store are, for kernels that look rows up: an array that only grows. On the
/// host they read it where it is. A device has a copy of its own, which grows in the order of its
/// work: what was issued before reads what stood there then. Belongs to one loop.
template <class T>
class KernelArray {
 public:
  void push_back(const T& value) { here_.push_back(value); }
  std::size_t size() const { return here_.size(); }
  const T& operator[](std::size_t i) const { return here_[i]; }

  /// Makes `data` have all of it. Errors: no_room, no_memory.
  Outcome bring(StoreContext& context) {
    if (!context.late() || brought_ == here_.size()) return Outcome::applied;
    const auto more = context.scratch.lists->template take<T>(here_.size() - brought_);
    if (more.empty()) return Outcome::no_room;
    if (const auto o = make_room(context); o != Outcome::applied) return o;
    std::copy(here_.begin() + static_cast<std::ptrdiff_t>(brought_), here_.end(), more.begin());
    context.copy_in(there_->data + brought_ * sizeof(T),
                    reinterpret_cast<const std::byte*>(more.data()), more.size_bytes());
    brought_ = here_.size();
    return Outcome::applied;
  }
  /// What kernels read.
  const T* data() const {
    return there_ != nullptr ? reinterpret_cast<const T*>(there_->data) : here_.data();
  }
  /// The owner's end.
  void give_back(StoreContext& context) {
    if (there_ == nullptr) return;
    context.pool.give(there_);
    context.budget.give(bytes_);
  }

 private:
  static constexpr std::size_t kBytesMin = 4096;

  Outcome make_room(StoreContext& context) {
    auto bytes = std::max(kBytesMin, bytes_);
    while (bytes < here_.size() * sizeof(T)) bytes *= 2;
    if (bytes == bytes_) return Outcome::applied;
    if (!context.budget.take(bytes, "the places of pages").ok()) return Outcome::no_memory;
    const auto memory = context.pool.take(bytes);
    if (!memory.ok()) {
      context.budget.give(bytes);
      return Outcome::no_memory;
    }
    if (brought_ != 0) context.copy((*memory)->data, there_->data, brought_ * sizeof(T));
    give_back(context);
    there_ = *memory;
    bytes_ = bytes;
    return Outcome::applied;
  }

  std::vector<T> here_;
  SegmentMemory* there_ = nullptr;  ///< null: on the host, or nothing was brought yet
  std::size_t bytes_ = 0;           ///< of it
  std::size_t brought_ = 0;
};

}  // namespace shoal
