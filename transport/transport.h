#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/clock.h"
#include "core/base/function_ref.h"
#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/memory/memory_view.h"
#include "core/wire/frame.h"

// The seam between Shoal's protocols and the ways to move bytes. See docs/design/transport.md.

namespace shoal {

class Waker;

/// Where a process listens: "host:port", "[v6]:port"; on the simulated network the host is a name.
struct Address {
  std::string host;
  std::uint16_t port = 0;

  static Result<Address> parse(std::string_view text);
  std::string to_string() const;
  friend auto operator<=>(const Address&, const Address&) = default;
};

/// How long to wait before offering a frame again to a transport that had no room: its own progress
/// is not reported as an event, and a peer that does not read for a millisecond is slow already.
inline constexpr Duration kFullRetry = std::chrono::milliseconds(1);
/// The same where the transport found no memory (registration, no_memory): to ask the kernel for it
/// costs more, and whoever has it gives it back when it pleases.
inline constexpr Duration kNoMemoryRetry = std::chrono::milliseconds(100);

/// A connection, as its transport names it. Never reused, so an old id is harmless.
using EndpointId = StrongId<struct EndpointIdTag, std::uint64_t>;

/// Bytes of a peer's region, as they travel in messages: 24 bytes, no pointers of ours. What
/// `region` and `address` mean is the backend's own affair (a table index with a generation; a
/// verbs rkey and a virtual address); no other process can use them before the owner has sent them.
struct RemoteSpan {
  std::uint64_t region = 0;
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;

  RemoteSpan sub(std::uint64_t offset, std::uint64_t length) const {
    SHOAL_ASSERT(offset <= bytes && length <= bytes - offset, "remote span out of bounds");
    return {region, address + offset, length};
  }
  friend bool operator==(const RemoteSpan&, const RemoteSpan&) = default;
};

/// What peers may do with a region.
enum class Access : std::uint8_t { read = 1, write = 2, read_write = 3 };

class Transport;

/// Memory that peers may READ or WRITE, by `remote()`, until it is revoked. Move-only; destroying
/// it revokes. The memory itself belongs to whoever registered it and must outlive the region.
class Region {
 public:
  Region() = default;
  Region(Transport* transport, std::uint64_t id, MemoryView memory)
      : transport_(transport), id_(id), memory_(memory) {}
  Region(Region&& other) noexcept { swap(other); }
  Region& operator=(Region&& other) noexcept {
    Region(std::move(other)).swap(*this);
    return *this;
  }
  ~Region() { revoke(); }

  bool valid() const { return transport_ != nullptr; }
  MemoryView memory() const { return memory_; }
  /// The wire-safe name of `length` bytes from `offset`.
  RemoteSpan remote(std::size_t offset, std::size_t length) const;
  RemoteSpan remote() const { return remote(0, memory_.bytes); }
  /// From the return of this call on no byte of a peer lands in the memory and none leaves it: a
  /// WRITE under way is swallowed, a READ is refused. A frame that was half out when its source was
  /// revoked takes its connection with it; over RDMA so does any that was under way. Idempotent.
  void revoke();

 private:
  void swap(Region& other) noexcept;
  Transport* transport_ = nullptr;
  std::uint64_t id_ = 0;
  MemoryView memory_;
};

/// In which order frames of one endpoint arrive. Each lane is ordered; the lanes are not.
enum class Lane : std::uint8_t {
  message,  ///< Small and urgent; never waits behind bulk bytes.
  bulk,     ///< Behind every write() posted earlier on the endpoint: when it arrives, so have they.
};

/// What `poll` reports.
struct Event {
  enum class Kind : std::uint8_t {
    accepted,    ///< A peer connected to us and proved that it knows the token.
    connected,   ///< Our connect() succeeded.
    closed,      ///< The endpoint is gone: `status` says why. Comes after the completions of all
                 ///< that was posted on it. Not sent for an endpoint that close() was called on.
    message,     ///< `frame` arrived.
    sent,        ///< A send() with a context: its payload may be reused.
    read_done,   ///< A read() ended: with status ok all bytes are there.
    write_done,  ///< A write() ended: its source may be reused. Says nothing of the peer's side.
  };
  Kind kind = Kind::closed;
  Errc status = Errc::ok;
  EndpointId endpoint{};
  std::uint64_t context = 0;  ///< As given to send(), read() or write().
  FrameView frame{};          ///< Of a message. Valid until the next poll().
};

/// One way to move frames and bulk bytes between processes. Belongs to one loop: every method is
/// owner-only. Regions must be gone before their transport is destroyed.
///
/// Contract, tried on every backend by tests/transport/contract_test.cc:
///  - Every send(context != 0), read() and write() that returned ok completes exactly once, with
///    `ok`, `closed` or `peer_lost`, or (read, write) `revoked`. Memory lent to it is the
///    transport's until then.
///  - A message arrives whole, at most once, in the order of its lane, or its endpoint closes.
///  - Of what a peer sent before its connection ended each lane brings a beginning, and then comes
///    `closed`; TCP brings all that had arrived of the message lane, but not of the bulk lane. Who
///    has to know whether the rest came waits for an answer, as sessions do.
///  - `close` ends every loan on the endpoint before it returns: their completions follow with
///    `closed`, but from that moment no byte lands in or leaves the memory.
///  - A peer that sends nonsense loses its endpoint (`closed` with Errc::protocol, corrupt or
///    version) and touches nothing else. A peer without the cluster's token never shows up as
///    `accepted`.
///  - Nothing blocks and nothing is called back; `poll` is the only way out.
///  - In steady state no call allocates.
class Transport {
 public:
  virtual ~Transport() = default;

  /// For logs and `explain`: "tcp", "sim".
  virtual std::string_view name() const = 0;

  /// Accepts connections at `at` (port 0: any) and returns the address with the real port.
  /// Errors: io with errno (EADDRINUSE names the address), invalid_argument.
  virtual Result<Address> listen(const Address& at) = 0;
  /// Starts to connect. Ends with `connected`, or `closed` with status refused (the port is closed:
  /// the process is dead), untrusted (the handshake itself showed that the tokens differ, whichever
  /// side found out; nothing else that a stranger may do to a connection ends like this),
  /// timed_out, peer_lost, version, or io.
  virtual Result<EndpointId> connect(const Address& peer, TimePoint deadline) = 0;
  virtual void close(EndpointId endpoint) = 0;
  /// The other side's address, for messages to people. Empty for an unknown endpoint.
  virtual std::string peer_of(EndpointId endpoint) const = 0;
  /// A sentence for `explain`: which path this endpoint uses and why.
  virtual std::string explain(EndpointId endpoint) const = 0;

  /// Lets peers use `memory` by the region's remote spans: each from the next message on that it is
  /// sent. Errors: registration, overloaded (table full).
  virtual Result<Region> register_memory(MemoryView memory, Access access) = 0;

  /// As register_memory(), for memory of others that is lent for a while. Where the devices can do
  /// without, it is not pinned: a page is looked for when it is needed, so what peers reach is
  /// whatever is at the address then. That costs them time, which memory that was registered to be
  /// used again and again is spared. Errors: as register_memory().
  virtual Result<Region> register_loan(MemoryView memory, Access access) {
    return register_memory(memory, access);
  }
  /// Whether register_loan() pins, as attached memory is pinned.
  virtual bool pins_loans() const { return pins(); }

  /// Says that `memory` will be the source or target of read(), write() and send() again and again,
  /// until detach() with the same view: backends that have to register it do so once, and move its
  /// bytes without a copy. Memory that is not attached may be copied on its way. It must be mapped
  /// until it is detached. Errors: registration.
  virtual Status attach(MemoryView /*memory*/) { return {}; }
  virtual void detach(MemoryView /*memory*/) {}
  /// Whether attached memory is pinned: its pages, once given back to the kernel (madvise(2)),
  /// would be others to the CPU than to a device.
  virtual bool pins() const { return false; }
  /// Whether read() on this endpoint is served by a device, or something as quick, and not by the
  /// peer's program: it goes on while that program computes or is stopped.
  virtual bool one_sided(EndpointId /*endpoint*/) const { return false; }
  /// Whether read() of this region of the peer's is a copy that poll() makes: of several under way,
  /// one is made after the other, and their targets only push each other out of the cache.
  virtual bool reads_by_copy(EndpointId /*endpoint*/, std::uint64_t /*region*/) const {
    return false;
  }

  /// Reads a span of the peer's region where it is: in memory that a peer on this host shares
  /// (`allocate_shared`, whole pages). Calls `use` with it, once, before this returns; the bytes
  /// stay as they are until `use` returns, whatever the peer does meanwhile. `use` may register
  /// and revoke memory, and does not close or poll. False: not called, as the bytes cannot be had
  /// so (any more); read() says why.
  using Use = FunctionRef<void(ConstMemoryView)>;
  virtual bool read_in_place(EndpointId /*endpoint*/, const RemoteSpan& /*from*/,
                             const Use& /*use*/) {
    return false;
  }

  /// Zeroed memory for the caller, page-aligned, into which and out of which peers on this host
  /// copy by themselves once it, or a part, is registered: their WRITEs and READs move its bytes
  /// once, not twice. Empty (null): such memory is no better here than any other. A child that is
  /// forked shares it. Any thread may call either.
  virtual MemoryView allocate_shared(std::size_t /*bytes*/) { return {}; }
  /// Frees what allocate_shared() gave, whose regions are gone. False: this is not such memory.
  virtual bool deallocate_shared(MemoryView /*memory*/) { return false; }

  /// Posts a frame. `header` needs kind and its own fields; lengths and checksum are filled in.
  /// `header` and `meta` are copied before return. `payload` (at most kPayloadViewsMax host views)
  /// is lent until `sent` if `context` is not 0, else until the endpoint is closed or the peer's
  /// answer proves that it arrived; with `copy_payload` (at most kCopyMax bytes) it is copied too.
  /// Errors: closed (unknown or closed endpoint), overloaded (send queue full), out_of_range;
  /// registration and no_memory (an adapter gets no more memory for what it has to send).
  struct SendOptions {
    Lane lane = Lane::message;
    bool copy_payload = false;
    std::uint64_t context = 0;
  };
  virtual Status send(EndpointId endpoint, const FrameHeader& header,
                      std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                      const SendOptions& options) = 0;
  /// Fetches `from`, a span of the peer's region, into `to` (same length).
  virtual Status read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
                      std::uint64_t context) = 0;
  /// Stores `from` in `to`, a span of the peer's region (same length).
  virtual Status write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
                       std::uint64_t context) = 0;

  /// Moves what can be moved and reports what happened, at most events.size() events. What was
  /// posted before may be held back until this call (one system call, one doorbell, for many
  /// frames).
  virtual std::size_t poll(std::span<Event> events) = 0;
  /// Pushes out what was posted, without looking for events.
  virtual void flush() = 0;

  /// A descriptor that becomes readable when poll() has something to do, once arm() has returned
  /// true. -1: there is none (simulation).
  virtual int wait_fd() const = 0;
  /// Prepares to block on wait_fd(). False: there is work already, poll again.
  virtual bool arm() = 0;
  /// After arm(): blocks until wait_fd() or the waker's descriptor (null: there is none) is
  /// readable, for at most this long (Duration::max(): no limit); returns early at a signal. A
  /// backend that learns here what is ready may spare the next poll() the question.
  virtual void wait(const Waker* waker, Duration at_most);
  /// Earliest moment at which poll() has to run even without traffic (connect deadlines).
  virtual TimePoint next_timer() const = 0;

  /// The next thread that calls is the owner: LoopThread takes its object's transport over with
  /// this and gives it back when it has stopped. No call may be under way.
  virtual void release_owner() {}

  static constexpr std::size_t kPayloadViewsMax = 4;
  static constexpr std::size_t kCopyMax = 64u << 10;

 private:
  friend class Region;
  virtual RemoteSpan remote_span(std::uint64_t region, std::size_t offset,
                                 std::size_t length) const = 0;
  virtual void revoke(std::uint64_t region) = 0;
};

inline RemoteSpan Region::remote(std::size_t offset, std::size_t length) const {
  SHOAL_ASSERT(valid(), "remote() of an empty region");
  SHOAL_ASSERT(offset <= memory_.bytes && length <= memory_.bytes - offset, "outside the region");
  return transport_->remote_span(id_, offset, length);
}
inline void Region::revoke() {
  if (transport_ != nullptr) std::exchange(transport_, nullptr)->revoke(id_);
}
inline void Region::swap(Region& other) noexcept {
  std::swap(transport_, other.transport_);
  std::swap(id_, other.id_);
  std::swap(memory_, other.memory_);
}

}  // namespace shoal
