#include "examples/sparse_lr/team.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace shoal::sparse_lr {

Team::Team(Worker& worker, Share share, Table<double> table, Buffer<double> told,
           Buffer<double> heard)
    : worker_(&worker),
      share_(share),
      table_(std::move(table)),
      keys_(share.count),
      told_(std::move(told)),
      heard_(std::move(heard)),
      rows_(share.count) {
  std::iota(keys_.begin(), keys_.end(), Key{0});
}

Result<Team> Team::open(Worker& worker, Share share) {
  TableSpec spec;
  spec.name = "sparse_lr.team";
  spec.layout = Layout::sparse;  // however many workers the next training has
  spec.row_width = kColumns;
  spec.update = Assign{};
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  SHOAL_ASSIGN(auto table, worker.create_or_open<double>(spec));
  SHOAL_ASSIGN(auto told, worker.allocate<double>(kColumns));
  SHOAL_ASSIGN(auto heard, worker.allocate<double>(kColumns * share.count));
  Team team(worker, share, std::move(table), std::move(told), std::move(heard));
  SHOAL_TRY(team.tell());
  return team;
}

Team::Row Team::own() const {
  const auto traffic = worker_->traffic();
  auto row = own_;
  row.bytes = static_cast<double>(traffic.bytes_pushed + traffic.bytes_pulled);
  return row;
}

void Team::send() {
  const auto row = own();
  std::memcpy(told_.data(), &row, sizeof row);
  push_ = table_.push(std::span(keys_).subspan(share_.index, 1), {told_, 0, kColumns});
}

void Team::request() { pull_ = table_.pull(keys_, {heard_, 0, kColumns * keys_.size()}); }

Status Team::end(Ticket& ticket) {
  if (!ticket.valid()) return {};
  const bool answers = &ticket == &pull_;
  auto done = ticket.wait();
  ticket = {};
  if (!done.ok()) return std::move(done).error();
  if (!answers) return {};
  std::memcpy(rows_.data(), heard_.data(), rows_.size() * sizeof(Row));
  return {};
}

Status Team::update(TimePoint now) {
  if (now < next_) return {};
  next_ = deadline_after(now, kPeriod);
  if ((push_.valid() && !push_.ready()) || (pull_.valid() && !pull_.ready())) return {};
  SHOAL_TRY(end(push_));
  SHOAL_TRY(end(pull_));
  send();
  request();
  return {};
}

Status Team::tell() {
  SHOAL_TRY(end(push_));
  send();
  return end(push_);
}

Status Team::finish() {
  own_.finished = 1;
  return tell();
}

Status Team::ask() {
  SHOAL_TRY(end(pull_));
  request();
  return end(pull_);
}

TeamSums Team::sums() const {
  TeamSums sums;
  sums.least.share = 1;
  for (std::uint32_t i = share_.count; i-- > 0;) {
    const auto row = i == share_.index ? own() : rows_[i];
    sums.examples += row.examples;
    sums.bytes += row.bytes;
    const Waiting waiting{i, row.waited / std::max(row.seconds, 1e-9)};
    if (waiting.share >= sums.most.share) sums.most = waiting;
    if (waiting.share <= sums.least.share) sums.least = waiting;
    if (row.finished == 0) continue;
    ++sums.finished;
    sums.writer = i;
  }
  return sums;
}

}  // namespace shoal::sparse_lr
