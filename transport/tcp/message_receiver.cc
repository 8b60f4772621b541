#include "transport/tcp/message_receiver.h"

#include <algorithm>
#include <cstring>

namespace shoal::tcp {

void MessageReceiver::make_room() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    const bool large = capacity_ > kReceiveBytes;
    if (capacity_ == 0 || (large && ++small_turns_ >= kShrinkTurns)) resize(kReceiveBytes);
    return;
  }
  if (need_ > capacity_) {
    resize(need_);
    small_turns_ = 0;
  } else if (begin_ + need_ > capacity_ || capacity_ - end_ < kReceiveBytes / 2) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
}

void MessageReceiver::resize(std::size_t bytes) {
  const auto kept = end_ - begin_;
  auto larger = std::make_unique_for_overwrite<std::byte[]>(bytes);
  if (kept != 0) std::memcpy(larger.get(), buffer_.get() + begin_, kept);
  buffer_ = std::move(larger);
  capacity_ = bytes;
  begin_ = 0;
  end_ = kept;
  small_turns_ = 0;
}

MessageReceiver::Next MessageReceiver::next(FrameView& frame) {
  const auto available = end_ - begin_;
  if (available < kFrameHeaderBytes || available < need_) return Next::none;
  const std::span<const std::byte> bytes(buffer_.get() + begin_, available);
  auto parsed = parse_header(bytes.first<kFrameHeaderBytes>(), limits_);
  if (!parsed.ok()) return fail(std::move(parsed).error());
  const auto& header = *parsed;
  const auto meta_end = kFrameHeaderBytes + header.meta_bytes;
  const auto payload_at = kFrameHeaderBytes + padded(header.meta_bytes);
  need_ = payload_at + padded(static_cast<std::size_t>(header.payload_bytes));
  if (need_ > kReceiveBytes) small_turns_ = 0;
  if (available < need_) return Next::none;
  const auto meta = bytes.subspan(kFrameHeaderBytes, meta_end - kFrameHeaderBytes);
  if (auto status = verify(header, meta); !status.ok()) return fail(std::move(status).error());
  frame = {header, meta, bytes.subspan(payload_at, static_cast<std::size_t>(header.payload_bytes))};
  begin_ += need_;
  need_ = kFrameHeaderBytes;
  return Next::frame;
}

MessageReceiver::Next MessageReceiver::fail(Error error) {
  error_ = std::move(error);
  return Next::failed;
}

}  // namespace shoal::tcp
