#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "group/local/nccl.h"
#include "tests/group/fake_gpu.h"

namespace shoal::test {

/// NCCL among threads: what a communicator does begins when all its members have issued it, on
/// their streams, and is done then. Counts calls, and can be told to fail or never to finish.
class FakeNccl final : public local::Nccl {
 public:
  struct Faults {
    int fail_begin_of = -1;     ///< rank whose begin() fails
    int hang_begin_of = -1;     ///< rank that is never seen by its peers
    int fail_call_of = -1;      ///< rank whose collectives fail as they are issued
    bool never_finish = false;  ///< collectives stay on the streams
    bool break_later = false;   ///< collectives stay, and then NCCL says that it failed
  };
  struct Calls {
    std::atomic<int> reduce_scatters{0}, reduces{0}, all_gathers{0}, broadcasts{0};
    std::atomic<int> aborted{0}, destroyed{0};
    std::atomic<int> dtype{-1};  ///< of the last reduction
  };

  explicit FakeNccl(Faults faults) : faults_(faults) {}
  FakeNccl() = default;

  int version() const override { return 22809; }
  Result<Id> make_id() override;
  Result<Communicator> begin(const Id& id, std::uint32_t size, std::uint32_t rank) override;
  Result<bool> ready(Communicator communicator) override;
  Status group_start() override { return {}; }
  Status group_end() override { return {}; }
  Status reduce_scatter(Communicator, const void* in, void* out, std::size_t count, DType,
                        Aggregate, Stream) override;
  Status reduce(Communicator, const void* in, void* out, std::size_t count, DType, Aggregate,
                std::uint32_t root, Stream) override;
  Status all_gather(Communicator, const void* in, void* out, std::size_t count, DType,
                    Stream) override;
  Status broadcast(Communicator, const void* in, void* out, std::size_t count, DType,
                   std::uint32_t root, Stream) override;
  Status finalize(Communicator) override { return {}; }
  void destroy(Communicator communicator) override;
  void abort(Communicator communicator) override;

  const Calls& calls() const { return calls_; }
  /// Communicators that were begun and not ended.
  int open() const { return open_; }

 private:
  struct World;
  struct Member;
  /// What one member gives to a collective: where its values are, and where those go.
  struct Part {
    const std::byte* in = nullptr;
    std::byte* out = nullptr;
  };
  using Perform = std::function<void(const std::vector<Part>&)>;
  Status issue(Communicator communicator, Part part, Stream stream, Perform perform);

  Faults faults_;
  Calls calls_;
  std::atomic<int> open_{0};
  std::mutex lock_;
  std::map<Id, std::shared_ptr<World>> worlds_;
  int next_ = 0;
};

}  // namespace shoal::test
