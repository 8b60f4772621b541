#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/wire/frame.h"
#include "transport/auth.h"
#include "transport/frames.h"

// What the TCP backend adds to the common frames. See docs/design/wire_format.md.
//
// Frames of sessions are padded (transport/frames.h) on both lanes; bulk_* frames have a fixed meta
// and no padding.

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

/// The process can negotiate faster paths (path_* frames).
inline constexpr std::uint64_t kFeaturePaths = 1;
/// The process only coordinates: no rows or gradients travel on its connections.
inline constexpr std::uint64_t kFeatureControl = 2;

/// What a connector binds to its proof: which endpoint the connection is half of, and which half.
/// An acceptor's has only its features.
struct LaneBinding {
  std::array<std::byte, 16> join{};  ///< Random, the same on both lanes of one endpoint.
  std::uint64_t lane = 0;            ///< Lane as a number.
  std::uint64_t features = 0;  ///< kFeature*, of who says it; bits that are not known are ignored.

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
