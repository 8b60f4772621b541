#include "server/store/memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

namespace shoal {

namespace {
constexpr std::size_t kPage = 4096;
/// A size's chunks double, so that the first costs little and a terabyte takes thousands of
/// mappings and not millions (the kernel's limit is 65 530).
constexpr std::size_t kChunkMin = std::size_t{1} << 20;
constexpr std::size_t kChunkMax = std::size_t{64} << 20;
constexpr std::size_t kChunkBlocksMax = kChunkMax / kPage;
/// Huge pages become real 2 MiB at a time, which is not counted: not for the first of a size.
constexpr std::size_t kHugeChunk = std::size_t{2} << 20;

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }
}  // namespace

struct SegmentChunk {
  DeviceMemory buffer;
  std::vector<SegmentMemory> blocks;
  std::uint16_t size_class = 0;
  std::size_t in_use = 0;     ///< blocks that are owned or pinned
  std::size_t real_free = 0;  ///< blocks
  std::uint64_t key = 0;      ///< under which peers READ it; 0: not exposed
  bool tried = false;         ///< to expose it
};

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

void MemoryBudget::hold(std::uint64_t bytes) {
  if (held_ + bytes > limit_ && reclaim_) reclaim_(held_ + bytes - limit_);
  held_ += bytes;
}

void MemoryBudget::release(std::uint64_t bytes) {
  SHOAL_ASSERT(bytes <= held_, "more memory was released than was held");
  held_ -= bytes;
}

SegmentPool::SegmentPool(Device& device, MemoryBudget& budget) : device_(device), budget_(budget) {
  budget_.on_full([this](std::uint64_t bytes) { reclaim(bytes); });
}

SegmentPool::~SegmentPool() {
  budget_.on_full({});
  for (auto& chunk : chunks_)
    if (chunk->key != 0) exporter_->conceal(chunk->key);
}

ExportedPlace SegmentPool::expose(const SegmentMemory& memory, bool& registered) {
  auto& chunk = *memory.chunk;
  registered = exporter_ != nullptr && !std::exchange(chunk.tried, true);
  if (registered) chunk.key = exporter_->expose(chunk.buffer.view());
  if (chunk.key == 0) return {};
  return {chunk.key, static_cast<std::uint64_t>(memory.data - chunk.buffer.data())};
}

std::size_t SegmentPool::block_bytes(std::size_t bytes) {
  return round_up(std::max<std::size_t>(bytes, 1), bytes < kPage ? kMemoryAlignment : kPage);
}

Result<std::uint16_t> SegmentPool::class_of(std::size_t bytes) {
  const auto rounded = block_bytes(bytes);
  for (std::size_t i = 0; i < classes_.size(); ++i)
    if (classes_[i].bytes == rounded) return static_cast<std::uint16_t>(i);
  if (classes_.size() > 0xffff) return Error{Errc::no_memory, "too many sizes of segments"};
  classes_.emplace_back().bytes = rounded;
  return static_cast<std::uint16_t>(classes_.size() - 1);
}

Status SegmentPool::grow(std::uint16_t size_class) {
  auto& c = classes_[size_class];
  const auto wanted = std::clamp(c.mapped, kChunkMin, kChunkMax);
  const auto count = std::clamp<std::size_t>(wanted / c.bytes, 1, kChunkBlocksMax);
  auto chunk = std::make_unique<SegmentChunk>();
  SHOAL_ASSIGN(chunk->buffer, DeviceMemory::create(device_, count * c.bytes,
                                                   {.huge_pages = count * c.bytes >= kHugeChunk}));
  chunk->size_class = size_class;
  chunk->blocks.resize(count);
  c.mapped += count * c.bytes;
  c.blocks += count;
  c.real.reserve(c.blocks);  // Giving back allocates nothing.
  c.unreal.reserve(c.blocks);
  for (std::size_t i = count; i-- > 0;) {
    chunk->blocks[i].data = chunk->buffer.data() + i * c.bytes;
    chunk->blocks[i].chunk = chunk.get();
    c.unreal.push_back(&chunk->blocks[i]);
  }
  chunks_.push_back(std::move(chunk));
  return {};
}

Result<SegmentMemory*> SegmentPool::take(std::size_t bytes) {
  SHOAL_ASSIGN(const auto size_class, class_of(bytes));
  auto& c = classes_[size_class];
  if (c.real.empty() && c.unreal.empty()) SHOAL_TRY(grow(size_class));
  auto& from = c.real.empty() ? c.unreal : c.real;
  auto* memory = from.back();
  from.pop_back();
  memory->owned = true;
  ++memory->chunk->in_use;
  if (memory->real) {
    --memory->chunk->real_free;
  } else {
    memory->real = true;
    budget_.hold(c.bytes);
  }
  return memory;
}

void SegmentPool::give(SegmentMemory* memory) {
  SHOAL_ASSERT(memory->owned, "segment memory given back twice");
  memory->owned = false;
  if (memory->pins == 0) put_back(*memory);
}

bool SegmentPool::unpin(SegmentMemory& memory) {
  SHOAL_ASSERT(memory.pins > 0, "unpinned more often than pinned");
  if (--memory.pins > 0 || memory.owned) return false;
  put_back(memory);
  return true;
}

void SegmentPool::put_back(SegmentMemory& memory) {
  auto& chunk = *memory.chunk;
  --chunk.in_use;
  ++chunk.real_free;
  classes_[chunk.size_class].real.push_back(&memory);
}

void SegmentPool::trim() {
  for (auto i = chunks_.size(); i-- > 0;)
    if (chunks_[i]->in_use == 0) drop_chunk(i);
}

void SegmentPool::reclaim(std::uint64_t bytes) {
  std::uint64_t got = 0;
  for (auto turns = chunks_.size(); turns > 0 && got < bytes; --turns) {
    if (hand_ >= chunks_.size()) hand_ = 0;
    auto& chunk = *chunks_[hand_];
    if (chunk.in_use == 0) {
      got += chunk.real_free * classes_[chunk.size_class].bytes;
      drop_chunk(hand_);
      continue;
    }
    if (chunk.real_free != 0) got += discard_free(chunk);
    ++hand_;
  }
}

void SegmentPool::drop_chunk(std::size_t index) {
  auto& chunk = *chunks_[index];
  auto& c = classes_[chunk.size_class];
  const auto its_own = [&](const SegmentMemory* memory) { return memory->chunk == &chunk; };
  std::erase_if(c.real, its_own);
  std::erase_if(c.unreal, its_own);
  if (chunk.key != 0) exporter_->conceal(chunk.key);
  budget_.release(chunk.real_free * c.bytes);
  c.mapped -= chunk.blocks.size() * c.bytes;
  c.blocks -= chunk.blocks.size();
  chunks_.erase(chunks_.begin() + static_cast<std::ptrdiff_t>(index));
}

/// Pages of blocks that nobody uses; blocks below a page share theirs with others, and stay.
std::uint64_t SegmentPool::discard_free(SegmentChunk& chunk) {
  auto& c = classes_[chunk.size_class];
  if (c.bytes < kPage) return 0;
  std::uint64_t bytes = 0;
  std::erase_if(c.real, [&](SegmentMemory* memory) {
    if (memory->chunk != &chunk) return false;
    auto part = chunk.buffer.view();
    part.data = memory->data;
    part.bytes = c.bytes;
    if (!device_.discard(chunk.buffer.view(), part)) return false;
    memory->real = false;
    c.unreal.push_back(memory);
    --chunk.real_free;
    bytes += c.bytes;
    return true;
  });
  budget_.release(bytes);
  return bytes;
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
