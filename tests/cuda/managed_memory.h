#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <span>
#include <vector>

namespace shoal::test {

/// A Target, or what is made of one, in memory that CUDA moves between host and GPU.
template <class Target>
class ManagedMemory : public Target {
 public:
  ~ManagedMemory() override {
    for (auto* memory : memory_) (void)cudaFree(memory);
  }
  void finish() override {
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    const auto code = cudaDeviceSynchronize();
    EXPECT_EQ(code, cudaSuccess) << cudaGetErrorString(code);
  }

 private:
  std::span<std::byte> chunk(std::size_t bytes) override {
    void* memory = nullptr;
    const auto code = cudaMallocManaged(&memory, bytes);
    EXPECT_EQ(code, cudaSuccess) << cudaGetErrorString(code);
    memory_.push_back(memory);
    return {static_cast<std::byte*>(memory), bytes};
  }
  std::vector<void*> memory_;
};

}  // namespace shoal::test
