// The group over NCCL, with a library and GPUs of this process; and, where there is one, NVIDIA's.

#include <gtest/gtest.h>

#include "group/local/selection.h"
#include "tests/group/fake_nccl.h"
#include "tests/group/members.h"

namespace shoal {
namespace {

using local::Nccl;
using local::Offer;
using test::as_threads;
using test::FakeGpu;
using test::FakeNccl;
using test::group_name;
using test::HastyClock;

const SteadyClock kRealTime;

local::NcclLoader loader_of(std::shared_ptr<Nccl> nccl) {
  return [nccl]() -> Result<std::shared_ptr<Nccl>> { return nccl; };
}

/// Opens a member with a GPU of its own.
Result<std::unique_ptr<Group>> open_on(FakeGpu& gpu, const std::string& name, std::uint32_t rank,
                                       std::uint32_t size, const std::shared_ptr<FakeNccl>& nccl,
                                       GroupAlgorithm algorithm = GroupAlgorithm::automatic,
                                       const Clock& clock = kRealTime) {
  return local::open({.name = name,
                      .rank = rank,
                      .size = size,
                      .algorithm = algorithm,
                      .gpu = &gpu,
                      .timeout = std::chrono::hours(1)},
                     clock, loader_of(nccl));
}

/// What a device's memory is: a copy of values, or room for them.
template <class T>
MemoryView on_device(std::vector<T>& values) {
  auto view = host_view(std::span(values));
  view.space = MemorySpace::cuda;
  return view;
}

/// As test::reduce_and_gather, in memory of a GPU; the share is there or in pinned memory.
template <class T>
void exchange(Group& group, RowRange rows, std::uint64_t row_values, MemorySpace share_space) {
  const GroupWork work{dtype_of<T>(), Aggregate::sum, Shares(rows, group.size()), row_values};
  const auto count = rows.size() * row_values;
  const auto mine = work.shares.of(group.rank());
  auto in = test::values_of<T>(group.rank(), count, rows.end);
  const auto expected = test::combined<T>(group.size(), count, rows.end);
  std::vector<T> share(mine.size() * row_values), out(count);
  auto share_view = on_device(share);
  share_view.space = share_space;
  const auto reduced = group.reduce_scatter(work, on_device(in), share_view);
  ASSERT_TRUE(reduced.ok()) << reduced.error().message();
  EXPECT_TRUE(test::same_bits(
      share.data(), expected.data() + (mine.begin - rows.begin) * row_values, share.size()));
  const auto gathered = group.all_gather(work, share_view, on_device(out));
  ASSERT_TRUE(gathered.ok()) << gathered.error().message();
  EXPECT_TRUE(test::same_bits(out.data(), expected.data(), count));
}

TEST(NcclGroup, ReducesWhateverTheShares) {
  for (std::uint32_t size = 1; size <= 5; ++size) {
    const auto name = group_name();
    const auto nccl = std::make_shared<FakeNccl>();
    as_threads(size, [&](std::uint32_t rank) {
      FakeGpu gpu("gpu" + std::to_string(rank));
      const auto group = open_on(gpu, name, rank, size, nccl);
      ASSERT_TRUE(group.ok()) << group.error().message();
      EXPECT_NE((*group)->explain().find("by NCCL 2.28.9 between GPUs"), std::string::npos);
      for (const std::uint64_t rows : {0, 1, 3, 60, 61, 500})
        for (const auto space : {MemorySpace::cuda, MemorySpace::pinned}) {
          exchange<float>(**group, {0, rows}, 3, space);
          exchange<double>(**group, {0, rows}, 1, space);
          exchange<Float16>(**group, {0, rows}, 2, space);
          exchange<BFloat16>(**group, {0, rows}, 1, space);
          exchange<std::int64_t>(**group, {5, 5 + rows}, 1, space);
        }
    });
    EXPECT_EQ(nccl->open(), 0);
    EXPECT_EQ(nccl->calls().aborted, 0);
  }
}

TEST(NcclGroup, EqualSharesAreOneCallAndHalvesAreSummedInFloats) {
  const auto name = group_name();
  const auto nccl = std::make_shared<FakeNccl>();
  as_threads(2, [&](std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group = open_on(gpu, name, rank, 2, nccl).value();
    exchange<Float16>(*group, {0, 10}, 1, MemorySpace::pinned);
  });
  EXPECT_EQ(nccl->calls().reduce_scatters, 2);
  EXPECT_EQ(nccl->calls().all_gathers, 2);
  EXPECT_EQ(nccl->calls().reduces + nccl->calls().broadcasts, 0);
  EXPECT_EQ(nccl->calls().dtype, static_cast<int>(DType::f32));
}

TEST(NcclGroup, MismatchIsFoundBeforeNcclIsCalled) {
  const auto name = group_name();
  const auto nccl = std::make_shared<FakeNccl>();
  as_threads(2, [&](std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group = open_on(gpu, name, rank, 2, nccl).value();
    const GroupWork work{.shares = Shares({0, 10 + 2ul * rank}, 2)};
    std::vector<float> in(10 + 2ul * rank), share(5 + rank);
    EXPECT_EQ(group->reduce_scatter(work, on_device(in), on_device(share)).code(), Errc::mismatch);
    exchange<float>(*group, {0, 10}, 1, MemorySpace::cuda);
  });
  EXPECT_EQ(nccl->calls().reduce_scatters, 2) << "those of the exchange";
}

TEST(NcclGroup, MemoryOfTheHostIsRefused) {
  const auto nccl = std::make_shared<FakeNccl>();
  FakeGpu gpu("gpu0");
  const auto group = open_on(gpu, group_name(), 0, 1, nccl).value();
  std::vector<float> values(4);
  const GroupWork work{.shares = Shares({0, 4}, 1)};
  const auto status = group->reduce_scatter(work, host_view(std::span(values)), on_device(values));
  EXPECT_EQ(status.code(), Errc::invalid_argument);
  EXPECT_NE(status.error().what.find("GroupAlgorithm::host"), std::string::npos);
}

/// Three members whose first operation goes wrong: what each hears.
std::vector<Error> broken_by(FakeNccl::Faults faults, bool hurry) {
  const auto name = group_name();
  const auto nccl = std::make_shared<FakeNccl>(faults);
  std::vector<Error> heard(3);
  std::array<HastyClock, 3> clocks;
  std::atomic<int> opened{0};
  as_threads(3, [&](std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group =
        open_on(gpu, name, rank, 3, nccl, GroupAlgorithm::nccl, clocks[rank]).value();
    if (++opened == 3 && hurry) clocks[rank].hurry(std::chrono::minutes(20));
    const GroupWork work{.shares = Shares({0, 9}, 3)};
    std::vector<float> in(9), share(3);
    const auto status = group->reduce_scatter(work, on_device(in), on_device(share));
    ASSERT_FALSE(status.ok());
    heard[rank] = status.error();
    EXPECT_EQ(group->agree({}).code(), status.code()) << "for good";
  });
  EXPECT_EQ(nccl->open(), 0);
  EXPECT_EQ(nccl->calls().aborted, 3);
  return heard;
}

TEST(NcclGroup, CallThatFailsAtOneMemberEndsAll) {
  for (const auto& error : broken_by({.fail_call_of = 1}, false)) {
    EXPECT_EQ(error.code, Errc::io);
    EXPECT_NE(error.what.find("member 1: ncclReduceScatter: invalid usage"), std::string::npos)
        << error.what;
  }
}

TEST(NcclGroup, WorkThatNeverEndsIsAbortedAtTheDeadline) {
  for (const auto& error : broken_by({.never_finish = true}, true)) {
    EXPECT_EQ(error.code, Errc::timed_out);
    EXPECT_NE(error.what.find("reduce_scatter"), std::string::npos) << error.what;
  }
}

TEST(NcclGroup, FailureThatNcclFindsLaterEndsAll) {
  for (const auto& error : broken_by({.break_later = true}, false))
    EXPECT_NE(error.what.find("remote process exited"), std::string::npos) << error.what;
}

TEST(NcclGroup, BeginThatFailsAtOneMemberTakesAllToTheHost) {
  const auto name = group_name();
  const auto nccl = std::make_shared<FakeNccl>(FakeNccl::Faults{.fail_begin_of = 1});
  as_threads(3, [&](std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group = open_on(gpu, name, rank, 3, nccl);
    ASSERT_TRUE(group.ok()) << group.error().message();
    EXPECT_NE((*group)->explain().find("NCCL failed, member 1: ncclCommInitRankConfig"),
              std::string::npos)
        << (*group)->explain();
    exchange<float>(**group, {0, 10}, 1, MemorySpace::cuda);  // through pinned memory
  });
  EXPECT_EQ(nccl->open(), 0);
}

TEST(NcclGroup, BeginThatFailsIsAnErrorWhereNcclWasAskedFor) {
  const auto name = group_name();
  const auto nccl = std::make_shared<FakeNccl>(FakeNccl::Faults{.fail_begin_of = 0});
  as_threads(2, [&](std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group = open_on(gpu, name, rank, 2, nccl, GroupAlgorithm::nccl);
    EXPECT_EQ(group.code(), Errc::unavailable);
    EXPECT_NE(group.error().what.find("member 0: ncclCommInitRankConfig"), std::string::npos);
  });
}

TEST(NcclGroup, BeginThatHangsEndsAtTheDeadline) {
  const auto name = group_name();
  const auto nccl = std::make_shared<FakeNccl>(FakeNccl::Faults{.hang_begin_of = 1});
  std::array<HastyClock, 2> clocks;
  std::atomic<int> loaded{0};
  as_threads(2, [&](std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group = local::open(
        {.name = name, .rank = rank, .size = 2, .gpu = &gpu, .timeout = std::chrono::hours(1000)},
        clocks[rank], [&]() -> Result<std::shared_ptr<Nccl>> {
          if (++loaded == 2)
            for (auto& clock : clocks) clock.hurry(std::chrono::hours(1));
          return std::shared_ptr<Nccl>(nccl);
        });
    EXPECT_EQ(group.code(), Errc::timed_out);
  });
  EXPECT_EQ(nccl->open(), 0);
}

// --- Which algorithm -----------------------------------------------------------------------------

Offer offer(const char* address, int nccl = 22809) {
  Offer made;
  made.gpu = *address != 0;
  made.nccl = nccl;
  std::strcpy(made.address.data(), address);
  std::strcpy(made.missing.data(), nccl == 0 ? "libnccl.so.2 is not there" : "");
  return made;
}

TEST(GroupSelection, NcclNeedsAGpuAndTheLibraryAtEachMember) {
  const auto why = [](std::vector<Offer> offers) {
    const auto selected = local::select("g", offers).value();
    EXPECT_EQ(selected.nccl, selected.why == "each member has a GPU of its own");
    return selected.why;
  };
  EXPECT_EQ(why({offer("a"), offer("b")}), "each member has a GPU of its own");
  EXPECT_EQ(why({offer("a")}), "each member has a GPU of its own");
  EXPECT_EQ(why({offer("a"), offer("", 0)}), "member 1 has no GPU");
  EXPECT_EQ(why({offer("a"), offer("b", 0)}), "member 1: libnccl.so.2 is not there");
  EXPECT_EQ(why({offer("a"), offer("b", 22700)}),
            "NCCL is of version 22809 at member 0 and 22700 at member 1");
  EXPECT_EQ(why({offer("a"), offer("b"), offer("a")}),
            "members 0 and 2 share the GPU a, and NCCL wants one of its own for each");
}

TEST(GroupSelection, WhatWasAskedForIsHeld) {
  std::vector<Offer> offers{offer("a"), offer("")};
  for (auto& one : offers) one.algorithm = GroupAlgorithm::nccl;
  EXPECT_EQ(local::select("g", offers).code(), Errc::unavailable);
  offers[1].algorithm = GroupAlgorithm::host;
  EXPECT_EQ(local::select("g", offers).code(), Errc::mismatch);
  offers[0].algorithm = GroupAlgorithm::host;
  EXPECT_EQ(local::select("g", offers).value().why, "asked for");
}

TEST(NcclLibrary, SaysWhyItIsNotThere) {
  const auto loaded = local::load_nccl("libno-nccl-of-this-name.so");
  EXPECT_EQ(loaded.code(), Errc::unavailable);
  EXPECT_NE(loaded.error().what.find("NCCL"), std::string::npos);
}

/// Copies and waits.
void copy_on(GroupGpu& gpu, MemoryView to, ConstMemoryView from) {
  const auto event = gpu.device().copy(to, from).value();
  while (!gpu.device().done(event).value()) {
  }
}

/// Whole numbers, which have one sum in any order.
void exchange_on_real_gpu(std::uint32_t rank, std::uint32_t size, const std::string& name,
                          std::size_t count) {
  auto gpu = GroupGpu::open(static_cast<std::uint16_t>(rank)).value();
  const auto group = open_group({.name = name,
                                 .rank = rank,
                                 .size = size,
                                 .algorithm = GroupAlgorithm::nccl,
                                 .gpu = gpu.get(),
                                 .timeout = std::chrono::minutes(2)},
                                kRealTime);
  ASSERT_TRUE(group.ok()) << group.error().message();
  auto pinned = gpu->pin(count * sizeof(std::int32_t)).value();
  const auto memory = gpu->device().allocate(pinned->view().bytes, {}).value();
  const auto values = test::values_of<std::int32_t>(rank, count, 1);
  const auto expected = test::combined<std::int32_t>(size, count, 1);
  std::memcpy(pinned->view().data, values.data(), pinned->view().bytes);
  copy_on(*gpu, memory, pinned->view());
  std::memset(pinned->view().data, 0, pinned->view().bytes);
  const GroupWork work{.dtype = DType::i32, .shares = Shares({0, count}, size)};
  const auto mine = work.shares.of(rank);
  const auto share = pinned->view().sub(0, mine.size() * sizeof(std::int32_t));
  const auto reduced = (*group)->reduce_scatter(work, memory, share);
  ASSERT_TRUE(reduced.ok()) << reduced.error().message();
  EXPECT_EQ(0, std::memcmp(share.data, expected.data() + mine.begin, share.bytes));
  const auto gathered = (*group)->all_gather(work, share, memory);
  ASSERT_TRUE(gathered.ok()) << gathered.error().message();
  copy_on(*gpu, pinned->view(), memory);
  EXPECT_EQ(0, std::memcmp(pinned->view().data, expected.data(), pinned->view().bytes));
  gpu->device().deallocate(memory);
}

TEST(NcclLibrary, OfThisMachineReducesOnAllItsGpus) {
  const auto nccl = local::load_nccl();
  if (!nccl.ok()) GTEST_SKIP() << nccl.error().message();
  EXPECT_GE((*nccl)->version(), 21403);
  if (const auto gpu = GroupGpu::open(0); !gpu.ok()) GTEST_SKIP() << gpu.error().message();
  std::uint32_t gpus = 1;
  while (gpus < 8 && GroupGpu::open(static_cast<std::uint16_t>(gpus)).ok()) ++gpus;
  for (std::uint32_t size = 1; size <= gpus; size *= 2)
    for (const std::size_t count : {std::size_t{1} << 20, std::size_t{10'007}}) {
      const auto name = group_name();
      as_threads(size, [&](std::uint32_t rank) { exchange_on_real_gpu(rank, size, name, count); });
    }
}

}  // namespace
}  // namespace shoal
