#include "transport/tcp/bulk_receiver.h"

#include <algorithm>
#include <cstring>

namespace shoal::tcp {

Status BulkReceiver::begin_turn(std::uint64_t turn) {
  if (turn == turn_) return {};
  turn_ = turn;
  // The buffer of sessions' frames is made when the first of them comes.
  if (frames_.capacity() != 0) frames_.begin_turn(turn);
  return parse();
}

std::size_t BulkReceiver::prepare(std::span<iovec, 2> iovecs) {
  direct_ = 0;
  std::size_t count = 0;
  if (body_ != Body::none) {
    std::size_t room = 0;
    auto* to = target(room);
    direct_ = static_cast<std::size_t>(std::min<std::uint64_t>(room, left_));
    if (direct_ == 0) return 0;
    iovecs[count++] = {to, direct_};
    if (direct_ != left_) return count;
  }
  if (ahead_begin_ != 0) {
    std::memmove(ahead_.data(), ahead_.data() + ahead_begin_, ahead());
    ahead_end_ = ahead();
    ahead_begin_ = 0;
  }
  iovecs[count++] = {ahead_.data() + ahead_end_, ahead_.size() - ahead_end_};
  return count;
}

Status BulkReceiver::received(std::size_t bytes) {
  const auto direct = std::min(bytes, direct_);
  direct_ = 0;
  take(direct);
  ahead_end_ += bytes - direct;
  return parse();
}

// Ends when the look-ahead holds no whole head any more, when the body wants more bytes than it
// holds, or when a session's frame has to wait for room.
Status BulkReceiver::parse() {
  for (;;) {
    if (body_ == Body::none) {
      if (ahead() < kFrameHeaderBytes) return {};
      const std::span<const std::byte> bytes(ahead_.data() + ahead_begin_, ahead());
      SHOAL_ASSIGN(const auto header, parse_header(bytes.first<kFrameHeaderBytes>(), limits_));
      if (!is_transport_kind(header.kind)) {
        frames_.begin_turn(turn_);
        body_ = Body::frame;
        done_ = 0;
        left_ = kFrameHeaderBytes + padded(header.meta_bytes) +
                padded(static_cast<std::size_t>(header.payload_bytes));
        continue;
      }
      if (header.meta_bytes != sizeof(BulkMeta))
        return Error{Errc::protocol, "a bulk frame's head has the wrong length"};
      if (ahead() < kBulkHeadBytes) return {};
      SHOAL_TRY(begin_frame(header, bytes.subspan(kFrameHeaderBytes, sizeof(BulkMeta))));
      ahead_begin_ += kBulkHeadBytes;
    } else if (left_ == 0) {
      if (body_ == Body::read) sink_.read_arrived(meta_.op, done_);
      body_ = Body::none;
    } else {
      if (ahead() == 0) return {};
      std::size_t room = 0;
      auto* to = target(room);
      const auto bytes =
          static_cast<std::size_t>(std::min<std::uint64_t>(left_, std::min(room, ahead())));
      if (bytes == 0) return {};
      std::memcpy(to, ahead_.data() + ahead_begin_, bytes);
      ahead_begin_ += bytes;
      take(bytes);
    }
  }
}

Status BulkReceiver::begin_frame(const FrameHeader& header, std::span<const std::byte> meta) {
  SHOAL_TRY(verify(header, meta));
  std::memcpy(&meta_, meta.data(), sizeof meta_);
  if (header.payload_bytes > kSegmentBytesMax)
    return Error{Errc::protocol, "a bulk frame is larger than a segment"};
  done_ = 0;
  left_ = header.payload_bytes;
  switch (header.kind) {
    case FrameKind::bulk_write:
      body_ = Body::write;
      return {};
    case FrameKind::bulk_data:
      if (sink_.read_target(meta_.op, meta_.address, left_) == nullptr)
        return Error{Errc::protocol, "the peer sent data that nobody asked for"};
      body_ = Body::read;
      return {};
    case FrameKind::bulk_refused:
      if (left_ != 0 || !sink_.read_refused(meta_.op))
        return Error{Errc::protocol, "the peer refused a read that nobody asked for"};
      return {};
    default:
      return Error{Errc::protocol, "a frame that has no place on a bulk lane"};
  }
}

std::byte* BulkReceiver::target(std::size_t& room) {
  room = static_cast<std::size_t>(left_);
  if (body_ == Body::frame) {
    const auto space = frames_.space();
    room = space.size();
    return space.data();
  }
  if (body_ == Body::read) return sink_.read_target(meta_.op, meta_.address, done_ + left_) + done_;
  if (meta_.region != 0) {
    auto* to = sink_.write_target(meta_.region, meta_.address + done_, left_);
    if (to != nullptr) return to;
    // Once refused, the whole frame is: a forged address must not become right by wrapping around.
    meta_.region = 0;
  }
  room = std::min(room, discard_.size());
  return discard_.data();
}

void BulkReceiver::take(std::size_t bytes) {
  done_ += bytes;
  left_ -= bytes;
  if (body_ == Body::frame) frames_.received(bytes);
}

}  // namespace shoal::tcp
