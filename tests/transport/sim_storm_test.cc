#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "tests/transport/contract.h"
#include "transport/sim/sim.h"

// Random faults: whatever happens, the contract holds; the same seed gives the same run.

namespace shoal {
namespace {

using contract::all;
using contract::pattern;
using Kind = Event::Kind;
using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

/// How much the storms left standing: a test in which nothing works would prove nothing.
struct Tally {
  std::uint64_t messages = 0, completed = 0, failed = 0, connected = 0, closed = 0;
};

class Storm {
 public:
  Storm(std::uint64_t seed, Tally& tally)
      : network_({.seed = seed, .keepalive = 200ms, .retransmit_max = 20ms}),
        random_(~seed),
        tally_(tally) {
    for (std::uint32_t i = 0; i < kNodes; ++i) {
      nodes_[i] = network_.create_node(fmt::format("n{}", i));
      start(i);
    }
  }

  /// The run's hash.
  std::uint64_t run() {
    for (int i = 0; i < 600; ++i) {
      act();
      for (auto steps = random_.below(12); steps > 0; --steps) turn();
    }
    network_.heal_all();
    for (const auto node : nodes_) network_.resume(node);
    // All that was posted ends, with or without its connection.
    const auto limit = network_.now() + 20s;
    while (network_.next_event_time() < limit) turn();
    for (std::uint32_t i = 0; i < kNodes; ++i) {
      drain(i);
      EXPECT_TRUE(process(i).pending.empty()) << "never completed";
    }
    for (std::uint32_t i = 0; i < kNodes; ++i) stop_process(i);
    network_.run_until(network_.now() + 20s);
    EXPECT_EQ(network_.connections(), 0u) << "a connection that nobody has any more";
    EXPECT_TRUE(network_.violations().empty());
    return network_.trace_hash();
  }

 private:
  static constexpr std::uint32_t kNodes = 4;
  static constexpr std::size_t kMemory = 3'000;

  struct Endpoint {
    EndpointId id;
    std::array<std::uint64_t, 2> sent{};  // by lane
    std::array<std::uint64_t, 2> received{};
  };
  struct Process {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Bytes> memory;
    Region region;
    std::vector<Endpoint> endpoints;
    std::map<std::uint64_t, std::unique_ptr<Bytes>> pending;  // by context: lent memory
  };
  Process& process(std::uint32_t i) { return processes_[i]; }

  void start(std::uint32_t i) {
    auto& p = process(i);
    p.transport = network_.start(nodes_[i]);
    EXPECT_TRUE(p.transport->listen({fmt::format("n{}", i), 1000}).ok());
    p.memory = std::make_unique<Bytes>(kMemory);
    p.region = p.transport->register_memory(all(*p.memory), Access::read_write).value();
    spans_[i] = p.region.remote();
  }
  void stop_process(std::uint32_t i) {
    auto& p = process(i);
    // The process's memory is gone: under AddressSanitizer, a late byte is a crash.
    p.region.revoke();
    p = Process{};
  }

  void turn() {
    network_.step();
    while (const auto node = network_.next_ready()) drain(node->value);
  }

  void drain(std::uint32_t i) {
    auto& p = process(i);
    if (!p.transport) return;
    std::array<Event, 5> events;
    while (const auto count = p.transport->poll(events))
      for (std::size_t n = 0; n < count; ++n) handle(p, events[n]);
  }

  void handle(Process& p, const Event& event) {
    const auto at = std::find_if(p.endpoints.begin(), p.endpoints.end(),
                                 [&](const Endpoint& each) { return each.id == event.endpoint; });
    switch (event.kind) {
      case Kind::accepted:
      case Kind::connected:
        EXPECT_EQ(at, p.endpoints.end());
        ++tally_.connected;
        p.endpoints.push_back({event.endpoint, {}, {}});
        return;
      case Kind::closed:
        EXPECT_NE(event.status, Errc::ok);
        ++tally_.closed;
        if (at != p.endpoints.end()) p.endpoints.erase(at);
        return;
      case Kind::message: {
        ASSERT_NE(at, p.endpoints.end());
        ++tally_.messages;
        const auto lane = event.frame.header.flags;
        EXPECT_EQ(event.frame.header.request.value, at->received[lane]++) << "lost or reordered";
        EXPECT_TRUE(std::ranges::equal(
            event.frame.payload,
            pattern(event.frame.payload.size(), event.frame.header.request.value)));
        return;
      }
      case Kind::sent:
      case Kind::read_done:
      case Kind::write_done: {
        const auto found = p.pending.find(event.context);
        ASSERT_NE(found, p.pending.end()) << "completed twice, or never posted";
        ++(event.status == Errc::ok ? tally_.completed : tally_.failed);
        p.pending.erase(found);  // freed: whoever still touches it is caught
        return;
      }
    }
  }

  void act() {
    const auto i = static_cast<std::uint32_t>(random_.below(kNodes));
    const auto j = static_cast<std::uint32_t>(random_.below(kNodes));
    auto& p = process(i);
    switch (random_.below(60)) {
      case 0:
        network_.partition(nodes_[i], nodes_[j]);
        return;
      case 1:
        network_.cut(nodes_[i], nodes_[j]);
        return;
      case 2:
      case 3:
        network_.heal(nodes_[i], nodes_[j]);
        return;
      case 4:
        network_.drop_connections(nodes_[i], nodes_[j]);
        return;
      case 5:
        if (random_.chance(0.3)) network_.crash(nodes_[i], random_.chance(0.5));
        if (!network_.alive(nodes_[i])) stop_process(i);
        return;
      case 6:
        network_.stop(nodes_[i]);
        return;
      case 7:
      case 8:
        network_.resume(nodes_[i]);
        return;
      case 9:
        network_.slow(nodes_[i], random_.chance(0.5) ? 10 : 1);
        return;
      case 10: {
        const auto when = network_.now() + Duration(random_.below(100'000'000));
        network_.run_until(std::min(when, network_.next_event_time()));
        return;
      }
      default:
        break;
    }
    if (!p.transport) {
      if (random_.chance(0.3)) start(i);
      return;
    }
    if (network_.stopped(nodes_[i])) return;
    if (p.endpoints.empty() || random_.chance(0.1)) {
      const Address to{fmt::format("n{}", j), 1000};
      EXPECT_TRUE(p.transport->connect(to, network_.now() + 500ms).ok());
      return;
    }
    auto& endpoint = p.endpoints[static_cast<std::size_t>(random_.below(p.endpoints.size()))];
    if (random_.chance(0.02)) {
      p.transport->close(endpoint.id);
      p.endpoints.erase(p.endpoints.begin() + (&endpoint - p.endpoints.data()));
      return;
    }
    post(p, endpoint);
  }

  void post(Process& p, Endpoint& endpoint) {
    const auto size = static_cast<std::size_t>(random_.below(kMemory));
    const auto context = ++context_;
    const auto lane = random_.below(2);
    const auto action = random_.below(3);
    auto memory =
        std::make_unique<Bytes>(action == 0 ? pattern(size, endpoint.sent[lane]) : Bytes(size));
    // Of a random process, dead or alive, or an old name: at worst it is refused.
    auto span = spans_[random_.below(kNodes)].sub(0, size);
    if (random_.chance(0.05)) span.address += kMemory - size + 1;
    Status status;
    if (action == 0) {
      FrameHeader header;
      header.kind = FrameKind::push;
      header.request = RequestId(endpoint.sent[lane]);
      header.flags = static_cast<std::uint16_t>(lane);
      const ConstMemoryView view = all(std::as_const(*memory));
      status = p.transport->send(endpoint.id, header, {}, {&view, 1},
                                 {.lane = static_cast<Lane>(lane), .context = context});
      if (status.ok()) ++endpoint.sent[lane];
    } else if (action == 1) {
      status = p.transport->read(endpoint.id, all(*memory), span, context);
    } else {
      status = p.transport->write(endpoint.id, all(std::as_const(*memory)), span, context);
    }
    if (status.ok())
      p.pending.emplace(context, std::move(memory));
    else
      EXPECT_TRUE(status.code() == Errc::closed || status.code() == Errc::overloaded);
  }

  SimNetwork network_;
  Random random_;
  Tally& tally_;
  std::array<SimNodeId, kNodes> nodes_;
  std::array<RemoteSpan, kNodes> spans_;
  std::array<Process, kNodes> processes_;
  std::uint64_t context_ = 0;
};

TEST(SimStorm, TheContractHoldsUnderRandomFaults) {
  Tally tally;
  const auto first = contract::first_seed();
  for (auto seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Storm(seed, tally).run();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(tally.messages, 5'000u);
  EXPECT_GT(tally.completed, 20'000u);
  EXPECT_GT(tally.failed, 1'000u);
  EXPECT_GT(tally.connected, 5'000u);
  EXPECT_GT(tally.closed, 5'000u);
}

TEST(SimStorm, TheSameSeedIsTheSameRun) {
  Tally tally;
  std::map<std::uint64_t, std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto hash = Storm(seed, tally).run();
    const Bytes elsewhere(1'000 * seed);  // other addresses, same run
    EXPECT_EQ(hash, Storm(seed, tally).run()) << "seed " << seed;
    hashes[hash] = seed;
  }
  EXPECT_EQ(hashes.size(), 20u) << "different seeds are different runs";
}

}  // namespace
}  // namespace shoal
