#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

#include "transport/ring.h"
#include "transport/tcp/region_table.h"
#include "transport/tcp/wire.h"

namespace shoal::tcp {

/// What poll() has to report once a frame has left.
struct Completion {
  bool wanted = false;
  Event::Kind kind = Event::Kind::sent;
  std::uint64_t context = 0;
};

/// Frames on their way into one socket: small parts copied into a ring, payload by reference. Knows
/// how to describe itself in iovecs and how to be shortened by what the socket took.
class SendQueue {
 public:
  /// Where a frame's payload comes from, if a region may be revoked under it.
  struct Source {
    std::uint64_t region = 0;  ///< 0: lent memory, not a region
    std::uint64_t address = 0;
    std::uint64_t op = 0;  ///< the peer's read that it answers
  };

  bool empty() const { return frames_.empty(); }
  std::size_t frames() const { return frames_.size(); }
  std::uint64_t queued_bytes() const { return bytes_; }
  /// Whether one more frame with this much copied data may be queued.
  bool has_room(std::size_t copied_bytes) const {
    return frames_.size() < kQueuedMax && staged_.fits(copied_bytes);
  }
  static std::size_t copied_bytes(std::size_t meta_bytes, std::size_t payload_bytes, bool copy) {
    return kFrameHeaderBytes + padded(meta_bytes) + (copy ? padded(payload_bytes) : 0);
  }

  /// A session's frame, padded; `header` is sealed. has_room() must hold.
  void push(const FrameHeader& header, std::span<const std::byte> meta,
            std::span<const ConstMemoryView> payload, bool copy, const Completion& completion);
  /// A frame whose first part stands ready, as copied from a bulk lane's queue.
  void push_staged(std::span<const std::byte> head, std::span<const ConstMemoryView> payload,
                   std::size_t tail_pad, const Completion& completion);
  /// A bulk_* frame: fixed meta, no padding; header.payload_bytes is filled in.
  void push_bulk(FrameKind kind, const BulkMeta& meta, ConstMemoryView payload,
                 const Source& source, const Completion& completion);

  /// Describes what is to be sent next, up to the frame that brings it to `bytes_max`. Returns the
  /// count.
  std::size_t gather(std::span<iovec> iovecs, std::size_t bytes_max);
  /// The socket took `bytes`; `done(completion)` for each frame that is out and wants it.
  template <class Done>
  void advance(std::size_t bytes, Done&& done) {
    bytes_ -= bytes;
    sent_ += bytes;
    while (!frames_.empty() && sent_ >= frames_.front().bytes) {
      auto& frame = frames_.front();
      sent_ -= frame.bytes;
      staged_.free_to(frame.staged + frame.staged_bytes);
      const auto completion = frame.completion;
      frames_.pop_front();
      if (completion.wanted) done(completion);
    }
  }
  /// Whether the first frame comes from `region` and has begun to leave.
  bool half_out_of(std::uint64_t region) {
    return sent_ > 0 && frames_.front().source.region == region;
  }
  /// Turns frames whose source region is gone into a bulk_refused, one for each read; false if one
  /// of them is half out, so that only closing the connection keeps the rest in. `answer_ended(op)`
  /// for each read that has been refused.
  template <class Ended>
  bool revalidate(const RegionTable& regions, Ended&& answer_ended) {
    for (std::size_t i = 0; i < frames_.size(); ++i) {
      auto& frame = frames_[i];
      if (frame.source.region == 0) continue;
      if (regions.find(frame.source.region, frame.source.address, frame.payload[0].bytes,
                       Access::read) != nullptr)
        continue;
      if (i == 0 && sent_ > 0) return false;
      const auto op = frame.source.op;
      refuse(i);
      answer_ended(op);
    }
    return true;
  }
  /// Drops everything; `ended(completion)` for each frame that wants it.
  template <class Ended>
  void clear(Ended&& ended) {
    for (std::size_t i = 0; i < frames_.size(); ++i)
      if (frames_[i].completion.wanted) ended(frames_[i].completion);
    frames_.clear();
    staged_.clear();
    bytes_ = sent_ = 0;
  }

 private:
  struct Frame {
    std::uint64_t staged = 0;  ///< position of header, meta and copied payload
    std::uint64_t bytes = 0;   ///< on the wire, all parts
    std::uint32_t staged_bytes = 0;
    std::uint8_t views = 0;
    std::uint8_t tail_pad = 0;
    Completion completion;
    Source source;
    std::array<ConstMemoryView, Transport::kPayloadViewsMax> payload;
  };

  Frame& add(std::size_t staged_bytes, std::span<const ConstMemoryView> payload,
             std::size_t tail_pad, const Completion& completion);
  void refuse(std::size_t index);

  Ring<Frame> frames_;
  ByteRing staged_{kStagedMax};
  std::uint64_t bytes_ = 0;  ///< not yet sent, of all frames
  std::uint64_t sent_ = 0;   ///< of the first frame
};

/// Seals and writes a bulk_* frame's head.
void write_bulk_head(std::byte* to, FrameKind kind, const BulkMeta& meta,
                     std::uint64_t payload_bytes);

}  // namespace shoal::tcp
