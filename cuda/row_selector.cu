#include "cuda/carve.h"
#include "cuda/launch.cuh"
#include "cuda/row_selector.h"

namespace shoal::cuda {

namespace {

struct Executor : Launcher, Passes {};
using Entries = SelectionEntries<Executor>;

}  // namespace

Result<RowSelector> RowSelector::create(CudaDevice& device, std::uint32_t rows_max) {
  RowSelector selector(device, rows_max);
  auto& scratch = selector.scratch_;
  SHOAL_ASSIGN(scratch.sort.bytes, Passes::sort_scratch(rows_max));
  SHOAL_ASSIGN(scratch.select.bytes, Passes::select_scratch(rows_max));
  const auto carve = [&](Carver carver) {
    scratch.scores = carver.take<float>(rows_max);
    scratch.flags = carver.take<std::uint8_t>(rows_max);
    for (auto* array : {&scratch.keys, &scratch.indices, &scratch.sorted_keys,
                        &scratch.sorted_indices, &scratch.chosen})
      *array = carver.take<std::uint32_t>(rows_max);
    scratch.count = carver.take<std::uint32_t>(1);
    scratch.sort.memory = carver.take<std::byte>(scratch.sort.bytes);
    scratch.select.memory = carver.take<std::byte>(scratch.select.bytes);
    return carver.bytes();
  };
  SHOAL_ASSIGN(selector.memory_, DeviceMemory::create(device, carve(Carver())));
  carve(Carver(selector.memory_.data()));
  return Result<RowSelector>(std::move(selector));
}

void RowSelector::choose_above(const RowArray& rows, const std::byte* base, float threshold) {
  SHOAL_ASSERT(rows.rows <= rows_max_, "more rows than the selector was made for");
  Entries::choose_above(rows, base, threshold, scratch_, device_->stream());
}

void RowSelector::choose_top(const RowArray& rows, const std::byte* base, std::uint32_t k) {
  SHOAL_ASSERT(rows.rows <= rows_max_, "more rows than the selector was made for");
  Entries::choose_top(rows, base, k, scratch_, device_->stream());
}

ConstMemoryView RowSelector::count() const {
  return {reinterpret_cast<const std::byte*>(scratch_.count), sizeof(std::uint32_t),
          MemorySpace::cuda, device_->ordinal()};
}

void RowSelector::take(const RowArray& rows, std::byte* base, Taken what, std::byte* out) {
  Entries::take(rows, base, what, scratch_, out, device_->stream());
}

void RowSelector::take_keys(const std::uint64_t* keys, std::uint32_t rows, std::uint64_t* out) {
  Entries::take_keys(keys, rows, scratch_, out, device_->stream());
}

}  // namespace shoal::cuda
