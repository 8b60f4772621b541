#include "examples/sparse_lr/team.h"

namespace shoal::sparse_lr {
namespace {

constexpr std::uint64_t kSums = 2;

}  // namespace

Result<Team> Team::open(Worker& worker) {
  TableSpec spec;
  spec.name = "sparse_lr.team";
  spec.rows = kSums;
  spec.update = Add{};
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  SHOAL_ASSIGN(auto table, worker.create_or_open<double>(spec));
  SHOAL_ASSIGN(auto memory, worker.allocate<double>(2 * kSums));
  return Team(worker, std::move(table), std::move(memory));
}

void Team::tell() {
  const auto traffic = worker_->traffic();
  const TeamSums now{own_examples_,
                     static_cast<double>(traffic.bytes_pushed + traffic.bytes_pulled)};
  memory_[0] = now.examples - told_.examples;
  memory_[1] = now.bytes - told_.bytes;
  told_ = now;
  push_ = table_.push({0, kSums}, {memory_, 0, kSums});
}

Status Team::finish(Ticket& ticket) {
  if (!ticket.valid()) return {};
  auto done = ticket.wait();
  ticket = {};
  if (!done.ok()) return std::move(done).error();
  return {};
}

Status Team::update(TimePoint now) {
  if (now < next_) return {};
  next_ = deadline_after(now, kPeriod);
  if ((push_.valid() && !push_.ready()) || (pull_.valid() && !pull_.ready())) return {};
  SHOAL_TRY(finish(push_));
  if (pull_.valid()) {
    SHOAL_TRY(finish(pull_));
    take_answer();
  }
  tell();
  pull_ = table_.pull({0, kSums}, {memory_, kSums, kSums});
  return {};
}

Status Team::tell_all() {
  SHOAL_TRY(finish(push_));
  tell();
  return finish(push_);
}

Status Team::ask() {
  SHOAL_TRY(finish(pull_));
  pull_ = table_.pull({0, kSums}, {memory_, kSums, kSums});
  SHOAL_TRY(finish(pull_));
  take_answer();
  return {};
}

}  // namespace shoal::sparse_lr
