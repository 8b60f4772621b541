#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "core/base/result.h"
#include "core/memory/dtype.h"
#include "core/table/table_spec.h"

namespace shoal::local {

/// NCCL, as a group uses it: what is below is the library's own functions with their arguments (see
/// NVIDIA's manual), found at run time; tests hand in another. Calls that start work return before
/// it is done; `ready` tells when a communicator has begun what it was given, and the stream when
/// that is done.
class Nccl {
 public:
  using Id = std::array<std::byte, 128>;
  using Communicator = void*;
  using Stream = void*;

  virtual ~Nccl() = default;
  /// 22809 is 2.28.9.
  virtual int version() const = 0;
  /// For one member to make and all to begin with.
  virtual Result<Id> make_id() = 0;
  /// Begins to connect (ncclCommInitRankConfig with blocking = 0), on the GPU that is the calling
  /// thread's. The communicator is to be aborted or destroyed, whatever comes of it.
  virtual Result<Communicator> begin(const Id& id, std::uint32_t size, std::uint32_t rank) = 0;
  /// False: something is still under way (ncclInProgress). Errors: what went wrong, also at a peer.
  virtual Result<bool> ready(Communicator communicator) = 0;

  /// Calls between the two are one.
  virtual Status group_start() = 0;
  virtual Status group_end() = 0;
  /// `count` values for each member from `in`; this member's combined to `out`.
  virtual Status reduce_scatter(Communicator, const void* in, void* out, std::size_t count, DType,
                                Aggregate, Stream) = 0;
  virtual Status reduce(Communicator, const void* in, void* out, std::size_t count, DType,
                        Aggregate, std::uint32_t root, Stream) = 0;
  virtual Status all_gather(Communicator, const void* in, void* out, std::size_t count, DType,
                            Stream) = 0;
  virtual Status broadcast(Communicator, const void* in, void* out, std::size_t count, DType,
                           std::uint32_t root, Stream) = 0;

  /// Lets go of the peers, in the background: then `ready`, and `destroy` does not wait.
  virtual Status finalize(Communicator communicator) = 0;
  virtual void destroy(Communicator communicator) = 0;
  /// Ends what it does, at once, and destroys it.
  virtual void abort(Communicator communicator) = 0;
};

/// The library of this machine; it stays loaded until the process ends. Errors: unavailable (not
/// installed, too old, or Shoal was built without it: which).
Result<std::shared_ptr<Nccl>> load_nccl(const char* library = "libnccl.so.2");

}  // namespace shoal::local
