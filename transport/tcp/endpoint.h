#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "transport/auth.h"
#include "transport/tcp/bulk_receiver.h"
#include "transport/tcp/bulk_sender.h"
#include "transport/tcp/socket.h"

namespace shoal::tcp {

/// READs of ours that the peer has not answered yet. Their names are index and generation, so a
/// peer that answers twice, or something else, is found out.
class ReadTable {
 public:
  struct Read {
    std::uint64_t op = 0;  // 0: free
    MemoryView to;
    std::uint64_t received = 0;
    std::uint64_t context = 0;
  };
  bool full() const { return free_.empty() && reads_.size() == kReadsMax; }
  /// The new read's name; full() must not hold.
  std::uint64_t add(MemoryView to, std::uint64_t context);
  Read* find(std::uint64_t op);
  void remove(Read& read);
  template <class Ended>
  void clear(Ended&& ended) {
    for (auto& read : reads_)
      if (read.op != 0) ended(Completion{true, Event::Kind::read_done, read.context});
    reads_.clear();
    free_.clear();
  }

 private:
  std::vector<Read> reads_;
  std::vector<std::uint32_t> free_;
  std::uint64_t generation_ = 0;
};

/// What an endpoint needs only until it is up: the addresses still to try and a handshake on each
/// of its two sockets.
struct Connecting {
  struct Half {
    Fd fd;
    std::optional<Authenticator> auth;
    bool up = false;  ///< the TCP connection is established
    bool proved = false;
  };
  SocketAddresses addresses;
  std::size_t current = 0;
  LaneBinding binding;
  TimePoint deadline;
  std::array<Half, 2> halves;  ///< by Lane
};

/// Endpoint ids begin with the index of a table: the same for no two endpoints at a time.
inline std::size_t endpoint_index(EndpointId id) {
  return static_cast<std::size_t>(id.value & ((1u << kEndpointIndexBits) - 1));
}

/// Both connections to one peer, and all that is under way on them.
class Endpoint final : public BulkSink {
 public:
  Endpoint(EndpointId id_, std::string peer_, const RegionTable& regions, Ring<Event>& completed,
           TcpCounters& counters, std::span<std::byte> discard)
      : id(id_),
        peer(std::move(peer_)),
        bulk_in(*this, discard),
        regions_(regions),
        completed_(completed),
        counters_(counters) {}

  void complete(const Completion& completion, Errc status) {
    completed_.push_back({.kind = completion.kind,
                          .status = status,
                          .endpoint = id,
                          .context = completion.context,
                          .frame = {}});
  }

  std::byte* write_target(std::uint64_t region, std::uint64_t address,
                          std::uint64_t bytes) override;
  std::byte* read_target(std::uint64_t op, std::uint64_t offset, std::uint64_t bytes) override;
  void read_arrived(std::uint64_t op, std::uint64_t bytes) override;
  bool read_refused(std::uint64_t op) override;

  const EndpointId id;
  std::string peer;
  std::unique_ptr<Connecting> connecting;  ///< until it is up
  Fd message;
  Fd bulk;
  SendQueue out;
  BulkSender bulk_out;
  MessageReceiver in;
  BulkReceiver bulk_in;
  ReadTable reads;
  std::uint64_t features = 0;    ///< the peer's: kFeature*
  bool paths = false;            ///< both sides negotiate faster paths
  bool dirty = false;            ///< in the list of those with something to send
  bool in_backlog = false;       ///< in the list of those with frames not yet reported
  bool message_blocked = false;  ///< waits for EPOLLOUT
  bool bulk_blocked = false;
  Errc failing = Errc::ok;  ///< lost, but what had arrived is still to be reported

 private:
  const RegionTable& regions_;
  Ring<Event>& completed_;
  TcpCounters& counters_;
};

}  // namespace shoal::tcp
