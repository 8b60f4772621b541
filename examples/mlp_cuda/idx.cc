#include "examples/mlp_cuda/idx.h"

#include <fmt/core.h>
#include <zlib.h>

#include <cerrno>
#include <memory>

namespace shoal::mlp {
namespace {

constexpr std::uint8_t kUnsignedBytes = 0x08;  // the type in the third byte of the magic
constexpr std::size_t kReadBytes = std::size_t{1} << 20;

struct GzipCloser {
  void operator()(gzFile_s* file) const { ::gzclose_r(file); }
};

std::uint32_t big_endian(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
         std::uint32_t{bytes[2]} << 8 | bytes[3];
}

/// All that is in the file, at most a byte more than an Idx may have.
Result<std::vector<std::uint8_t>> unpack(const std::string& path) {
  constexpr std::size_t kHeaderBytesMax = 4 + 4 * 255;
  errno = 0;
  const std::unique_ptr<gzFile_s, GzipCloser> file(::gzopen(path.c_str(), "rbe"));
  if (file == nullptr) return Error{Errc::io, "cannot open " + path, errno};
  std::vector<std::uint8_t> bytes;
  while (bytes.size() <= kIdxBytesMax + kHeaderBytesMax) {
    const auto had = bytes.size();
    bytes.resize(had + kReadBytes);
    const int got = ::gzread(file.get(), bytes.data() + had, kReadBytes);
    int code = Z_OK;
    ::gzerror(file.get(), &code);
    if (got < 0 && code == Z_ERRNO) return Error{Errc::io, "cannot read " + path, errno};
    if (got < 0 || code == Z_BUF_ERROR)
      return Error{Errc::corrupt, fmt::format("{}: the gzip file is {}", path,
                                              code == Z_BUF_ERROR ? "cut short" : "damaged")};
    bytes.resize(had + static_cast<std::size_t>(got));
    if (got == 0) break;
  }
  return bytes;
}

}  // namespace

Result<Idx> parse_idx(std::span<const std::uint8_t> bytes, std::uint8_t dimensions) {
  const std::size_t header = 4 + std::size_t{4} * dimensions;
  const std::uint32_t magic = std::uint32_t{kUnsignedBytes} << 8 | dimensions;
  if (bytes.size() < 4 || big_endian(bytes.data()) != magic)
    return Error{Errc::corrupt,
                 fmt::format("expected an IDX file of unsigned bytes in {} dimension{}, which "
                             "begins with {:08x}, found {}",
                             dimensions, dimensions == 1 ? "" : "s", magic,
                             bytes.size() < 4 ? fmt::format("{} bytes", bytes.size())
                                              : fmt::format("{:08x}", big_endian(bytes.data())))};
  if (bytes.size() < header)
    return Error{Errc::corrupt, fmt::format("expected an IDX header of {} bytes, found {} bytes",
                                            header, bytes.size())};
  Idx idx;
  std::size_t count = 1;
  for (std::size_t d = 0; d < dimensions; ++d) {
    idx.sizes.push_back(big_endian(bytes.data() + 4 + 4 * d));
    // Both factors are below 2^32, so the product does not wrap before it is found too large.
    count *= idx.sizes.back();
    if (count > kIdxBytesMax)
      return Error{Errc::corrupt,
                   fmt::format("the IDX header names more than {} MiB", kIdxBytesMax >> 20)};
  }
  const auto values = bytes.subspan(header);
  if (values.size() != count)
    return Error{Errc::corrupt, fmt::format("expected {} bytes after the IDX header, found {}",
                                            count, values.size())};
  idx.values.assign(values.begin(), values.end());
  return idx;
}

Result<Idx> read_idx(const std::string& path, std::uint8_t dimensions) {
  SHOAL_ASSIGN(const auto bytes, unpack(path));
  auto idx = parse_idx(bytes, dimensions);
  if (!idx.ok()) return Error{idx.code(), path + ": " + idx.error().what};
  return idx;
}

}  // namespace shoal::mlp
