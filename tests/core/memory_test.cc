#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/memory/device_memory.h"
#include "core/memory/dtype.h"

namespace shoal {
namespace {

bool aligned(const std::byte* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % kMemoryAlignment == 0;
}

TEST(HostDevice, AllocatesAlignedMemoryOfAnySize) {
  HostDevice device;
  for (const bool huge : {false, true})
    for (const std::size_t bytes :
         {std::size_t{1}, std::size_t{63}, std::size_t{4097}, (std::size_t{4} << 20) + 5}) {
      auto memory = device.allocate(bytes, {.huge_pages = huge}).value();
      EXPECT_EQ(memory.bytes, bytes);
      EXPECT_EQ(memory.space, MemorySpace::host);
      EXPECT_TRUE(aligned(memory.data));
      std::ranges::fill(memory.host_span(), std::byte{0x5a});
      device.deallocate(memory);
    }
  EXPECT_EQ(device.allocate(0, {}).code(), Errc::invalid_argument);
  EXPECT_EQ(device.allocate(SIZE_MAX - 3, {}).code(), Errc::no_memory);
}

TEST(HostDevice, IsDoneOnReturn) {
  HostDevice device;
  std::array<std::byte, 5> from{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                                std::byte{5}};
  std::array<std::byte, 5> to{};
  const auto to_view = host_view(std::span<std::byte>(to));
  const auto from_view = host_view(std::span<const std::byte>(from));
  auto copied = device.copy(to_view, from_view).value();
  EXPECT_TRUE(device.done(copied).value());
  EXPECT_EQ(to, from);
  EXPECT_TRUE(device.done(device.make_visible(to_view).value()).value());
  EXPECT_TRUE(device.done(device.fill(to_view.sub(1, 3), std::byte{9}).value()).value());
  EXPECT_EQ(to[0], std::byte{1});
  EXPECT_EQ(to[3], std::byte{9});
  EXPECT_EQ(to[4], std::byte{5});
  EXPECT_TRUE(device.done(device.record().value()).value());
}

TEST(HostDevice, RefusesWhatItCannotTouch) {
  HostDevice device;
  std::array<std::byte, 4> memory{};
  const auto view = host_view(std::span<std::byte>(memory));
  auto gpu = view;
  gpu.space = MemorySpace::cuda;
  EXPECT_EQ(device.copy(view, view.sub(0, 3)).code(), Errc::invalid_argument);
  EXPECT_EQ(device.copy(gpu, view).code(), Errc::invalid_argument);
  EXPECT_EQ(device.copy(view, gpu).code(), Errc::invalid_argument);
  EXPECT_EQ(device.fill(gpu, std::byte{}).code(), Errc::invalid_argument);
}

TEST(HostDevice, DiscardedPagesAreThereAgainAtTheNextTouch) {
  HostDevice device;
  for (const std::size_t bytes : {std::size_t{100000}, std::size_t{4} << 20}) {
    const auto whole = device.allocate(bytes, {.huge_pages = true}).value();
    ASSERT_TRUE(device.fill(whole, std::byte{7}).ok());
    const auto part = whole.sub(10000, 50000);
    device.discard(whole, part);
    EXPECT_EQ(whole.data[9999], std::byte{7});
    EXPECT_EQ(whole.data[60000], std::byte{7});
    if (bytes > (std::size_t{1} << 20)) {
      EXPECT_EQ(whole.data[30000], std::byte{0}) << "the kernel hands out zeros";
    }
    ASSERT_TRUE(device.fill(part, std::byte{8}).ok());
    EXPECT_EQ(part.data[0], std::byte{8});
    device.discard(whole, whole.sub(100, 100));  // Less than a page.
    EXPECT_EQ(whole.data[150], std::byte{7});
    device.deallocate(whole);
  }
}

/// Counts what is allocated and freed.
class CountingDevice final : public Device {
 public:
  std::string_view name() const override { return "counting"; }
  MemorySpace space() const override { return host_.space(); }
  std::uint16_t ordinal() const override { return 0; }
  void* stream() const override { return nullptr; }
  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) override {
    ++allocations;
    return host_.allocate(bytes, options);
  }
  void deallocate(MemoryView memory) override {
    ++frees;
    host_.deallocate(memory);
  }
  bool discard(MemoryView allocation, MemoryView part) override {
    return host_.discard(allocation, part);
  }
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override {
    return host_.copy(to, from);
  }
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override {
    return host_.fill(memory, value);
  }
  Result<DeviceEvent> make_visible(MemoryView memory) override {
    return host_.make_visible(memory);
  }
  Result<DeviceEvent> record() override { return host_.record(); }
  Result<bool> done(DeviceEvent event) override { return host_.done(event); }

  int allocations = 0;
  int frees = 0;

 private:
  HostDevice host_;
};

TEST(DeviceMemory, FreesItsMemoryOnceAndMoves) {
  CountingDevice device;
  {
    auto a = DeviceMemory::create(device, 100).value();
    auto* memory = a.data();
    DeviceMemory b = std::move(a);
    EXPECT_EQ(b.data(), memory);
    EXPECT_FALSE(a.valid());
    auto c = DeviceMemory::create(device, 10).value();
    c = std::move(b);
    EXPECT_EQ(device.frees, 1);
    EXPECT_EQ(c.bytes(), 100u);
  }
  EXPECT_EQ(device.allocations, 2);
  EXPECT_EQ(device.frees, 2);
}

TEST(DType, NamesAndSizesAgree) {
  for (std::uint8_t i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(name_of(type)), type);
    EXPECT_GT(byte_size(type), 0u);
  }
  EXPECT_EQ(parse_dtype("f31"), std::nullopt);
  EXPECT_EQ(byte_size(dtype_of<double>()), sizeof(double));
  EXPECT_EQ(byte_size(dtype_of<std::int32_t>()), sizeof(std::int32_t));
}

}  // namespace
}  // namespace shoal
