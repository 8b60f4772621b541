#include <algorithm>
#include <utility>

#include "core/base/assert.h"
#include "cuda/carve.h"
#include "cuda/index_entries.h"
#include "cuda/launch.cuh"
#include "cuda/sparse_index.h"

namespace shoal::cuda {

namespace {

struct Executor : Launcher, Passes {};
using Entries = IndexEntries<Executor>;

constexpr std::uint64_t kSlotsMin = 64;
/// Keys fill four slots of five.
std::uint64_t slots_for(std::uint64_t keys) { return std::max(kSlotsMin, keys + keys / 4 + 1); }

}  // namespace

Result<SparseIndex> SparseIndex::create(CudaDevice& device, std::uint64_t keys,
                                        std::uint32_t list_max) {
  SparseIndex index(device, list_max);
  SHOAL_TRY(index.make_scratch());
  SHOAL_ASSIGN(index.slots_, index.make_table(slots_for(keys), index.table_));
  Entries::clear(index.table_, device.stream());
  return Result<SparseIndex>(std::move(index));
}

Status SparseIndex::make_scratch() {
  const std::uint64_t places = std::uint64_t{list_max_} + 1;
  SHOAL_ASSIGN(scratch_.sum.bytes, Passes::sum_scratch(places));
  const auto carve = [&](Carver carver) {
    for (auto* array : {&scratch_.found, &scratch_.is_new, &scratch_.ranks})
      *array = carver.take<std::uint32_t>(places);
    scratch_.sum.memory = carver.take<std::byte>(scratch_.sum.bytes);
    return carver.bytes();
  };
  SHOAL_ASSIGN(scratch_memory_, DeviceMemory::create(*device_, carve(Carver())));
  carve(Carver(scratch_memory_.data()));
  return {};
}

Result<DeviceMemory> SparseIndex::make_table(std::uint64_t slots, IndexTable& table) const {
  if (slots >= IndexSlot::kNone)
    return Error{Errc::no_memory, "an index of 2^32 slots: give the table more slots"};
  SHOAL_ASSIGN(auto memory, DeviceMemory::create(*device_, (slots + 1) * sizeof(IndexSlot)));
  table = {reinterpret_cast<IndexSlot*>(memory.data()), slots};
  return Result<DeviceMemory>(std::move(memory));
}

void SparseIndex::find(const std::uint64_t* keys, std::uint32_t count,
                       std::uint32_t* positions) const {
  Entries::find(table_, keys, count, positions, device_->stream());
}

Status SparseIndex::insert_absent(const std::uint64_t* keys, std::uint32_t count,
                                  std::uint32_t* positions, std::uint32_t first_new) {
  SHOAL_ASSERT(count <= list_max_, "a list longer than the index was made for");
  SHOAL_TRY(reserve(count));
  claimed_ += count;
  last_count_ = count;
  Entries::insert(table_, keys, count, positions, first_new, scratch_, device_->stream());
  return {};
}

ConstMemoryView SparseIndex::added() const {
  return {reinterpret_cast<const std::byte*>(scratch_.ranks + last_count_), sizeof(std::uint32_t),
          MemorySpace::cuda, device_->ordinal()};
}

void SparseIndex::erase(const std::uint64_t* keys, std::uint32_t count) {
  erased_ += count;
  Entries::erase(table_, keys, count, device_->stream());
}

void SparseIndex::clear() {
  claimed_ = erased_ = 0;
  Entries::clear(table_, device_->stream());
}

Status SparseIndex::reserve(std::uint64_t more) {
  if (slots_for(claimed_ + more) <= table_.count) return {};
  // With room for a quarter more than there will be, so that this does not come again at once.
  const auto keys = claimed_ - erased_ + more;
  IndexTable larger;
  SHOAL_ASSIGN(auto memory, make_table(std::max(slots_for(keys + keys / 4), table_.count), larger));
  Entries::rehash(table_, larger, device_->stream());
  // The old one is freed when the device has done what was issued until now.
  slots_ = std::move(memory);
  table_ = larger;
  claimed_ -= std::exchange(erased_, 0);
  return {};
}

}  // namespace shoal::cuda
