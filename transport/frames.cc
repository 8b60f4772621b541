#include "transport/frames.h"

#include <fmt/core.h>

#include <array>
#include <cstring>

#include "transport/transport.h"

namespace shoal {

namespace {

constexpr std::array<std::byte, 8> kZeros{};

}  // namespace

std::size_t total_bytes(std::span<const ConstMemoryView> views) {
  std::size_t bytes = 0;
  for (const auto& view : views) bytes += view.bytes;
  return bytes;
}

Result<std::uint64_t> check_frame(std::span<const std::byte> meta,
                                  std::span<const ConstMemoryView> payload, bool copied) {
  constexpr FrameLimits kLimits{};
  if (payload.size() > Transport::kPayloadViewsMax)
    return Error{Errc::out_of_range,
                 fmt::format("a frame's payload has {} views, at most {} are possible",
                             payload.size(), Transport::kPayloadViewsMax)};
  for (const auto& view : payload)
    if (view.space == MemorySpace::cuda)
      return Error{Errc::invalid_argument, "frames carry host memory only"};
  const auto bytes = std::uint64_t{total_bytes(payload)};
  const auto bytes_max = copied ? std::uint64_t{Transport::kCopyMax} : kLimits.payload_bytes_max;
  if (bytes > bytes_max || meta.size() > kLimits.meta_bytes_max)
    return Error{Errc::out_of_range,
                 fmt::format("a frame of {} + {} bytes is larger than {} + {}", meta.size(), bytes,
                             kLimits.meta_bytes_max, bytes_max)};
  return bytes;
}

Status seal_frame(FrameHeader& header, std::span<const std::byte> meta,
                  std::span<const ConstMemoryView> payload, bool copied, Checksum checksum) {
  SHOAL_ASSIGN(header.payload_bytes, check_frame(meta, payload, copied));
  if (checksum == Checksum::xxh3)
    seal(header, meta);
  else
    header.meta_bytes = static_cast<std::uint32_t>(meta.size());
  return {};
}

void stage_frame(std::byte* to, const FrameHeader& header, std::span<const std::byte> meta,
                 std::span<const ConstMemoryView> payload) {
  const auto append = [&to](const void* from, std::size_t bytes) {
    if (bytes != 0) std::memcpy(to, from, bytes);
    to += bytes;
  };
  append(&header, sizeof header);
  append(meta.data(), meta.size());
  append(kZeros.data(), padded(meta.size()) - meta.size());
  for (const auto& view : payload) append(view.data, view.bytes);
  const auto payload_bytes = total_bytes(payload);
  append(kZeros.data(), padded(payload_bytes) - payload_bytes);
}

Result<FrameView> view_frame(const FrameHeader& header, std::span<const std::byte> bytes) {
  const auto frame = view_of(header, bytes);
  SHOAL_TRY(verify(header, frame.meta));
  return frame;
}

}  // namespace shoal
