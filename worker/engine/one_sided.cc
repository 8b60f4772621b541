#include "worker/engine/one_sided.h"

#include <fmt/core.h>

#include <string_view>

namespace shoal {

namespace {

constexpr std::array<std::string_view, kFallbacks> kReasons = {
    "cancelled",
    "for tables or calls that cannot be",
    "without RDMA to the server",
    "before the server had told where its segments are",
    "behind a push of this worker's own",
    "with too many under way",
    "of rows that nobody had used, or memory that is not registered",
    "of segments that pushes kept changing",
    "as a READ failed",
};

}  // namespace

std::string words_of(const OneSidedCounts& counts) {
  auto text = fmt::format("one-sided pulls: {} shares read, {} segments read again", counts.reads,
                          counts.retries);
  for (std::size_t i = 0; i < kFallbacks; ++i)
    if (counts.fallbacks[i] != 0)
      text += fmt::format("; {} asked for {}", counts.fallbacks[i], kReasons[i]);
  return text + "\n";
}

ShareReader* OneSidedReads::take() {
  if (free_.empty() && shares_.size() < kMax) grow();
  if (free_.empty()) return nullptr;
  auto* share = shares_[free_.back()].get();
  free_.pop_back();
  return share;
}

void OneSidedReads::grow() {
  auto& block = *blocks_.emplace_back(std::make_unique<Block>());
  const MemoryView memory{reinterpret_cast<std::byte*>(block.lines.data()), sizeof block.lines};
  // What cannot be attached is copied on its way.
  if (auto attached = Attachment::create(transport_, memory); attached.ok())
    block.attachment = std::move(attached).value();
  free_.reserve(shares_.size() + kBlock);
  for (auto& lines : block.lines) {
    auto& share = *shares_.emplace_back(std::make_unique<ShareReader>());
    share.index = static_cast<std::uint32_t>(shares_.size() - 1);
    share.lines = &lines;
    free_.push_back(share.index);
  }
}

void OneSidedReads::give(ShareReader& share) {
  ++share.generation;
  share.request = Request::kNone;
  free_.push_back(share.index);
}

ShareReader* OneSidedReads::find(std::uint64_t context) {
  const auto index = static_cast<std::uint32_t>(context);
  if (index >= shares_.size()) return nullptr;
  auto& share = *shares_[index];
  return share.context() == context && share.request != Request::kNone ? &share : nullptr;
}

OneSidedCounts OneSidedReads::counts() const {
  OneSidedCounts counts;
  counts.reads = reads_.load(std::memory_order_relaxed);
  counts.retries = retries_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kFallbacks; ++i)
    counts.fallbacks[i] = fallbacks_[i].load(std::memory_order_relaxed);
  return counts;
}

}  // namespace shoal
