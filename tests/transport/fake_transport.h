#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/wire/codec.h"
#include "core/wire/frame.h"
#include "transport/transport.h"

namespace shoal::test {

/// A transport without a network: remembers what was sent, and lets the test make up the events.
/// Its log keeps its memory, so that tests can count the allocations of what they try.
class FakeTransport final : public Transport {
 public:
  struct Sent {
    EndpointId endpoint;
    FrameHeader header;
    std::vector<std::byte> meta;
    std::vector<std::byte> payload;
    SendOptions options;
    bool late = false;  ///< close() had been called on the endpoint
  };

  // --- What the test sees and decides.
  std::size_t room = std::numeric_limits<std::size_t>::max();  ///< sends until `overloaded`
  std::size_t room_bulk = std::numeric_limits<std::size_t>::max();
  Errc send_fails = Errc::ok;         ///< what all sends end with,
  Errc payload_fails = Errc::ok;      ///< and those with a payload
  std::vector<EndpointId> connected;  ///< by connect(), in order
  std::vector<EndpointId> closed;     ///< by close(), in order
  Errc connect_fails = Errc::ok;
  bool armable = true;          ///< what arm() says
  std::vector<Event> incoming;  ///< what the next poll() reports

  std::size_t sent_count() const { return count_; }
  const Sent& sent(std::size_t i) const { return log_.at(i); }
  const Sent& last() const { return log_.at(count_ - 1); }
  void forget() { count_ = 0; }
  EndpointId fresh() { return EndpointId(++next_); }

  static Event event(Event::Kind kind, EndpointId endpoint, Errc status = Errc::ok) {
    Event e;
    e.kind = kind;
    e.endpoint = endpoint;
    e.status = status;
    return e;
  }
  static Event message(EndpointId endpoint, const FrameHeader& header,
                       std::span<const std::byte> meta = {},
                       std::span<const std::byte> payload = {}) {
    auto e = event(Event::Kind::message, endpoint);
    e.frame = {header, meta, payload};
    e.frame.header.meta_bytes = static_cast<std::uint32_t>(meta.size());
    e.frame.header.payload_bytes = payload.size();
    return e;
  }

  // --- Transport.
  std::string_view name() const override { return "fake"; }
  Result<Address> listen(const Address& at) override { return at; }
  Result<EndpointId> connect(const Address&, TimePoint) override {
    if (connect_fails != Errc::ok) return Error{connect_fails, "as the test says"};
    connected.push_back(fresh());
    return connected.back();
  }
  void close(EndpointId endpoint) override { closed.push_back(endpoint); }
  std::string peer_of(EndpointId) const override { return "nowhere"; }
  std::string explain(EndpointId) const override { return "fake"; }
  Result<Region> register_memory(MemoryView, Access) override {
    return Error{Errc::unavailable, "no regions"};
  }
  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, const SendOptions& options) override {
    if (send_fails != Errc::ok) return Error{send_fails, "as the test says"};
    if (payload_fails != Errc::ok && !payload.empty())
      return Error{payload_fails, "as the test says"};
    auto& left = options.lane == Lane::bulk ? room_bulk : room;
    if (left == 0) return Error{Errc::overloaded, "full"};
    --left;
    if (count_ == log_.size()) log_.emplace_back();
    auto& sent = log_[count_++];
    sent.endpoint = endpoint;
    sent.header = header;
    sent.meta.assign(meta.begin(), meta.end());
    sent.payload.clear();
    for (const auto& view : payload)
      sent.payload.insert(sent.payload.end(), view.data, view.data + view.bytes);
    sent.options = options;
    sent.late = std::find(closed.begin(), closed.end(), endpoint) != closed.end();
    return {};
  }
  Status read(EndpointId, MemoryView, const RemoteSpan&, std::uint64_t) override {
    return Error{Errc::unavailable, "no regions"};
  }
  Status write(EndpointId, ConstMemoryView, const RemoteSpan&, std::uint64_t) override {
    return Error{Errc::unavailable, "no regions"};
  }
  std::size_t poll(std::span<Event> events) override {
    const auto count = std::min(events.size(), incoming.size());
    std::copy_n(incoming.begin(), count, events.begin());
    incoming.erase(incoming.begin(), incoming.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }
  void flush() override {}
  int wait_fd() const override { return -1; }
  bool arm() override { return armable; }
  TimePoint next_timer() const override { return kNever; }

 private:
  RemoteSpan remote_span(std::uint64_t, std::size_t, std::size_t) const override { return {}; }
  void revoke(std::uint64_t) override {}

  std::vector<Sent> log_;
  std::size_t count_ = 0;
  std::uint64_t next_ = 0;
};

/// The meta of a frame that is the one message `m`.
template <class M>
std::vector<std::byte> meta_of(const M& m) {
  std::vector<std::byte> bytes(4096);
  Writer out(bytes);
  encode(out, m);
  bytes.resize(out.size());
  return bytes;
}

inline FrameHeader header_of(FrameKind kind, RequestId request = {}, std::uint32_t credits = 0,
                             Errc status = Errc::ok) {
  FrameHeader header;
  header.kind = kind;
  header.request = request;
  header.credits = credits;
  header.status = static_cast<std::uint16_t>(status);
  return header;
}

inline TimePoint at_ms(std::int64_t ms) { return TimePoint(std::chrono::milliseconds(ms)); }

}  // namespace shoal::test
