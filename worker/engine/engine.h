#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/bounded_queue.h"
#include "core/base/clock.h"
#include "core/base/owner.h"
#include "core/base/result.h"
#include "transport/endpoint_map.h"
#include "transport/loop.h"
#include "transport/scheduler_link.h"
#include "transport/session.h"
#include "transport/transport.h"
#include "worker/engine/clock_keeper.h"
#include "worker/engine/ended_failures.h"
#include "worker/engine/flush_keeper.h"
#include "worker/engine/key_plans.h"
#include "worker/engine/one_sided.h"
#include "worker/engine/operation.h"
#include "worker/engine/region_cache.h"
#include "worker/engine/request.h"
#include "worker/engine/unseen_failures.h"

namespace shoal {

class Trace;
struct TraceRecord;

/// The worker's side of the protocol: turns the user's operations into requests, follows the view,
/// retries, lets go, and reports the clock. Calls come in through a queue from any thread;
/// everything else belongs to one loop. Does no I/O of its own and reads the time only to stamp
/// deadlines. See docs/design/protocol.md and docs/design/worker.md.
class Engine final : public Pollable {
 public:
  struct Options {
    Address scheduler;
    Role role = Role::worker;
    std::string name;
    Incarnation incarnation;
    std::uint32_t operations_max = 4096;  ///< unfinished or with a live ticket
    Duration cancel_grace = std::chrono::milliseconds(500);
    std::size_t eager_bytes_max = 16u << 10;   ///< pushes up to this ride in the message
    std::size_t answer_bytes_max = 16u << 10;  ///< pulls up to this ride in the answer
    std::size_t plan_keys_min = 256;  ///< shorter lists are grouped as fast as they are looked up
    std::size_t plan_bytes_max = 256u << 20;  ///< of key lists that were used twice; 0: none
    std::size_t registration_bytes_max = std::size_t{4} << 30;  ///< kept between loans; 0: none
    Duration silence = std::chrono::seconds(10);
    Duration connect_timeout = std::chrono::seconds(5);  ///< of one try, to whomever
    std::string token_source = "token_file";             ///< as in SchedulerLink::Options
    std::uint64_t seed = 1;
    Trace* trace = nullptr;  ///< outlives the engine; null: nobody traces
    /// Only for tests that prove the seed search can fail: see tests/simulation.
    struct Faults {
      bool report_clock_early = false;  ///< report the local clock before its pushes have ended
      bool read_unchecked = false;      ///< one-sided pulls: take what was READ for whole
    } faults;
  };
  /// `transport` and `clock` outlive the engine. Eager limits are at most kEagerBytesMax.
  Engine(Transport& transport, const Clock& clock, Options options);
  ~Engine() override;

  // ---- Any thread.

  /// What a call of the user asks for. Spans and views stay the user's until the operation is done.
  struct Ask {
    OperationKind kind = OperationKind::push;
    const TableShape* table = nullptr;
    bool by_keys = false;
    bool store = false;
    RowRange rows;
    std::span<const Key> keys;
    ConstMemoryView source;
    MemoryView target;
    MemoryRecord* source_memory = nullptr;
    MemoryRecord* target_memory = nullptr;
    std::span<const OperationId> after;
    std::int64_t ahead = 0;
    bool one_sided = false;  ///< a pull: READ the rows, where that can be
    TimePoint deadline = kNever;
    FrameKind control = FrameKind::barrier;
    std::vector<std::byte> control_meta;
  };
  /// Hands an operation over. Errors, at once: overloaded, invalid_argument.
  Result<OperationId> submit(Ask&& ask);
  Operation& operation(OperationId id) { return operations_[id.index]; }
  bool done(OperationId id);
  /// The caller has seen that it is done.
  void note_polled(OperationId id);
  void cancel(OperationId id);
  /// The ticket is gone. The operation goes on by itself. True: it was done, and its place is free.
  bool drop(OperationId id);
  /// Calls that were handed over, the caller's among them; and whether the loop has taken so many:
  /// only then does Operation::kNeedsTick know of them.
  std::uint64_t calls_made() const { return calls_.pushed(); }
  bool has_taken(std::uint64_t calls) const {
    return calls_taken_.load(std::memory_order_acquire) >= calls;
  }
  void tick();
  WorkerClock clock() const { return WorkerClock(local_.load(std::memory_order_acquire)); }
  /// Memory for many operations; registered when the first one needs it. Never null.
  MemoryRecord* add_memory(MemoryView memory, bool owned);
  /// The handle is gone; owned memory is freed when no operation uses it any more.
  void remove_memory(MemoryRecord* record);
  /// What every call above makes so that a sleeping loop notices. Set before threads start.
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }

  /// Counters for progress lines; approximate while operations run.
  struct Traffic {
    std::uint64_t bytes_pushed = 0;
    std::uint64_t bytes_pulled = 0;
  };
  Traffic traffic() const;
  OneSidedCounts one_sided() const { return reads_.counts(); }
  UnseenFailures& unseen() { return unseen_; }

  // ---- The loop.

  bool poll(TimePoint now) override;
  TimePoint next_timer() const override;
  Transport& transport() override { return transport_; }
  /// Takes in what other threads asked for and sends it, without looking for events: what a
  /// caller-driven worker does at each call.
  void take_calls(TimePoint now);

  /// Set once the scheduler has let this worker in.
  const std::optional<Joined>& joined() const { return link_.joined(); }
  /// Why it never will. Empty: not so.
  const std::optional<Error>& refusal() const { return refusal_; }
  const ViewPtr& view() const { return link_.view(); }
  std::string why_not_joined() const { return link_.explain(); }
  Incarnation incarnation() const { return options_.incarnation; }
  /// The next thread that polls owns the loop.
  void release_loop() { owner_.release(); }
  /// Workers in the roster. Any thread.
  std::uint32_t roster_size() const { return roster_size_.load(std::memory_order_relaxed); }
  WorkerClock reported() const { return keeper_.reported(); }
  const std::atomic<std::uint64_t>& turns() const { return turns_; }
  /// Operations that are not done, requests that are not answered for good, and clocks whose empty
  /// parts are put off, as many as follow on each other for one.
  std::size_t unfinished() const;

 private:
  struct Server;  // a server of the view and the session to it
  struct Table;   // a table of the view and this worker's sequences in it
  struct Call {   // what other threads ask of the loop
    enum class Kind : std::uint8_t { submit, cancel, drop, add_memory, remove_memory };
    Kind kind;
    std::uint32_t generation;
    std::uint32_t operation;
    MemoryRecord* memory;
  };
  struct Blocked {  // a push or pull that waits for others before it may be sent
    std::uint32_t operation = Request::kNone;  // or
    std::uint32_t request = Request::kNone;  // a tick's empty parts, or what is burnt; or neither:
    std::uint32_t table = 0;
    WorkerClock clock;
    bool pushes = false;
    WorkerClock end;  // the empty parts of all clocks from `clock` to this one
    bool empty_clocks() const { return operation == Request::kNone && request == Request::kNone; }
  };

  // engine_calls.cc: the hand-over between threads
  void release(OperationId id);
  void hand(const Call& call);
  void wake();
  bool take_calls();
  void set_clock(Operation& op, WorkerClock clock) const;
  void accept(std::uint32_t index);
  void give_back(MemoryView memory);
  void free_memory_if_unused(MemoryRecord* record);

  // engine_blocked.cc: who waits for others
  void block(const Blocked& entry);
  bool start_unblocked();
  bool may_start(const Blocked& blocked, std::size_t position, Error& failed);
  bool window_is_closed(const Blocked& blocked);
  std::optional<WorkerClock> tick_before(const Operation& push);
  void follow_ended(Operation& op);

  // engine.cc: the loop, and the end of operations
  void dispatch(const Event& event, TimePoint now);
  void advance_clock(WorkerClock to);
  void report_clock();
  void begin_push(WorkerClock clock, std::uint64_t place);
  void end_push(WorkerClock clock, std::uint64_t place);
  void finish(Operation& op, Errc code, std::string detail);
  void finish_if_done(Operation& op);
  void set_phase(Operation& op, Operation::Phase phase);
  std::uint32_t index_of(const Operation& op) const;
  OperationId id_of(std::uint32_t index);
  std::vector<OperationId> active_ids();
  Operation* find_operation(OperationId id);
  void remove_active(std::uint32_t index);
  void finish_flushes();

  // engine_split.cc: operations into requests
  void start(Operation& op);
  void start_push(Operation& op);
  void start_pull(Operation& op);
  void split_range(const Table& table, RowRange rows, std::size_t row_bytes, Row origin);
  Status split_keys(Operation& op, Table& table, bool push);
  std::optional<SlotIndex> lost_slot(const Table& table) const;
  void plan_requests(Operation* op, Table& table, Request::Kind kind, WorkerClock clock,
                     std::uint64_t place);
  void assign_sequences(Request& request);

  // engine_collective.cc: contributions to rounds
  void note_contribution(Table& table, RowRange rows);
  void complete_contributions(WorkerClock clock);
  void complete_contributions(Table& table, WorkerClock clock);
  void put_off(const Table& table, WorkerClock clock);
  void start_empty_clock(Blocked blocked);
  bool needs_tick(const Operation& op);
  void refresh_needs_tick();

  // engine_post.cc: requests into frames
  void post_planned();
  void post(std::uint32_t index);
  FrameHeader header_of(const Request& request) const;
  Status post_push(std::uint32_t index, Server& server);
  Status post_pull(std::uint32_t index, Server& server);
  Status lend_push(Operation& op, PushMeta& meta);
  Status lend_pull(Operation& op, bool values_eager, bool keys_eager, PullMeta& meta);
  Result<WireSpan> lend(RegionCache::Loan& loan, MemoryRecord* record, MemoryView memory,
                        Access access);
  Result<WireSpan> lend(Region& own, MemoryView memory, Access access);
  bool must_hold_back(const Request& request, const Server& server);
  bool is_early_beyond_room(const Request& request, const Server& server);
  void forget_early(Request& request);
  void wait_and_post_again(std::uint32_t index, Epoch wanted, Duration delay);
  bool post_waiting(TimePoint now);

  // engine_one_sided.cc: pulls that READ segments by themselves
  bool start_reading(std::uint32_t index, Server& server);
  Fallback why_not_read(const Request& request, Server& server);
  bool has_own_push(const Table& table, const Request& request);
  void attach_target(Operation& op);
  void pump(ShareReader& share, Server& server);
  void on_read_done(Server& server, const Event& event);
  void end_reading(std::uint32_t index);
  void lose_reading(std::uint32_t index);
  void let_go_reading(std::uint32_t index);
  void ask_for_directory(Table& table, Server& server, SlotIndex slot);
  void on_directory(Server& server, TableId id, const FrameView& frame);
  void on_no_directory(Server& server, Table& table, Errc code, const FrameView& frame);
  void forget_directories(const Request& request);

  // engine_answer.cc: answers, letting go
  void on_answer(Server& server, const Incoming& incoming);
  void take_answer(Server& server, Request& request, const Incoming& incoming);
  void on_push_answer(std::uint32_t index, const FrameHeader& header, const AnswerParts& answer);
  void on_pull_answer(std::uint32_t index, const FrameView& frame, const AnswerParts& answer);
  bool copy_answer(const Request& request, Operation& op, std::span<const std::byte> payload);
  void retry(std::uint32_t index, Errc code, const FrameHeader& header);
  void release_request(std::uint32_t index);
  void end_request(std::uint32_t index);
  void detach(std::uint32_t index);
  static bool is_unsettled(const Request& request);
  void let_go(Operation& op, Errc code, std::string detail);
  void let_go_blocked(Operation& op);
  void drop_unburnable(Request& request);
  void let_go_push(std::uint32_t index);
  void let_go_pull(std::uint32_t index);
  void force_end(Operation& op);
  void end_letting_go(Operation& op);
  void on_broken(Server& server);
  std::vector<std::uint32_t> requests_of(const Operation& op);

  // engine_trace.cc: what a trace is told
  TraceRecord trace_record(const Request& request);
  void trace_posted(const Request& request, TimePoint began);
  void trace_life(OperationId id, const Operation& op);

  // engine_words.cc: what people are told
  std::string name_of_server(NodeId id) const;
  std::string why_late(const Operation& op, bool& lost);
  std::string words_of_silence(const Operation& op);
  bool is_early(const Operation& op) const;
  std::string held_back_by(const Operation& op) const;
  std::string why_lost(const Table& table, SlotIndex slot) const;
  std::string why_cut_off() const;
  std::string why_refused(const Operation& op, NodeId server, Errc code,
                          const AnswerParts& answer) const;
  std::string why_unsettled(const Operation& op);
  std::string explain() const;

  // engine_late.cc: deadlines
  void expire(TimePoint now);
  void expire(Operation& op);
  bool ask_for_straggler(Operation& op);
  void on_straggler(NodeId about, const FrameView& answer);

  // engine_view.cc: the scheduler's word
  void on_change(const SchedulerLink::Change& change);
  void on_view();
  void cut_off();
  void follow_servers();
  void follow_tables();
  void reroute();
  void reroute(std::uint32_t index);
  void forget(std::uint32_t index);
  bool lose_slot(std::uint32_t index, const Table& table, SlotIndex slot);
  void divide(std::uint32_t index, const Table& table);
  std::uint32_t another_like(std::uint32_t index);
  void leave_server(std::uint32_t index);
  void finish_opened(Operation& op);
  void on_control_answer(const Incoming& answer);
  void on_stranger(Server& server, bool refused);
  void start_control(Operation& op);
  void let_go_control(Operation& op);
  void end_control(Operation& op);
  Server* find_server(NodeId id);
  Table* find_table(TableId id);

  Transport& transport_;
  const Clock& clock_;
  const Options options_;
  Owner owner_;
  std::function<void()> wake_ = [] {};
  SchedulerLink link_;
  std::optional<Error> refusal_;
  bool fenced_ = false;
  bool left_ = false;  ///< out of the roster because this worker asked for it
  ViewPtr seen_view_;  ///< what servers_, tables_ and routes follow

  std::atomic<std::int64_t> local_{0};
  std::atomic<std::uint64_t> turns_{0};
  int hurried_ = 0;         ///< turns since timers were looked at
  EndedFailures failures_;  ///< of operations, for those that follow them
  std::atomic<std::uint32_t> roster_size_{0};
  std::atomic<std::uint32_t> unsettled_{0};  ///< requests that is_unsettled() says yes of
  std::atomic<std::uint64_t> bytes_pushed_{0}, bytes_pulled_{0};
  UnseenFailures unseen_;
  OperationTable operations_;
  BoundedQueue<Call> calls_;
  std::atomic<std::uint64_t> calls_taken_{0};

  ClockKeeper keeper_;
  FlushKeeper flushes_;
  Tick told_;  ///< the last tick sent to the scheduler
  RequestTable requests_;
  KeyPlans plans_;
  RegionCache regions_;
  OneSidedReads reads_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::pair<NodeId, std::string>> gone_servers_;  ///< and what people call them
  EndpointMap<Server*> by_endpoint_;
  std::vector<std::unique_ptr<Table>> tables_;  ///< by TableId
  std::vector<std::uint32_t> active_;           ///< operations that are not done
  std::vector<Blocked> blocked_;                ///< ascending by clock
  std::vector<std::uint32_t> waiting_;          ///< requests in Stage::waiting
  TimePoint waiting_until_ = kNever;            ///< none of them is due before this
  bool recheck_waiting_ = false;  ///< what else they wait for may have come: a view, or room
  std::vector<MemoryRecord*> memory_;
  bool recheck_blocked_ = false;
  bool read_posted_ = false;         ///< in this turn
  std::uint64_t walks_ = 0;          ///< of tick_before()
  bool recheck_needs_tick_ = false;  ///< what needs_tick() looks at has changed in this turn
  std::uint64_t barriers_ = 0;       ///< arrivals that were sent: each has a number
  TimePoint now_{};
  TimePoint next_expiry_ = kNever;
  NodeId holder_;                  ///< who held G back when a server last said
  std::vector<NodeId> questions_;  ///< about whom the scheduler is being asked; 0: who holds G back
  WorkerClock seen_global_clock_;
  /// G as of a view no newer than ours: all pushes below it are where our view has their slots.
  WorkerClock applied_clock_;

  // Scratch of one turn; they keep their capacity.
  std::vector<Event> events_;
  std::vector<Run> runs_;
  std::vector<std::byte> meta_;
  std::vector<OperationId> ended_;
  std::vector<std::uint32_t> planned_;
  std::vector<std::uint32_t> walked_;
  std::vector<std::uint64_t> due_;
};

}  // namespace shoal
