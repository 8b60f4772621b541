#include "examples/sparse_lr/line_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

namespace shoal::sparse_lr {
namespace {

constexpr std::uint64_t kEndOfFile = std::numeric_limits<std::uint64_t>::max();

/// What the file says of itself before it is read.
struct FileFacts {
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool packed = false;
};

std::int64_t modified_ns_of(const struct stat& status) {
  return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

Result<FileFacts> examine(int descriptor, const std::string& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return Error{Errc::io, "cannot examine " + path, errno};
  if (!S_ISREG(status.st_mode))
    return Error{
        Errc::invalid_argument,
        path + " is not a regular file; it is read more than once, so write it to one first"};
  unsigned char magic[2] = {};
  const auto got = ::pread(descriptor, magic, sizeof magic, 0);
  if (got < 0) return Error{Errc::io, "cannot read " + path, errno};
  return FileFacts{static_cast<std::uint64_t>(status.st_size), modified_ns_of(status),
                   got == 2 && magic[0] == 0x1f && magic[1] == 0x8b};
}

std::uint64_t share_boundary(std::uint64_t bytes, std::uint32_t index, std::uint32_t count) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(bytes) * index / count);
}

}  // namespace

void LineSource::Closer::operator()(gzFile_s* file) const { ::gzclose_r(file); }
LineSource::LineSource(LineSource&&) noexcept = default;
LineSource& LineSource::operator=(LineSource&&) noexcept = default;
LineSource::~LineSource() = default;

Result<LineSource> LineSource::open(const std::string& path, Share share) {
  if (share.count == 0 || share.index >= share.count)
    return Error{Errc::invalid_argument, "share " + std::to_string(share.index) + " of " +
                                             std::to_string(share.count) + " of " + path +
                                             ": the index must be below the count"};
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return Error{Errc::io, "cannot open " + path, errno};
  auto facts = examine(descriptor, path);
  LineSource source;
  source.file_.reset(facts.ok() ? ::gzdopen(descriptor, "rb") : nullptr);
  if (source.file_ == nullptr) {
    ::close(descriptor);
    if (!facts.ok()) return std::move(facts).error();
    return Error{Errc::no_memory, "no memory to read " + path};
  }
  source.path_ = path;
  source.descriptor_ = descriptor;
  source.bytes_ = facts->bytes;
  source.modified_ns_ = facts->modified_ns;
  source.packed_ = facts->packed;
  source.share_ = share;
  source.share_end_ = kEndOfFile;
  if (!facts->packed) {
    source.share_begin_ = share_boundary(facts->bytes, share.index, share.count);
    source.share_end_ = share_boundary(facts->bytes, share.index + 1, share.count);
  }
  source.buffer_.resize(kBufferBytes);
  SHOAL_TRY(source.rewind());
  return source;
}

Status LineSource::seek(std::uint64_t offset) {
  if (::gzseek(file_.get(), static_cast<z_off_t>(offset), SEEK_SET) < 0)
    return Error{Errc::io, "cannot go back in " + path_, errno};
  begin_ = end_ = 0;
  buffer_offset_ = offset;
  return {};
}

Status LineSource::check_unchanged() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == bytes_ &&
      modified_ns_of(status) == modified_ns_)
    return {};
  return Error{Errc::corrupt,
               path_ + " was changed while it was being read: write new examples to a new file"};
}

Status LineSource::rewind() {
  SHOAL_TRY(check_unchanged());
  lines_passed_ = 0;
  line_begin_ = share_begin_;
  if (share_begin_ == 0) return seek(0);
  // The line that begins before our range is the worker's before us. Reading from one byte earlier
  // finds out whether a line begins exactly at the range's begin.
  SHOAL_TRY(seek(share_begin_ - 1));
  std::string_view line_of_another;
  SHOAL_TRY(next_any(line_of_another));
  return {};
}

Result<bool> LineSource::next(std::string_view& line) {
  for (;;) {
    SHOAL_ASSIGN(const bool more, next_any(line));
    if (!more || line_begin_ >= share_end_) {
      SHOAL_TRY(check_unchanged());
      return false;
    }
    if (!packed_ || in_share(lines_passed_++)) return true;
  }
}

Result<bool> LineSource::next_any(std::string_view& line) {
  std::size_t searched = 0;
  for (;;) {
    const char* const begin = buffer_.data() + begin_;
    const auto* newline =
        static_cast<const char*>(std::memchr(begin + searched, '\n', end_ - begin_ - searched));
    if (newline != nullptr) {
      line = {begin, static_cast<std::size_t>(newline - begin)};
      line_begin_ = buffer_offset_ + begin_;
      begin_ += line.size() + 1;
      return true;
    }
    searched = end_ - begin_;
    SHOAL_ASSIGN(const bool more, fill());
    if (more) continue;
    // The last line may lack its '\n'.
    line = {buffer_.data() + begin_, end_ - begin_};
    line_begin_ = buffer_offset_ + begin_;
    begin_ = end_;
    return !line.empty();
  }
}

/// Moves what is unread to the buffer's front and reads behind it. False at the file's end.
Result<bool> LineSource::fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  buffer_offset_ += begin_;
  end_ -= begin_;
  begin_ = 0;
  if (end_ == buffer_.size()) {
    if (buffer_.size() >= kLineBytesMax) {
      line_begin_ = buffer_offset_;
      return at_line({Errc::out_of_range, "the line is longer than " +
                                              std::to_string(kLineBytesMax >> 20) +
                                              " MiB; is this a libsvm file?"});
    }
    buffer_.resize(std::min(buffer_.size() * 2, kLineBytesMax));
  }
  const int got =
      ::gzread(file_.get(), buffer_.data() + end_, static_cast<unsigned>(buffer_.size() - end_));
  int code = Z_OK;
  ::gzerror(file_.get(), &code);
  if (got < 0 && code == Z_ERRNO) return Error{Errc::io, "cannot read " + path_, errno};
  if (got < 0 || code == Z_BUF_ERROR)
    return Error{Errc::corrupt, path_ + (code == Z_BUF_ERROR ? ": the gzip file is cut short"
                                                             : ": the gzip file is damaged")};
  end_ += static_cast<std::size_t>(got);
  return got > 0;
}

Error LineSource::at_line(Error error) const {
  if (auto unchanged = check_unchanged(); !unchanged.ok()) return unchanged.error();
  std::uint64_t number = 1;
  std::unique_ptr<gzFile_s, Closer> file(::gzopen(path_.c_str(), "rb"));
  std::vector<char> buffer(kBufferBytes);
  for (std::uint64_t left = line_begin_; file != nullptr && left > 0;) {
    const int got = ::gzread(file.get(), buffer.data(),
                             static_cast<unsigned>(std::min<std::uint64_t>(left, buffer.size())));
    if (got <= 0) break;
    number += static_cast<std::uint64_t>(std::count(buffer.data(), buffer.data() + got, '\n'));
    left -= static_cast<std::uint64_t>(got);
  }
  error.what = path_ + ':' + std::to_string(number) + ": " + error.what;
  return error;
}

}  // namespace shoal::sparse_lr
