#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace shoal::mlp {

/// Bytes in several dimensions, the last one varying fastest: MNIST's IDX format
/// (http://yann.lecun.com/exdb/mnist), of unsigned bytes.
struct Idx {
  std::vector<std::uint32_t> sizes;  ///< of each dimension
  std::vector<std::uint8_t> values;
};

/// Larger ones are taken for damaged.
inline constexpr std::size_t kIdxBytesMax = std::size_t{1} << 30;

/// Errors: corrupt (another magic, cut short, too long), saying what was expected.
Result<Idx> parse_idx(std::span<const std::uint8_t> bytes, std::uint8_t dimensions);

/// The same of a file, gzip or plain. Errors: io, corrupt, with the path.
Result<Idx> read_idx(const std::string& path, std::uint8_t dimensions);

}  // namespace shoal::mlp
