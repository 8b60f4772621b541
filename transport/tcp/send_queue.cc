#include "transport/tcp/send_queue.h"

#include <algorithm>
#include <cstring>

namespace shoal::tcp {

namespace {

constexpr std::array<std::byte, 8> kZeros{};

/// Appends runs to iovecs, joining those that follow each other in memory: many small frames in the
/// staging ring become one entry.
class Gatherer {
 public:
  Gatherer(std::span<iovec> iovecs, std::size_t skip) : iovecs_(iovecs), skip_(skip) {}
  /// False: no entry is left.
  bool add(const std::byte* data, std::size_t bytes) {
    if (skip_ >= bytes) {
      skip_ -= bytes;
      return true;
    }
    data += skip_;
    bytes -= skip_;
    skip_ = 0;
    bytes_ += bytes;
    if (count_ > 0) {
      auto& last = iovecs_[count_ - 1];
      if (static_cast<const std::byte*>(last.iov_base) + last.iov_len == data) {
        last.iov_len += bytes;
        return true;
      }
    }
    if (count_ == iovecs_.size()) return false;
    iovecs_[count_++] = {const_cast<std::byte*>(data), bytes};
    return true;
  }
  std::size_t count() const { return count_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::span<iovec> iovecs_;
  std::size_t skip_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace

void write_bulk_head(std::byte* to, FrameKind kind, const BulkMeta& meta,
                     std::uint64_t payload_bytes) {
  FrameHeader header;
  header.kind = kind;
  header.payload_bytes = payload_bytes;
  seal(header, std::as_bytes(std::span(&meta, 1)));
  std::memcpy(to, &header, sizeof header);
  std::memcpy(to + sizeof header, &meta, sizeof meta);
}

SendQueue::Frame& SendQueue::add(std::size_t staged_bytes, std::span<const ConstMemoryView> payload,
                                 std::size_t tail_pad, const Completion& completion) {
  SHOAL_ASSERT(payload.size() <= Transport::kPayloadViewsMax, "too many payload views");
  auto& frame = frames_.push_back({});
  frame.staged = staged_.reserve(staged_bytes);
  frame.staged_bytes = static_cast<std::uint32_t>(staged_bytes);
  frame.views = static_cast<std::uint8_t>(payload.size());
  frame.tail_pad = static_cast<std::uint8_t>(tail_pad);
  frame.completion = completion;
  std::copy(payload.begin(), payload.end(), frame.payload.begin());
  frame.bytes = staged_bytes + total_bytes(payload) + tail_pad;
  bytes_ += frame.bytes;
  return frame;
}

void SendQueue::push(const FrameHeader& header, std::span<const std::byte> meta,
                     std::span<const ConstMemoryView> payload, bool copy,
                     const Completion& completion) {
  const auto payload_bytes = static_cast<std::size_t>(header.payload_bytes);
  const auto tail_pad = padded(payload_bytes) - payload_bytes;
  const auto staged_bytes = copied_bytes(meta.size(), payload_bytes, copy);
  const std::span<const ConstMemoryView> none;
  const auto& frame = add(staged_bytes, copy ? none : payload, copy ? 0 : tail_pad, completion);
  stage_frame(staged_.at(frame.staged), header, meta, copy ? payload : none);
}

void SendQueue::push_staged(std::span<const std::byte> head,
                            std::span<const ConstMemoryView> payload, std::size_t tail_pad,
                            const Completion& completion) {
  const auto& frame = add(head.size(), payload, tail_pad, completion);
  std::memcpy(staged_.at(frame.staged), head.data(), head.size());
}

void SendQueue::push_bulk(FrameKind kind, const BulkMeta& meta, ConstMemoryView payload,
                          const Source& source, const Completion& completion) {
  const auto views = std::span(&payload, payload.bytes == 0 ? 0u : 1u);
  auto& frame = add(kBulkHeadBytes, views, 0, completion);
  frame.source = source;
  write_bulk_head(staged_.at(frame.staged), kind, meta, payload.bytes);
}

std::size_t SendQueue::gather(std::span<iovec> iovecs, std::size_t bytes_max) {
  Gatherer out(iovecs, sent_);
  for (std::size_t i = 0; i < frames_.size() && out.bytes() < bytes_max; ++i) {
    const auto& frame = frames_[i];
    if (!out.add(staged_.at(frame.staged), frame.staged_bytes)) break;
    for (std::size_t v = 0; v < frame.views; ++v)
      if (!out.add(frame.payload[v].data, frame.payload[v].bytes)) return out.count();
    if (!out.add(kZeros.data(), frame.tail_pad)) break;
  }
  return out.count();
}

// The first frame of a read becomes its refusal; the others of the same read vanish.
void SendQueue::refuse(std::size_t index) {
  const auto op = frames_[index].source.op;
  for (std::size_t i = index; i < frames_.size(); ++i) {
    auto& frame = frames_[i];
    if (frame.source.region == 0 || frame.source.op != op) continue;
    bytes_ -= frame.bytes;
    frame.views = 0;
    frame.source = {};
    if (i == index) {
      write_bulk_head(staged_.at(frame.staged), FrameKind::bulk_refused, {.op = op}, 0);
      frame.bytes = frame.staged_bytes;
    } else {
      frame.staged_bytes = 0;
      frame.bytes = 0;
    }
    bytes_ += frame.bytes;
  }
}

}  // namespace shoal::tcp
