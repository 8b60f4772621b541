#include "core/wire/frame.h"

#include <fmt/core.h>

#include <bit>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace shoal {

static_assert(std::endian::native == std::endian::little,
              "frames are laid out as they stand in memory; a big-endian port swaps in seal/parse");

namespace {

std::uint64_t checksum_of(FrameHeader header, std::span<const std::byte> meta) {
  header.checksum = 0;
  const auto head = XXH3_64bits(&header, sizeof header);
  return meta.empty() ? head : XXH3_64bits_withSeed(meta.data(), meta.size(), head);
}

bool is_known(FrameKind kind) {
  switch (kind) {
    case FrameKind::auth_challenge:
    case FrameKind::auth_proof:
    case FrameKind::auth_accept:
    case FrameKind::bulk_write:
    case FrameKind::bulk_read:
    case FrameKind::bulk_data:
    case FrameKind::bulk_refused:
    case FrameKind::path_offer:
    case FrameKind::path_begin:
    case FrameKind::path_answer:
    case FrameKind::path_try:
    case FrameKind::path_use:
    case FrameKind::path_decline:
    case FrameKind::region_key:
    case FrameKind::region_gone:
    case FrameKind::hello:
    case FrameKind::welcome:
    case FrameKind::credit:
    case FrameKind::cancel:
    case FrameKind::answer:
    case FrameKind::push:
    case FrameKind::pull:
    case FrameKind::call:
    case FrameKind::scan:
    case FrameKind::directory:
    case FrameKind::join:
    case FrameKind::leave:
    case FrameKind::heartbeat:
    case FrameKind::tick:
    case FrameKind::open_table:
    case FrameKind::drop_table:
    case FrameKind::set_parameter:
    case FrameKind::barrier:
    case FrameKind::get_view:
    case FrameKind::report_lost:
    case FrameKind::status:
    case FrameKind::view:
    case FrameKind::global_clock:
    case FrameKind::straggler:
      return true;
  }
  return false;
}

}  // namespace

void seal(FrameHeader& header, std::span<const std::byte> meta) {
  header.meta_bytes = static_cast<std::uint32_t>(meta.size());
  header.checksum = checksum_of(header, meta);
}

Result<FrameHeader> parse_header(std::span<const std::byte, kFrameHeaderBytes> bytes,
                                 const FrameLimits& limits) {
  FrameHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kFrameMagic)
    return Error{Errc::protocol,
                 "a frame does not begin with Shoal's magic number: the peer is "
                 "not a Shoal process, or a stream lost its place"};
  if (header.version != kWireVersion)
    return Error{Errc::version,
                 fmt::format("the peer speaks wire version {}, this process {}: run the same Shoal "
                             "release on every machine",
                             header.version, kWireVersion)};
  if (!is_known(header.kind))
    return Error{Errc::protocol,
                 fmt::format("unknown frame kind {}", static_cast<unsigned>(header.kind))};
  if (header.meta_bytes > limits.meta_bytes_max || header.payload_bytes > limits.payload_bytes_max)
    return Error{Errc::protocol,
                 fmt::format("oversized frame: {} + {} bytes, at most {} + {} are accepted",
                             header.meta_bytes, header.payload_bytes, limits.meta_bytes_max,
                             limits.payload_bytes_max)};
  return header;
}

Status verify(const FrameHeader& header, std::span<const std::byte> meta) {
  if (meta.size() != header.meta_bytes || checksum_of(header, meta) != header.checksum)
    return Error{Errc::corrupt, "checksum mismatch in a frame's header or part list"};
  return {};
}

}  // namespace shoal
