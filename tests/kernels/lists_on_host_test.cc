#include <gtest/gtest.h>

#include "tests/kernels/host_target.h"
#include "tests/kernels/list_checks.h"

namespace shoal {
namespace {

using test::kListMax;
using test::OnHost;

class HostChooser final : public test::Chooser {
  using Entries = cuda::SelectionEntries<OnHost>;

 public:
  HostChooser() {
    scratch_.scores = scores_.data();
    scratch_.flags = flags_.data();
    std::size_t next = 0;
    for (auto* array : {&scratch_.keys, &scratch_.indices, &scratch_.sorted_keys,
                        &scratch_.sorted_indices, &scratch_.chosen})
      *array = numbers_[next++].data();
    scratch_.count = &count_;
  }
  void choose_above(const cuda::RowArray& rows, const std::byte* base, float threshold) override {
    Entries::choose_above(rows, base, threshold, scratch_, nullptr);
  }
  void choose_top(const cuda::RowArray& rows, const std::byte* base, std::uint32_t k) override {
    Entries::choose_top(rows, base, k, scratch_, nullptr);
  }
  void take(const cuda::RowArray& rows, std::byte* base, cuda::Taken what,
            std::byte* out) override {
    Entries::take(rows, base, what, scratch_, out, nullptr);
  }
  void take_keys(const std::uint64_t* keys, std::uint32_t rows, std::uint64_t* out) override {
    Entries::take_keys(keys, rows, scratch_, out, nullptr);
  }
  std::vector<std::uint32_t> chosen() override {
    return {scratch_.chosen, scratch_.chosen + count_};
  }

 private:
  std::vector<float> scores_ = std::vector<float>(kListMax);
  std::vector<std::uint8_t> flags_ = std::vector<std::uint8_t>(kListMax);
  std::vector<std::vector<std::uint32_t>> numbers_{5, std::vector<std::uint32_t>(kListMax)};
  std::uint32_t count_ = 0;
  cuda::SelectionScratch scratch_;
};

class HostMerger final : public test::Merger {
 public:
  Rows merge(const cuda::PushedList& list, Aggregate aggregate) override {
    std::vector<std::vector<std::uint32_t>> numbers(7, std::vector<std::uint32_t>(list.count + 1));
    const cuda::MergeScratch scratch{numbers[0].data(), numbers[1].data(), numbers[2].data(),
                                     numbers[3].data(), numbers[4].data(), numbers[5].data(),
                                     numbers[6].data()};
    Rows rows;
    rows.sums.resize(list.count * list.row_values * byte_size(accumulator_of(list.dtype)));
    cuda::MergeEntries<OnHost>::merge(list, aggregate, scratch, {}, {}, rows.sums.data(), nullptr);
    rows.positions.assign(numbers[6].begin(), numbers[6].end() - 1);
    return rows;
  }
};

class ChoicesOnHost : public testing::TestWithParam<DType> {};

TEST_P(ChoicesOnHost, AreThoseOfASort) {
  test::HostMemory<test::Target> target;
  HostChooser chooser;
  check_choices(target, chooser, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, ChoicesOnHost,
                         testing::Values(DType::f32, DType::f64, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(ListsOnHost, TakeWhatWasChosen) {
  test::HostMemory<test::Target> target;
  HostChooser chooser;
  check_takes(target, chooser);
}

TEST(ListsOnHost, MergeAsTheHostDoes) {
  test::HostMemory<test::Target> target;
  HostMerger merger;
  check_merges(target, merger);
}

}  // namespace
}  // namespace shoal
