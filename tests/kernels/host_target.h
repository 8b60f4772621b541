#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "core/memory/device_memory.h"
#include "cuda/passes.h"
#include "cuda/tiles.h"

namespace shoal::test {

/// The executor that runs kernels thread after thread on this CPU, and the standard library's
/// passes.
struct OnHost {
  template <class Body>
  static void run(const Body& body, void*) {
    cuda::run_on_host(body);
  }
  static void exclusive_sum(cuda::Scratch, const std::uint32_t* from, std::uint32_t* to,
                            std::uint64_t count, void*) {
    std::exclusive_scan(from, from + count, to, 0u);
  }
  static void sort(cuda::Scratch, const std::uint32_t* keys, std::uint32_t* sorted_keys,
                   const std::uint32_t* values, std::uint32_t* sorted_values, std::uint64_t count,
                   void*) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
    for (std::size_t i = 0; i < count; ++i) {
      sorted_keys[i] = keys[order[i]];
      sorted_values[i] = values[order[i]];
    }
  }
  static void select(cuda::Scratch, const std::uint8_t* flags, std::uint32_t* indices,
                     std::uint32_t* selected, std::uint64_t count, void*) {
    *selected = 0;
    for (std::uint32_t i = 0; i < count; ++i)
      if (flags[i] != 0) indices[(*selected)++] = i;
  }
};

/// A Target, or what is made of one, in host memory.
template <class Target>
class HostMemory : public Target {
 public:
  void finish() override {}

 private:
  std::span<std::byte> chunk(std::size_t bytes) override {
    memory_.push_back(DeviceMemory::create(host_, bytes).value());
    return memory_.back().view().host_span();
  }

  HostDevice host_;
  std::vector<DeviceMemory> memory_;
};

}  // namespace shoal::test
