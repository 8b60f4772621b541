#include "group/local/nccl_group.h"

#include <fmt/core.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "group/local/rendezvous.h"

namespace shoal::local {

namespace {

/// How long a member waits for its peers to let go before it leaves them. They need it only while
/// their last operation ends.
constexpr Duration kFarewell = std::chrono::seconds(1);

/// An operation between GPUs of a node takes 20 microseconds at least: so long a look costs nothing
/// but this core, and a longer one sleeps between looks.
constexpr int kLooksAwake = 2000;

/// Between two looks at work that nobody rings for.
void look_again(Meeting& meeting, int looks) {
  if (looks < kLooksAwake)
    std::this_thread::yield();
  else
    meeting.pause(std::chrono::microseconds(100));
}

std::size_t bytes_of(const GroupWork& work, RowRange rows, DType type) {
  return rows.size() * work.row_values * byte_size(type);
}

std::size_t offset_of(const GroupWork& work, std::uint32_t member, DType type) {
  return (work.shares.of(member).begin - work.shares.rows().begin) * work.row_values *
         byte_size(type);
}

}  // namespace

// --- The communicator ----------------------------------------------------------------------------

NcclCommunicator::NcclCommunicator(NcclCommunicator&& other) noexcept
    : nccl_(other.nccl_),
      communicator_(std::exchange(other.communicator_, nullptr)),
      clock_(other.clock_) {}

NcclCommunicator::~NcclCommunicator() {
  if (communicator_ == nullptr) return;
  const auto deadline = deadline_after(clock_.now(), kFarewell);
  if (nccl_.finalize(communicator_).ok()) {
    for (;;) {
      const auto ready = nccl_.ready(communicator_);
      if (ready.ok() && *ready) {
        nccl_.destroy(communicator_);
        return;
      }
      if (!ready.ok() || clock_.now() >= deadline) break;
      std::this_thread::yield();
    }
  }
  nccl_.abort(communicator_);
}

void NcclCommunicator::abort() {
  if (communicator_ != nullptr) nccl_.abort(std::exchange(communicator_, nullptr));
}

Result<NcclCommunicator> NcclCommunicator::connect(Nccl& nccl, const Nccl::Id& id, Meeting& meeting,
                                                   TimePoint deadline) {
  SHOAL_ASSIGN(auto* begun, nccl.begin(id, meeting.size(), meeting.rank()));
  NcclCommunicator made(nccl, begun, meeting.clock());
  const auto look = [&]() -> Result<bool> {
    SHOAL_ASSIGN(const bool ready, nccl.ready(begun));
    if (ready) return true;
    SHOAL_TRY(meeting.check("open_group with NCCL"));
    for (std::uint32_t m = 0; m < meeting.size(); ++m)
      if (const auto told = meeting.early_note_of<OutcomeNote>(m); told && told->code != Errc::ok)
        return Error{Errc::cancelled, fmt::format("member {} failed", m)};
    if (meeting.clock().now() >= deadline)
      return Error{Errc::timed_out, "NCCL was still connecting at the group's timeout"};
    return false;
  };
  for (int looks = 0;; ++looks) {
    auto ready = look();
    if (ready.ok() && *ready) return made;
    if (!ready.ok()) {
      made.abort();
      return std::move(ready).error();
    }
    look_again(meeting, looks);
  }
}

// --- The group -----------------------------------------------------------------------------------

NcclGroup::NcclGroup(std::unique_ptr<Meeting> meeting, std::shared_ptr<Nccl> nccl,
                     NcclCommunicator communicator, GroupGpu& gpu, std::string why)
    : meeting_(std::move(meeting)),
      nccl_(std::move(nccl)),
      communicator_(std::move(communicator)),
      gpu_(gpu),
      why_(std::move(why)) {}

NcclGroup::~NcclGroup() {
  for (auto* scratch : {&wide_, &sums_, &share_})
    if (scratch->memory.data != nullptr) gpu_.device().deallocate(scratch->memory);
}

std::string NcclGroup::explain() const {
  const auto version = nccl_->version();
  return fmt::format(
      "group '{}': member {} of {} on {}, reduce-scatter and all-gather by NCCL {}.{}.{} between "
      "GPUs: {}",
      meeting_->name(), rank(), size(), gpu_.device().name(), version / 10000,
      version % 10000 / 100, version % 100, why_);
}

Status NcclGroup::own(Status status) {
  if (status.ok()) return status;
  auto error = std::move(status).error();
  error.what = fmt::format("group '{}', member {}: {}", meeting_->name(), rank(), error.what);
  const auto first = meeting_->fail(error);
  communicator_.abort();
  return first;
}

Status NcclGroup::met(const CallNote& note, TimePoint deadline) {
  auto status = meet(*meeting_, note, deadline);
  // Where the group has ended, no peer will let go of the communicator.
  if (!status.ok() && !meeting_->check(name_of(note.call)).ok()) communicator_.abort();
  return status;
}

Result<MemoryView> NcclGroup::room(Scratch& scratch, std::size_t bytes) {
  auto& memory = scratch.memory;
  if (memory.bytes < bytes) {
    if (memory.data != nullptr) gpu_.device().deallocate(std::exchange(memory, {}));
    SHOAL_ASSIGN(memory, gpu_.device().allocate(bytes, {}));
  }
  return memory.sub(0, bytes);
}

/// Of a buffer without bytes nobody asks where it is.
Status NcclGroup::reachable(ConstMemoryView all, ConstMemoryView share) const {
  if ((all.bytes == 0 || all.space == MemorySpace::cuda) &&
      (share.bytes == 0 || share.space != MemorySpace::host))
    return {};
  return Error{
      Errc::invalid_argument,
      fmt::format("a group over NCCL reduces memory of {}, with shares there or in pinned "
                  "memory, and was given memory of the host; GroupAlgorithm::host takes it",
                  gpu_.device().name())};
}

template <class Done>
Status NcclGroup::wait(Call call, TimePoint deadline, const Done& done) {
  for (int looks = 0;; ++looks) {
    SHOAL_ASSIGN(const bool is, done());
    if (is) return {};
    SHOAL_TRY(meeting_->check(name_of(call)));
    if (meeting_->clock().now() >= deadline)
      return Error{Errc::timed_out,
                   fmt::format("{} by NCCL was not done at the group's timeout; a peer that is "
                               "stopped, or other work on a GPU, holds it up",
                               name_of(call))};
    look_again(*meeting_, looks);
  }
}

Status NcclGroup::handed_over(Call call, TimePoint deadline) {
  return wait(call, deadline, [this] { return nccl_->ready(communicator_.get()); });
}

Status NcclGroup::finished(Call call, TimePoint deadline) {
  SHOAL_ASSIGN(const auto event, gpu_.device().record());
  return wait(call, deadline, [&]() -> Result<bool> {
    SHOAL_ASSIGN(const bool done, gpu_.device().done(event));
    if (done) return true;
    if (auto well = nccl_->ready(communicator_.get()); !well.ok()) return std::move(well).error();
    return false;
  });
}

Status NcclGroup::reduce_scatter(const GroupWork& work, ConstMemoryView in, MemoryView share) {
  const auto deadline = meeting_->deadline();
  auto fits = check(work, *meeting_, in.bytes, share.bytes);
  if (fits.ok()) fits = reachable(in, share);
  SHOAL_TRY(met(fits.ok() ? CallNote::of(Call::reduce_scatter, work, in.bytes) : CallNote::of(fits),
                deadline));
  return own(reduce(work, in, share, deadline));
}

Status NcclGroup::reduce(const GroupWork& work, ConstMemoryView in, MemoryView share,
                         TimePoint deadline) {
  if (in.bytes == 0) return {};
  auto& device = gpu_.device();
  const auto type = accumulator_of(work.dtype);  // NCCL would round a sum of 16 bits at each step.
  const bool wide = type != work.dtype;
  const auto mine = work.shares.of(rank());
  const auto share_values = mine.size() * work.row_values;
  const auto* from = in.data;
  if (wide) {
    SHOAL_ASSIGN(const auto values, room(wide_, bytes_of(work, work.shares.rows(), type)));
    gpu_.kernels().start_sums(work.dtype, values.data, in.data,
                              work.shares.rows().size() * work.row_values, device.stream());
    from = values.data;
  }
  auto sums = share;
  // Others' shares are reduced with this member's help; a place must be named for one of no rows.
  if (wide || share.space != MemorySpace::cuda || share.bytes == 0) {
    SHOAL_ASSIGN(sums, room(sums_, std::max<std::size_t>(bytes_of(work, mine, type), 64)));
  }
  SHOAL_TRY(issue_reduce(work, type, from, sums.data));
  SHOAL_TRY(handed_over(Call::reduce_scatter, deadline));
  if (share.bytes != 0) {
    auto rounded = sums;
    if (wide) {
      rounded = share;
      if (share.space != MemorySpace::cuda) {
        SHOAL_ASSIGN(rounded, room(share_, share.bytes));
      }
      gpu_.kernels().finish_sums(work.dtype, rounded.data, sums.data, share_values,
                                 device.stream());
    }
    if (rounded.data != share.data)
      if (auto copied = device.copy(share, rounded.sub(0, share.bytes)); !copied.ok())
        return std::move(copied).error();
  }
  return finished(Call::reduce_scatter, deadline);
}

/// One call where shares are equal, else one for each.
Status NcclGroup::issue_reduce(const GroupWork& work, DType type, const std::byte* in,
                               std::byte* out) {
  auto* stream = gpu_.device().stream();
  auto* communicator = communicator_.get();
  if (work.shares.equal())
    return nccl_->reduce_scatter(communicator, in, out, work.shares.largest() * work.row_values,
                                 type, work.aggregate, stream);
  SHOAL_TRY(nccl_->group_start());
  Status issued;
  for (std::uint32_t m = 0; m < size() && issued.ok(); ++m)
    if (const auto values = work.shares.of(m).size() * work.row_values; values != 0)
      issued = nccl_->reduce(communicator, in + offset_of(work, m, type), out, values, type,
                             work.aggregate, m, stream);
  auto ended = nccl_->group_end();
  return issued.ok() ? ended : issued;
}

Status NcclGroup::all_gather(const GroupWork& work, ConstMemoryView share, MemoryView out) {
  const auto deadline = meeting_->deadline();
  auto fits = check(work, *meeting_, out.bytes, share.bytes);
  if (fits.ok()) fits = reachable(out, share);
  SHOAL_TRY(met(fits.ok() ? CallNote::of(Call::all_gather, work, out.bytes) : CallNote::of(fits),
                deadline));
  return own(gather(work, share, out, deadline));
}

Status NcclGroup::gather(const GroupWork& work, ConstMemoryView share, MemoryView out,
                         TimePoint deadline) {
  if (out.bytes == 0) return {};
  const auto mine = out.sub(offset_of(work, rank(), work.dtype), share.bytes);
  if (share.bytes != 0 && share.data != mine.data) {
    const auto copied = gpu_.device().copy(mine, share);
    if (!copied.ok()) return copied.error();
  }
  SHOAL_TRY(issue_gather(work, out.data));
  SHOAL_TRY(handed_over(Call::all_gather, deadline));
  return finished(Call::all_gather, deadline);
}

/// In place: each share lies where it goes already.
Status NcclGroup::issue_gather(const GroupWork& work, std::byte* out) {
  auto* stream = gpu_.device().stream();
  auto* communicator = communicator_.get();
  if (work.shares.equal())
    return nccl_->all_gather(communicator, out + offset_of(work, rank(), work.dtype), out,
                             work.shares.largest() * work.row_values, work.dtype, stream);
  SHOAL_TRY(nccl_->group_start());
  Status issued;
  for (std::uint32_t m = 0; m < size() && issued.ok(); ++m)
    if (const auto values = work.shares.of(m).size() * work.row_values; values != 0)
      issued =
          nccl_->broadcast(communicator, out + offset_of(work, m, work.dtype),
                           out + offset_of(work, m, work.dtype), values, work.dtype, m, stream);
  auto ended = nccl_->group_end();
  return issued.ok() ? ended : issued;
}

Status NcclGroup::agree(const Status& mine) {
  return met(CallNote::of(mine), meeting_->deadline());
}

}  // namespace shoal::local
