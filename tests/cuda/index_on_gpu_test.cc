#include <gtest/gtest.h>

#include <unordered_map>
#include <vector>

#include "core/base/random.h"
#include "cuda/pinned_memory.h"
#include "cuda/sparse_index.h"
#include "tests/cuda/on_gpu.h"

namespace shoal {
namespace {

/// Memory of the host that kernels read and write as well.
template <class T>
class Shared {
 public:
  explicit Shared(std::size_t count)
      : memory_(PinnedMemory::create(0, count * sizeof(T)).value()) {}
  T* data() { return reinterpret_cast<T*>(memory_.view().data); }

 private:
  PinnedMemory memory_;
};

void finish(CudaDevice& device) {
  const auto event = device.record().value();
  for (;;) {
    const auto done = device.done(event);
    ASSERT_TRUE(done.ok()) << done.error().what;
    if (*done) return;
  }
}

/// Against a map of the host; it grows on the way from room for a few keys.
TEST(IndexOnGpu, GivesThePositionsThatTheHostGives) {
  SHOAL_NEEDS_GPU();
  constexpr std::uint32_t kList = 20'000;
  auto device = std::move(CudaDevice::create(0)).value();
  auto index = cuda::SparseIndex::create(*device, 10, kList).value();
  Shared<std::uint64_t> keys(kList);
  Shared<std::uint32_t> positions(kList), added(1);
  std::unordered_map<std::uint64_t, std::uint32_t> expected;
  Random random(1);
  std::uint32_t next = 0;
  for (int round = 0; round < 20; ++round) {
    const auto count = static_cast<std::uint32_t>(1 + random.below(kList));
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto x = random.below(100'000);
      keys.data()[i] = x == 0 ? ~std::uint64_t{0} : mix64(x);
    }
    ASSERT_TRUE(index.insert_absent(keys.data(), count, positions.data(), next).ok());
    ASSERT_TRUE(device
                    ->copy({reinterpret_cast<std::byte*>(added.data()), sizeof(std::uint32_t),
                            MemorySpace::pinned, 0},
                           index.added())
                    .ok());
    ASSERT_NO_FATAL_FAILURE(finish(*device));
    const auto before = next;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto [at, is_new] = expected.try_emplace(keys.data()[i], next);
      next += is_new;
      ASSERT_EQ(positions.data()[i], at->second) << i;
    }
    ASSERT_EQ(*added.data(), next - before);
    index.settle(count, *added.data());
    std::uint32_t erased = 0;
    for (std::uint32_t i = 0; i < count / 10; ++i)
      if (const auto key = keys.data()[i]; expected.erase(key) != 0) keys.data()[erased++] = key;
    index.erase(keys.data(), erased);
    ASSERT_NO_FATAL_FAILURE(finish(*device));
    for (std::uint32_t i = 0; i < kList; ++i) keys.data()[i] = mix64(random.below(100'000));
    index.find(keys.data(), kList, positions.data());
    ASSERT_NO_FATAL_FAILURE(finish(*device));
    for (std::uint32_t i = 0; i < kList; ++i) {
      const auto at = expected.find(keys.data()[i]);
      ASSERT_EQ(positions.data()[i],
                at == expected.end() ? cuda::SparseIndex::kAbsent : at->second);
    }
  }
}

}  // namespace
}  // namespace shoal
