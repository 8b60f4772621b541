#pragma once

#include <cstddef>

namespace shoal::cuda {

/// Deals out one allocation to several arrays, each on a boundary that suits kernels and CUB. First
/// without memory, to learn how much is needed; then with it.
class Carver {
 public:
  explicit Carver(std::byte* memory = nullptr) : memory_(memory) {}

  template <class T>
  T* take(std::size_t count) {
    auto* array = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ += (count * sizeof(T) + kBoundary - 1) / kBoundary * kBoundary;
    return array;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kBoundary = 256;
  std::byte* memory_;
  std::size_t bytes_ = 0;
};

}  // namespace shoal::cuda
