#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/tcp/limits.h"
#include "transport/tcp/wire.h"

namespace shoal::tcp {

/// Turns a stream of bytes into sessions' frames (and bulk_read requests). No I/O: the owner asks
/// for space(), puts bytes there, says received(), and takes frames with next() until there is
/// none. Frames point into the buffer and stay valid until the next begin_turn().
class MessageReceiver {
 public:
  enum class Next : std::uint8_t { none, frame, failed };

  explicit MessageReceiver(const FrameLimits& limits = {}) : limits_(limits) {}

  /// Ends the life of the views of the turn before: moves an unfinished frame to the front, makes
  /// room for it if it is large. Does nothing if called again in the same turn.
  void begin_turn(std::uint64_t turn) {
    if (turn == turn_) return;
    turn_ = turn;
    make_room();
  }
  /// Where the next bytes belong. Empty: not before the next turn.
  std::span<std::byte> space() { return {buffer_.get() + end_, capacity_ - end_}; }
  void received(std::size_t bytes) { end_ += bytes; }
  /// The next whole frame. `failed`: the stream is broken for good, see error().
  Next next(FrameView& frame);
  const Error& error() const { return error_; }
  bool mid_frame() const { return begin_ != end_; }
  std::size_t capacity() const { return capacity_; }

 private:
  void make_room();
  void resize(std::size_t bytes);
  Next fail(Error error);

  FrameLimits limits_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;                 ///< of the first frame not yet taken; a multiple of 8
  std::size_t end_ = 0;                   ///< of the bytes received
  std::size_t need_ = kFrameHeaderBytes;  ///< of the frame at begin_, as far as is known
  std::uint32_t small_turns_ = 0;
  std::uint64_t turn_ = 0;
  Error error_;
};

}  // namespace shoal::tcp
