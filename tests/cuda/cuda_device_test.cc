#include "cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/memory/device_memory.h"
#include "cuda/pinned_memory.h"
#include "tests/cuda/on_gpu.h"

namespace shoal {
namespace {

/// Polls as a loop does.
void wait(Device& device, DeviceEvent event) {
  for (;;) {
    const auto done = device.done(event);
    ASSERT_TRUE(done.ok()) << done.error().message();
    if (*done) return;
  }
}

TEST(CudaDevice, IsRefusedWithTheReasonWhereThereIsNone) {
  const auto gpus = find_gpus();
  const auto device = CudaDevice::create(gpus.ok() ? static_cast<std::uint16_t>(gpus->size()) : 0);
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.code(), Errc::unavailable);
  if (gpus.ok())
    EXPECT_NE(device.error().what.find("CUDA_VISIBLE_DEVICES"), std::string::npos);
  else
    EXPECT_EQ(device.error(), gpus.error());
}

TEST(CudaDevice, CopiesAndFillsInOrder) {
  SHOAL_NEEDS_GPU();
  auto device = std::move(CudaDevice::create(0)).value();
  EXPECT_EQ(device->name(), "cuda:0");
  constexpr std::size_t kBytes = 1 << 20;
  auto there = DeviceMemory::create(*device, kBytes).value();
  auto pinned = PinnedMemory::create(0, 2 * kBytes).value();
  const auto out = pinned.view().sub(0, kBytes), back = pinned.view().sub(kBytes, kBytes);
  for (std::size_t i = 0; i < kBytes; ++i) out.data[i] = static_cast<std::byte>(i * 7 + i / 251);
  ASSERT_TRUE(device->copy(there.view(), out).ok());
  ASSERT_TRUE(device->fill(there.view().sub(100, 50), std::byte{9}).ok());
  const auto last = device->copy(back, there.view()).value();
  wait(*device, last);
  std::memset(out.data + 100, 9, 50);
  EXPECT_EQ(0, std::memcmp(out.data, back.data, kBytes));
  EXPECT_TRUE(*device->done(DeviceEvent()));
}

TEST(CudaDevice, EventsShareWhatCudaRecords) {
  SHOAL_NEEDS_GPU();
  auto device = std::move(CudaDevice::create(0)).value();
  auto memory = DeviceMemory::create(*device, 64 << 20).value();
  std::vector<DeviceEvent> events;
  for (int i = 0; i < 1000; ++i)
    events.push_back(device->fill(memory.view(), static_cast<std::byte>(i)).value());
  wait(*device, events.back());
  for (const auto event : events) EXPECT_TRUE(*device->done(event));
  const auto now = device->record().value();
  wait(*device, now);
}

TEST(CudaDevice, RefusesPageableMemory) {
  SHOAL_NEEDS_GPU();
  auto device = std::move(CudaDevice::create(0)).value();
  auto there = DeviceMemory::create(*device, 64).value();
  std::byte here[64] = {};
  const auto copied = device->copy(there.view(), ConstMemoryView(here, sizeof here));
  ASSERT_FALSE(copied.ok());
  EXPECT_EQ(copied.code(), Errc::invalid_argument);
  EXPECT_NE(copied.error().what.find("pinned"), std::string::npos);
}

TEST(CudaDevice, SaysThatItHasNoMemoryAndGoesOn) {
  SHOAL_NEEDS_GPU();
  auto device = std::move(CudaDevice::create(0)).value();
  const auto too_much = device->allocate(std::size_t{1} << 50, {});
  ASSERT_FALSE(too_much.ok());
  EXPECT_EQ(too_much.code(), Errc::no_memory);
  auto memory = DeviceMemory::create(*device, 64).value();
  wait(*device, device->fill(memory.view(), std::byte{1}).value());
}

TEST(CudaDevice, FreesWaitWhileTheyAreHeld) {
  SHOAL_NEEDS_GPU();
  auto device = std::move(CudaDevice::create(0)).value();
  device->hold_frees();
  { auto memory = DeviceMemory::create(*device, 1 << 20).value(); }
  wait(*device, device->record().value());
  device->release_frees();
  wait(*device, device->record().value());
}

}  // namespace
}  // namespace shoal
