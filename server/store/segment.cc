#include "server/store/segment.h"

namespace shoal {

namespace {
// f16 is summed in f32.
constexpr std::size_t kSumBytesMax = 2 * kSegmentBytes * kInputsMax;
}  // namespace

Status Scratch::use_device(Device& memory, Device& device, std::size_t list_bytes) {
  SHOAL_ASSIGN(auto room, ListRoom::create(memory, device, list_bytes));
  SHOAL_ASSIGN(sums, DeviceMemory::create(device, kSumBytesMax));
  lists.emplace(std::move(room));
  stream = device.stream();
  return {};
}

Status Scratch::need_merger(Device& host) {
  if (merger) return {};
  SHOAL_ASSIGN(merger, RowMerger::create(host, kSegmentBytes / 2, kSumBytesMax));
  return {};
}

std::span<std::uint32_t> Scratch::begin_part(std::size_t rows) {
  lists->end_of_use();  // of a part that came to nothing
  // One piece, so that a part has room for all or for nothing.
  const auto numbers = 8 * rows + 1;
  const auto memory = lists->take<std::byte>(rows * (sizeof(SegmentArrays) + sizeof(std::byte*)) +
                                             numbers * sizeof(std::uint32_t));
  if (memory.empty()) return {};
  part.pages = {reinterpret_cast<SegmentArrays*>(memory.data()), rows};
  part.sums = {reinterpret_cast<std::byte**>(part.pages.data() + rows), rows};
  auto* next = reinterpret_cast<std::uint32_t*>(part.sums.data() + rows);
  for (auto* list : {&part.positions, &part.distinct, &part.order, &part.steps, &part.moved,
                     &part.created, &part.summed}) {
    *list = {next, rows};
    next += rows;
  }
  part.begins = {next, rows + 1};
  return part.positions;
}

Result<RowMerger::Rows> Scratch::merged_on_device(const TableRules& table, RowMerger::Rows pushed) {
  SHOAL_ASSIGN(const bool repeats, merger->repeats(pushed.positions));
  if (!repeats) return pushed;
  SHOAL_ASSIGN(const auto runs,
               merger->group(pushed.positions, part.distinct, part.begins, part.order));
  table.kernels().sum_runs(table.rule().traits().aggregate, table.spec().dtype,
                           {part.begins.first(runs + 1), part.order}, table.row_values(),
                           pushed.inputs.values, sums.data(), stream);
  return RowMerger::Rows{part.distinct.first(runs), RuleInputs::of_sums(sums.data())};
}

}  // namespace shoal
