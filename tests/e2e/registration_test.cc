// Memory that is lent, unmapped and mapped anew at the same address, over whatever the machine has:
// over RDMA a registration that outlived the memory would send rows to pages that nobody sees.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <vector>

#include "server/local_cluster.h"
#include "worker/worker.h"

namespace shoal::e2e {
namespace {

constexpr std::size_t kFloats = std::size_t{64} << 10;
constexpr std::size_t kBytes = kFloats * sizeof(float);

std::span<float> map(float* at) {
  void* mapped = ::mmap(at, kBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0), -1, 0);
  EXPECT_NE(mapped, MAP_FAILED);
  return {static_cast<float*>(mapped), kFloats};
}

TEST(Registration, FollowsMemoryThatIsMappedAnew) {
  LocalCluster::Options options;
  options.config = Config::from_env().value();
  auto cluster = LocalCluster::start(options).value();
  auto worker = Worker::connect(cluster.config()).value();
  TableSpec spec;
  spec.name = "t";
  spec.rows = kFloats;
  spec.update = Add{};
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  auto table = worker.create_or_open<float>(spec).value();
  auto values = map(nullptr);
  float sum = 0;
  for (int round = 0; round < 6; ++round) {
    // The second loan keeps the registration, the third finds it.
    for (int i = 0; i < 3; ++i) {
      std::ranges::fill(values, 1.0f);
      ASSERT_TRUE(table.push({0, kFloats}, values).wait().ok());
      sum += 1;
      ASSERT_TRUE(table.pull({0, kFloats}, values).wait().ok());
      ASSERT_TRUE(std::ranges::all_of(values, [&](float v) { return v == sum; })) << round;
    }
    values = map(values.data());
    ASSERT_TRUE(table.pull({0, kFloats}, values).wait().ok());
    ASSERT_TRUE(std::ranges::all_of(values, [&](float v) { return v == sum; })) << round;
    ASSERT_EQ(::madvise(values.data(), kBytes, MADV_DONTNEED), 0);
    ASSERT_TRUE(table.pull({0, kFloats}, values).wait().ok());
    ASSERT_TRUE(std::ranges::all_of(values, [&](float v) { return v == sum; })) << round;
    values = map(values.data());
  }
  std::puts(worker.explain().c_str());
  ::munmap(values.data(), kBytes);
}

}  // namespace
}  // namespace shoal::e2e
