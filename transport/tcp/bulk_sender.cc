#include "transport/tcp/bulk_sender.h"

#include <algorithm>

namespace shoal::tcp {

void BulkSender::post_write(ConstMemoryView from, const RemoteSpan& to, std::uint64_t context) {
  auto& op = posted_.push_back({});
  op.to = to;
  op.payload[0] = from;
  op.completion = {true, Event::Kind::write_done, context};
}

void BulkSender::post_frame(const FrameHeader& header, std::span<const std::byte> meta,
                            std::span<const ConstMemoryView> payload, bool copy,
                            const Completion& completion) {
  const auto payload_bytes = static_cast<std::size_t>(header.payload_bytes);
  auto& op = posted_.push_back({});
  op.is_frame = true;
  op.completion = completion;
  op.staged_bytes =
      static_cast<std::uint32_t>(SendQueue::copied_bytes(meta.size(), payload_bytes, copy));
  op.staged = staged_.reserve(op.staged_bytes);
  const std::span<const ConstMemoryView> none;
  stage_frame(staged_.at(op.staged), header, meta, copy ? payload : none);
  if (copy) return;
  op.tail_pad = static_cast<std::uint8_t>(padded(payload_bytes) - payload_bytes);
  op.views = static_cast<std::uint8_t>(payload.size());
  std::copy(payload.begin(), payload.end(), op.payload.begin());
}

void BulkSender::post_answer(const BulkMeta& read) { answers_.push_back({read, 0}); }

bool BulkSender::cut(const RegionTable& regions, std::size_t bytes) {
  const auto ended = [this](std::uint64_t op) {
    // Only the first answer can have been cut in part; the rest of it goes with its refusal.
    if (!answers_.empty() && answers_.front().read.op == op && answers_.front().done > 0)
      answers_.pop_front();
  };
  if (!cut_.revalidate(regions, ended)) return false;
  const auto payload_max = std::min(bytes, kSegmentBytesMax);
  // No more than one system call takes: what is cut is looked through before each.
  while (cut_.queued_bytes() < bytes && cut_.frames() < kIovecsMax) {
    if (posted_.empty() && answers_.empty()) break;
    // A large frame of a session waits until the cut queue has room for its copied part.
    const bool posted_fits = !posted_.empty() && (!posted_.front().is_frame ||
                                                  cut_.has_room(posted_.front().staged_bytes));
    if (!posted_fits && answers_.empty()) break;
    if (!answers_.empty() && (answers_turn_ || !posted_fits)) {
      cut_answer(regions, payload_max);
    } else {
      cut_posted(payload_max);
    }
    answers_turn_ = !answers_turn_;
  }
  return true;
}

void BulkSender::cut_posted(std::size_t payload_max) {
  auto& op = posted_.front();
  if (op.is_frame) {
    const std::span<const std::byte> head(staged_.at(op.staged), op.staged_bytes);
    cut_.push_staged(head, std::span(op.payload).first(op.views), op.tail_pad, op.completion);
    staged_.free_to(op.staged + op.staged_bytes);
    posted_.pop_front();
    return;
  }
  const auto& from = op.payload[0];
  const auto bytes = std::min<std::uint64_t>(from.bytes - op.done, payload_max);
  const bool last = op.done + bytes == from.bytes;
  const BulkMeta meta{.region = op.to.region, .address = op.to.address + op.done, .bytes = bytes};
  cut_.push_bulk(FrameKind::bulk_write, meta, from.sub(op.done, bytes), {},
                 last ? op.completion : Completion{});
  op.done += bytes;
  if (last) posted_.pop_front();
}

void BulkSender::cut_answer(const RegionTable& regions, std::size_t payload_max) {
  auto& answer = answers_.front();
  const auto& read = answer.read;
  const auto* memory = regions.find(read.region, read.address, read.bytes, Access::read);
  if (memory == nullptr) {
    cut_.push_bulk(FrameKind::bulk_refused, {.op = read.op}, {}, {}, {});
    answers_.pop_front();
    return;
  }
  const auto bytes = std::min<std::uint64_t>(read.bytes - answer.done, payload_max);
  const BulkMeta meta{.address = answer.done, .bytes = bytes, .op = read.op};
  cut_.push_bulk(FrameKind::bulk_data, meta, {memory + answer.done, bytes},
                 {read.region, read.address + answer.done, read.op}, {});
  answer.done += bytes;
  if (answer.done == read.bytes) answers_.pop_front();
}

}  // namespace shoal::tcp
