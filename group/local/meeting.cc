#include "group/local/meeting.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "core/base/fork.h"
#include "core/base/futex.h"
#include "group/local/rendezvous.h"

namespace shoal::local {

namespace {

constexpr std::size_t kLine = 64;

std::size_t up_to_line(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

Status validate(const GroupOptions& options) {
  if (options.size == 0 || options.size > kGroupMembersMax || options.rank >= options.size)
    return Error{
        Errc::invalid_argument,
        fmt::format("group '{}': rank {} of {} members: a group has 1 to {}, of ranks from "
                    "0 on",
                    options.name, options.rank, options.size, kGroupMembersMax)};
  // A value of each member's share has room.
  if (options.stage_bytes < kLine * options.size || options.stage_bytes > std::size_t{1} << 30)
    return Error{Errc::invalid_argument,
                 fmt::format("group '{}': stage_bytes is {}: {} (64 a member) to 1 GiB",
                             options.name, options.stage_bytes, kLine * options.size)};
  return {};
}

}  // namespace

Meeting::Meeting(const GroupOptions& options, const Clock& clock)
    : name_(options.name),
      clock_(clock),
      timeout_(options.timeout),
      rank_(options.rank),
      size_(options.size),
      stage_bytes_(up_to_line(options.stage_bytes)),
      fork_generation_(fork_generation()) {
  bytes_ = sizeof(Page) + size_ * (sizeof(Seat) + 2 * stage_bytes_);
}

Result<std::unique_ptr<Meeting>> Meeting::open(const GroupOptions& options, const Clock& clock) {
  SHOAL_TRY(validate(options));
  std::unique_ptr<Meeting> meeting(new Meeting(options, clock));
  const auto deadline = meeting->deadline();
  const Terms terms{options.name, options.rank, options.size, meeting->stage_bytes_,
                    meeting->bytes_};
  SHOAL_ASSIGN(auto gathered, gather(terms, clock, deadline));
  meeting->processes_ = std::move(gathered.processes);
  SHOAL_TRY(meeting->map(std::move(gathered.memory)));
  SHOAL_TRY(meeting->step(deadline, "open_group"));
  return meeting;
}

Status Meeting::map(Descriptor memory) {
  void* at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (at == MAP_FAILED) {
    const int native = errno;
    return Error{Errc::no_memory,
                 fmt::format("group '{}': mmap of {} bytes of shared memory", name_, bytes_),
                 native};
  }
  memory_ = static_cast<std::byte*>(at);
  page_ = reinterpret_cast<Page*>(memory_);
  seats_ = reinterpret_cast<Seat*>(memory_ + sizeof(Page));
  stages_ = memory_ + sizeof(Page) + size_ * sizeof(Seat);
  return {};
}

Meeting::~Meeting() {
  if (memory_ == nullptr) return;
  if (fork_generation() == fork_generation_) {  // A forked child is no member.
    seat(rank_).left.store(1, std::memory_order_release);
    ring();
  }
  ::munmap(memory_, bytes_);
}

void Meeting::ring() {
  page_->bell.fetch_add(1, std::memory_order_acq_rel);
  futex_wake_all(page_->bell, FutexScope::machine);
}

void Meeting::pause(Duration most) {
  const auto heard = page_->bell.load(std::memory_order_acquire);
  futex_wait(page_->bell, heard, most, FutexScope::machine);
}

Status Meeting::intact() const {
  if (fork_generation() != fork_generation_)
    return Error{
        Errc::unavailable,
        fmt::format("group '{}': this process was forked off a member: open a group in the "
                    "child",
                    name_)};
  return failure();
}

Status Meeting::arrive(TimePoint deadline, std::string_view doing) {
  ++step_;
  seat(rank_).arrived.store(step_, std::memory_order_release);
  ring();
  for (;;) {
    // Heard before looking: whoever comes after the look rings after it.
    const auto heard = page_->bell.load(std::memory_order_acquire);
    if (all_here()) return {};
    // Whoever failed in a later step had seen all come to this one.
    if (auto failed = failure(); !failed.ok()) return all_here() ? Status() : failed;
    SHOAL_TRY(look_for_lost(doing, step_, true));
    const auto now = clock_.now();
    if (now >= deadline)
      return fail({Errc::timed_out,
                   fmt::format("{} in group '{}' of {}: member {} waited in vain for {}: stopped, "
                               "or later than the group's timeout; open a new group",
                               doing, name_, size_, rank_, missing(step_))});
    futex_wait(page_->bell, heard, std::min(deadline - now, kLookEvery), FutexScope::machine);
  }
}

bool Meeting::all_here() const {
  std::uint32_t m = 0;
  while (m < size_ && seat(m).arrived.load(std::memory_order_acquire) >= step_) ++m;
  return m == size_;
}

std::string Meeting::missing(std::uint64_t wanted) const {
  std::string who;
  std::uint32_t count = 0;
  for (std::uint32_t m = 0; m < size_; ++m)
    if (seat(m).arrived.load(std::memory_order_acquire) < wanted)
      who += fmt::format("{}{}", count++ == 0 ? "" : ", ", m);
  return fmt::format("member{} {}", count == 1 ? "" : "s", who);
}

Status Meeting::failure() const {
  const auto failed = page_->failed.load(std::memory_order_acquire);
  if (failed == 0) return {};
  const auto& of = seat(failed - 1);
  return Error{static_cast<Errc>(of.failure), of.failure_text.data()};
}

bool Meeting::dead(std::uint32_t member) const {
  if (!processes_[member]) return false;
  pollfd process{processes_[member].get(), POLLIN, 0};
  return ::poll(&process, 1, 0) > 0 && (process.revents & POLLIN) != 0;
}

Status Meeting::look_for_lost(std::string_view doing, std::uint64_t wanted, bool leaving_counts) {
  for (std::uint32_t m = 0; m < size_; ++m) {
    const bool left = leaving_counts && seat(m).left.load(std::memory_order_acquire) != 0;
    if (!left && !dead(m)) continue;
    // Asked after it was seen to be gone: what it did before counts.
    if (seat(m).arrived.load(std::memory_order_acquire) >= wanted) continue;
    return fail({Errc::peer_lost,
                 fmt::format("{} in group '{}' of {}: member {} {}; start it again and open a new "
                             "group",
                             doing, name_, size_, m, left ? "left the group" : "died")});
  }
  return {};
}

Status Meeting::check(std::string_view doing) {
  SHOAL_TRY(failure());
  return look_for_lost(doing, step_ + 1, false);
}

Error Meeting::fail(const Error& error) {
  auto& mine = seat(rank_);
  std::uint32_t nobody = 0;
  if (page_->failed.load(std::memory_order_acquire) == 0) {
    mine.failure = static_cast<std::uint32_t>(error.code);
    mine.failure_text[error.what.copy(mine.failure_text.data(), mine.failure_text.size() - 1)] = 0;
    page_->failed.compare_exchange_strong(nobody, rank_ + 1, std::memory_order_acq_rel);
    ring();
  }
  return failure().error();
}

}  // namespace shoal::local
