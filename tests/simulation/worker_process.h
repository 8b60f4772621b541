#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/table/table_spec.h"
#include "tests/simulation/model.h"
#include "transport/loop.h"
#include "transport/sim/sim.h"
#include "worker/engine/engine.h"

namespace shoal::simulation {

/// What all workers of a run share: the tables and what is known of them.
struct Ledger {
  std::vector<TableSpec> specs;
  std::vector<TableModel> models;
  std::vector<bool> gone;  ///< by worker: crashed, left by force or fenced
  std::vector<std::string> violations;
  SimNetwork* network = nullptr;
  bool faults_over = false;
  TimePoint quiet_from = kNever;  ///< the last fault has been dealt with: who is gone is known
  bool slots_may_be_lost = false;
  std::uint64_t pushes_applied = 0;
  std::uint64_t pulls_answered = 0;
};

/// What a process of the workload does. Watchers and auditors are observers.
enum class Job : std::uint8_t {
  train,  ///< in each round it pushes, pulls, prefetches and cancels, then ticks; flushes, leaves
  watch,  ///< pulls at random while others train
  audit,  ///< reads every row once, when all is over
};

/// A process that opens the tables and does its job. Everything it learns goes to the ledger.
class WorkerProcess final : public Pollable {
 public:
  struct Plan {
    std::uint32_t index = 0;
    std::uint64_t seed = 1;
    int rounds = 4;
    Job job = Job::train;
    Engine::Options engine;
  };
  WorkerProcess(Ledger& ledger, Transport& transport, const Clock& clock, Plan plan);
  ~WorkerProcess() override;

  bool poll(TimePoint now) override;
  TimePoint next_timer() const override;
  Transport& transport() override { return engine_.transport(); }

  Engine& engine() { return engine_; }
  bool fenced() const { return fenced_; }
  Role role() const { return plan_.engine.role; }
  /// Left the cluster, or knows that it never can.
  bool finished() const { return stage_ == Stage::finished; }
  /// Operations whose ticket should have ended by now.
  std::vector<std::string> overdue(TimePoint now) const;
  /// It was stopped or slowed: its deadlines may be missed from here on.
  void excuse() { excused_ = true; }
  /// Has asked for something and waits for it.
  bool in_the_middle() const;
  std::string state() const;

 private:
  enum class Stage : std::uint8_t { joining, opening, running, flushing, leaving, finished };
  struct Issued {
    OperationId id;
    OperationKind kind = OperationKind::push;
    std::size_t table = 0;
    std::uint32_t push = 0;
    PullRecord pull;
    std::vector<Key> keys;
    std::span<RowValue> in, out;
    std::vector<RowValue> own_in, own_out;  ///< what they are of, unless it is the arena
    TimePoint deadline{};
    bool done = false;
    WorkerClock waited_from = kNotWaited;  ///< no round of this clock or a later one ends before it
    const Issued* follows = nullptr;
    bool quiet = false;  ///< nothing stands in its way: no fault, no short deadline, no cancel
    bool failed = false;
    /// And what it follows, if anything, did not fail either.
    bool undisturbed() const {
      return quiet && (follows == nullptr || (follows->undisturbed() && !follows->failed));
    }
  };
  static constexpr WorkerClock kNotWaited{std::numeric_limits<std::int64_t>::max()};

  bool act(TimePoint now);
  Issued& add_issued();
  bool collect();
  void settle(Issued& issued, const Operation& op);
  void open_tables(TimePoint now);
  void play_round(TimePoint now);
  void audit(TimePoint now);
  void issue_rows(std::size_t table, OperationKind kind, std::int64_t ahead, TimePoint now);
  void choose_wait(Issued& issued, std::int64_t ahead, TimePoint now);
  void follow_last(Issued& issued);
  void lend_pushed(Issued& issued, Engine::Ask& ask);
  void lend_pulled(Issued& issued, Engine::Ask& ask);
  void issue_burst(std::size_t table, TimePoint now);
  void look_around(TimePoint now);
  void cancel_some();
  bool tables_are_open(TimePoint now);
  std::span<RowValue> take_rows(std::size_t count, std::vector<RowValue>& own,
                                MemoryRecord*& memory);
  void issue_control(OperationKind kind, FrameKind control, std::vector<std::byte> meta,
                     std::size_t table, TimePoint now);
  std::vector<Key> choose_rows(const TableSpec& spec);
  bool waits() const;
  void check_clock();

  Ledger& ledger_;
  Plan plan_;
  Random random_;
  Random wishes_;  ///< which pulls are to be one-sided: apart, so that seeds keep the rest
  std::vector<RowValue> arena_;  ///< registered once, for many operations: slices are used once
  std::size_t arena_used_ = 0;
  Engine engine_;
  MemoryRecord* arena_memory_;
  Stage stage_ = Stage::joining;
  int round_ = 0;
  bool played_ = false;
  int opens_ = 0;
  TimePoint act_at_ = kNever;  ///< when it looks again for tables that are not there yet
  bool excused_ = false;
  bool fenced_ = false;
  bool flushed_ = false;
  std::vector<const TableShape*> shapes_;
  std::vector<std::vector<Key>> lists_;  ///< of sparse keys, to be named again
  std::deque<Issued> issued_;            ///< addresses are stable; buffers live until the run ends
  std::vector<Issued*> open_;            ///< those that have not ended, in order
};

}  // namespace shoal::simulation
