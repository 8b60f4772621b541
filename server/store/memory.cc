#include "server/store/memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

namespace shoal {

namespace {
constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
/// The first chunk of a size costs little; later ones double, so that a terabyte takes thousands of
/// mappings and not millions (the kernel's limit is 65 530).
constexpr std::size_t kChunkMin = std::size_t{4} << 20;
constexpr std::size_t kChunkMax = std::size_t{64} << 20;

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }
}  // namespace

Status MemoryBudget::take(std::uint64_t bytes, const char* what) {
  if (!fits(bytes))
    return Error{
        Errc::no_memory,
        fmt::format("{} needs {} MiB; {} of {} MiB of this server's budget are in use: raise "
                    "memory_budget, add "
                    "servers or drop tables",
                    what, (bytes >> 20) + 1, used_ >> 20, limit_ >> 20)};
  used_ += bytes;
  return {};
}

void MemoryBudget::give(std::uint64_t bytes) {
  SHOAL_ASSERT(bytes <= used_, "more memory came back than was taken");
  used_ -= bytes;
}

Result<std::uint16_t> SegmentPool::class_of(std::size_t bytes) {
  const auto rounded = round_up(std::max<std::size_t>(bytes, 1), kPage);
  for (std::size_t i = 0; i < classes_.size(); ++i)
    if (classes_[i].bytes == rounded) return static_cast<std::uint16_t>(i);
  if (classes_.size() > 0xffff) return Error{Errc::no_memory, "too many sizes of segments"};
  classes_.push_back({rounded, kChunkMin, {}});
  return static_cast<std::uint16_t>(classes_.size() - 1);
}

Status SegmentPool::grow(std::uint16_t size_class) {
  auto& c = classes_[size_class];
  const auto count = std::max<std::size_t>(1, c.chunk_bytes_next / c.bytes);
  SHOAL_ASSIGN(auto buffer, DeviceMemory::create(device_, round_up(count * c.bytes, kHugePage),
                                                 {.huge_pages = true}));
  c.chunk_bytes_next = std::min(kChunkMax, 2 * c.chunk_bytes_next);
  auto blocks = std::make_unique<SegmentMemory[]>(count);
  for (std::size_t i = count; i-- > 0;) {
    blocks[i] = {buffer.data() + i * c.bytes, 0, size_class, false};
    c.free.push_back(&blocks[i]);
  }
  chunks_.push_back({std::move(buffer), std::move(blocks)});
  return {};
}

Result<SegmentMemory*> SegmentPool::take(std::size_t bytes) {
  SHOAL_ASSIGN(const auto size_class, class_of(bytes));
  if (classes_[size_class].free.empty()) SHOAL_TRY(grow(size_class));
  auto* memory = classes_[size_class].free.back();
  classes_[size_class].free.pop_back();
  memory->owned = true;
  return memory;
}

void SegmentPool::give(SegmentMemory* memory) {
  SHOAL_ASSERT(memory->owned, "segment memory given back twice");
  memory->owned = false;
  if (memory->pins == 0) classes_[memory->size_class].free.push_back(memory);
}

bool SegmentPool::unpin(SegmentMemory& memory) {
  SHOAL_ASSERT(memory.pins > 0, "unpinned more often than pinned");
  if (--memory.pins > 0 || memory.owned) return false;
  classes_[memory.size_class].free.push_back(&memory);
  return true;
}

Result<Arena> Arena::create(Device& device, std::size_t bytes) {
  const auto granules = round_up(bytes, kGranule) / kGranule;
  SHOAL_ASSIGN(auto buffer,
               DeviceMemory::create(device, granules * kGranule, {.huge_pages = true}));
  return Arena(std::move(buffer), granules);
}

std::byte* Arena::take(std::size_t bytes) {
  const auto wanted = std::max<std::size_t>(1, round_up(bytes, kGranule) / kGranule);
  if (wanted > granules_ - used_) return nullptr;
  for (std::size_t at = 0, run = 0; at < granules_;) {
    const auto word = taken_[at / 64] >> (at % 64);
    if (word == 0) {  // The rest of this word is free.
      const auto step = std::min(64 - at % 64, granules_ - at);
      run += step;
      at += step;
    } else if ((word & 1) != 0) {
      run = 0;
      at += static_cast<std::size_t>(std::countr_one(word));
      continue;
    } else {
      const auto step = static_cast<std::size_t>(std::countr_zero(word));
      run += step;
      at += step;
    }
    if (run >= wanted) {
      const auto first = at - run;
      mark(first, wanted, true);
      used_ += wanted;
      return buffer_.data() + first * kGranule;
    }
  }
  return nullptr;
}

void Arena::give(const std::byte* data, std::size_t bytes) {
  const auto count = std::max<std::size_t>(1, round_up(bytes, kGranule) / kGranule);
  const auto first = static_cast<std::size_t>(data - buffer_.data()) / kGranule;
  SHOAL_ASSERT(first + count <= granules_ && is_taken(first), "memory of another arena");
  mark(first, count, false);
  used_ -= count;
}

void Arena::mark(std::size_t first, std::size_t count, bool taken) {
  for (auto at = first; at < first + count;) {
    const auto bits = std::min(64 - at % 64, first + count - at);
    const auto mask = (bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1)
                      << (at % 64);
    if (taken)
      taken_[at / 64] |= mask;
    else
      taken_[at / 64] &= ~mask;
    at += bits;
  }
}

}  // namespace shoal
