#include "cuda/gpus.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

TEST(Gpus, AreThereOrTheReasonIsGiven) {
  const auto gpus = find_gpus();
  if (!gpus.ok()) {
    EXPECT_EQ(gpus.code(), Errc::unavailable) << gpus.error().message();
    EXPECT_NE(gpus.error().what.find("nvidia-smi"), std::string::npos) << gpus.error().what;
    GTEST_SKIP() << "no GPU here: " << gpus.error().what;
  }
  ASSERT_FALSE(gpus->empty());
  for (std::size_t i = 0; i < gpus->size(); ++i) {
    const auto& gpu = (*gpus)[i];
    EXPECT_EQ(gpu.ordinal, i);
    EXPECT_FALSE(gpu.name.empty());
    EXPECT_GE(gpu.compute_major, 5u);
    EXPECT_GT(gpu.memory_bytes, std::uint64_t{1} << 30);
    EXPECT_GT(gpu.multiprocessors, 0u);
    EXPECT_EQ(gpu.pci_address.size(), std::string("0000:00:00.0").size());
  }
}

/// What fails without a driver fails again in the same way, and breaks nothing.
TEST(Gpus, CanBeLookedForAgain) {
  const auto first = find_gpus();
  const auto second = find_gpus();
  EXPECT_EQ(first.ok(), second.ok());
  if (!first.ok())
    EXPECT_EQ(first.error(), second.error());
  else
    EXPECT_EQ(first->size(), second->size());
}

}  // namespace
}  // namespace shoal
