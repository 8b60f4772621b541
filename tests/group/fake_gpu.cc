#include "tests/group/fake_gpu.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/base/assert.h"

namespace shoal::test {

namespace {

class HostPiece final : public PinnedPiece {
 public:
  explicit HostPiece(std::size_t bytes) : bytes_(bytes), memory_(bytes) {}
  MemoryView view() const override {
    return {const_cast<std::byte*>(memory_.data()), bytes_, MemorySpace::pinned};
  }

 private:
  std::size_t bytes_;
  std::vector<std::byte> memory_;
};

FakeGpu& of(RowKernels::Stream stream) { return *static_cast<FakeGpu*>(stream); }

}  // namespace

const RowKernels& FakeGpu::kernels() const {
  static constexpr RowKernels kKernels{
      .start_sums =
          [](DType dtype, std::byte* sums, const std::byte* pushed, std::size_t count,
             RowKernels::Stream stream) {
            of(stream).issue([=] {
              host_row_kernels().start_sums(dtype, sums, pushed, count, nullptr);
              return true;
            });
          },
      .finish_sums =
          [](DType dtype, std::byte* values, const std::byte* sums, std::size_t count,
             RowKernels::Stream stream) {
            of(stream).issue([=] {
              host_row_kernels().finish_sums(dtype, values, sums, count, nullptr);
              return true;
            });
          }};
  return kKernels;
}

Result<std::unique_ptr<PinnedPiece>> FakeGpu::pin(std::size_t bytes) {
  return std::unique_ptr<PinnedPiece>(std::make_unique<HostPiece>(bytes));
}

Result<MemoryView> FakeGpu::allocate(std::size_t bytes, AllocateOptions) {
  auto* memory = static_cast<std::byte*>(std::malloc(bytes));
  std::memset(memory, 0xd7, bytes);
  return MemoryView{memory, bytes, MemorySpace::cuda, 0};
}

void FakeGpu::deallocate(MemoryView memory) { std::free(memory.data); }

Result<DeviceEvent> FakeGpu::copy(MemoryView to, ConstMemoryView from) {
  SHOAL_ASSERT(to.bytes == from.bytes, "a copy of unlike lengths");
  SHOAL_ASSERT(to.space != MemorySpace::host && from.space != MemorySpace::host,
               "a copy of pageable memory");
  issue([=] {
    if (to.bytes != 0) std::memcpy(to.data, from.data, to.bytes);
    return true;
  });
  return record();
}

Result<DeviceEvent> FakeGpu::fill(MemoryView memory, std::byte value) {
  issue([=] {
    std::memset(memory.data, std::to_integer<int>(value), memory.bytes);
    return true;
  });
  return record();
}

Result<bool> FakeGpu::done(DeviceEvent event) {
  while (finished_ < event.value && waiting_.front()()) {
    waiting_.pop_front();
    ++finished_;
  }
  return finished_ >= event.value;
}

void FakeGpu::issue(Work work) {
  waiting_.push_back(std::move(work));
  ++issued_;
}

}  // namespace shoal::test
