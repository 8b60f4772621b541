#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "perf/window.h"
#include "perf/workload.h"

namespace shoal::perf {

/// What a row has to reach.
struct Goal {
  enum class Of : std::uint8_t { none, ratio, value };
  enum class Bound : std::uint8_t { at_most, at_least };
  Of of = Of::none;
  Bound bound = Bound::at_most;
  double limit = 0;

  bool met(double value, double ratio) const {
    const auto reached = of == Of::ratio ? ratio : value;
    return of == Of::none || (bound == Bound::at_most ? reached <= limit : reached >= limit);
  }
  /// "ratio <= 1.3"; empty for none.
  std::string to_string() const;

  static Goal ratio_at_most(double x) { return {Of::ratio, Bound::at_most, x}; }
  static Goal ratio_at_least(double x) { return {Of::ratio, Bound::at_least, x}; }
  static Goal value_at_most(double x) { return {Of::value, Bound::at_most, x}; }
  static Goal value_at_least(double x) { return {Of::value, Bound::at_least, x}; }
};

/// How thoroughly rows are measured.
struct Effort {
  const Clock& clock;
  bool smoke = false;  ///< just enough to see that a row works

  Limits limits() const {
    using std::chrono::milliseconds;
    return smoke ? Limits{milliseconds(5), milliseconds(20)}
                 : Limits{milliseconds(60), milliseconds(400)};
  }
  /// For rows whose processes must do equally much: so many operations.
  Limits operations(std::uint64_t count) const {
    return {Duration::zero(), Duration::zero(),
            smoke ? std::max<std::uint64_t>(count / 50, 4) : count};
  }
};

/// One line of the suite. A side makes one run, in processes of its own; where it is `unavailable`
/// the row is skipped.
struct Row {
  using Side = std::function<Result<double>(const Effort&)>;
  std::string name;
  std::string unit;
  Goal goal;
  Side ours;
  Side raw;  ///< in the same unit; may be empty
};

/// The rows of each file, in the order of the suite.
void add_small_rows(std::vector<Row>& rows);
void add_stream_rows(std::vector<Row>& rows);
void add_group_rows(std::vector<Row>& rows);
void add_sparse_rows(std::vector<Row>& rows);
void add_ops_rows(std::vector<Row>& rows);
void add_memory_rows(std::vector<Row>& rows);
void add_ucx_rows(std::vector<Row>& rows);
void add_verbs_rows(std::vector<Row>& rows);
void add_cuda_rows(std::vector<Row>& rows);  ///< where CUDA is built in
/// All of them.
std::vector<Row> suite_rows();

/// What came of a row: medians over the runs.
struct Outcome {
  const Row* row = nullptr;
  double value = 0;
  std::optional<double> raw, ratio;
  std::vector<double> values, raws;  ///< of each run
  bool met() const { return row->goal.met(value, ratio.value_or(0)); }
};

/// Runs a row `runs` times in turn with its raw side: the ratio is the median of the runs' ratios,
/// so that a machine that gets slower or faster meanwhile changes both sides alike.
Result<Outcome> run_row(const Row& row, const Effort& effort, std::uint32_t runs);

std::string table_head();
std::string table_line(const Outcome& outcome, bool verdict);
/// {"host", "commit", "results": [{"name", "value", "unit", "raw", "ratio", "goal", ...}]}.
std::string json_of(const std::vector<Outcome>& outcomes, const std::string& commit, bool verdict);

}  // namespace shoal::perf
