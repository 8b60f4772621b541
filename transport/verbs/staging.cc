#include "transport/verbs/staging.h"

#include <algorithm>

#include "core/base/assert.h"

namespace shoal::verbs {

std::optional<Staging::Run> Staging::take_of(Block& block, std::size_t bytes) {
  if (block.head == block.tail) block.head = block.tail = 0;  // where the cache is warm
  const auto skipped = gap(block, block.tail, bytes);
  if (block.tail - block.head + skipped + bytes > block.slab.bytes()) return std::nullopt;
  const auto at = block.tail + skipped;
  block.tail = at + bytes;
  return Run{block.slab.data() + at % block.slab.bytes(), block.slab.lkey()};
}

std::optional<Staging::Run> Staging::take(std::size_t bytes) {
  if (!blocks_.empty())
    if (auto run = take_of(blocks_.back(), bytes)) return run;
  auto larger = blocks_.empty() ? bytes_min_ : blocks_.back().slab.bytes() * 2;
  while (larger < bytes) larger *= 2;
  growth_ = {};
  if (larger > bytes_max_) return std::nullopt;
  auto slab = rail_.allocate(larger);
  if (!slab.ok()) {
    growth_ = std::move(slab).error();
    return std::nullopt;
  }
  if (!blocks_.empty() && blocks_.back().head == blocks_.back().tail) blocks_.pop_back();
  blocks_.push_back({.slab = std::move(slab).value()});
  return take_of(blocks_.back(), bytes);
}

void Staging::give(std::size_t bytes) {
  auto& block = blocks_.front();
  block.head += gap(block, block.head, bytes) + bytes;
  SHOAL_ASSERT(block.head <= block.tail, "more is given back than was taken");
  if (block.head == block.tail && blocks_.size() > 1) blocks_.pop_front();
}

}  // namespace shoal::verbs
