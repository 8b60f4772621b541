#include "worker/ticket.h"

#include <utility>

#include "worker/engine/worker_core.h"

namespace shoal {

Ticket::Ticket(Ticket&& other) noexcept
    : core_(std::move(other.core_)),
      failure_(std::move(other.failure_)),
      index_(other.index_),
      generation_(std::exchange(other.generation_, 0)),
      borrows_(other.borrows_),
      writes_(other.writes_),
      seen_(other.seen_) {}

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  Ticket old(std::move(*this));  // ends its loan when it goes out of scope
  core_ = std::move(other.core_);
  failure_ = std::move(other.failure_);
  index_ = other.index_;
  generation_ = std::exchange(other.generation_, 0);
  borrows_ = other.borrows_;
  writes_ = other.writes_;
  seen_ = other.seen_;
  return *this;
}

Ticket::~Ticket() {
  if (core_ == nullptr) return;
  if (failure_ != nullptr) {
    if (!seen_) core_->engine().unseen().note(std::move(*failure_));
    return;
  }
  const OperationId id{index_, generation_};
  if (borrows_ && !core_->engine().done(id)) core_->end_loan(id, writes_);
  core_->drop(id);
}

bool Ticket::ready() {
  SHOAL_ASSERT(valid(), "ready() of an empty ticket");
  return failure_ != nullptr || core_->ready({index_, generation_});
}

Result<PullInfo> Ticket::wait() { return wait_until(kNever); }

Result<PullInfo> Ticket::wait_for(Duration timeout) {
  SHOAL_ASSERT(valid(), "wait_for() of an empty ticket");
  return failure_ != nullptr ? wait() : wait_until(core_->deadline(timeout));
}

Result<PullInfo> Ticket::wait_until(TimePoint moment) {
  SHOAL_ASSERT(valid(), "wait of an empty ticket");
  if (failure_ != nullptr) {
    seen_ = true;
    return *failure_;
  }
  return core_->wait({index_, generation_}, moment);
}

void Ticket::cancel() {
  SHOAL_ASSERT(valid(), "cancel() of an empty ticket");
  if (failure_ != nullptr) return;
  core_->engine().cancel({index_, generation_});
  core_->progress();
}

void After::add(const Ticket& ticket) {
  SHOAL_ASSERT(count_ < kMax, "an operation follows at most four others");
  failed_ = failed_ || ticket.failure_ != nullptr;
  if (ticket.generation_ != 0) operations_[count_++] = {ticket.index_, ticket.generation_};
}

}  // namespace shoal
