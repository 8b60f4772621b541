#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/memory/dtype.h"
#include "core/memory/memory_view.h"
#include "core/table/table_spec.h"
#include "group/gpu.h"
#include "group/shares.h"

namespace shoal {

/// How the members of a group exchange values.
enum class GroupAlgorithm : std::uint8_t {
  automatic,  ///< NCCL where every member has a GPU of its own and the library loads, else host
  host,       ///< shared memory of the node
  nccl,       ///< between GPUs; an error where that cannot be
};

inline constexpr std::uint32_t kGroupMembersMax = 64;

/// What the members of a group agree on; all give the same, but for `rank` and `gpu`.
struct GroupOptions {
  std::string name;        ///< of this group on its node while it opens: "job-7"
  std::uint32_t rank = 0;  ///< this member's: 0 to size - 1
  std::uint32_t size = 1;  ///< members on this node
  GroupAlgorithm algorithm = GroupAlgorithm::automatic;
  GroupGpu* gpu = nullptr;  ///< this member's; null: it has none
  /// Of opening, and of each operation, from this member's call to the end: how long it waits for
  /// the slowest. After it the group is of no further use.
  Duration timeout = std::chrono::seconds(60);
  /// Shared memory of a member, twice that for two turns (host): a piece stays in a core's cache.
  std::size_t stage_bytes = std::size_t{1} << 20;
};

/// What an operation is about. All members give the same, and an error names the first who does
/// not.
struct GroupWork {
  DType dtype = DType::f32;
  Aggregate aggregate = Aggregate::sum;  ///< sum, min or max
  Shares shares;
  std::uint64_t row_values = 1;
  std::uint32_t table = 0;  ///< for whom it is; only compared
  std::int64_t clock = 0;   ///< likewise
};

/// The workers of one node, threads of a process or processes, that reduce among themselves before
/// anything crosses the network, so that one copy of a node does. (Thangakrishnan et al., "Herring:
/// rethinking the parameter server at scale for the cloud", SC 2020.) See docs/design/group.md.
///
/// All members make the same calls in the same order; each call returns at a member when its part
/// is done. Buffers are its caller's, and in use until then. One thread at a time uses a group.
/// After an error of codes timed_out, peer_lost, io, unavailable and no_memory, and of memory that
/// the group cannot reach (invalid_argument), the group is broken: all calls of all members fail
/// with it, at once. After mismatch, and after an error that a member told by agree(), it goes on.
class Group {
 public:
  virtual ~Group() = default;

  virtual std::uint32_t rank() const = 0;
  virtual std::uint32_t size() const = 0;
  /// Whether sums are taken in order of rank, so that equal values give equal bits everywhere. NCCL
  /// has an order of its own.
  virtual bool sums_by_rank() const = 0;
  /// One line: members, algorithm, and why this one.
  virtual std::string explain() const = 0;

  /// share = the members' `in` combined, of this member's share of the rows. `in` has all rows.
  /// Values of 16 bits are summed in f32 and rounded once. Memory is the host's or of this member's
  /// GPU; with NCCL `in` is the GPU's, and `share` the GPU's or pinned. Errors: mismatch (members
  /// call for different things, or a buffer has another size), invalid_argument, timed_out (who is
  /// missing), peer_lost (who died or left), io.
  virtual Status reduce_scatter(const GroupWork& work, ConstMemoryView in, MemoryView share) = 0;
  /// out = all shares in order; `share` is this member's, or its own place in `out`. Memory and
  /// errors as above, with `out` for `in`.
  virtual Status all_gather(const GroupWork& work, ConstMemoryView share, MemoryView out) = 0;
  /// Tells the others how this member fared. Everybody gets the error of the lowest rank that has
  /// one, with who it was; also those who are in another operation meanwhile, instead of its end.
  virtual Status agree(const Status& mine) = 0;
};

/// Meets the other members and opens the group with them. They find each other by name, through an
/// abstract socket of this network namespace, and only members of the same user; the name is free
/// again when all are there. Errors: timed_out (who is missing), mismatch (naming both), exists
/// (another group of this name is being opened), peer_lost, unavailable (NCCL was asked for and
/// cannot be: why), no_memory, invalid_argument. `clock` outlives the group.
Result<std::unique_ptr<Group>> open_group(const GroupOptions& options, const Clock& clock);

}  // namespace shoal
