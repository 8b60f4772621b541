#include "transport/tcp/endpoint.h"

namespace shoal::tcp {

namespace {

constexpr std::uint64_t kReadIndexMask = 0xffff;
static_assert(kReadsMax <= kReadIndexMask + 1);

// Where the zero bytes of an empty read into no memory 'go'.
std::byte no_bytes;

}  // namespace

std::uint64_t ReadTable::add(MemoryView to, std::uint64_t context) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(reads_.size()));
    reads_.emplace_back();
    free_.reserve(reads_.capacity());
  }
  const auto index = free_.back();
  free_.pop_back();
  auto& read = reads_[index];
  read = {(++generation_ << 16) | index, to, 0, context};
  return read.op;
}

ReadTable::Read* ReadTable::find(std::uint64_t op) {
  const auto index = op & kReadIndexMask;
  if (op == 0 || index >= reads_.size() || reads_[index].op != op) return nullptr;
  return &reads_[index];
}

void ReadTable::remove(Read& read) {
  free_.push_back(static_cast<std::uint32_t>(read.op & kReadIndexMask));
  read = {};
}

std::byte* Endpoint::write_target(std::uint64_t region, std::uint64_t address,
                                  std::uint64_t bytes) {
  auto* to = regions_.find(region, address, bytes, Access::write);
  if (to == nullptr) counters_.swallowed_bytes += bytes;
  return to;
}

std::byte* Endpoint::read_target(std::uint64_t op, std::uint64_t offset, std::uint64_t bytes) {
  const auto* read = reads.find(op);
  if (read == nullptr || offset != read->received || bytes > read->to.bytes - offset)
    return nullptr;
  return bytes == 0 ? &no_bytes : read->to.data + offset;
}

void Endpoint::read_arrived(std::uint64_t op, std::uint64_t bytes) {
  auto* read = reads.find(op);
  SHOAL_ASSERT(read != nullptr, "data arrived for a read that is gone");
  read->received += bytes;
  if (read->received != read->to.bytes) return;
  complete({true, Event::Kind::read_done, read->context}, Errc::ok);
  reads.remove(*read);
}

bool Endpoint::read_refused(std::uint64_t op) {
  auto* read = reads.find(op);
  if (read == nullptr) return false;
  complete({true, Event::Kind::read_done, read->context}, Errc::revoked);
  reads.remove(*read);
  return true;
}

}  // namespace shoal::tcp
