#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "transport/transport.h"

// What every transport promises (transport/transport.h), as tests over a backend of two to three
// processes' worth of transports. A backend is handed in by some twenty lines, see
// sim_contract_test.cc.

namespace shoal::contract {

/// A transport as a process of its own would have it, and where it may listen.
struct Node {
  std::unique_ptr<Transport> transport;
  Address listen_at;  ///< port 0: any
};

/// The world in which one test runs: made anew for each. Outlives its transports.
class Backend {
 public:
  static constexpr std::size_t kMany = 48;  ///< as many() unless a backend says otherwise
  virtual ~Backend() = default;
  virtual const Clock& clock() const = 0;
  /// A new process. Without `right_token` it believes in another cluster token than the others.
  virtual Node make(bool right_token = true) = 0;
  /// The process that listened at `at` is dead: its successor, which may listen there, too.
  virtual Node restart(const Address& at) { return {make().transport, at}; }
  /// Lets a little time pass; the test then polls. Simulation: the next event. Sockets: at most a
  /// short wait. False: nothing can ever happen any more, or nothing happened for so long (tens of
  /// seconds) that the test has to be called hung.
  virtual bool advance() = 0;
  /// An address that takes connections and then never says a word: a stopped process.
  virtual Address silent_address() = 0;
  /// An address on which nobody listens.
  virtual Address dead_address() = 0;
  /// Speaks garbage to a listening transport, as a port scanner would, and hangs up. False: there
  /// are no bytes to forge on this network.
  virtual bool send_garbage(const Address& /*to*/) { return false; }
  /// Why nobody may wait for its descriptor; empty: everybody may.
  virtual std::string blocks_never_because() const { return {}; }
  /// Frames are copied when they are posted: `sent` comes at once.
  virtual bool copies_frames() const { return false; }
  /// Frames carry a checksum: there is a wire on which a bit might change.
  virtual bool sums_frames() const { return true; }
  /// A peer must hear of a region before it can use it: from the next message on that its owner
  /// sends.
  virtual bool announces_regions() const { return false; }
  /// An operation that is under way when its region is revoked ends its connection.
  virtual bool revoking_disconnects() const { return false; }
  /// Why the process ends whose memory is freed while it is registered, and then read, or written;
  /// empty: it goes on.
  virtual std::string touches_freed_because(bool /*written*/) const { return {}; }
  /// Connections that are many: fewer where each takes most of a second.
  virtual std::size_t many() const { return kMany; }
  /// Why allocations in steady state are not counted here; empty: they are.
  virtual std::string allocates_because() const { return {}; }
};

/// How a backend is handed to the suite.
struct BackendFactory {
  std::string name;  ///< For the test's name: letters and digits only.
  std::function<std::unique_ptr<Backend>()> make;  ///< Null: what it needs is `missing` here.
  std::string missing = {};

  friend void PrintTo(const BackendFactory& factory, std::ostream* out) { *out << factory.name; }
};
inline std::string name_of_backend(const testing::TestParamInfo<BackendFactory>& info) {
  return info.param.name;
}

/// An event with its bytes kept beyond the next poll.
struct Seen {
  Event::Kind kind{};
  Errc status = Errc::ok;
  EndpointId endpoint;
  std::uint64_t context = 0;
  FrameHeader header;
  std::vector<std::byte> meta;
  std::vector<std::byte> payload;
};

/// A process of the test: a transport and all that it ever reported.
struct Peer {
  Node node;
  std::vector<Seen> seen;
  std::vector<EndpointId> accepted;

  Transport& transport() { return *node.transport; }
  /// One poll of at most `span` events, remembered.
  std::size_t poll(std::size_t span = 64);
  std::size_t count(Event::Kind kind) const;
  std::size_t count(Event::Kind kind, std::uint64_t context) const;
  const Seen* find(Event::Kind kind, std::uint64_t context) const;
  const Seen* find_closed(EndpointId endpoint) const;
  std::vector<const Seen*> messages(EndpointId endpoint) const;
};

/// The fixture: `a` connects to `b`, which listens.
class TransportContract : public testing::TestWithParam<BackendFactory> {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Polls all living peers and advances until `done`, or gives up.
  bool until(const std::function<bool()>& done);
  /// Lets everything under way end: `turns` turns in which nothing was reported.
  void settle(int turns = 200);
  /// Connects and waits for both sides: (a's endpoint, b's endpoint).
  std::pair<EndpointId, EndpointId> connect(Peer& from, Peer& to, const Address& at);
  std::pair<EndpointId, EndpointId> connect() { return connect(a, b, b_address); }
  /// A round trip on both lanes, so that whatever was posted before has gone its way.
  bool ping(EndpointId from_a, EndpointId from_b);
  TimePoint soon() const {
    return deadline_after(backend->clock().now(), std::chrono::seconds(20));
  }
  /// A region of which the other peer, connected by at_a and at_b, has heard.
  Region make_region(Peer& peer, MemoryView memory, Access access = Access::read_write);
  /// Both peers have heard of what became of the other's regions.
  void hear_of_regions() { hear_of_regions(at_a, at_b); }
  void hear_of_regions(EndpointId from_a, EndpointId from_b);
  Status send(Peer& from, EndpointId to, std::uint64_t number, std::span<const std::byte> payload,
              Transport::SendOptions options);
  /// The process dies.
  void kill(Peer& peer);

  std::unique_ptr<Backend> backend;
  Peer a, b;
  Address b_address;
  EndpointId at_a, at_b;  ///< Of the connection between the two, once a test has made it.
  std::uint64_t pings_ = 1u << 30;
};

/// The fixture of READ and WRITE: `a` and `b` are connected.
class BulkContract : public TransportContract {
 protected:
  void SetUp() override {
    TransportContract::SetUp();
    if (HasFatalFailure() || IsSkipped()) return;
    std::tie(at_a, at_b) = connect();
  }
  /// After a connection that is lost on both sides.
  void reconnect() {
    ASSERT_TRUE(
        until([&] { return a.find_closed(at_a) != nullptr && b.find_closed(at_b) != nullptr; }));
    std::tie(at_a, at_b) = connect();
  }
  /// The status with which an operation ended.
  Errc ended(Peer& peer, Event::Kind kind, std::uint64_t context) {
    EXPECT_TRUE(until([&] { return peer.find(kind, context) != nullptr; })) << "never completed";
    const auto* found = peer.find(kind, context);
    return found != nullptr ? found->status : Errc::corrupt;
  }
};

inline bool lost_or_closed(Errc status) {
  return status == Errc::peer_lost || status == Errc::closed;
}

/// Where the seeds of this run's random tests begin: --gtest_random_seed=N replays N's.
inline std::uint64_t first_seed() {
  return static_cast<std::uint64_t>(GTEST_FLAG_GET(random_seed)) * 1'000'000 + 1;
}

using Bytes = std::vector<std::byte>;

// By the C library: megabytes of them, and tests are not optimised.
inline bool has(const Bytes& bytes, std::byte value) {
  return std::memchr(bytes.data(), static_cast<int>(value), bytes.size()) != nullptr;
}
inline bool only(const Bytes& bytes, std::byte value) {
  return bytes.empty() || (bytes.front() == value &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// `size` bytes that follow from `seed`.
std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed);

/// All of it.
inline MemoryView all(std::vector<std::byte>& bytes) { return host_view(std::span(bytes)); }
inline ConstMemoryView all(const std::vector<std::byte>& bytes) {
  return {bytes.data(), bytes.size()};
}

}  // namespace shoal::contract
