#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "core/base/clock.h"

namespace shoal::sparse_lr {

/// What the live line shows.
struct ProgressState {
  double epoch = 0;                      ///< passes so far, with their fraction
  std::uint32_t epochs = 0;              ///< passes in all
  double examples_per_second = 0;        ///< all workers
  std::optional<double> objective = {};  ///< none before it is known
  std::int64_t staleness_seen = 0;       ///< clocks by which the oldest weights used lagged
  std::uint64_t bytes = 0;               ///< moved by all workers
};

/// The state on one line of at most `width` columns.
std::string progress_line(const ProgressState& state, std::size_t width);

/// Shows the state as the training goes on: on a terminal one line that rewrites itself up to ten
/// times a second; elsewhere (log files, pipes) a new line at each look, and after five seconds
/// without one. Owner: one thread.
class Progress {
 public:
  static constexpr Duration kTerminalPeriod = std::chrono::milliseconds(100);
  static constexpr Duration kLogPeriod = std::chrono::seconds(5);

  /// `out` is borrowed. Columns are asked of the terminal at each line.
  Progress(std::FILE* out, bool is_terminal) : out_(out), is_terminal_(is_terminal) {}
  /// Whether `out` is a terminal.
  static bool is_terminal(std::FILE* out);

  /// The training begins: there is nothing to show before a period has passed.
  void start(TimePoint now) { shown_at_ = now; }
  /// Shows `state` if it is time for a new line. `now` never goes back.
  void update(const ProgressState& state, TimePoint now);
  /// Shows `state`, with an objective that is new, whatever the time.
  void looked(const ProgressState& state, TimePoint now);
  /// Ends the line: nothing is shown any more.
  void finish();
  /// True if update() would show something at `now`: lets the caller save the gathering.
  bool is_due(TimePoint now) const { return !shown_at_ || now - *shown_at_ >= period(); }

 private:
  Duration period() const { return is_terminal_ ? kTerminalPeriod : kLogPeriod; }
  void show(const ProgressState& state);

  std::FILE* out_;
  bool is_terminal_;
  std::optional<TimePoint> shown_at_;
};

}  // namespace shoal::sparse_lr
