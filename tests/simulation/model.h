#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "core/table/table_spec.h"

// What must hold, whatever happened: the simulation's own account of every push and pull, kept
// apart from the code under test. See docs/design/simulation.md and protocol.md section 9.

namespace shoal::simulation {

/// Each push of a run has a number, and adds 1 to a digit of its own in every row it covers: two
/// bits of an i64 column. So a row says exactly which pushes are in it, and how often.
inline constexpr std::uint32_t kColumns = 4;
inline constexpr std::uint32_t kDigitsPerColumn = 31;
inline constexpr std::uint32_t kPushesMax = kColumns * kDigitsPerColumn;
using RowValue = std::array<std::int64_t, kColumns>;

RowValue value_of_push(std::uint32_t push);
/// 0, 1; more: counted twice or more.
int digit_of(const RowValue& row, std::uint32_t push);

enum class PushState : std::uint8_t {
  issued,
  applied,    ///< its ticket said so
  cancelled,  ///< confirmed: it is nowhere, and never will be
  unknown,    ///< timed out, connection lost, worker dead, ...: at most once, perhaps
};

struct PushRecord {
  std::uint32_t worker = 0;
  WorkerClock clock;
  std::set<Key> rows;
  PushState state = PushState::issued;
  bool follows = false;  ///< `after` names another operation: it is sent when that has ended
  bool pulls = false;    ///< of a push_pull: its ticket may end long after the push has
};

struct PullRecord {
  std::uint32_t worker = 0;
  bool observer = false;
  WorkerClock need;  ///< u - s
  bool bounded = true;
  std::vector<Key> rows;
  std::vector<std::uint32_t> own_before;  ///< pushes of this worker sent before it
  std::vector<RowValue> seen_before;  ///< on_arrival: digits that this process has pulled before
};

/// One table's pushes, and the checks of what pulls return.
class TableModel {
 public:
  TableModel(std::string name, Apply apply, std::uint64_t rows_per_segment)
      : name_(std::move(name)), apply_(apply), rows_per_segment_(rows_per_segment) {}

  bool full() const { return pushes_.size() == kPushesMax; }
  std::uint32_t issue(PushRecord push) {
    pushes_.push_back(std::move(push));
    return static_cast<std::uint32_t>(pushes_.size() - 1);
  }
  /// Returns sentences: what an earlier pull lacked that should have been there.
  std::vector<std::string> end(std::uint32_t push, PushState state);
  PushState state(std::uint32_t push) const { return pushes_[push].state; }
  /// A worker died, left by force, or was cut off: what it had not heard of may be there or not.
  void worker_gone(std::uint32_t worker);
  /// Pushes that are sent as soon as they are issued, which what the worker issues next comes
  /// behind. Those that follow another operation may not be, nor those of later clocks behind them.
  std::vector<std::uint32_t> sent_by(std::uint32_t worker) const;

  /// What the process has pulled of these rows so far.
  std::vector<RowValue> seen(std::uint32_t worker, std::span<const Key> rows) const;

  /// Checks a pull that succeeded. `gone[w]`: the worker was dropped from the roster at some time.
  /// Returns sentences, empty if everything holds.
  std::vector<std::string> check(const PullRecord& pull, WorkerClock oldest, WorkerClock newest,
                                 std::span<const RowValue> values, const std::vector<bool>& gone);
  /// Checks rows read when everything has ended.
  std::vector<std::string> check_final(std::span<const Key> rows,
                                       std::span<const RowValue> values) const;

 private:
  void check_row(Key row, const RowValue& value, std::vector<std::string>& broken) const;
  void check_bound(const PullRecord& pull, Key row, const RowValue& value, WorkerClock oldest,
                   const std::vector<bool>& gone, std::vector<std::string>& broken);
  void check_seen(const PullRecord& pull, std::span<const RowValue> values,
                  std::vector<std::string>& broken);
  void check_segments(const PullRecord& pull, std::span<const RowValue> values,
                      std::vector<std::string>& broken) const;
  void check_version(const PullRecord& pull, WorkerClock version, std::span<const RowValue> values,
                     std::vector<std::string>& broken);

  std::string name_;
  Apply apply_;
  std::uint64_t rows_per_segment_;
  std::vector<PushRecord> pushes_;
  /// Pushes that a pull did not hold while they were still under way: wrong unless they turn
  /// out to have been cancelled or lost.
  std::vector<std::pair<std::uint32_t, std::string>> owed_;
  std::map<std::pair<std::uint32_t, Key>, RowValue> seen_;  ///< by worker and row
  std::map<std::pair<Key, std::int64_t>, RowValue>
      versions_;  ///< first value seen of (row, version)
};

}  // namespace shoal::simulation
