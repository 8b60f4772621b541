#include "transport/tcp/tcp_transport.h"

#include <errno.h>
#include <fmt/core.h>
#include <sys/epoll.h>

#include <algorithm>
#include <bit>

namespace shoal::tcp {

namespace {

static_assert(kEndpointsMax <= std::size_t{1} << kEndpointIndexBits);
static_assert(std::has_single_bit(kStagedMax), "the staging ring wraps by masking");
static_assert(kBulkHeadBytes <= kAheadBytes);

Error unknown_endpoint() { return {Errc::closed, "the connection is closed, or not up yet"}; }

Error queue_full(const Endpoint& endpoint) {
  return {Errc::overloaded,
          fmt::format("the send queue to {} is full: the peer does not keep up", endpoint.peer)};
}

}  // namespace

Result<std::unique_ptr<Transport>> create_tcp(const TcpOptions& options, const Clock& clock) {
  SHOAL_ASSIGN(auto transport, TcpTransport::create(options, clock));
  return std::unique_ptr<Transport>(std::move(transport));
}

Result<std::unique_ptr<TcpTransport>> TcpTransport::create(const TcpOptions& options,
                                                           const Clock& clock) {
  SHOAL_ASSIGN(auto token, Token::create(options.token));
  if (options.bulk_turn_bytes < kBulkTurnBytesMin || options.bulk_turn_bytes > kBulkTurnBytesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("bulk_turn_bytes = {}: expected {} to {}", options.bulk_turn_bytes,
                             kBulkTurnBytesMin, kBulkTurnBytesMax)};
  Fd outer(::epoll_create1(EPOLL_CLOEXEC));
  Fd inner(::epoll_create1(EPOLL_CLOEXEC));
  if (!outer || !inner) return Error{Errc::io, "epoll_create1 for the TCP transport", errno};
  std::uint64_t salt = 0;
  fill_random(std::as_writable_bytes(std::span(&salt, 1)));
  return std::make_unique<TcpTransport>(std::move(token), options, clock, std::move(outer),
                                        std::move(inner), salt);
}

TcpTransport::TcpTransport(Token token, TcpOptions options, const Clock& clock, Fd epoll,
                           Fd bulk_epoll, std::uint64_t region_salt)
    : token_(std::move(token)),
      options_(std::move(options)),
      clock_(clock),
      counters_(options_.counters != nullptr ? *options_.counters : own_counters_),
      epoll_(std::move(epoll)),
      bulk_epoll_(std::move(bulk_epoll)),
      regions_(region_salt),
      discard_(std::make_unique_for_overwrite<std::byte[]>(kDiscardBytes)) {
  watch(epoll_, bulk_epoll_.get(), EPOLL_CTL_ADD, EPOLLIN, Tag::bulk_epoll, 0);
}

TcpTransport::~TcpTransport() {
  SHOAL_ASSERT(regions_.size() == 0, "a Region outlives its transport");
}

std::uint64_t TcpTransport::tagged(Tag tag, std::uint64_t id) {
  return (std::uint64_t{static_cast<std::uint8_t>(tag)} << 56) | (id & ((1ull << 56) - 1));
}

void TcpTransport::watch(const Fd& in, int fd, int operation, std::uint32_t events, Tag tag,
                         std::uint64_t id) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tagged(tag, id);
  // Only descriptors of ours come here; what is left is a lack of memory or of watches.
  SHOAL_ASSERT(::epoll_ctl(in.get(), operation, fd, &event) == 0,
               "epoll_ctl: raise fs.epoll.max_user_watches or free memory");
}

Endpoint* TcpTransport::find(EndpointId id) const {
  const auto index = endpoint_index(id);
  if (index >= endpoints_.size()) return nullptr;
  auto* endpoint = endpoints_[index].endpoint.get();
  return endpoint != nullptr && endpoint->id == id ? endpoint : nullptr;
}

Endpoint* TcpTransport::find_usable(EndpointId id) const {
  auto* endpoint = find(id);
  const bool usable =
      endpoint != nullptr && endpoint->connecting == nullptr && endpoint->failing == Errc::ok;
  return usable ? endpoint : nullptr;
}

Endpoint& TcpTransport::add_endpoint(std::string peer) {
  if (free_endpoints_.empty()) {
    free_endpoints_.push_back(static_cast<std::uint32_t>(endpoints_.size()));
    endpoints_.emplace_back();
  }
  const auto index = free_endpoints_.back();
  free_endpoints_.pop_back();
  auto& slot = endpoints_[index];
  const EndpointId id((++slot.generation << kEndpointIndexBits) | index);
  slot.endpoint = std::make_unique<Endpoint>(id, std::move(peer), regions_, completed_, counters_,
                                             std::span(discard_.get(), kDiscardBytes));
  ++open_endpoints_;
  return *slot.endpoint;
}

// Everything that was posted ends here; the object itself lives until the next poll, because frames
// reported in this one point into its buffers.
void TcpTransport::finish(Endpoint& endpoint, Errc why, bool by_owner) {
  const auto ended = [&](const Completion& completion) {
    endpoint.complete(completion, by_owner ? Errc::closed : Errc::peer_lost);
  };
  endpoint.message.reset();
  endpoint.bulk.reset();
  endpoint.connecting.reset();
  endpoint.out.clear(ended);
  endpoint.bulk_out.clear(ended);
  endpoint.reads.clear(ended);
  if (!by_owner)
    completed_.push_back({.kind = Event::Kind::closed,
                          .status = why,
                          .endpoint = endpoint.id,
                          .context = 0,
                          .frame = {}});
  const auto index = endpoint_index(endpoint.id);
  closed_.push_back(std::move(endpoints_[index].endpoint));
  free_endpoints_.push_back(static_cast<std::uint32_t>(index));
  --open_endpoints_;
}

// A connection that broke may still hold messages that the peer sent before: they are reported
// first.
void TcpTransport::fail(Endpoint& endpoint, Errc why) {
  if (endpoint.failing != Errc::ok) return;
  endpoint.failing = why;
  endpoint.bulk.reset();
  failing_.push_back(endpoint.id);
}

void TcpTransport::mark_dirty(Endpoint& endpoint) {
  if (endpoint.dirty) return;
  endpoint.dirty = true;
  dirty_.push_back(endpoint.id);
}

void TcpTransport::mark_backlog(Endpoint& endpoint) {
  if (endpoint.in_backlog) return;
  endpoint.in_backlog = true;
  backlog_.push_back(endpoint.id);
}

void TcpTransport::close(EndpointId id) {
  owner_.check();
  auto* endpoint = find(id);
  // News of the endpoint that nobody has heard yet are none any more; its completions stay.
  for (std::size_t i = 0; i < completed_.size(); ++i) {
    auto& event = completed_[i];
    const bool news = event.kind == Event::Kind::closed || event.kind == Event::Kind::connected;
    if (event.endpoint == id && news) event.endpoint = {};
  }
  if (endpoint == nullptr) return;
  // One attempt to get the last messages (an error answer, a good-bye) out.
  if (endpoint->connecting == nullptr && endpoint->failing == Errc::ok) flush_messages(*endpoint);
  finish(*endpoint, Errc::closed, true);
}

std::string TcpTransport::peer_of(EndpointId id) const {
  const auto* endpoint = find(id);
  return endpoint != nullptr ? endpoint->peer : std::string();
}

std::string TcpTransport::explain(EndpointId id) const {
  const auto* endpoint = find(id);
  if (endpoint == nullptr) return {};
  if (endpoint->connecting != nullptr) return fmt::format("tcp {}: connecting", endpoint->peer);
  const auto remote = remote_address(endpoint->message.get());
  const auto local = local_address(endpoint->message.get()).to_address();
  const auto from = remote.is_loopback() ? "loopback" : "from " + local.host;
  return fmt::format("tcp {}: {}, 2 sockets{}", endpoint->peer, from, options_.remark);
}

Result<Region> TcpTransport::register_memory(MemoryView memory, Access access) {
  owner_.check();
  SHOAL_ASSIGN(const auto region, regions_.add(memory, access));
  return Region(this, region, memory);
}

RemoteSpan TcpTransport::remote_span(std::uint64_t region, std::size_t offset,
                                     std::size_t length) const {
  return {region, offset, length};
}

// Receivers and senders ask the table before each system call, so forgetting is enough; but a frame
// that is half out of this region can never be finished.
void TcpTransport::revoke(std::uint64_t region) {
  owner_.check();
  if (!regions_.remove(region)) return;
  for (auto& slot : endpoints_) {
    auto* endpoint = slot.endpoint.get();
    if (endpoint != nullptr && endpoint->bulk_blocked && endpoint->bulk_out.half_out_of(region))
      fail(*endpoint, Errc::revoked);
  }
}

Status TcpTransport::send(EndpointId id, const FrameHeader& header, std::span<const std::byte> meta,
                          std::span<const ConstMemoryView> payload, const SendOptions& options) {
  owner_.check();
  auto* endpoint = find_usable(id);
  if (endpoint == nullptr) return unknown_endpoint();
  SHOAL_ASSERT(!is_transport_kind(header.kind) || (endpoint->paths && is_path_kind(header.kind)),
               "this frame kind is the transport's own");
  SHOAL_ASSIGN(const auto payload_bytes, check_frame(meta, payload, options.copy_payload));
  const auto copied = SendQueue::copied_bytes(meta.size(), payload_bytes, options.copy_payload);
  const bool bulk = options.lane == Lane::bulk;
  if (!(bulk ? endpoint->bulk_out.has_room(copied) : endpoint->out.has_room(copied)))
    return queue_full(*endpoint);
  auto sealed = header;
  sealed.payload_bytes = payload_bytes;
  seal(sealed, meta);
  const Completion completion{options.context != 0, Event::Kind::sent, options.context};
  if (bulk) {
    endpoint->bulk_out.post_frame(sealed, meta, payload, options.copy_payload, completion);
  } else {
    endpoint->out.push(sealed, meta, payload, options.copy_payload, completion);
  }
  mark_dirty(*endpoint);
  return {};
}

Status TcpTransport::read(EndpointId id, MemoryView to, const RemoteSpan& from,
                          std::uint64_t context) {
  owner_.check();
  auto* endpoint = find_usable(id);
  if (endpoint == nullptr) return unknown_endpoint();
  if (to.bytes != from.bytes || to.space == MemorySpace::cuda)
    return Error{Errc::invalid_argument,
                 "a read needs host memory of the same length as the remote span"};
  if (endpoint->reads.full() || !endpoint->out.has_room(kBulkHeadBytes))
    return queue_full(*endpoint);
  const auto op = endpoint->reads.add(to, context);
  const BulkMeta meta{from.region, from.address, from.bytes, op};
  endpoint->out.push_bulk(FrameKind::bulk_read, meta, {}, {}, {});
  mark_dirty(*endpoint);
  return {};
}

Status TcpTransport::write(EndpointId id, ConstMemoryView from, const RemoteSpan& to,
                           std::uint64_t context) {
  owner_.check();
  auto* endpoint = find_usable(id);
  if (endpoint == nullptr) return unknown_endpoint();
  if (from.bytes != to.bytes || from.space == MemorySpace::cuda)
    return Error{Errc::invalid_argument,
                 "a write needs host memory of the same length as the remote span"};
  if (!endpoint->bulk_out.has_room(0)) return queue_full(*endpoint);
  endpoint->bulk_out.post_write(from, to, context);
  mark_dirty(*endpoint);
  return {};
}

bool TcpTransport::has_paths(EndpointId id) const {
  const auto* endpoint = find(id);
  return endpoint != nullptr && endpoint->paths;
}

bool TcpTransport::is_control(EndpointId id) const {
  const auto* endpoint = find(id);
  return endpoint != nullptr && (endpoint->features & kFeatureControl) != 0;
}

void TcpTransport::watch_also(int fd) const {
  watch(epoll_, fd, EPOLL_CTL_ADD, EPOLLIN, Tag::waker, 0);
}

bool TcpTransport::arm() {
  owner_.check();
  if (!completed_.empty() || !dirty_.empty() || !backlog_.empty() || !failing_.empty())
    return false;
  // What waits in a socket makes the descriptor readable by itself (level triggered).
  for (auto& hot : hot_) watch_again(hot);
  return true;
}

}  // namespace shoal::tcp
