#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "transport/attachment.h"
#include "worker/engine/segment_reader.h"

namespace shoal {

/// A line for people.
std::string words_of(const OneSidedCounts& counts);

/// A share of a pull that is being READ.
struct ShareReader {
  std::uint32_t index = 0;
  std::uint32_t generation = 1;  ///< its READs' contexts say which share they were posted for
  std::uint32_t request = Request::kNone;
  WorkerClock clock;  ///< pushes of clocks below it had all been applied when it began
  SegmentReader::Lines* lines = nullptr;
  SegmentReader reader;

  std::uint64_t context() const { return std::uint64_t{generation} << 32 | index; }
};

/// The readers of a worker, made as they are needed, up to kMax, and kept. Counts what becomes of
/// their shares, which any thread may ask. Belongs to the engine's loop.
class OneSidedReads {
 public:
  static constexpr std::uint32_t kMax = 256;

  /// `transport` outlives it.
  explicit OneSidedReads(Transport& transport) : transport_(transport) {}

  /// Null: kMax are under way.
  ShareReader* take();
  void give(ShareReader& share);
  /// Null: it has ended, and this READ was its last connection's.
  ShareReader* find(std::uint64_t context);
  ShareReader& operator[](std::uint32_t index) { return *shares_[index]; }

  void count_read() { reads_.fetch_add(1, std::memory_order_relaxed); }
  void count_retries(std::uint64_t retries) {
    retries_.fetch_add(retries, std::memory_order_relaxed);
  }
  void count_fallback(Fallback why) {
    fallbacks_[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  /// Any thread.
  OneSidedCounts counts() const;

 private:
  /// Readers whose lines are attached together.
  static constexpr std::uint32_t kBlock = 16;
  struct Block {
    std::array<SegmentReader::Lines, kBlock> lines;
    Attachment attachment;  ///< goes first
  };
  void grow();

  Transport& transport_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::unique_ptr<ShareReader>> shares_;
  std::vector<std::uint32_t> free_;
  std::atomic<std::uint64_t> reads_{0}, retries_{0};
  std::array<std::atomic<std::uint64_t>, kFallbacks> fallbacks_{};
};

}  // namespace shoal
