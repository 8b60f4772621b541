#include "examples/sparse_lr/page_store.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/assert.h"

namespace shoal::sparse_lr {
namespace {

std::size_t units_of(std::size_t bytes) {
  return (bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t);
}

}  // namespace

PageStore::PageStore(PageStore&& other) noexcept
    : options_(std::move(other.options_)),
      pages_(std::move(other.pages_)),
      bytes_in_memory_(other.bytes_in_memory_),
      file_bytes_(other.file_bytes_),
      file_(std::exchange(other.file_, -1)) {}

PageStore::~PageStore() {
  if (file_ >= 0) ::close(file_);
}

Status PageStore::open_file() {
  if (file_ >= 0) return {};
  std::string name = options_.directory + "/sparse_lr.XXXXXX";
  file_ = ::mkstemp(name.data());
  if (file_ < 0)
    return Error{Errc::io,
                 "cannot make a temporary file in " + options_.directory +
                     "; name a directory with --scratch, or raise --memory-mib",
                 errno};
  ::unlink(name.c_str());
  return {};
}

Status PageStore::write_at(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const auto done = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0)
      return Error{Errc::io,
                   "cannot write the temporary file in " + options_.directory +
                       "; name another directory with --scratch, or raise --memory-mib",
                   errno};
    offset += static_cast<std::uint64_t>(done);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

Result<std::size_t> PageStore::append(std::span<const std::byte> bytes) {
  Page page;
  page.byte_size = bytes.size();
  if (bytes_in_memory_ + bytes.size() <= options_.memory_bytes) {
    page.memory.resize(units_of(bytes.size()));
    if (!bytes.empty()) std::memcpy(page.memory.data(), bytes.data(), bytes.size());
    bytes_in_memory_ += bytes.size();
  } else {
    SHOAL_TRY(open_file());
    page.offset = file_bytes_;
    SHOAL_TRY(write_at(page.offset, bytes));
    file_bytes_ += bytes.size();
  }
  pages_.push_back(std::move(page));
  return pages_.size() - 1;
}

Result<std::span<std::byte>> PageStore::load(std::size_t index, Scratch& scratch) {
  SHOAL_ASSERT(index < pages_.size(), "no such page");
  auto& page = pages_[index];
  if (!page.memory.empty() || page.byte_size == 0)
    return std::span(reinterpret_cast<std::byte*>(page.memory.data()), page.byte_size);
  if (scratch.size() < units_of(page.byte_size)) scratch.resize(units_of(page.byte_size));
  const std::span all(reinterpret_cast<std::byte*>(scratch.data()), page.byte_size);
  for (std::size_t at = 0; at < all.size();) {
    const auto got =
        ::pread(file_, all.data() + at, all.size() - at, static_cast<off_t>(page.offset + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return Error{Errc::io, "cannot read the temporary file in " + options_.directory, errno};
    at += static_cast<std::size_t>(got);
  }
  return all;
}

Status PageStore::keep(std::size_t index, std::span<const std::byte> bytes) {
  const auto& page = pages_[index];
  SHOAL_ASSERT(bytes.size() == page.byte_size, "a page keeps its size");
  if (!page.memory.empty() || bytes.empty()) return {};
  return write_at(page.offset, bytes);
}

}  // namespace shoal::sparse_lr
