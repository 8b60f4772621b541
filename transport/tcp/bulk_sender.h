#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "transport/tcp/send_queue.h"

namespace shoal::tcp {

/// The sending half of a bulk lane: writes and sessions' frames in the order in which they were
/// posted, and answers to the peer's reads. The two take turns, frame by frame, so that neither
/// direction of transfer starves the other. Frames are cut only as far as the socket has room: what
/// is not cut yet can still be refused when its region goes.
class BulkSender {
 public:
  bool empty() const { return posted_.empty() && answers_.empty() && cut_.empty(); }
  bool has_room(std::size_t copied_bytes) const {
    return posted_.size() < kQueuedMax && staged_.fits(copied_bytes);
  }
  bool has_room_for_answer() const { return answers_.size() < kReadsMax; }

  /// has_room(0) must hold.
  void post_write(ConstMemoryView from, const RemoteSpan& to, std::uint64_t context);
  /// has_room(SendQueue::copied_bytes(...)) must hold; `header` is sealed.
  void post_frame(const FrameHeader& header, std::span<const std::byte> meta,
                  std::span<const ConstMemoryView> payload, bool copy,
                  const Completion& completion);
  /// Answers a peer's bulk_read from the region as it is when its turn comes.
  void post_answer(const BulkMeta& read);

  /// Prepares what the socket may take next: whole frames, up to the one that brings them to
  /// `bytes`, none with a larger payload. False: a source was revoked when its frame was half out,
  /// the connection has to be closed.
  bool cut(const RegionTable& regions, std::size_t bytes);
  std::size_t gather(std::span<iovec> iovecs, std::size_t bytes_max) {
    return cut_.gather(iovecs, bytes_max);
  }
  template <class Done>
  void advance(std::size_t bytes, Done&& done) {
    cut_.advance(bytes, done);
  }
  bool half_out_of(std::uint64_t region) { return cut_.half_out_of(region); }
  /// Drops everything; `ended(completion)` for each posted operation that wants it, in order.
  template <class Ended>
  void clear(Ended&& ended) {
    cut_.clear(ended);
    for (std::size_t i = 0; i < posted_.size(); ++i)
      if (posted_[i].completion.wanted) ended(posted_[i].completion);
    posted_.clear();
    answers_.clear();
    staged_.clear();
  }

 private:
  struct Posted {
    bool is_frame = false;
    std::uint8_t views = 0;
    std::uint8_t tail_pad = 0;
    std::uint32_t staged_bytes = 0;
    std::uint64_t staged = 0;
    std::uint64_t done = 0;  ///< of a write: bytes cut
    RemoteSpan to;
    Completion completion;
    std::array<ConstMemoryView, Transport::kPayloadViewsMax> payload;
  };
  struct Answer {
    BulkMeta read;
    std::uint64_t done = 0;
  };

  void cut_posted(std::size_t payload_max);
  void cut_answer(const RegionTable& regions, std::size_t payload_max);

  Ring<Posted> posted_;
  Ring<Answer> answers_;
  ByteRing staged_{kStagedMax};
  SendQueue cut_;
  bool answers_turn_ = false;
};

}  // namespace shoal::tcp
