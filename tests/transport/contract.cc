#include "tests/transport/contract.h"

#include <cstring>

#include "core/base/random.h"

namespace shoal::contract {

std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  Random random(seed);
  for (std::size_t i = 0; i < size; i += 8) {
    const auto word = random.next();
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

std::size_t Peer::poll(std::size_t span) {
  std::vector<Event> events(span);
  const auto count = transport().poll(events);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& event = events[i];
    Seen what{event.kind, event.status, event.endpoint, event.context, {}, {}, {}};
    if (event.kind == Event::Kind::accepted) accepted.push_back(event.endpoint);
    if (event.kind == Event::Kind::message) {
      what.header = event.frame.header;
      what.meta.assign(event.frame.meta.begin(), event.frame.meta.end());
      what.payload.assign(event.frame.payload.begin(), event.frame.payload.end());
    }
    seen.push_back(std::move(what));
  }
  return count;
}

std::size_t Peer::count(Event::Kind kind) const {
  std::size_t n = 0;
  for (const auto& what : seen) n += what.kind == kind ? 1 : 0;
  return n;
}

std::size_t Peer::count(Event::Kind kind, std::uint64_t context) const {
  std::size_t n = 0;
  for (const auto& what : seen) n += what.kind == kind && what.context == context ? 1 : 0;
  return n;
}

const Seen* Peer::find(Event::Kind kind, std::uint64_t context) const {
  for (const auto& what : seen)
    if (what.kind == kind && what.context == context) return &what;
  return nullptr;
}

const Seen* Peer::find_closed(EndpointId endpoint) const {
  for (const auto& what : seen)
    if (what.kind == Event::Kind::closed && what.endpoint == endpoint) return &what;
  return nullptr;
}

std::vector<const Seen*> Peer::messages(EndpointId endpoint) const {
  std::vector<const Seen*> found;
  for (const auto& what : seen)
    if (what.kind == Event::Kind::message && what.endpoint == endpoint) found.push_back(&what);
  return found;
}

void TransportContract::SetUp() {
  backend = GetParam().make();
  if (backend == nullptr) GTEST_SKIP() << GetParam().missing;
  a.node = backend->make();
  b.node = backend->make();
  auto address = b.transport().listen(b.node.listen_at);
  ASSERT_TRUE(address.ok()) << address.error().message();
  b_address = *address;
  ASSERT_NE(b_address.port, 0);
}

void TransportContract::TearDown() {
  a.node.transport.reset();
  b.node.transport.reset();
  backend.reset();
}

bool TransportContract::until(const std::function<bool()>& done) {
  for (;;) {
    std::size_t events = 0;
    if (a.node.transport) events += a.poll();
    if (b.node.transport) events += b.poll();
    if (done()) return true;
    if (events == 0 && !backend->advance()) return done();
  }
}

void TransportContract::settle(int turns) {
  for (int quiet = 0; quiet < turns; ++quiet) {
    std::size_t events = 0;
    if (a.node.transport) events += a.poll();
    if (b.node.transport) events += b.poll();
    if (events > 0) quiet = 0;
    if (!backend->advance()) return;
  }
}

std::pair<EndpointId, EndpointId> TransportContract::connect(Peer& from, Peer& to,
                                                             const Address& at) {
  const auto before = to.accepted.size();
  auto endpoint = from.transport().connect(at, soon());
  EXPECT_TRUE(endpoint.ok());
  if (!endpoint.ok()) return {};
  const auto connected = [&] {
    for (const auto& what : from.seen)
      if (what.kind == Event::Kind::connected && what.endpoint == *endpoint) return true;
    return false;
  };
  EXPECT_TRUE(until([&] { return connected() && to.accepted.size() > before; }))
      << "two peers with the same token do not connect";
  return {*endpoint, to.accepted.size() > before ? to.accepted.back() : EndpointId{}};
}

Status TransportContract::send(Peer& from, EndpointId to, std::uint64_t number,
                               std::span<const std::byte> payload, Transport::SendOptions options) {
  FrameHeader header;
  header.kind = FrameKind::push;
  header.request = RequestId(number);
  const ConstMemoryView view(payload.data(), payload.size());
  return from.transport().send(to, header, {}, {&view, payload.empty() ? 0u : 1u}, options);
}

Region TransportContract::make_region(Peer& peer, MemoryView memory, Access access) {
  auto region = peer.transport().register_memory(memory, access);
  EXPECT_TRUE(region.ok());
  hear_of_regions();
  return region.ok() ? std::move(region).value() : Region();
}

void TransportContract::hear_of_regions(EndpointId from_a, EndpointId from_b) {
  if (!backend->announces_regions()) return;
  EXPECT_TRUE(ping(from_a, from_b));
  const auto of_ping = [&](const Seen& what) {
    return what.kind == Event::Kind::message && what.header.request.value == pings_;
  };
  std::erase_if(a.seen, of_ping);
  std::erase_if(b.seen, of_ping);
}

bool TransportContract::ping(EndpointId from_a, EndpointId from_b) {
  const auto number = ++pings_;
  for (const auto lane : {Lane::message, Lane::bulk}) {
    if (!send(a, from_a, number, {}, {.lane = lane}).ok()) return false;
    if (!send(b, from_b, number, {}, {.lane = lane}).ok()) return false;
  }
  const auto got = [&](const Peer& peer, EndpointId endpoint) {
    std::size_t n = 0;
    for (const auto* message : peer.messages(endpoint))
      n += message->header.request.value == number ? 1 : 0;
    return n == 2;
  };
  return until([&] { return got(a, from_a) && got(b, from_b); });
}

void TransportContract::kill(Peer& peer) { peer.node.transport.reset(); }

}  // namespace shoal::contract
