#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/tcp/message_receiver.h"

namespace shoal::tcp {

/// Where a bulk lane's bytes go: the regions and reads of its endpoint. Addresses are asked for
/// anew before every receive, so that nothing has to be undone when a region is revoked.
class BulkSink {
 public:
  virtual ~BulkSink() = default;
  /// Memory of a peer's write, or null: swallow it.
  virtual std::byte* write_target(std::uint64_t region, std::uint64_t address,
                                  std::uint64_t bytes) = 0;
  /// Memory for the next `bytes` of a read, which must continue where the last data ended; null: no
  /// such read, the peer is broken.
  virtual std::byte* read_target(std::uint64_t op, std::uint64_t offset, std::uint64_t bytes) = 0;
  /// A whole data frame of a read has arrived.
  virtual void read_arrived(std::uint64_t op, std::uint64_t bytes) = 0;
  /// The peer refused a read. False: no such read.
  virtual bool read_refused(std::uint64_t op) = 0;
};

/// The receiving half of a bulk lane as a state machine without I/O: it says where the next bytes
/// of the stream belong (rest of the current payload, straight into its destination, then a
/// look-ahead buffer with the next headers), and reads what came.
class BulkReceiver {
 public:
  BulkReceiver(BulkSink& sink, std::span<std::byte> discard, const FrameLimits& limits = {})
      : sink_(sink), discard_(discard), limits_(limits), frames_(limits) {}

  /// Ends the life of the views of the turn before, and goes on with what waited for room.
  Status begin_turn(std::uint64_t turn);
  /// Describes where to receive; 0: nothing before the next turn.
  std::size_t prepare(std::span<iovec, 2> iovecs);
  /// `bytes` came into what prepare() described.
  Status received(std::size_t bytes);
  /// The next whole frame of a session (Lane::bulk).
  MessageReceiver::Next next(FrameView& frame) { return frames_.next(frame); }
  const Error& error() const { return frames_.error(); }
  /// Bytes wait here for the next turn: the socket will not tell about them.
  bool stalled() const { return body_ == Body::frame && ahead() > 0; }
  bool mid_frame() const { return body_ != Body::none || ahead_begin_ != ahead_end_; }

 private:
  enum class Body : std::uint8_t { none, write, read, frame };

  Status parse();
  Status begin_frame(const FrameHeader& header, std::span<const std::byte> meta);
  std::byte* target(std::size_t& room);
  void take(std::size_t bytes);
  std::size_t ahead() const { return ahead_end_ - ahead_begin_; }

  BulkSink& sink_;
  std::span<std::byte> discard_;
  FrameLimits limits_;
  MessageReceiver frames_;
  Body body_ = Body::none;
  BulkMeta meta_;           ///< of the current bulk frame
  std::uint64_t done_ = 0;  ///< of the current body
  std::uint64_t left_ = 0;  ///< of the current body
  std::uint64_t turn_ = 0;
  std::size_t direct_ = 0;  ///< what the first iovec took at most
  std::size_t ahead_begin_ = 0;
  std::size_t ahead_end_ = 0;
  std::array<std::byte, kAheadBytes> ahead_;
};

}  // namespace shoal::tcp
