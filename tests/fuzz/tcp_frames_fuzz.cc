// Any bytes, and well-sealed frames with any fields, in pieces of any size, into all that parses
// what a socket brings: the handshake, the message lane, the bulk lane. Memory is touched only
// inside the region and the reads, views lie inside the buffer, and what is reported was sealed.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/base/random.h"
#include "transport/auth.h"
#include "transport/tcp/bulk_receiver.h"
#include "transport/tcp/message_receiver.h"
#include "transport/tcp/region_table.h"
#include "transport/tcp/send_queue.h"

namespace shoal::tcp {
namespace {

/// The fuzzer's bytes, read as choices; zeros when they are used up.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
  bool empty() const { return left_.empty(); }
  std::uint8_t byte() {
    if (left_.empty()) return 0;
    const auto value = left_.front();
    left_ = left_.subspan(1);
    return value;
  }
  std::uint32_t word() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = (value << 8) | byte();
    return value;
  }
  std::span<const std::byte> rest(std::size_t bytes) {
    const auto n = std::min(bytes, left_.size());
    const auto taken = left_.first(n);
    left_ = left_.subspan(n);
    return std::as_bytes(taken);
  }

 private:
  std::span<const std::uint8_t> left_;
};

using Bytes = std::vector<std::byte>;

void append(Bytes& stream, std::span<const std::byte> bytes) {
  stream.insert(stream.end(), bytes.begin(), bytes.end());
}

/// A region of the receiver between two canaries, and one read of its own under way.
class Sink final : public BulkSink {
 public:
  Sink() {
    memory_.fill(std::byte{1});
    read_.fill(std::byte{1});
    const MemoryView inside{memory_.data() + kCanary, kInside};
    region = regions_.add(inside, Access::write).value();
  }
  std::byte* write_target(std::uint64_t name, std::uint64_t address, std::uint64_t bytes) override {
    return regions_.find(name, address, bytes, Access::write);
  }
  std::byte* read_target(std::uint64_t op, std::uint64_t offset, std::uint64_t bytes) override {
    if (op != 1 || offset != received_ || bytes > kInside - offset) return nullptr;
    return read_.data() + kCanary + offset;
  }
  void read_arrived(std::uint64_t op, std::uint64_t bytes) override {
    SHOAL_ASSERT(op == 1 && bytes <= kInside - received_, "more data than was asked for");
    received_ += bytes;
  }
  bool read_refused(std::uint64_t op) override { return op == 1; }
  void revoke() { regions_.remove(region); }
  void check() const {
    for (const auto* buffer : {&memory_, &read_})
      for (std::size_t i = 0; i < kCanary; ++i)
        SHOAL_ASSERT(
            (*buffer)[i] == std::byte{1} && (*buffer)[kCanary + kInside + i] == std::byte{1},
            "bytes landed outside");
  }

  static constexpr std::size_t kInside = 5000, kCanary = 512;
  std::uint64_t region = 0;

 private:
  RegionTable regions_{12345};
  std::array<std::byte, kInside + 2 * kCanary> memory_, read_;
  std::uint64_t received_ = 0;
};

void append_session_frame(Bytes& stream, Choices& choices) {
  FrameHeader header;
  header.kind = static_cast<FrameKind>(choices.byte());
  const auto meta = choices.rest(choices.byte());
  const Bytes payload(choices.word() % 70'000, std::byte{5});
  const ConstMemoryView view(payload.data(), payload.size());
  header.payload_bytes = payload.size();
  seal(header, meta);
  const auto at = stream.size();
  stream.resize(at + SendQueue::copied_bytes(meta.size(), payload.size(), true));
  stage_frame(stream.data() + at, header, meta, {&view, 1});
}

void append_bulk_frame(Bytes& stream, Choices& choices, std::uint64_t region) {
  const auto kind = static_cast<FrameKind>(choices.byte() % 9);
  BulkMeta meta;
  meta.region = choices.byte() % 4 != 0 ? region : choices.word();
  meta.address = choices.byte() % 4 != 0 ? choices.word() % 6000 : ~std::uint64_t{choices.byte()};
  meta.op = choices.byte() % 3;
  const auto bytes = choices.byte() % 8 != 0 ? choices.word() % 6000 : choices.word() % 300'000;
  const auto at = stream.size();
  stream.resize(at + kBulkHeadBytes + bytes, std::byte{6});
  write_bulk_head(stream.data() + at, kind, meta, bytes);
}

/// A stream of good, nearly good and bad frames.
Bytes make_stream(Choices& choices, std::uint64_t region) {
  Bytes stream;
  while (!choices.empty() && stream.size() < (2u << 20)) {
    switch (choices.byte() % 4) {
      case 0:
        append(stream, choices.rest(choices.byte()));
        break;
      case 1:
        append_session_frame(stream, choices);
        break;
      case 2:
        append_bulk_frame(stream, choices, region);
        break;
      case 3:
        if (!stream.empty()) stream[choices.word() % stream.size()] ^= std::byte{choices.byte()};
        break;
    }
  }
  return stream;
}

void check_view(const FrameView& frame) {
  SHOAL_ASSERT(verify(frame.header, frame.meta).ok(), "reported without being checked");
  SHOAL_ASSERT(frame.payload.size() == frame.header.payload_bytes, "a frame is whole");
  SHOAL_ASSERT(reinterpret_cast<std::uintptr_t>(frame.payload.data()) % 8 == 0, "not aligned");
  // Reads every byte, so that a view that leaves its buffer is seen by the sanitizer.
  std::uint8_t sum = 0;
  for (const auto byte : frame.payload)
    sum = static_cast<std::uint8_t>(sum ^ std::to_integer<int>(byte));
  volatile std::uint8_t used = sum;
  (void)used;
}

void run_messages(std::span<const std::byte> stream, Random& random) {
  MessageReceiver receiver;
  for (std::uint64_t turn = 1; !stream.empty(); ++turn) {
    receiver.begin_turn(turn);
    const auto space = receiver.space();
    SHOAL_ASSERT(!space.empty(), "a new turn has room");
    const auto n = std::min({stream.size(), space.size(), std::size_t{1} << random.below(18)});
    std::memcpy(space.data(), stream.data(), n);
    receiver.received(n);
    stream = stream.subspan(n);
    // Now and then the owner takes only some of the frames in this turn.
    for (auto left = random.below(8);;) {
      FrameView frame;
      const auto next = receiver.next(frame);
      if (next == MessageReceiver::Next::failed) return;
      if (next == MessageReceiver::Next::none) break;
      check_view(frame);
      if (left-- == 0) receiver.begin_turn(++turn);
    }
  }
}

void run_bulk(std::span<const std::byte> stream, Sink& sink, Random& random) {
  std::array<std::byte, 1000> discard;
  BulkReceiver receiver(sink, discard);
  int idle = 0;
  for (std::uint64_t turn = 1; !stream.empty(); ++turn) {
    if (!receiver.begin_turn(turn).ok()) return;
    if (random.chance(0.01)) sink.revoke();
    std::array<iovec, 2> iovecs;
    const auto count = receiver.prepare(iovecs);
    auto left = std::min(stream.size(), std::size_t{1} << random.below(19));
    std::size_t moved = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto n = std::min(left, iovecs[i].iov_len);
      if (n != 0) std::memcpy(iovecs[i].iov_base, stream.data() + moved, n);
      moved += n;
      left -= n;
    }
    stream = stream.subspan(moved);
    const bool fine = moved == 0 || receiver.received(moved).ok();
    bool delivered = false;
    for (FrameView frame;;) {
      const auto next = receiver.next(frame);
      if (next == MessageReceiver::Next::failed) return;
      if (next == MessageReceiver::Next::none) break;
      check_view(frame);
      delivered = true;
    }
    sink.check();
    if (!fine) return;
    idle = moved == 0 && !delivered ? idle + 1 : 0;
    SHOAL_ASSERT(idle < 3, "stuck with bytes to read");
  }
}

void run_auth(std::span<const std::byte> stream, Authenticator::Role role, Random& random) {
  static const auto token = Token::create(std::as_bytes(std::span("token", 5))).value();
  Nonce nonce;
  nonce.fill(std::byte{1});
  Authenticator auth(role, token, nonce, {});
  while (!stream.empty() && auth.wanted() > 0) {
    const auto n = std::min({stream.size(), auth.wanted(), std::size_t{1} + random.below(100)});
    if (!auth.feed(stream.first(n)).ok()) break;
    stream = stream.subspan(n);
    auth.sent(auth.outgoing().size());
  }
  SHOAL_ASSERT(!auth.done(), "proved without knowing the token");
}

}  // namespace
}  // namespace shoal::tcp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal;
  using namespace shoal::tcp;
  Choices choices(data, size);
  const auto what = choices.byte() % 4;
  Random random(choices.word());
  Sink sink;
  const auto stream = make_stream(choices, sink.region);
  switch (what) {
    case 0:
      run_messages(stream, random);
      break;
    case 1:
      run_bulk(stream, sink, random);
      break;
    case 2:
      run_auth(stream, Authenticator::Role::acceptor, random);
      break;
    case 3:
      run_auth(stream, Authenticator::Role::connector, random);
      break;
  }
  return 0;
}
