#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/owner.h"
#include "transport/endpoint_map.h"
#include "transport/paths/messages.h"
#include "transport/paths/paths.h"
#include "transport/reasons.h"
#include "transport/ring.h"
#include "transport/tcp/tcp_transport.h"

namespace shoal::paths {

/// Every endpoint is one of TCP, and goes by its id. One whose peers both have a fabric has a link
/// beside it, once that has been tried: then all its frames and bytes go there. Until it is known
/// which, neither side hears of the endpoint.
///
/// poll() reads top to bottom in paths_poll.cc; negotiation is in negotiate.cc.
class PathTransport final : public Transport {
 public:
  PathTransport(PathOptions options, std::unique_ptr<tcp::TcpTransport> tcp, const Clock& clock);
  ~PathTransport() override;

  std::string_view name() const override { return name_; }
  Result<Address> listen(const Address& at) override { return tcp_->listen(at); }
  Result<EndpointId> connect(const Address& peer, TimePoint deadline) override;
  void close(EndpointId endpoint) override;
  std::string peer_of(EndpointId endpoint) const override { return tcp_->peer_of(endpoint); }
  std::string explain(EndpointId endpoint) const override;
  Result<Region> register_memory(MemoryView memory, Access access) override;
  Result<Region> register_loan(MemoryView memory, Access access) override;
  bool pins_loans() const override;
  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, const SendOptions& options) override;
  Status read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
              std::uint64_t context) override;
  Status write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
               std::uint64_t context) override;
  Status attach(MemoryView memory) override;
  void detach(MemoryView memory) override;
  bool pins() const override;
  MemoryView allocate_shared(std::size_t bytes) override;
  bool deallocate_shared(MemoryView memory) override;
  bool one_sided(EndpointId endpoint) const override;
  bool reads_by_copy(EndpointId endpoint, std::uint64_t region) const override;
  bool read_in_place(EndpointId endpoint, const RemoteSpan& from, const Use& use) override;
  std::size_t poll(std::span<Event> events) override;
  void flush() override;
  int wait_fd() const override { return tcp_->wait_fd(); }
  bool arm() override;
  void wait(const Waker* waker, Duration at_most) override;
  TimePoint next_timer() const override;
  void release_owner() override;

 private:
  static constexpr std::uint8_t kBothLanes = 3;  ///< of bits by Lane

  /// What an endpoint is on the way to.
  enum class Stage : std::uint8_t {
    connecting,  ///< TCP connects
    offered,     ///< acceptor: has sent its offer
    wanting,     ///< connector: waits for the offer
    begun,       ///< connector: has sent its half
    trying,      ///< both: frames are to arrive over the link
    tcp,         ///< up, without a link
    fabric,      ///< up, over the link
    closing,     ///< closed by its owner; the link still sends
  };
  /// A region of the peer.
  struct PeerRegion {
    std::uint64_t bytes = 0;
    Access access = Access::read;
    RegionKey key;
  };
  struct Path {
    EndpointId id;
    Stage stage = Stage::connecting;
    bool connector = false;
    bool control = false;          ///< settled on TCP with a peer that only coordinates
    Fabric* fabric = nullptr;      ///< of the link, from `begun` on
    std::uint8_t lanes_tried = 0;  ///< bits by Lane: on which path_try has come,
    std::uint8_t lanes_used = 0;   ///< and path_use
    bool nonsense = false;  ///< the peer has said some over the link: nothing counts any more
    TimePoint deadline = kNever;
    TimePoint connect_deadline = kNever;  ///< of its owner
    std::string why;                      ///< there is no link, or no better one
    std::vector<NamedCard> offer;         ///< connector: of the acceptor,
    std::size_t next_fabric = 0;          ///< and which of ours to try next
    std::uint32_t told = 0;               ///< bits by fabric: those that `why` speaks of
    std::uint16_t attempts = 0;           ///< links that were begun: frames number theirs, from 0
    bool amiss = false;                   ///< connector: somebody may want to mend what `why` says
    std::unordered_map<std::uint64_t, PeerRegion> regions;
    Ring<std::uint64_t>
        untold;  ///< regions of ours that the peer has not heard of yet, or is to forget
  };
  /// A region of ours.
  struct OwnRegion {
    Region on_tcp;
    Access access = Access::read;
    bool on_demand = false;   ///< not to be pinned where that is not needed
    std::vector<Card> cards;  ///< by fabric; empty: not exposed there
  };
  struct Out {
    std::span<Event> events;
    std::size_t count = 0;
    std::size_t room() const { return events.size() - count; }
  };

  RemoteSpan remote_span(std::uint64_t region, std::size_t offset,
                         std::size_t length) const override {
    return {region, offset, length};
  }
  void revoke(std::uint64_t region) override;

  // path_transport.cc
  Path* find(EndpointId endpoint) const;
  Path& add_path(EndpointId endpoint, Stage stage);
  void forget(Path& path);
  void look_at(Path& path, TimePoint when);
  std::size_t index_of(const Fabric& fabric) const;
  std::uint32_t fabric_bit(const Fabric& fabric) const { return 1u << index_of(fabric); }
  Status expose(std::uint64_t region, OwnRegion& own, const Fabric& fabric);
  Result<Region> add_region(MemoryView memory, Access access, bool on_demand);
  bool tell_regions(Path& path);
  const PeerRegion* find_region(const Path& path, const RemoteSpan& span, Access access) const;
  void refuse(EndpointId endpoint, Event::Kind kind, std::uint64_t context);

  // paths_poll.cc
  void poll_fabrics(Out& out);
  void poll_tcp(TimePoint now, Out& out);
  void expire(TimePoint now);
  void expire(Path& path, TimePoint now);
  void report(Out& out);
  bool take(Event& event, const Fabric* from);
  bool on_closed(Path& path, Event& event, const Fabric* from);
  bool on_message(Path& path, Event& event, const Fabric* from);
  bool on_region(Path& path, const FrameView& frame);

  // negotiate.cc: each gives true if the event, changed, is to be reported
  bool on_connected(EndpointId endpoint, Event& event);
  bool on_accepted(EndpointId endpoint, Event& event);
  bool on_path_frame(Path& path, Event& event, const Fabric* from);
  bool on_offer(Path& path, Event& event);
  bool on_begin(Path& path, Event& event);
  bool on_answer(Path& path, Event& event);
  bool on_try(Path& path, Event& event);
  bool on_use(Path& path, Event& event);
  bool use_tcp(Path& path, Event& event);
  bool begin_next(Path& path, Event& event);
  /// The number of the link that was begun last.
  static std::uint16_t current(const Path& path) {
    return static_cast<std::uint16_t>(path.attempts - 1);
  }
  std::string give_up(Path& path, const std::string& why);
  std::string pass_over(Path& path, const Fabric& fabric, const std::string& why);
  std::string none_here(const Path& path) const;
  Status say_no(Path& path, std::string_view why, std::uint16_t flags);
  bool decline(Path& path, Event& event, const std::string& why);
  bool settle_for_tcp(Path& path, Event& event);
  bool on_decline(Path& path, Event& event);
  bool no_link(Path& path, Event& event, const Error& error);
  bool fail(Path& path, Event& event, Errc why);
  bool up(Path& path, Event& event);
  Status try_link(Path& path);
  Status expose_all(Path& path);
  Status say(Path& path, FrameKind kind, std::span<const std::byte> meta, std::uint16_t flags = 0);
  Fabric* find_fabric(std::string_view name) const;
  std::string why_none(EndpointId endpoint) const;
  std::string told_by_peer(const Path& path, std::string_view words) const;
  void warn(const Path& path, const std::string& why);

  const Clock& clock_;
  const std::string name_;
  const bool fabric_required_;
  const std::string missing_;
  const std::string left_out_;
  const Duration try_timeout_;
  Owner owner_;
  std::unique_ptr<tcp::TcpTransport> tcp_;
  std::vector<std::unique_ptr<Fabric>> fabrics_;
  EndpointMap<std::unique_ptr<Path>> paths_;
  std::unordered_map<std::uint64_t, OwnRegion> regions_;
  Ring<Event> reports_;                ///< wait for a poll with room
  std::vector<EndpointId> unsettled_;  ///< paths with a deadline, or regions to tell
  std::vector<Event> farewells_;       ///< `closed`, behind completions that TCP still has
  std::vector<std::string> warned_;    ///< peers whose lack of a path was told
  std::size_t on_fabric_ = 0;          ///< paths that TCP has little to say of,
  std::size_t on_control_ = 0;         ///< and those on which nothing is in a hurry
  TimePoint timer_ = kNever;
  TimePoint next_tcp_ = TimePoint::min();
  TimePoint tcp_heard_{};  ///< when TCP last had something to report
  int hurried_ = 0;        ///< polls since the last one that asked for the time
  bool woken_ = false;     ///< wait() has been called: TCP may have something
};

}  // namespace shoal::paths
