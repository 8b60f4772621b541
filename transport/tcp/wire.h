#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/wire/frame.h"
#include "transport/auth.h"

// What the TCP backend adds to the common frames. See docs/design/wire_format.md.
//
// Frames of sessions are padded with zeros to a multiple of 8 bytes after meta and after payload,
// on both lanes, so that in a receive buffer every payload is aligned and values can be read in
// place. bulk_* frames have a fixed meta and no padding.

namespace shoal::tcp {

/// The meta of every bulk_* frame.
struct BulkMeta {
  std::uint64_t region =
      0;  ///< bulk_write, bulk_read: RemoteSpan::region of the receiver's region.
  std::uint64_t address = 0;  ///< The same: byte offset in it. bulk_data: byte offset in the read.
  std::uint64_t bytes = 0;    ///< bulk_read: how many are asked for. Others: payload_bytes.
  std::uint64_t op = 0;  ///< bulk_read, bulk_data, bulk_refused: the reader's name for the read.
};
static_assert(sizeof(BulkMeta) == 32 && std::has_unique_object_representations_v<BulkMeta>);
static_assert(offsetof(BulkMeta, address) == 8 && offsetof(BulkMeta, op) == 24);

inline constexpr std::size_t kBulkHeadBytes = kFrameHeaderBytes + sizeof(BulkMeta);

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

/// True for the transport's own kinds, which never go up to a session.
constexpr bool is_transport_kind(FrameKind kind) {
  return static_cast<std::uint16_t>(kind) < static_cast<std::uint16_t>(FrameKind::hello);
}

/// What a connector binds to its proof: which endpoint the connection is half of, and which half.
struct LaneBinding {
  std::array<std::byte, 16> join{};  ///< Random, the same on both lanes of one endpoint.
  std::uint64_t lane = 0;            ///< Lane as a number.
  std::uint64_t reserved = 0;

  AuthBinding bytes() const {
    AuthBinding out;
    std::memcpy(out.data(), this, sizeof *this);
    return out;
  }
  static LaneBinding from(const AuthBinding& in) {
    LaneBinding binding;
    std::memcpy(&binding, in.data(), sizeof binding);
    return binding;
  }
};
static_assert(sizeof(LaneBinding) == kAuthBindingBytes);

}  // namespace shoal::tcp
