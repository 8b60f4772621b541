#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "transport/fabric.h"
#include "transport/frames.h"
#include "transport/links.h"
#include "transport/ring.h"
#include "transport/ucx/context.h"
#include "transport/ucx/foreign_pages.h"
#include "transport/ucx/limits.h"
#include "transport/ucx/shared_pages.h"
#include "transport/ucx/wire.h"

namespace shoal::ucx {

class Link;

/// A frame that has come and waits for a poll with room.
struct Arrival {
  EndpointId endpoint;
  std::unique_ptr<Assembly> assembly;
  FrameView frame;
};

/// Memory that peers may reach.
struct Exposed {
  MemoryView memory;
  Access access = Access::read;
  SharedPages* pages = nullptr;  ///< through whose gate peers on this host may go; or null
};

/// What the links of a fabric have in common.
struct Shared {
  Shared(const Context& context_, ucp_datatype_t packed_) : context(context_), packed(packed_) {}
  const Context& context;
  const ucp_datatype_t packed;  ///< a packet's data: UCX asks Link for it when it takes it
  std::unordered_map<std::uint64_t, Exposed> exposed;
  PollOutput* polled = nullptr;  ///< of the poll that is under way
  Ring<Arrival> arrived;
  Ring<Event> completed;
  std::vector<std::unique_ptr<Assembly>> reported;  ///< in use until the next poll
  std::vector<std::unique_ptr<Assembly>> spare;
  std::vector<EndpointId> lost;
};

/// The half of a link that is ours: a worker, its one endpoint, and what waits to be sent. UCX
/// never knows an address of lent memory: it asks for each packet's bytes when it has room for
/// them, and hands over those that come in its own. What the peer shares with us we copy
/// ourselves.
///
/// Sending is in link_send.cc and link_copy.cc, receiving in link_receive.cc.
class Link {
 public:
  /// `shared` outlives it. Errors: unavailable, no_memory.
  static Result<std::unique_ptr<Link>> create(EndpointId id, std::size_t turnstile, Shared& shared);
  /// Either never connected, or buried().
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Errors: unavailable.
  Result<Card> card() const;
  /// Errors: unavailable, protocol.
  Status connect(std::span<const std::byte> card);
  int fd() const { return fd_; }
  /// UCX's name for the way that packets take: "posix/memory".
  const std::string& way() const { return way_; }
  std::size_t packet_bytes() const { return packet_bytes_; }
  Checksum checksum() const { return checksum_; }

  /// Lets the peer into pages of ours, where packets go through shared memory, too: see
  /// SharedPages.
  void admit(std::uint64_t region, SharedPages& pages) const {
    if (local_) pages.admit(turnstile, ticket_of(region, own_secret_));
  }
  /// Maps a region of the peer's, if it can be; gives a name for write() and read(), or 0. Nothing
  /// where another way was found: who asked UCX for that one (UCX_TLS) has it for all bytes.
  std::uint64_t map(std::uint64_t region, const SharedCard& card);
  void unmap(std::uint64_t mapping);
  /// Regions of the peer's that are mapped.
  std::size_t mapped() const;

  // Posting; `mapping`: of map(). Errors: overloaded.
  Status send(const FrameHeader& sealed, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, Lane lane);
  Status write(ConstMemoryView from, std::uint64_t region, std::uint64_t mapping,
               std::uint64_t offset, std::uint64_t context);
  Status read(MemoryView to, std::uint64_t region, std::uint64_t mapping, std::uint64_t offset,
              std::uint64_t context);

  /// As Transport's, of a mapping.
  bool read_in_place(std::uint64_t region, std::uint64_t mapping, std::uint64_t offset,
                     std::size_t bytes, const Transport::Use& use);

  /// Gives UCX what it takes, and learns what it has taken.
  void push() {
    if (oldest_ != next_ || queued()) push_queued();
  }
  /// Whether push() would have something to do.
  bool wants_push() const {
    return queued() && ready && lost == Errc::ok && next_ - oldest_ != kWindow;
  }
  /// Lets UCX work; true: something happened.
  bool progress() { return api().worker_progress(worker_) != 0; }
  /// False: something has happened, progress() first.
  bool arm();

  /// Whether UCX has got rid of no packet for kStalled. To be asked again and again.
  bool stalled(TimePoint now);

  /// Ends every loan of this side: WRITEs and READs complete with `status`; nothing is read from or
  /// stored in their memory any more. What peers READ here ends, too.
  void end_loans(Errc status);
  /// From here on the peer gets no byte of this region.
  void forget(std::uint64_t region);
  /// Closed by its owner: says so to the peer, behind the messages.
  void say_bye();
  /// Whether the peer has heard all messages.
  bool drained() const { return lost != Errc::ok || !ready || bye_heard_; }
  /// Begins the end. UCX needs a few turns of progress() to give everything back.
  void bury();
  bool buried() const;

  const EndpointId id;
  const std::size_t turnstile;  ///< in the gates of our shared pages; no other link has it
  bool ready = false;           ///< connected: frames may be sent
  bool closing = false;         ///< its owner has closed it
  Errc lost = Errc::ok;         ///< ends once all that has arrived is reported
  std::size_t unreported = 0;   ///< frames among Shared::arrived
  bool dry = false;             ///< nothing came in its last turn

 private:
  /// What is cut into packets.
  struct Operation {
    PacketKind kind = PacketKind::nothing;
    Lane lane = Lane::message;
    const std::byte* from = nullptr;  ///< write, data: lent
    std::uint64_t staged = 0;         ///< frame: its place in frames_
    std::uint64_t bytes = 0;
    std::uint64_t done = 0;
    std::uint64_t region = 0;
    std::uint64_t mapping = 0;  ///< write, read: of the region; 0: it goes by packets
    std::uint64_t offset = 0;
    std::uint64_t read = 0;
    std::uint64_t context = 0;
  };
  /// A packet in UCX's hands. Stays where it is until UCX has let go of it.
  struct Slot {
    Link* link = nullptr;
    Packet packet;
    const std::byte* from = nullptr;
    std::uint64_t staged = 0;
    std::uint64_t bytes = 0;
    std::array<std::byte, sizeof(SmallHead) + kSmallFrame> small;  ///< or all of it
    bool taken = true;  ///< UCX has its bytes, and uses nothing of it any more
    bool last = false;  ///< of its operation
    std::uint64_t context = 0;
  };
  /// A READ of ours under way.
  struct Read {
    MemoryView to;
    std::uint64_t have = 0;
    std::uint64_t context = 0;
    std::uint32_t generation = 0;
    bool live = false;
  };
  enum Queue : std::uint8_t { kMessages, kBulk, kAnswers, kFetches, kQueues };

  Link(EndpointId id_, std::size_t turnstile_, Shared& shared)
      : id(id_), turnstile(turnstile_), shared_(shared) {}
  const Api& api() const { return shared_.context.api(); }
  void complete(Event::Kind kind, std::uint64_t context, Errc status);
  void lose(Errc why, const std::string& what);
  std::string find_way() const;

  bool queued() const {
    return !queues_[kMessages].empty() || !queues_[kBulk].empty() || !queues_[kAnswers].empty() ||
           !queues_[kFetches].empty();
  }

  // link_send.cc
  friend struct Packer;
  void push_queued();
  Ring<Operation>* next_queue();
  std::size_t send_next(Ring<Operation>& queue);
  std::size_t packet_bytes_of(const Operation& operation) const;
  std::size_t send_packet(Ring<Operation>& queue);
  void send_small(const FrameHeader& sealed, std::span<const std::byte> meta,
                  std::span<const ConstMemoryView> payload, Lane lane);
  static ucp_request_param_t request_of(Slot& slot);
  void give(Slot& slot, const ucp_request_param_t& parameters, std::span<const std::byte> header,
            const void* data, std::size_t count);
  void retire();
  static void on_taken(void* request, ucs_status_t status, void* slot);

  // link_copy.cc
  ForeignPages* find_mapped(std::uint64_t mapping, std::uint64_t region) const;
  ForeignPages* find_mapped(const Operation& operation) const {
    return find_mapped(operation.mapping, operation.region);
  }
  std::size_t copy_out(Ring<Operation>& queue);
  std::size_t copy_in(Ring<Operation>& queue);

  // link_receive.cc
  static ucs_status_t on_packet(void* link, const void* header, std::size_t header_bytes,
                                void* data, std::size_t bytes, const ucp_am_recv_param_t* param);
  static void on_failed(void* link, ucp_ep_h ep, ucs_status_t status);
  bool heeds(std::uint64_t secret, std::uint32_t sequence, const ucp_am_recv_param_t& param);
  void take(const Packet& packet, std::span<const std::byte> data);
  void take_frame(Lane lane, std::span<const std::byte> data);
  void take_write(const Packet& packet, std::span<const std::byte> data);
  void take_read(const Packet& packet);
  void take_data(const Packet& packet, std::span<const std::byte> data);
  Read* find_read(std::uint64_t name);
  void end_read(Read& read, Errc status);

  Shared& shared_;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h ep_ = nullptr;
  int fd_ = -1;
  std::string way_;
  bool local_ = false;  ///< the way is shared memory
  std::size_t packet_bytes_ = kSmallPacketBytes;
  Checksum checksum_ = Checksum::xxh3;  ///< none: memory is what frames go through
  void* closing_request_ = nullptr;

  std::uint64_t own_secret_ = 0;
  std::uint64_t peer_secret_ = 0;
  std::size_t peer_turnstile_ = 0;
  std::uint32_t next_out_ = 0;
  std::uint32_t next_in_ = 0;
  bool bye_heard_ = false;

  std::array<Ring<Operation>, kQueues> queues_;
  std::size_t turn_ = 0;  ///< of the queues behind messages
  std::array<ByteRing, 2> frames_{ByteRing(kStagedMax), ByteRing(kStagedMax)};  ///< by Lane
  std::array<Slot, kWindow> window_;
  std::uint64_t oldest_ = 0;  ///< slots between the two are in UCX's hands, in order
  std::uint64_t next_ = 0;
  std::uint64_t stalled_at_ = 0;  ///< what was the oldest slot
  TimePoint stalled_since_{};

  std::array<std::unique_ptr<Assembly>, 2> partial_;  ///< by Lane
  std::array<FrameHeader, 2> headers_;
  std::vector<Read> reads_;
  std::vector<std::uint32_t> free_reads_;
  std::vector<std::unique_ptr<ForeignPages>> mapped_;
};

}  // namespace shoal::ucx
