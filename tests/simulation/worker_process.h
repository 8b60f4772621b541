#pragma once

#include <cstdint>
#include <deque>
#include <memory>
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
  bool slots_may_be_lost = false;
  std::uint64_t pushes_applied = 0;
  std::uint64_t pulls_answered = 0;
};

/// A worker that trains at random: opens the tables, and in each round pushes, pulls, prefetches
/// and cancels, then ticks; at the end it flushes and leaves. Everything it learns goes to the
/// ledger.
class WorkerProcess final : public Pollable {
 public:
  struct Plan {
    std::uint32_t index = 0;
    std::uint64_t seed = 1;
    int rounds = 4;
    bool audit = false;  ///< reads every row once, when all is over, as an observer
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
    std::vector<RowValue> in, out;
    TimePoint deadline{};
    bool done = false;
    bool awaited = false;  ///< the round does not end before it
  };

  bool act(TimePoint now);
  bool collect();
  void settle(Issued& issued, const Operation& op);
  void open_tables(TimePoint now);
  void play_round(TimePoint now);
  void audit(TimePoint now);
  void issue_rows(std::size_t table, OperationKind kind, std::int64_t ahead, TimePoint now);
  void issue_control(OperationKind kind, FrameKind control, std::vector<std::byte> meta,
                     std::size_t table, TimePoint now);
  std::vector<Key> choose_rows(const TableSpec& spec);
  bool waits() const;

  Ledger& ledger_;
  Plan plan_;
  Random random_;
  Engine engine_;
  Stage stage_ = Stage::joining;
  int round_ = 0;
  bool played_ = false;
  bool excused_ = false;
  bool fenced_ = false;
  std::vector<const TableShape*> shapes_;
  std::vector<std::vector<Key>> lists_;  ///< of sparse keys, to be named again
  std::deque<Issued> issued_;            ///< addresses are stable; buffers live until the run ends
};

}  // namespace shoal::simulation
