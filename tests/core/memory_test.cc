#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "core/memory/buffer_pool.h"
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

TEST(BufferPool, LendsEveryBlockOnceAndReportsExhaustion) {
  CountingDevice device;
  {
    auto pool = BufferPool::create(device, 100, 5).value();
    std::vector<Block> lent;
    std::set<std::uint32_t> indices;
    for (int i = 0; i < 5; ++i) {
      lent.push_back(pool.take());
      ASSERT_TRUE(lent.back().valid());
      const auto view = lent.back().view();
      EXPECT_EQ(view.bytes, 100u);
      EXPECT_TRUE(aligned(view.data));
      EXPECT_EQ(view.data, pool.memory().data + lent.back().index() * pool.block_stride());
      std::ranges::fill(view.host_span(), static_cast<std::byte>(i));
      indices.insert(lent.back().index());
    }
    EXPECT_EQ(indices.size(), 5u);
    EXPECT_EQ(pool.available(), 0u);
    EXPECT_FALSE(pool.take().valid());
    EXPECT_FALSE(pool.take());
    EXPECT_EQ(pool.exhausted_count(), 2u);
    for (int i = 0; i < 5; ++i)
      for (const auto byte : lent[static_cast<std::size_t>(i)].view().host_span())
        ASSERT_EQ(byte, static_cast<std::byte>(i)) << "blocks overlap";

    const auto returned = lent[2].index();
    lent[2].give_back();
    EXPECT_FALSE(lent[2].valid());
    EXPECT_EQ(pool.available(), 1u);
    EXPECT_EQ(pool.take().index(), returned);
  }
  EXPECT_EQ(device.allocations, 1) << "a pool allocates once, at its creation";
  EXPECT_EQ(device.frees, 1);
}

TEST(BufferPool, BlocksSurviveAMoveOfThePool) {
  HostDevice device;
  auto pool = BufferPool::create(device, 64, 2).value();
  auto block = pool.take();
  auto moved = std::move(pool);
  EXPECT_EQ(moved.available(), 1u);
  auto other = std::move(block);
  EXPECT_FALSE(block.valid());
  other = Block();
  EXPECT_EQ(moved.available(), 2u);
}

TEST(BufferPool, RefusesNonsense) {
  HostDevice device;
  EXPECT_EQ(BufferPool::create(device, 0, 5).code(), Errc::invalid_argument);
  EXPECT_EQ(BufferPool::create(device, 5, 0).code(), Errc::invalid_argument);
  EXPECT_EQ(BufferPool::create(device, SIZE_MAX / 2, 5).code(), Errc::no_memory);
}

TEST(BufferPoolDeathTest, BlocksMustBeBackFirst) {
  HostDevice device;
  EXPECT_DEATH(
      {
        Block kept;
        auto pool = BufferPool::create(device, 64, 1).value();
        kept = pool.take();
        { auto gone = std::move(pool); }
      },
      "blocks of it are lent");
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
