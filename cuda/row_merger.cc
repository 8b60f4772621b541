#include "cuda/row_merger.h"

#include <fmt/core.h>

#include <utility>

#include "cuda/carve.h"

namespace shoal::cuda {

Result<RowMerger> RowMerger::create(CudaDevice& device, std::uint32_t rows_max,
                                    std::size_t bytes_max) {
  RowMerger merger(device, rows_max, bytes_max);
  const auto places = std::uint64_t{rows_max} + 1;
  SHOAL_ASSIGN(merger.sort_.bytes, Passes::sort_scratch(rows_max));
  SHOAL_ASSIGN(merger.sum_.bytes, Passes::sum_scratch(places));
  const auto carve = [&](Carver carver) {
    auto& scratch = merger.scratch_;
    for (auto* array : {&scratch.indices, &scratch.sorted_positions, &scratch.sorted_indices,
                        &scratch.is_first, &scratch.runs, &scratch.begins, &scratch.distinct})
      *array = carver.take<std::uint32_t>(places);
    merger.sums_ = carver.take<std::byte>(bytes_max);
    merger.sort_.memory = carver.take<std::byte>(merger.sort_.bytes);
    merger.sum_.memory = carver.take<std::byte>(merger.sum_.bytes);
    return carver.bytes();
  };
  SHOAL_ASSIGN(merger.memory_, DeviceMemory::create(device, carve(Carver())));
  carve(Carver(merger.memory_.data()));
  return merger;
}

Result<RowMerger::Rows> RowMerger::merge(const PushedList& list, Aggregate aggregate) {
  const auto bytes = list.count * list.row_values * byte_size(accumulator_of(list.dtype));
  if (list.count > rows_max_ || bytes > bytes_max_)
    return Error{
        Errc::overloaded,
        fmt::format("a part of {} rows and {} bytes of sums where {} and {} were announced",
                    list.count, bytes, rows_max_, bytes_max_)};
  merge_rows(list, aggregate, scratch_, sort_, sum_, sums_, device_->stream());
  return Rows{{scratch_.distinct, list.count}, RuleInputs::of_sums(sums_)};
}

}  // namespace shoal::cuda
