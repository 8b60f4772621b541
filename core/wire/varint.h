#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/wire/codec.h"

namespace shoal {

/// Writes `value` in 7-bit groups, lowest first, the top bit of each byte saying that more follow:
/// LEB128. What views use, most of whose numbers are small; messages have fixed widths.
inline void put_varint(Writer& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.put(static_cast<std::uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.put(static_cast<std::uint8_t>(value));
}

/// Reads one; fails the reader unless it has the shortest form and is at most `value_max`.
inline std::uint64_t get_varint(Reader& in, std::uint64_t value_max = ~std::uint64_t{0}) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = in.get<std::uint8_t>();
    const auto group = static_cast<std::uint64_t>(byte & 0x7f);
    if (shift == 63 && group > 1) break;
    value |= group << shift;
    if ((byte & 0x80) == 0) {
      if ((byte == 0 && shift > 0) || value > value_max) break;
      return in.ok() ? value : 0;
    }
  }
  in.fail();
  return 0;
}

/// Calls f() with a Writer over ever larger buffers until all of it fits: for encodings that are
/// not on the message path and whose size is not known before.
template <class F>
std::vector<std::byte> encode_growing(std::size_t bytes_guess, F&& f) {
  std::vector<std::byte> bytes(bytes_guess);
  for (;;) {
    Writer out(bytes);
    f(out);
    if (out.ok()) {
      bytes.resize(out.size());
      return bytes;
    }
    bytes.resize(bytes.size() * 2 + 64);
  }
}

}  // namespace shoal
