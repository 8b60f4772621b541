#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <memory>

#include "cuda/row_merger.h"
#include "cuda/row_selector.h"
#include "tests/cuda/managed_memory.h"
#include "tests/cuda/on_gpu.h"
#include "tests/kernels/list_checks.h"

namespace shoal {
namespace {

template <class T>
std::vector<T> fetched(const void* from, std::size_t count) {
  std::vector<T> values(count);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  if (count != 0) {
    EXPECT_EQ(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDefault), cudaSuccess);
  }
  return values;
}

class GpuChooser final : public test::Chooser {
 public:
  explicit GpuChooser(CudaDevice& device)
      : selector_(cuda::RowSelector::create(device, test::kListMax).value()) {}
  void choose_above(const cuda::RowArray& rows, const std::byte* base, float threshold) override {
    selector_.choose_above(rows, base, threshold);
  }
  void choose_top(const cuda::RowArray& rows, const std::byte* base, std::uint32_t k) override {
    selector_.choose_top(rows, base, k);
  }
  void take(const cuda::RowArray& rows, std::byte* base, cuda::Taken what,
            std::byte* out) override {
    selector_.take(rows, base, what, out);
  }
  void take_keys(const std::uint64_t* keys, std::uint32_t rows, std::uint64_t* out) override {
    selector_.take_keys(keys, rows, out);
  }
  std::vector<std::uint32_t> chosen() override {
    const auto count = fetched<std::uint32_t>(selector_.count().data, 1);
    return fetched<std::uint32_t>(selector_.chosen(), count[0]);
  }

 private:
  cuda::RowSelector selector_;
};

class GpuMerger final : public test::Merger {
 public:
  explicit GpuMerger(CudaDevice& device)
      : merger_(cuda::RowMerger::create(device, test::kListMax, test::kSumsMax).value()) {}
  Rows merge(const cuda::PushedList& list, Aggregate aggregate) override {
    const auto rows = merger_.merge(list, aggregate).value();
    return {fetched<std::uint32_t>(rows.positions.data(), list.count),
            fetched<std::byte>(rows.inputs.values, list.count * list.row_values *
                                                       byte_size(accumulator_of(list.dtype)))};
  }

 private:
  cuda::RowMerger merger_;
};

class ChoicesOnGpu : public testing::TestWithParam<DType> {};

TEST_P(ChoicesOnGpu, AreThoseOfASort) {
  SHOAL_NEEDS_GPU();
  const auto device = CudaDevice::create(0).value();
  test::ManagedMemory<test::Target> target;
  GpuChooser chooser(*device);
  check_choices(target, chooser, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, ChoicesOnGpu,
                         testing::Values(DType::f32, DType::f64, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(ListsOnGpu, TakeWhatWasChosen) {
  SHOAL_NEEDS_GPU();
  const auto device = CudaDevice::create(0).value();
  test::ManagedMemory<test::Target> target;
  GpuChooser chooser(*device);
  check_takes(target, chooser);
}

TEST(ListsOnGpu, MergeAsTheHostDoes) {
  SHOAL_NEEDS_GPU();
  const auto device = CudaDevice::create(0).value();
  test::ManagedMemory<test::Target> target;
  GpuMerger merger(*device);
  check_merges(target, merger);
}

TEST(ListsOnGpu, RefuseWhatIsLargerThanAnnounced) {
  SHOAL_NEEDS_GPU();
  const auto device = CudaDevice::create(0).value();
  auto merger = cuda::RowMerger::create(*device, 10, 400).value();
  EXPECT_EQ(merger.merge({nullptr, 11, nullptr, DType::f32, 1}, Aggregate::sum).code(),
            Errc::overloaded);
  EXPECT_EQ(merger.merge({nullptr, 10, nullptr, DType::f32, 11}, Aggregate::sum).code(),
            Errc::overloaded);
}

}  // namespace
}  // namespace shoal
