#include "group/local/device_copy.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <thread>

namespace shoal::local {

namespace {

/// A copy of it takes some 20 microseconds over PCIe, beside which its start and end are little.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

}  // namespace

Status DeviceCopy::await(Result<DeviceEvent> event, TimePoint deadline) {
  SHOAL_ASSIGN(const auto issued, std::move(event));
  for (;;) {
    SHOAL_ASSIGN(const bool done, gpu_->device().done(issued));
    if (done) return {};
    if (clock_.now() >= deadline)
      return Error{Errc::timed_out,
                   fmt::format("a copy by {} was not done in time: other work is in "
                               "its way, or it has failed",
                               gpu_->device().name())};
    std::this_thread::yield();
  }
}

Status DeviceCopy::copy(MemoryView to, ConstMemoryView from, TimePoint deadline) {
  const auto on_gpu = [](MemorySpace space) { return space == MemorySpace::cuda; };
  if (!on_gpu(to.space) && !on_gpu(from.space)) {
    if (to.bytes != 0) std::memmove(to.data, from.data, to.bytes);
    return {};
  }
  if (gpu_ == nullptr)
    return Error{Errc::invalid_argument,
                 "memory of a GPU was given to a group whose options name none: "
                 "GroupOptions::gpu"};
  if (to.space != MemorySpace::host && from.space != MemorySpace::host)
    return await(gpu_->device().copy(to, from), deadline);
  if (pinned_ == nullptr) {
    SHOAL_ASSIGN(pinned_, gpu_->pin(kPieceBytes));
  }
  for (std::size_t at = 0; at < to.bytes; at += kPieceBytes) {
    const auto bytes = std::min(kPieceBytes, to.bytes - at);
    const auto piece = pinned_->view().sub(0, bytes);
    if (on_gpu(from.space)) {
      SHOAL_TRY(await(gpu_->device().copy(piece, from.sub(at, bytes)), deadline));
      std::memcpy(to.data + at, piece.data, bytes);
    } else {
      std::memcpy(piece.data, from.data + at, bytes);
      SHOAL_TRY(await(gpu_->device().copy(to.sub(at, bytes), piece), deadline));
    }
  }
  return {};
}

}  // namespace shoal::local
