#include "server/store/list_room.h"

#include <algorithm>
#include <utility>

namespace shoal {

Result<ListRoom> ListRoom::create(Device& memory, Device& worker, std::size_t bytes) {
  SHOAL_ASSIGN(auto made, DeviceMemory::create(memory, bytes));
  return ListRoom(std::move(made), worker);
}

/// What a device that has failed was given never comes back; whoever asks it for results hears why.
void ListRoom::collect() {
  while (!uses_.empty()) {
    const auto done = worker_->done(uses_.front().event);
    if (!done.ok() || !*done) return;
    tail_ = uses_.front().end;
    uses_.pop_front();
  }
  if (tail_ == head_) head_ = tail_ = marked_ = 0;
}

std::byte* ListRoom::take_bytes(std::size_t bytes) {
  bytes = (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
  collect();
  // One line is left free, so that a full ring is no empty one.
  const auto fits = [&](std::size_t begin, std::size_t end) {
    return bytes + kMemoryAlignment <= end - begin;
  };
  if (head_ >= tail_) {
    if (fits(head_, memory_.bytes() + kMemoryAlignment)) {
      auto* piece = memory_.data() + head_;
      head_ += bytes;
      return piece;
    }
    if (!fits(0, tail_)) return nullptr;
    head_ = bytes;
    return memory_.data();
  }
  if (!fits(head_, tail_)) return nullptr;
  auto* piece = memory_.data() + head_;
  head_ += bytes;
  return piece;
}

void ListRoom::end_of_use() {
  if (marked_ == head_) return;
  marked_ = head_;
  const auto event = worker_->record();
  if (event.ok()) uses_.push_back({head_, *event});
}

}  // namespace shoal
