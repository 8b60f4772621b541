#pragma once

#include <span>
#include <vector>

#include "core/memory/device_memory.h"
#include "cuda/tiles.h"

namespace shoal::test {

/// The executor that runs kernels thread after thread on this CPU.
struct OnHost {
  template <class Body>
  static void run(const Body& body, void*) {
    cuda::run_on_host(body);
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
