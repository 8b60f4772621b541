#include "examples/sparse_lr/gzip_end.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace shoal::sparse_lr {
namespace {

constexpr std::size_t kPackedBytes = 1 << 16;
constexpr std::size_t kUnpackedBytes = 1 << 18;
constexpr int kGzipOnly = 15 + 16;  // the largest window; no other format

struct GzipEndCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// Walks through the members of a gzip file.
class GzipWalk {
 public:
  explicit GzipWalk(std::FILE* file) : file_(file), packed_(kPackedBytes), out_(kUnpackedBytes) {}
  GzipWalk(const GzipWalk&) = delete;
  GzipWalk& operator=(const GzipWalk&) = delete;
  ~GzipWalk() { ::inflateEnd(&stream_); }

  bool init() { return ::inflateInit2(&stream_, kGzipOnly) == Z_OK; }
  bool at_member() {
    fill(2);
    return stream_.avail_in >= 2 && stream_.next_in[0] == 0x1f && stream_.next_in[1] == 0x8b;
  }
  /// False: the member is cut short or damaged.
  bool pass_member() {
    ::inflateReset(&stream_);
    for (int code = Z_OK; code != Z_STREAM_END;) {
      fill(1);
      stream_.next_out = out_.data();
      stream_.avail_out = static_cast<uInt>(out_.size());
      code = ::inflate(&stream_, Z_NO_FLUSH);
      if (code != Z_OK && code != Z_STREAM_END) return false;
    }
    return true;
  }
  /// Whether nothing but zeros, with which tapes are filled up, is left.
  bool only_zeros_follow() {
    for (fill(1); stream_.avail_in > 0; fill(1)) {
      auto* const end = stream_.next_in + stream_.avail_in;
      const bool zeros = std::all_of(stream_.next_in, end, [](Bytef b) { return b == 0; });
      if (!zeros) return false;
      stream_.avail_in = 0;
    }
    return true;
  }
  std::uint64_t offset() const { return bytes_read_ - stream_.avail_in; }

 private:
  /// Makes `wanted` bytes available, fewer only at the file's end.
  void fill(std::size_t wanted) {
    if (stream_.avail_in >= wanted) return;
    const std::size_t left = stream_.avail_in;
    if (left > 0) std::memmove(packed_.data(), stream_.next_in, left);
    const auto got = std::fread(packed_.data() + left, 1, packed_.size() - left, file_);
    bytes_read_ += got;
    stream_.next_in = packed_.data();
    stream_.avail_in = static_cast<uInt>(left + got);
  }

  std::FILE* file_;
  std::vector<Bytef> packed_, out_;
  ::z_stream stream_ = {};
  std::uint64_t bytes_read_ = 0;
};

}  // namespace

Status check_gzip_end(const std::string& path) {
  const std::unique_ptr<std::FILE, GzipEndCloser> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return Error{Errc::io, "cannot open " + path, errno};
  GzipWalk walk(file.get());
  if (!walk.init()) return Error{Errc::no_memory, "no memory to read " + path};
  if (!walk.at_member()) return {};
  while (walk.at_member())
    if (!walk.pass_member()) return {};
  const auto offset = walk.offset();
  if (walk.only_zeros_follow()) return {};
  return Error{Errc::corrupt, path + ": the gzip data ends at byte " + std::to_string(offset) +
                                  ", but something else follows, which would not be read; is the "
                                  "file damaged, or was plain text appended? Pack it anew"};
}

}  // namespace shoal::sparse_lr
