#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"
#include "core/memory/memory_view.h"
#include "core/wire/frame.h"

// How a session's frame stands on a connection, whatever carries it: the header, meta, zeros up to
// a multiple of 8 bytes, payload, and zeros again, so that values can be read where they arrived.
// See docs/design/wire_format.md. Private to transport/.

namespace shoal {

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

/// True for the transport's own kinds, which never go up to a session.
constexpr bool is_transport_kind(FrameKind kind) {
  return static_cast<std::uint16_t>(kind) < static_cast<std::uint16_t>(FrameKind::hello);
}

/// Of these, those that speak of faster paths than TCP. See docs/design/selection.md.
constexpr bool is_path_kind(FrameKind kind) {
  return kind >= FrameKind::path_offer && kind <= FrameKind::region_gone;
}

/// All bytes of a frame.
constexpr std::size_t frame_bytes(std::size_t meta_bytes, std::size_t payload_bytes) {
  return kFrameHeaderBytes + padded(meta_bytes) + padded(payload_bytes);
}

std::size_t total_bytes(std::span<const ConstMemoryView> views);

/// What send() of every backend asks of a frame; its payload's bytes. Errors: out_of_range (too
/// many views or bytes), invalid_argument (device memory).
Result<std::uint64_t> check_frame(std::span<const std::byte> meta,
                                  std::span<const ConstMemoryView> payload, bool copied);

/// Whether frames carry a checksum. Between processes that share memory there is no wire on which a
/// bit might change.
enum class Checksum : std::uint8_t { xxh3, none };

/// Seals the header of a frame that is to be sent. Errors: as check_frame().
Status seal_frame(FrameHeader& header, std::span<const std::byte> meta,
                  std::span<const ConstMemoryView> payload, bool copied,
                  Checksum checksum = Checksum::xxh3);

/// Writes a frame, whose header is sealed, with `payload` (all of it, or none).
void stage_frame(std::byte* to, const FrameHeader& header, std::span<const std::byte> meta,
                 std::span<const ConstMemoryView> payload);

/// The frame in `bytes`, which are all of it, as its (parsed) header says.
inline FrameView view_of(const FrameHeader& header, std::span<const std::byte> bytes) {
  return {header, bytes.subspan(kFrameHeaderBytes, header.meta_bytes),
          bytes.subspan(kFrameHeaderBytes + padded(header.meta_bytes),
                        static_cast<std::size_t>(header.payload_bytes))};
}

/// The same, if its checksum is right. Errors: corrupt.
Result<FrameView> view_frame(const FrameHeader& header, std::span<const std::byte> bytes);

}  // namespace shoal
