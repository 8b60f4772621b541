#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/base/result.h"
#include "transport/ucx/gate.h"

namespace shoal::ucx {

/// A region of a peer on this host, in whose pages we copy, and read, ourselves.
class ForeignPages {
 public:
  /// `index` (of the turnstile) and `owner_secret`: what the owner told of the link. Errors:
  /// unavailable (the peer is not on this host, or another user's, or the memory is gone: bytes go
  /// by packets then).
  static Result<std::unique_ptr<ForeignPages>> open(const SharedCard& card, std::uint64_t region,
                                                    std::size_t index, std::uint64_t owner_secret);
  ~ForeignPages();
  ForeignPages(const ForeignPages&) = delete;
  ForeignPages& operator=(const ForeignPages&) = delete;

  std::uint64_t region() const { return region_; }
  /// How many of the `bytes` from `offset` of the region write() takes: whole pages. 0: none
  /// begins there.
  std::size_t whole_pages(std::uint64_t offset, std::size_t bytes) const;
  /// How many bytes from `offset` on are before the first whole page.
  std::size_t before_page(std::uint64_t offset) const;
  /// Stores whole pages. False: it is not admitted (any more), and nothing was stored.
  bool write(std::uint64_t offset, std::span<const std::byte> from);
  /// Fetches. False: it is not admitted (any more), and `to` is not what the region held.
  bool read(std::uint64_t offset, std::span<std::byte> to) const;
  /// Whole pages, to be read where they are, until leave(): should their owner want them back, it
  /// waits, or goes on with others. Null: they are not whole, or it is not admitted.
  const std::byte* enter(std::uint64_t offset, std::size_t bytes);
  void leave();

 private:
  ForeignPages() = default;
  Turnstile& turnstile() const { return gate_->turnstiles[index_]; }
  std::byte* go_in(std::uint64_t offset, std::size_t bytes);

  std::uint64_t region_ = 0;
  std::uint64_t ticket_ = 0;
  std::size_t index_ = 0;
  Gate* gate_ = nullptr;
  std::byte* mapped_ = nullptr;  ///< gate and memory
  std::size_t mapped_bytes_ = 0;
  std::uint64_t offset_ = 0;  ///< of the region, behind the gate
  std::uint64_t bytes_ = 0;
};

}  // namespace shoal::ucx
