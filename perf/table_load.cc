#include "perf/table_load.h"

#include <fmt/core.h>

#include <algorithm>

#include "perf/workload.h"

namespace shoal::perf {

namespace {

/// Rows that one store sets: large enough to be fast, small enough for any server's landing memory.
constexpr std::size_t kStoreRows = 1u << 20;

/// That one pull of the check brings, or one range.
constexpr std::size_t kCheckRows = 1u << 14;

/// Of one-sided pulls, until they find all rows: a server exports a chunk of them a turn.
constexpr int kLearningMax = 4096;

/// Of rows that operations go round. Both ways at once: half of them for each.
std::size_t ranges_of(const TablePattern& pattern) {
  if (pattern.ranges != 0) return pattern.ranges;
  return ring_size(pattern.bytes, pattern.both_ways ? 2 * pattern.inflight : pattern.inflight);
}

}  // namespace

TableLoad::TableLoad(Worker& worker, const TablePattern& pattern, Table<float> table,
                     Buffer<float> in, Buffer<float> out)
    : worker_(&worker),
      pattern_(pattern),
      rows_each_(pattern.bytes / sizeof(float)),
      ranges_(ranges_of(pattern)),
      table_(std::move(table)),
      in_(std::move(in)),
      out_(std::move(out)),
      tickets_(pattern.inflight),
      second_(pattern.inflight),
      pushes_(ranges_),
      pulled_(ranges_) {}

Result<TableLoad> TableLoad::create(Worker& worker, std::string name, const TablePattern& pattern) {
  if (pattern.bytes == 0 || pattern.bytes % sizeof(float) != 0 || pattern.inflight == 0)
    return Error{Errc::invalid_argument,
                 fmt::format("an operation of {} bytes, {} at a time: rows are of 4 bytes, and at "
                             "least one is under way",
                             pattern.bytes, pattern.inflight)};
  const auto rows = pattern.bytes / sizeof(float) * ranges_of(pattern);
  TableSpec spec;
  spec.name = std::move(name);
  spec.rows = rows;
  spec.staleness = unbounded;
  SHOAL_ASSIGN(auto table, worker.create_or_open<float>(spec));
  const bool pulls = pattern.op != TableOp::push || pattern.both_ways;
  const bool one_sided = pattern.op == TableOp::onesided;
  const bool pushes = (pattern.op != TableOp::pull && !one_sided) || pattern.both_ways;
  SHOAL_ASSIGN(auto in, worker.allocate<float>(pulls ? rows : 1));
  SHOAL_ASSIGN(auto out, worker.allocate<float>(pushes ? rows : 1));
  TableLoad load(worker, pattern, std::move(table), std::move(in), std::move(out));
  std::vector<float> values;
  for (std::size_t begin = 0; begin < rows; begin += kStoreRows) {
    const auto end = std::min(rows, begin + kStoreRows);
    values.resize(end - begin);
    for (auto row = begin; row < end; ++row) values[row - begin] = initial(row);
    const auto stored = load.table_.store({begin, end}, values).wait();
    if (!stored.ok()) return stored.error();
  }
  for (std::size_t row = 0; pushes && row < rows; ++row) load.out_[row] = pushed(row);
  if (one_sided) SHOAL_TRY(load.learn());
  return load;
}

Status TableLoad::learn() {
  for (int i = 0; i < kLearningMax; ++i) {
    const auto before = worker_->one_sided().fell_back();
    const auto pulled = table_.pull({0, in_.size()}, in_, {.one_sided = true}).wait();
    if (!pulled.ok()) return pulled.error();
    if (worker_->one_sided().fell_back() == before) return {};
  }
  return Error{Errc::unavailable,
               fmt::format("pulls do not become one-sided:\n{}", worker_->explain())};
}

Status TableLoad::issue(std::uint64_t i) {
  const auto range = i % ranges_;
  const auto begin = range * rows_each_;
  const RowRange rows{begin, begin + rows_each_};
  auto& ticket = tickets_[i % pattern_.inflight];
  const bool push =
      pattern_.op == TableOp::push || (pattern_.both_ways && pattern_.op == TableOp::pull);
  if (pattern_.op == TableOp::push_pull) {
    ticket = table_.push_pull(rows, {out_, begin, rows_each_}, {in_, begin, rows_each_});
    pulled_[range] = true;
    ++pushes_[range];
  } else if (push) {
    ticket = table_.push(rows, {out_, begin, rows_each_});
    ++pushes_[range];
  } else {
    ticket = table_.pull(rows, {in_, begin, rows_each_},
                         {.one_sided = pattern_.op == TableOp::onesided});
    pulled_[range] = true;
  }
  if (!pattern_.both_ways || pattern_.op == TableOp::push_pull) return {};
  // The other way, half the ring away: rows that no push under way touches, so that none holds up a
  // pull, where the table has more than one slot.
  const auto other = (range + ranges_ / 2) % ranges_;
  const auto from = other * rows_each_;
  second_[i % pattern_.inflight] = table_.pull({from, from + rows_each_}, {in_, from, rows_each_});
  pulled_[other] = true;
  return {};
}

Status TableLoad::finish(std::uint64_t i) {
  const auto done = tickets_[i % pattern_.inflight].wait();
  if (!done.ok()) return done.error();
  if (auto& second = second_[i % pattern_.inflight]; second.valid()) {
    const auto pulled = second.wait();
    if (!pulled.ok()) return pulled.error();
  }
  return {};
}

Result<Measured> TableLoad::run(const Clock& clock, const Limits& limits, Recorder& recorder) {
  const bool twice = pattern_.both_ways || pattern_.op == TableOp::push_pull;
  const auto before = worker_->one_sided().fell_back();
  SHOAL_ASSIGN(const auto measured,
               run_window(
                   clock, limits, pattern_.inflight, pattern_.bytes * (twice ? 2 : 1), recorder,
                   [this](std::uint64_t i) { return issue(i); },
                   [this](std::uint64_t i) { return finish(i); }));
  if (const auto asked = worker_->one_sided().fell_back() - before; asked != 0)
    return Error{Errc::unavailable,
                 fmt::format("{} one-sided pulls became requests:\n{}", asked, worker_->explain())};
  return measured;
}

Status TableLoad::compare(std::size_t range, const Buffer<float>& values, std::size_t offset,
                          float pushes) {
  for (std::size_t i = 0; i < rows_each_; ++i) {
    const auto row = range * rows_each_ + i;
    const auto expected = initial(row) + pushes * pushed(row);
    if (values[offset + i] != expected)
      return Error{Errc::corrupt,
                   fmt::format("row {} of table '{}' is {}, and {} pushes make it {}", row,
                               table_.spec().name, values[offset + i], pushes, expected)};
  }
  return {};
}

Status TableLoad::check() {
  SHOAL_TRY(worker_->flush());
  // Many ranges at a time: of 8 bytes there are thousands.
  const auto together = std::min(ranges_, std::max<std::size_t>(1, kCheckRows / rows_each_));
  SHOAL_ASSIGN(auto rows, worker_->allocate<float>(together * rows_each_));
  for (std::size_t range = 0; range < ranges_; ++range) {
    const auto begin = range * rows_each_;
    const auto offset = range % together * rows_each_;
    if (offset == 0) {
      const auto count = std::min(together, ranges_ - range) * rows_each_;
      const auto pulled = table_.pull({begin, begin + count}, {rows, 0, count}).wait();
      if (!pulled.ok()) return pulled.error();
    }
    SHOAL_TRY(compare(range, rows, offset, static_cast<float>(pushes_[range])));
    // What a push follows later is as old as its own moment; only push_pull and plain pulls are
    // known to hold the range's last state.
    if (pulled_[range] && !pattern_.both_ways)
      SHOAL_TRY(compare(range, in_, begin, static_cast<float>(pushes_[range])));
  }
  return {};
}

}  // namespace shoal::perf
