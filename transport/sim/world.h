#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "transport/sim/buffer_pool.h"
#include "transport/sim/event_queue.h"
#include "transport/sim/limits.h"
#include "transport/sim/ring.h"
#include "transport/sim/sim.h"

// The simulated network's state. A connection has two sides; each side sends two streams, one a
// lane. A stream is a queue of posts (in the sender's process, from lent memory), then of pieces
// under way (in the kernels and on the wire). At most one departure and one arrival of a stream is
// scheduled.

namespace shoal::sim {

class SimTransport;

class SimClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  TimePoint now_ = kStart;
};

/// Something posted that has not left wholly.
struct Post {
  enum class Kind : std::uint8_t { message, write, read_request, read_answer };
  Kind kind{};
  bool started = false;  ///< Some of it has left.
  std::uint64_t context = 0;
  BufferId buffer = kNoBuffer;  ///< Of a message: header, meta, and payload if copied.
  std::array<ConstMemoryView, Transport::kPayloadViewsMax> lent{};
  std::size_t lent_count = 0;
  std::size_t done = 0;  ///< Bytes that have left.
  RemoteSpan remote{};   ///< The peer's span; of a read_answer: our own.
};

/// Bytes between two processes.
struct Piece {
  enum class Kind : std::uint8_t {
    message,
    write,
    read_request,
    read_data,
    read_refused,
    connected,
    fin
  };
  Kind kind{};
  bool last = false;
  TimePoint arrives{};
  BufferId buffer = kNoBuffer;
  std::size_t offset = 0;  ///< Of the piece in its operation.
  RemoteSpan remote{};
};

struct Stream {
  Ring<Post> posts;
  Ring<Piece> flight;
  TimePoint last_arrival;
  TimePoint busy_until;  ///< What left last still takes its time on the wire.
  bool depart_scheduled = false;
  bool arrive_scheduled = false;
  std::uint64_t window_bytes = 0;  ///< Under way, or arrived and not polled.
  std::uint32_t window_pieces = 0;
};

struct PendingRead {
  MemoryView to;
  std::uint64_t context = 0;
};

struct Side {
  enum class State : std::uint8_t { none, connecting, open, closed };
  State state = State::none;
  std::uint32_t node = 0;
  EndpointId endpoint;
  std::array<Stream, 2> streams;  ///< What this side sends, by lane.
  Ring<PendingRead> reads;        ///< Asked for, in order: answers come in the same order.
};

struct Connection {
  std::uint32_t generation = 0;
  bool in_use = false;
  std::array<Side, 2> sides;  ///< The one that connected, the one that accepted.
  Address target;
};

/// What a process has not polled yet.
struct Report {
  Event event{};  ///< Its frame is made when it is polled.
  BufferId buffer = kNoBuffer;
  std::uint32_t connection = 0;  ///< Of a message: whose window it fills.
  std::uint32_t generation = 0;
  std::uint8_t stream = 0;
};

struct EndpointSlot {
  EndpointId id;  ///< 0: free
  std::uint32_t connection = 0;
  std::uint8_t side = 0;
  bool ended = false;  ///< The connection is gone, `closed` is not polled yet.
};

struct RegionSlot {
  std::uint64_t id = 0;  ///< 0: free
  MemoryView memory;
  Access access = Access::read;
};

struct NodeState {
  std::string name;
  SimTransport* transport = nullptr;  ///< The living process's.
  bool dark = false;                  ///< Crashed silently and not started since.
  TimePoint dark_since;
  bool stopped = false;
  double slowness = 1.0;
  std::uint64_t token = 0;
  std::vector<std::uint16_t> ports;  ///< listening
  std::uint16_t next_port = kFirstPort;
  Ring<Report> inbox;
  std::vector<EndpointSlot> endpoints;
  std::vector<std::uint32_t> free_endpoints;
  std::vector<RegionSlot> regions;
  std::vector<std::uint32_t> free_regions;
  std::uint32_t regions_live = 0;
  bool wake_scheduled = false;
  bool in_ready = false;
  TimePoint timer = kNever;
  std::uint32_t timer_generation = 0;
};

struct LinkState {
  SimLink options;
  bool cut = false;
  TimePoint cut_since;
};

class World {
 public:
  explicit World(const SimOptions& options);
  ~World();

  // Nodes, time and turns (world.cc).
  std::uint32_t create_node(std::string_view name);
  bool step();
  void at(TimePoint when, std::function<void()> script);
  void wake(std::uint32_t node);
  void set_timer(std::uint32_t node, TimePoint when);
  std::optional<std::uint32_t> next_ready();
  void report(std::uint32_t node, const Report& report);
  void schedule(TimePoint time, Happening what, std::uint32_t index, std::uint32_t generation = 0,
                std::uint8_t stream = 0, std::int64_t detail = 0);
  void mix(std::uint64_t value) { trace_ = mix64(trace_ ^ value); }
  /// Notes that bytes move in or out of `data`.
  void touch(const std::byte* data, std::size_t bytes, std::uint32_t node, const char* how);

  // Faults (faults.cc).
  void process_ends(std::uint32_t node, bool silent);
  void process_starts(std::uint32_t node);
  void resume(std::uint32_t node);
  void cut(std::uint32_t from, std::uint32_t to);
  void heal(std::uint32_t a, std::uint32_t b);
  void drop_connections(std::uint32_t a, std::uint32_t b);
  bool reachable(std::uint32_t from, std::uint32_t to) const;
  LinkState& link(std::uint32_t from, std::uint32_t to) { return links_[from * nodes.size() + to]; }
  const LinkState& link(std::uint32_t from, std::uint32_t to) const {
    return links_[from * nodes.size() + to];
  }

  // Connections (connection.cc).
  Result<EndpointId> connect(std::uint32_t node, const Address& peer, TimePoint deadline);
  /// Ends one side: its loans now, its completions with `status`; tells the peer's side.
  void end_side(std::uint32_t connection, std::uint8_t side, Errc status, bool by_owner,
                bool tell_peer = true);
  EndpointSlot* find_endpoint(std::uint32_t node, EndpointId id);
  void free_endpoint(std::uint32_t node, EndpointId id);
  RegionSlot* find_region(std::uint32_t node, std::uint64_t id);
  /// Null: the span may not be reached so.
  std::byte* region_bytes(std::uint32_t node, const RemoteSpan& span, Access access);

  // Streams (stream.cc).
  /// Lets leave what can leave now, and schedules the rest.
  void pump(std::uint32_t connection, std::uint8_t stream);
  void send_piece(std::uint32_t connection, std::uint8_t stream, Piece piece, Duration extra = {});
  void schedule_arrival(std::uint32_t connection, std::uint8_t stream, Duration extra = {});
  /// A message was polled: its room in the window is free again.
  void release_window(std::uint32_t connection, std::uint32_t generation, std::uint8_t stream,
                      std::size_t bytes);

  SimOptions options;
  SimClock clock;
  Random random;
  WireBuffers buffers;
  std::vector<std::unique_ptr<NodeState>> nodes;
  std::vector<std::unique_ptr<Connection>> connections;
  std::map<std::uintptr_t, std::size_t> protected_ranges;
  std::vector<std::string> violations;
  std::uint64_t handled = 0;
  std::size_t transports = 0;  ///< Living or dead objects that refer to us.
  std::uint64_t next_id = 1;   ///< Of endpoints and regions, over all nodes: none is ever reused.

  TimePoint now() const { return clock.now_; }
  std::uint64_t trace() const { return trace_; }
  bool idle() const { return queue_.empty(); }
  TimePoint next_time() const { return queue_.empty() ? kNever : queue_.top().time; }
  Duration up_to(Duration most);
  Duration delay(std::uint32_t from, std::uint32_t to);

 private:
  void handle(const Scheduled& event);
  void make_ready(std::uint32_t node);
  Connection* find_connection(const Scheduled& event);

  std::uint32_t make_connection();
  void recycle(std::uint32_t connection);
  EndpointId make_endpoint(std::uint32_t node, std::uint32_t connection, std::uint8_t side);
  void on_connect_try(std::uint32_t connection);
  void on_connect_ended(std::uint32_t connection, Errc status);
  void on_keepalive(const Scheduled& event);
  void watch_silence(std::uint32_t connection, TimePoint since);
  void truncate_flight(Stream& stream, std::size_t keep);
  void restart_streams(std::uint32_t connection, std::uint8_t side, Duration extra_max);

  void on_depart(std::uint32_t connection, std::uint8_t stream);
  bool depart_next(std::uint32_t connection, std::uint8_t stream);
  void depart_message(std::uint32_t connection, std::uint8_t stream, Post& post);
  void depart_bulk(std::uint32_t connection, std::uint8_t stream, Post& post);
  void on_arrive(std::uint32_t connection, std::uint8_t stream);
  void land(std::uint32_t connection, std::uint8_t stream, const Piece& piece);
  void land_write(std::uint32_t node, const Piece& piece);
  void land_read(Side& side, const Piece& piece);
  std::size_t window_cost(const Piece& piece) const;

  EventQueue queue_;
  std::vector<std::uint32_t> ready_;
  std::size_t ready_head_ = 0;
  std::vector<std::function<void()>> scripts_;
  std::vector<std::uint32_t> free_scripts_;
  std::vector<std::uint32_t> free_connections_;
  std::vector<LinkState> links_;
  std::uint64_t trace_ = 0;
};

}  // namespace shoal::sim
