#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace shoal::sparse_lr {

/// Pages of bytes that are written once and read in every pass, in bounded memory: the first
/// `memory_bytes` stay in memory, the rest goes to a file without a name in `directory`, which
/// vanishes with the process. The kernel's page cache keeps of it what fits. (Block minimisation
/// from disk: Yu, Hsieh, Chang, Lin, "Large linear classification when data cannot fit in memory",
/// KDD'10.)
class PageStore {
 public:
  struct Options {
    std::string directory = "/tmp";
    std::size_t memory_bytes = std::size_t{256} << 20;
  };
  /// Aligned room for one page; grows to the largest.
  using Scratch = std::vector<std::max_align_t>;

  explicit PageStore(Options options) : options_(std::move(options)) {}
  PageStore(PageStore&& other) noexcept;
  PageStore& operator=(PageStore&&) = delete;
  ~PageStore();

  /// The new page's number: 0, 1, 2, ... Errors: io, naming the directory.
  Result<std::size_t> append(std::span<const std::byte> bytes);
  /// The page's bytes, aligned for any type: the page itself if it is in memory, else read into
  /// `scratch`. Valid until the next append, or the next use of `scratch`. Errors: io.
  Result<std::span<std::byte>> load(std::size_t page, Scratch& scratch);
  /// Keeps what was changed in a page's loaded bytes. Errors: io.
  Status keep(std::size_t page, std::span<const std::byte> bytes);

  std::size_t bytes_in_memory() const { return bytes_in_memory_; }
  std::uint64_t bytes_in_file() const { return file_bytes_; }

 private:
  struct Page {
    std::vector<std::max_align_t> memory;  ///< empty: the page is in the file
    std::size_t byte_size = 0;
    std::uint64_t offset = 0;
  };
  Status open_file();
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) const;

  Options options_;
  std::vector<Page> pages_;
  std::size_t bytes_in_memory_ = 0;
  std::uint64_t file_bytes_ = 0;
  int file_ = -1;
};

}  // namespace shoal::sparse_lr
