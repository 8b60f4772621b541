#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "group/group.h"
#include "group/local/meeting.h"
#include "group/local/nccl.h"
#include "group/local/notes.h"

namespace shoal::local {

/// A communicator of NCCL's and how it ends: destroyed when all is well, aborted otherwise, so that
/// neither this member nor a peer waits in it for ever.
class NcclCommunicator {
 public:
  /// Begins with the others, and returns when all are connected. A failure of one's own is told to
  /// the others by the caller's next step; one that shows up in `meeting` meanwhile, an outcome of
  /// a peer's included, ends the wait. Errors: io, timed_out, peer_lost.
  static Result<NcclCommunicator> connect(Nccl& nccl, const Nccl::Id& id, Meeting& meeting,
                                          TimePoint deadline);
  NcclCommunicator(NcclCommunicator&& other) noexcept;
  NcclCommunicator& operator=(NcclCommunicator&& other) = delete;
  ~NcclCommunicator();

  Nccl::Communicator get() const { return communicator_; }
  void abort();

 private:
  NcclCommunicator(Nccl& nccl, Nccl::Communicator communicator, const Clock& clock)
      : nccl_(nccl), communicator_(communicator), clock_(clock) {}

  Nccl& nccl_;
  Nccl::Communicator communicator_;
  const Clock& clock_;
};

/// How a member's connecting went.
struct OutcomeNote {
  Errc code = Errc::ok;
  std::array<char, 480> text{};
};

/// Members with a GPU each, whose values NCCL moves between them. What the library cannot do is to
/// notice that a peer is gone, or that it calls for something else: members meet in shared memory
/// before each operation, and look there while the GPU works.
class NcclGroup final : public Group {
 public:
  /// `gpu` and the memory's owner are the caller's; see GroupOptions.
  NcclGroup(std::unique_ptr<Meeting> meeting, std::shared_ptr<Nccl> nccl,
            NcclCommunicator communicator, GroupGpu& gpu, std::string why);
  ~NcclGroup() override;

  std::uint32_t rank() const override { return meeting_->rank(); }
  std::uint32_t size() const override { return meeting_->size(); }
  bool sums_by_rank() const override { return size() <= 2; }  // a + b is b + a
  std::string explain() const override;
  Status reduce_scatter(const GroupWork& work, ConstMemoryView in, MemoryView share) override;
  Status all_gather(const GroupWork& work, ConstMemoryView share, MemoryView out) override;
  Status agree(const Status& mine) override;

 private:
  /// Memory of the GPU that grows, and is kept.
  struct Scratch {
    MemoryView memory;
  };
  Result<MemoryView> room(Scratch& scratch, std::size_t bytes);
  Status reachable(ConstMemoryView all, ConstMemoryView share) const;
  Status reduce(const GroupWork& work, ConstMemoryView in, MemoryView share, TimePoint deadline);
  Status issue_reduce(const GroupWork& work, DType type, const std::byte* in, std::byte* out);
  Status gather(const GroupWork& work, ConstMemoryView share, MemoryView out, TimePoint deadline);
  Status issue_gather(const GroupWork& work, std::byte* out);
  /// Until NCCL has handed its work to the stream.
  Status handed_over(Call call, TimePoint deadline);
  Status finished(Call call, TimePoint deadline);
  template <class Done>
  Status wait(Call call, TimePoint deadline, const Done& done);
  /// meet(), after whose failure for all NCCL's work ends, too.
  Status met(const CallNote& note, TimePoint deadline);
  /// Ends the group, and NCCL's work, for an error in the middle of it.
  Status own(Status status);

  std::unique_ptr<Meeting> meeting_;
  std::shared_ptr<Nccl> nccl_;
  NcclCommunicator communicator_;
  GroupGpu& gpu_;
  std::string why_;
  Scratch wide_;   ///< what is reduced, in f32
  Scratch sums_;   ///< this member's share of it
  Scratch share_;  ///< the same, rounded
};

}  // namespace shoal::local
