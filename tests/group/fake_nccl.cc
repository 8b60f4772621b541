#include "tests/group/fake_nccl.h"

#include <algorithm>
#include <cstring>

#include "core/ops/aggregate.h"

namespace shoal::test {

/// What a communicator's members share.
struct FakeNccl::World {
  struct Round {
    std::vector<Part> parts;
    std::uint32_t there = 0;
    bool performed = false;
  };
  std::mutex lock;
  std::uint32_t size = 0;
  std::uint32_t begun = 0;
  std::vector<Round> rounds;  ///< in the order in which members issue them
};

struct FakeNccl::Member {
  std::shared_ptr<World> world;
  std::uint32_t rank = 0;
  std::size_t next = 0;  ///< round
  bool broken = false;
};

Result<local::Nccl::Id> FakeNccl::make_id() {
  const std::lock_guard guard(lock_);
  Id id{};
  id[0] = static_cast<std::byte>(++next_);
  return id;
}

Result<local::Nccl::Communicator> FakeNccl::begin(const Id& id, std::uint32_t size,
                                                  std::uint32_t rank) {
  if (static_cast<int>(rank) == faults_.fail_begin_of)
    return Error{Errc::io, "ncclCommInitRankConfig: unhandled system error"};
  const std::lock_guard guard(lock_);
  auto& world = worlds_[id];
  if (world == nullptr) world = std::make_shared<World>();
  const std::lock_guard inside(world->lock);
  world->size = size;
  if (static_cast<int>(rank) != faults_.hang_begin_of) ++world->begun;
  ++open_;
  return Communicator(new Member{world, rank});
}

Result<bool> FakeNccl::ready(Communicator communicator) {
  auto& member = *static_cast<Member*>(communicator);
  if (member.broken) return Error{Errc::io, "NCCL: remote process exited or there was an error"};
  const std::lock_guard inside(member.world->lock);
  return member.world->begun == member.world->size;
}

Status FakeNccl::issue(Communicator communicator, Part part, Stream stream, Perform perform) {
  auto& member = *static_cast<Member*>(communicator);
  if (static_cast<int>(member.rank) == faults_.fail_call_of)
    return Error{Errc::io, "ncclReduceScatter: invalid usage"};
  const auto world = member.world;
  const auto number = member.next++;
  bool given = false;
  static_cast<FakeGpu*>(stream)->issue([=, this, &member, rank = member.rank]() mutable {
    if (faults_.never_finish) return false;
    if (faults_.break_later) {
      member.broken = true;
      return false;
    }
    const std::lock_guard inside(world->lock);
    if (world->rounds.size() <= number) world->rounds.resize(number + 1);
    auto& round = world->rounds[number];
    round.parts.resize(world->size);
    if (!given) {
      round.parts[rank] = part;
      ++round.there;
      given = true;
    }
    if (!round.performed && round.there == world->size) {
      perform(round.parts);
      round.performed = true;
    }
    return round.performed;
  });
  return {};
}

namespace {

/// out = all members' values from `offset` combined.
template <class Parts>
void combine_parts(const Parts& parts, std::byte* out, std::size_t offset, std::size_t count,
                   DType dtype, Aggregate aggregate) {
  const auto& kernels = aggregate_kernels(aggregate, dtype);
  std::vector<std::byte> sums(count * byte_size(accumulator_of(dtype)));
  for (std::size_t m = 0; m < parts.size(); ++m)
    (m == 0 ? kernels.start : kernels.dense)(sums.data(), parts[m].in + offset, count);
  kernels.finish(out, sums.data(), count);
}

}  // namespace

Status FakeNccl::reduce_scatter(Communicator communicator, const void* in, void* out,
                                std::size_t count, DType dtype, Aggregate aggregate,
                                Stream stream) {
  ++calls_.reduce_scatters;
  calls_.dtype = static_cast<int>(dtype);
  return issue(communicator, {static_cast<const std::byte*>(in), static_cast<std::byte*>(out)},
               stream, [=](const std::vector<Part>& parts) {
                 for (std::size_t m = 0; m < parts.size(); ++m)
                   combine_parts(parts, parts[m].out, m * count * byte_size(dtype), count, dtype,
                                 aggregate);
               });
}

Status FakeNccl::reduce(Communicator communicator, const void* in, void* out, std::size_t count,
                        DType dtype, Aggregate aggregate, std::uint32_t root, Stream stream) {
  ++calls_.reduces;
  calls_.dtype = static_cast<int>(dtype);
  return issue(communicator, {static_cast<const std::byte*>(in), static_cast<std::byte*>(out)},
               stream, [=](const std::vector<Part>& parts) {
                 combine_parts(parts, parts[root].out, 0, count, dtype, aggregate);
               });
}

Status FakeNccl::all_gather(Communicator communicator, const void* in, void* out, std::size_t count,
                            DType dtype, Stream stream) {
  ++calls_.all_gathers;
  return issue(communicator, {static_cast<const std::byte*>(in), static_cast<std::byte*>(out)},
               stream, [=](const std::vector<Part>& parts) {
                 const auto bytes = count * byte_size(dtype);
                 for (const auto& to : parts)
                   for (std::size_t m = 0; m < parts.size(); ++m)
                     std::memmove(to.out + m * bytes, parts[m].in, bytes);
               });
}

Status FakeNccl::broadcast(Communicator communicator, const void* in, void* out, std::size_t count,
                           DType dtype, std::uint32_t root, Stream stream) {
  ++calls_.broadcasts;
  return issue(communicator, {static_cast<const std::byte*>(in), static_cast<std::byte*>(out)},
               stream, [=](const std::vector<Part>& parts) {
                 for (const auto& to : parts)
                   std::memmove(to.out, parts[root].in, count * byte_size(dtype));
               });
}

void FakeNccl::destroy(Communicator communicator) {
  ++calls_.destroyed;
  --open_;
  delete static_cast<Member*>(communicator);
}

void FakeNccl::abort(Communicator communicator) {
  ++calls_.aborted;
  --open_;
  delete static_cast<Member*>(communicator);
}

}  // namespace shoal::test
