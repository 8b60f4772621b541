#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"
#include "transport/frames.h"
#include "transport/ring.h"
#include "transport/transport.h"
#include "transport/verbs/staging.h"

namespace shoal::verbs {

/// What poll() has to report of an operation once it is done.
struct Completion {
  bool wanted = false;
  Event::Kind kind = Event::Kind::sent;
  std::uint64_t context = 0;
  Errc failed = Errc::ok;   ///< why, if it is known before the pair ends
  std::uint32_t split = 0;  ///< the transfer that it is a part of (Splits); 0: a whole one
};

/// Counted by tests: what a device is asked to do.
struct Counters {
  std::uint64_t requests = 0;
  std::uint64_t signalled = 0;
  std::uint64_t doorbells = 0;
};

/// A reliable-connected queue pair and what is queued on it: frames, WRITEs and READs, in order.
/// Operations wait in a queue, are cut into work requests as the device has room, and end in order.
class Pair {
 public:
  /// `rail` and `counters` outlive it; `name` is what its completions' wr_id begin with.
  static Result<Pair> create(Rail& rail, std::size_t queue, std::uint32_t depth, std::uint32_t name,
                             Counters& counters);
  Pair(Pair&&) = default;

  std::uint32_t number() const { return qp_->qp_num; }
  std::uint32_t first_packet() const { return first_packet_; }
  /// Connects to a pair of a peer; both numbers have 24 bits. Errors: unavailable.
  Status connect(const PortCard& peer, std::uint32_t peer_number, std::uint32_t peer_first_packet);

  /// Queues a frame, whose header is sealed; its bytes are copied. `awaits` travels with it (see
  /// BulkGate). Errors: overloaded (no room); registration, no_memory (there will never be room for
  /// so large a frame).
  Status push_frame(const FrameHeader& header, std::span<const std::byte> meta,
                    std::span<const ConstMemoryView> payload, std::uint32_t awaits);
  /// Queues a message of nothing, for BulkGate. has_room() must hold.
  void push_token();
  /// Queues a message of zeros, which nobody looks at: it tries what has not carried anything yet.
  /// Errors: as push_frame().
  Status push_probe(std::size_t bytes);
  /// A side of our own memory: registered (its lkey), or not (0).
  struct Local {
    std::byte* data = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t lkey = 0;
  };
  struct Remote {
    std::uint64_t address = 0;
    std::uint32_t rkey = 0;
  };
  /// Queues a WRITE or READ. has_room() must hold.
  void push_transfer(ibv_wr_opcode opcode, const Local& local, const Remote& remote,
                     const Completion& completion);
  bool has_room() const { return queue_.size() < kQueuedMax; }

  /// Hands over what the device has room for. Errors: io; registration, no_memory (of memory that
  /// is not attached, and cannot be copied on its way either).
  Status post();
  bool idle() const { return queue_.empty() && flight_.empty(); }
  bool has_queued() const { return !queue_.empty(); }
  /// Asks for a completion behind everything, so that idle() will hold. Errors: io.
  Status nudge();

  /// The request with this wr_id is done, and so are all before it. `ended(completion)` for each
  /// operation that ended with one of them and is wanted.
  template <class Ended>
  void retire(std::uint64_t wr_id, Ended&& ended) {
    const auto count = static_cast<std::uint32_t>(wr_id) - retired_;
    for (std::uint32_t i = 0; i <= count && !flight_.empty(); ++i) retire_one(ended);
  }
  /// A request failed: those before it are done. Its operation will end with `why` when the pair is
  /// destroyed, and not before: other requests of it may still move bytes.
  template <class Ended>
  void retire_failed(std::uint64_t wr_id, Ended&& ended, Errc why) {
    const auto count = static_cast<std::uint32_t>(wr_id) - retired_;
    for (std::uint32_t i = 0; i < count && !flight_.empty(); ++i) retire_one(ended);
    if (flight_.empty()) return;
    const auto operation = flight_.front().operation;
    for (std::size_t i = 0; i < flight_.size(); ++i)
      if (flight_[i].operation == operation) flight_[i].completion.failed = why;
    for (std::size_t i = 0; i < queue_.size(); ++i)
      if (queue_[i].number == operation) queue_[i].completion.failed = why;
  }
  /// Receives nothing more: what the pair leaves in its completion queue is all.
  void stop();
  /// Destroys the pair: from here on no byte lands in, or leaves, memory that was lent to it. Then
  /// `ended(completion)` for each operation that is wanted.
  template <class Ended>
  void destroy(Ended&& ended) {
    qp_.reset();
    for (; !flight_.empty(); flight_.pop_front())
      if (flight_.front().completion.wanted) ended(flight_.front().completion);
    for (; !queue_.empty(); queue_.pop_front())
      if (queue_.front().completion.wanted) ended(queue_.front().completion);
  }
  bool alive() const { return static_cast<bool>(qp_); }

 private:
  struct Operation {
    ibv_wr_opcode opcode = IBV_WR_SEND;
    std::uint64_t number = 0;
    Local local;
    Remote remote;
    std::uint64_t posted = 0;  ///< bytes
    std::uint32_t awaits = 0;  ///< of a frame
    Completion completion;
  };
  /// A work request that the device has.
  struct Flight {
    std::uint64_t operation = 0;
    std::uint32_t staged = 0;   ///< bytes of frames_ to give back
    std::uint32_t bounced = 0;  ///< bytes of bounce_ to give back
    const std::byte* from = nullptr;
    std::byte* to = nullptr;  ///< a READ's bytes are copied there
    Completion completion;    ///< of an operation's last request
  };
  /// The requests of one doorbell.
  struct Batch {
    std::array<ibv_send_wr, kBatchMax> requests;
    std::array<ibv_sge, kBatchMax> pieces;
    std::size_t count = 0;
  };

  Pair(Rail& rail, QueuePair qp, std::uint32_t depth, std::uint32_t name, Counters& counters);
  Result<Staging::Run> stage(std::size_t bytes);
  void push_message(const Staging::Run& run, std::size_t bytes, std::uint32_t awaits);
  ibv_send_wr new_request(ibv_wr_opcode opcode);
  bool cut(Batch& batch);
  bool choose_local(const Operation& operation, std::uint64_t bytes, ibv_sge& piece,
                    Flight& flight);
  void signal_last(Batch& batch);
  Status ring(Batch& batch);
  template <class Ended>
  void retire_one(Ended&& ended) {
    const auto& done = flight_.front();
    if (done.to != nullptr) std::memcpy(done.to, done.from, done.bounced);
    if (done.staged != 0) frames_.give(done.staged);
    if (done.bounced != 0) bounce_.give(done.bounced);
    const auto completion = done.completion;
    flight_.pop_front();
    ++retired_;
    if (completion.wanted) ended(completion);
  }

  Rail& rail_;
  Counters& counters_;
  std::uint32_t depth_;
  std::uint32_t name_;
  std::uint32_t first_packet_ = 0;
  Ring<Operation> queue_;
  Ring<Flight> flight_;
  std::uint64_t operations_ = 0;
  std::uint32_t next_ = 0;     ///< number of the next request
  std::uint32_t retired_ = 0;  ///< number of the oldest one in flight
  std::uint32_t silent_ = 0;   ///< requests since the last that asked for a completion
  bool awaited_ = false;       ///< one of them ends something that is waited for
  // Behind the pair, which uses them, in order of destruction.
  Staging frames_;
  Staging bounce_;
  QueuePair qp_;
};

}  // namespace shoal::verbs
