#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

struct gzFile_s;

namespace shoal::sparse_lr {

/// Worker `index` of `count`: which part of a file is its own.
struct Share {
  std::uint32_t index = 0;
  std::uint32_t count = 1;
};

/// The lines of a share of a text file, plain or gzip, through one buffer of fixed size (it grows
/// only for a line that is longer, up to kLineBytesMax). The shares of a file are disjoint and
/// together all of its lines.
///
/// A plain file is cut into byte ranges of equal size, and a line belongs to the range that it
/// begins in: a worker reads its range and nothing else. Into a gzip file nobody can seek, so there
/// every worker unpacks everything and keeps every count-th group of kGroupLines lines.
class LineSource {
 public:
  static constexpr std::size_t kBufferBytes = 1 << 20;
  static constexpr std::size_t kLineBytesMax = 64 << 20;
  static constexpr std::uint64_t kGroupLines = 256;

  /// Errors: io, invalid_argument (not a regular file; a share that is none).
  static Result<LineSource> open(const std::string& path, Share share = {});
  LineSource(LineSource&&) noexcept;
  LineSource& operator=(LineSource&&) noexcept;
  ~LineSource();

  /// The next line without its '\n', valid until the next call; false at the end. Errors: io,
  /// corrupt (damaged or truncated gzip; see rewind), out_of_range (line too long).
  Result<bool> next(std::string_view& line);
  /// Back to the share's first line. Errors: io; corrupt: the file is not what it was when it was
  /// opened, as next() says at its end and at_line() of a line.
  Status rewind();

  /// `error` with "path:line: " of the line that next() returned last in front. Counts the lines up
  /// to it, so it reads the file's beginning once more: for errors that end the reading.
  Error at_line(Error error) const;
  const std::string& path() const { return path_; }
  /// Bytes of the (unpacked) file up to the last line returned, from the share's begin.
  std::uint64_t bytes_read() const { return line_begin_ - share_begin_; }

 private:
  struct Closer {
    void operator()(gzFile_s* file) const;
  };
  LineSource() = default;
  /// Somebody has written to the file: its lines and their numbers are no longer those of before.
  Status check_unchanged() const;
  Result<bool> next_any(std::string_view& line);
  Result<bool> fill();
  Status seek(std::uint64_t offset);
  bool in_share(std::uint64_t line_index) const {
    return line_index / kGroupLines % share_.count == share_.index;
  }

  std::string path_;
  std::unique_ptr<gzFile_s, Closer> file_;
  int descriptor_ = -1;  ///< file_'s
  bool packed_ = false;
  std::uint64_t bytes_ = 0;       ///< of the file, when it was opened
  std::int64_t modified_ns_ = 0;  ///< likewise
  Share share_;
  std::uint64_t share_begin_ = 0;  ///< plain files: the byte range in which our lines begin
  std::uint64_t share_end_ = 0;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  ///< unread bytes of buffer_
  std::size_t end_ = 0;
  std::uint64_t buffer_offset_ = 0;  ///< of buffer_[0] in the (unpacked) file
  std::uint64_t line_begin_ = 0;     ///< offset of the line returned last
  std::uint64_t lines_passed_ = 0;   ///< packed files: lines seen, ours or not
};

}  // namespace shoal::sparse_lr
