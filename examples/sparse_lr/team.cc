#include "examples/sparse_lr/team.h"

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
  return {own_.examples, static_cast<double>(traffic.bytes_pushed + traffic.bytes_pulled),
          own_.finished};
}

void Team::send() {
  const auto row = own();
  told_[0] = row.examples;
  told_[1] = row.bytes;
  told_[2] = row.finished;
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
  for (std::size_t i = 0; i < rows_.size(); ++i)
    rows_[i] = {heard_[kColumns * i], heard_[kColumns * i + 1], heard_[kColumns * i + 2]};
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
  for (std::uint32_t i = share_.count; i-- > 0;) {
    const auto row = i == share_.index ? own() : rows_[i];
    sums.examples += row.examples;
    sums.bytes += row.bytes;
    if (row.finished == 0) continue;
    ++sums.finished;
    sums.writer = i;
  }
  return sums;
}

}  // namespace shoal::sparse_lr
