#pragma once

#include <memory>
#include <string>
#include <vector>

#include "group/group.h"
#include "group/local/device_copy.h"
#include "group/local/meeting.h"

namespace shoal::local {

/// Members that exchange values through shared memory, in pieces that stay in the caches: each lays
/// a piece of every share into its stage; all meet; each combines the pieces of its own share, in
/// order of rank. Values of a GPU are copied there and back.
class HostGroup final : public Group {
 public:
  HostGroup(std::unique_ptr<Meeting> meeting, GroupGpu* gpu, std::string why);

  std::uint32_t rank() const override { return meeting_->rank(); }
  std::uint32_t size() const override { return meeting_->size(); }
  bool sums_by_rank() const override { return true; }
  std::string explain() const override;
  Status reduce_scatter(const GroupWork& work, ConstMemoryView in, MemoryView share) override;
  Status all_gather(const GroupWork& work, ConstMemoryView share, MemoryView out) override;
  Status agree(const Status& mine) override;

 private:
  /// A turn of an operation: the same values of each share.
  struct Piece {
    std::uint64_t first;  ///< value of each share
    std::uint64_t count;  ///< at most
  };
  std::uint64_t piece_values(const GroupWork& work, std::uint32_t shares) const;
  Status lay_out(const GroupWork& work, ConstMemoryView in, const Piece& piece, TimePoint deadline);
  Status combine(const GroupWork& work, ConstMemoryView in, MemoryView share, const Piece& piece,
                 TimePoint deadline);
  Status collect(const GroupWork& work, MemoryView out, const Piece& piece, TimePoint deadline);
  /// An error of this member's own ends the group, since others wait for it.
  Status own(Status status);

  std::unique_ptr<Meeting> meeting_;
  DeviceCopy copy_;
  std::string why_;
  std::vector<std::byte> sums_;    ///< of a piece of this member's share
  std::vector<std::byte> values_;  ///< of it, from a GPU or rounded
};

}  // namespace shoal::local
