#include "tests/simulation/model.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

namespace shoal::simulation {

RowValue value_of_push(std::uint32_t push) {
  RowValue value{};
  value[push / kDigitsPerColumn] = std::int64_t{1} << (2 * (push % kDigitsPerColumn));
  return value;
}

int digit_of(const RowValue& row, std::uint32_t push) {
  return static_cast<int>((row[push / kDigitsPerColumn] >> (2 * (push % kDigitsPerColumn))) & 3);
}

void TableModel::worker_gone(std::uint32_t worker) {
  for (auto& push : pushes_)
    if (push.worker == worker && push.state == PushState::issued) push.state = PushState::unknown;
}

std::vector<std::uint32_t> TableModel::sent_by(std::uint32_t worker) const {
  std::vector<std::uint32_t> found;
  auto held_from = WorkerClock(std::numeric_limits<std::int64_t>::max());
  for (std::uint32_t i = 0; i < pushes_.size(); ++i) {
    const auto& push = pushes_[i];
    if (push.worker != worker) continue;
    const bool held = push.follows && push.state == PushState::issued;
    if (held) held_from = std::min(held_from, push.clock);
    if (!held && push.clock <= held_from) found.push_back(i);
  }
  return found;
}

void TableModel::check_row(Key row, const RowValue& value, std::vector<std::string>& broken) const {
  for (std::uint32_t i = 0; i < kPushesMax; ++i) {
    const int digit = digit_of(value, i);
    if (digit == 0) continue;
    if (digit > 1)
      broken.push_back(
          fmt::format("1: table {} row {}: push {} is there {} times", name_, row, i, digit));
    else if (i >= pushes_.size() || !pushes_[i].rows.contains(row))
      broken.push_back(fmt::format("6: table {} row {}: push {} never went there", name_, row, i));
    else if (pushes_[i].state == PushState::cancelled)
      broken.push_back(
          fmt::format("2: table {} row {}: push {} was confirmed as cancelled", name_, row, i));
  }
}

/// Every push that the bound covers, of workers that are still there, is in the row; and on
/// on_arrival tables the worker's own earlier ones.
void TableModel::check_bound(const PullRecord& pull, Key row, const RowValue& value,
                             WorkerClock oldest, const std::vector<bool>& gone,
                             std::vector<std::string>& broken) {
  // The clock that it reports is a bound, too.
  auto need = pull.bounded ? pull.need : WorkerClock(std::numeric_limits<std::int64_t>::min());
  if (apply_ == Apply::on_arrival) need = std::max(need, oldest);
  for (std::uint32_t i = 0; i < pushes_.size(); ++i) {
    const auto& push = pushes_[i];
    if (!push.rows.contains(row) || digit_of(value, i) != 0) continue;
    if (push.state == PushState::unknown || push.state == PushState::cancelled) continue;
    if (push.clock >= need || gone[push.worker]) continue;
    auto sentence = fmt::format(
        "3: table {} row {}: a pull that needs or reports clock {} misses push {} of worker {} at "
        "clock {}",
        name_, row, need.value, i, push.worker, push.clock.value);
    // A collective round folds when every part has come, burnt ones included, and the worker of one
    // that burnt may not know yet. The push of a push_pull may have burnt, and the clock be
    // reported, while its ticket still asks back what it was to pull.
    if (push.state == PushState::issued && (apply_ == Apply::collective || push.pulls))
      owed_.emplace_back(i, std::move(sentence));
    else
      broken.push_back(std::move(sentence));
  }
  if (apply_ != Apply::on_arrival || pull.observer) return;
  for (const auto own : pull.own_before) {
    if (!pushes_[own].rows.contains(row) || digit_of(value, own) != 0) continue;
    auto sentence = fmt::format("4: table {} row {}: worker {} does not read its own push {}",
                                name_, row, pull.worker, own);
    if (pushes_[own].state == PushState::applied)
      broken.push_back(std::move(sentence));
    else if (pushes_[own].state == PushState::issued)
      owed_.emplace_back(own, std::move(sentence));
  }
}

std::vector<std::string> TableModel::end(std::uint32_t push, PushState state) {
  pushes_[push].state = state;
  std::vector<std::string> broken;
  if (state == PushState::applied)
    for (const auto& [owed, sentence] : owed_)
      if (owed == push) broken.push_back(sentence);
  return broken;
}

std::vector<RowValue> TableModel::seen(std::uint32_t worker, std::span<const Key> rows) const {
  std::vector<RowValue> values;
  for (const auto row : rows) {
    const auto known = seen_.find({worker, row});
    values.push_back(known != seen_.end() ? known->second : RowValue{});
  }
  return values;
}

/// What a process has pulled once is in whatever it pulls later.
void TableModel::check_seen(const PullRecord& pull, std::span<const RowValue> values,
                            std::vector<std::string>& broken) {
  if (apply_ != Apply::on_arrival) return;
  for (std::size_t r = 0; r < pull.rows.size(); ++r) {
    auto& seen = seen_[{pull.worker, pull.rows[r]}];
    for (std::size_t column = 0; column < kColumns; ++column) {
      if (r < pull.seen_before.size() && (pull.seen_before[r][column] & ~values[r][column]) != 0)
        broken.push_back(fmt::format("4: table {} row {}: worker {} pulled something newer before",
                                     name_, pull.rows[r], pull.worker));
      seen[column] |= values[r][column];
    }
  }
}

/// Rows of one segment that one push covers hold it all or none.
void TableModel::check_segments(const PullRecord& pull, std::span<const RowValue> values,
                                std::vector<std::string>& broken) const {
  if (rows_per_segment_ == 0) return;  // sparse: rows are atomic one by one
  for (std::size_t a = 0; a + 1 < pull.rows.size(); ++a) {
    const auto b = a + 1;
    if (pull.rows[a] / rows_per_segment_ != pull.rows[b] / rows_per_segment_) continue;
    for (std::uint32_t i = 0; i < pushes_.size(); ++i)
      if (pushes_[i].rows.contains(pull.rows[a]) && pushes_[i].rows.contains(pull.rows[b]) &&
          digit_of(values[a], i) != digit_of(values[b], i))
        broken.push_back(
            fmt::format("6: table {}: rows {} and {} of one segment disagree on push {}", name_,
                        pull.rows[a], pull.rows[b], i));
  }
}

/// Version v holds exactly the pushes of clocks below v, and has one value.
void TableModel::check_version(const PullRecord& pull, WorkerClock version,
                               std::span<const RowValue> values, std::vector<std::string>& broken) {
  for (std::size_t r = 0; r < pull.rows.size(); ++r) {
    const auto row = pull.rows[r];
    for (std::uint32_t i = 0; i < pushes_.size(); ++i)
      if (digit_of(values[r], i) != 0 && pushes_[i].clock >= version)
        broken.push_back(fmt::format("5: table {} row {}: version {} holds push {} of clock {}",
                                     name_, row, version.value, i, pushes_[i].clock.value));
    const auto [known, first] = versions_.emplace(std::pair{row, version.value}, values[r]);
    if (!first && known->second != values[r])
      broken.push_back(
          fmt::format("5: table {} row {}: version {} has two values", name_, row, version.value));
  }
}

std::vector<std::string> TableModel::check(const PullRecord& pull, WorkerClock oldest,
                                           WorkerClock newest, std::span<const RowValue> values,
                                           const std::vector<bool>& gone) {
  std::vector<std::string> broken;
  for (std::size_t r = 0; r < pull.rows.size(); ++r) {
    check_row(pull.rows[r], values[r], broken);
    check_bound(pull, pull.rows[r], values[r], oldest, gone, broken);
  }
  check_seen(pull, values, broken);
  check_segments(pull, values, broken);
  if (oldest > newest)
    broken.push_back(fmt::format("table {}: a pull's oldest clock {} is above its newest {}", name_,
                                 oldest.value, newest.value));
  if (pull.bounded && !pull.observer && oldest < pull.need)
    broken.push_back(fmt::format("3: table {}: a pull that needs clock {} was answered at {}",
                                 name_, pull.need.value, oldest.value));
  if (apply_ != Apply::on_arrival && oldest == newest) check_version(pull, oldest, values, broken);
  return broken;
}

std::vector<std::string> TableModel::check_final(std::span<const Key> rows,
                                                 std::span<const RowValue> values) const {
  std::vector<std::string> broken;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    check_row(rows[r], values[r], broken);
    if (apply_ != Apply::on_arrival) continue;  // what no round has folded yet is in no version
    for (std::uint32_t i = 0; i < pushes_.size(); ++i)
      if (pushes_[i].state == PushState::applied && pushes_[i].rows.contains(rows[r]) &&
          digit_of(values[r], i) != 1)
        broken.push_back(fmt::format(
            "1: table {} row {}: push {} was acknowledged and is not there", name_, rows[r], i));
  }
  return broken;
}

}  // namespace shoal::simulation
