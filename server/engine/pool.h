#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/list.h"

namespace shoal {

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
