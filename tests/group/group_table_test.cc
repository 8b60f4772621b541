// Workers of a cluster that train as a group, beside workers that do it one by one.

#include "group/group_table.h"

#include <gtest/gtest.h>

#include <optional>

#include "group/local/selection.h"
#include "server/local_cluster.h"
#include "tests/group/fake_nccl.h"
#include "tests/group/members.h"

namespace shoal {
namespace {

using test::as_threads;
using test::FakeGpu;
using test::FakeNccl;
using test::group_name;

constexpr std::uint32_t kWorkers = 4;
constexpr std::uint64_t kRows = 3001;
constexpr std::uint32_t kWidth = 3;
constexpr int kRounds = 5;
const SteadyClock kWallClock;

/// Whole numbers, whose sums are exact in any order; another gradient for each worker and round.
std::vector<float> gradient_of(std::uint32_t worker, int round) {
  Random random(worker * 100 + static_cast<std::uint32_t>(round));
  std::vector<float> values(kRows * kWidth);
  for (auto& value : values) value = static_cast<float>(random.below(64)) - 32;
  return values;
}

TableSpec table_of(Apply apply, UpdateSpec update) {
  TableSpec spec{
      .name = "weights", .rows = kRows, .row_width = kWidth, .update = std::move(update)};
  spec.apply = apply;
  spec.staleness = apply == Apply::on_arrival ? 1 : 0;
  spec.segment_bytes = 1024;  // some 36 segments, so that both servers have many
  return spec;
}

struct Trained {
  std::vector<std::vector<float>> parameters;  ///< by worker
  std::vector<Worker::Traffic> traffic;
};

using Train =
    std::function<std::vector<float>(Worker& worker, Table<float> table, std::uint32_t rank)>;

/// Each worker in a thread, on a cluster with two servers of its own.
Trained train(const TableSpec& spec, const Train& one) {
  LocalCluster::Options options;
  options.servers = 2;
  options.workers = kWorkers;
  auto cluster = LocalCluster::start(std::move(options)).value();
  Trained trained{std::vector<std::vector<float>>(kWorkers),
                  std::vector<Worker::Traffic>(kWorkers)};
  as_threads(kWorkers, [&](std::uint32_t rank) {
    auto worker = Worker::connect(cluster.config()).value();
    auto table = worker.create_or_open<float>(spec).value();
    trained.parameters[rank] = one(worker, table, rank);
    trained.traffic[rank] = worker.traffic();
    worker.barrier().value();  // nobody is missed by one who is slower
  });
  return trained;
}

std::vector<float> one_by_one(Worker& worker, Table<float> table, std::uint32_t rank) {
  std::vector<float> parameters(kRows * kWidth);
  for (int round = 0; round < kRounds; ++round) {
    const auto gradient = gradient_of(rank, round);
    auto pushed = table.push({0, kRows}, gradient);
    worker.tick();  // as a collective, deterministic table wants it
    pushed.wait().value();
    table.pull({0, kRows}, parameters).wait().value();
  }
  // What others pushed after the last pull, of a table that takes pushes as they come.
  worker.flush().value();
  worker.barrier().value();
  table.pull({0, kRows}, parameters).wait().value();
  return parameters;
}

Train as_group(const std::string& name, std::string* explained = nullptr) {
  return [=](Worker& worker, Table<float> table, std::uint32_t rank) {
    const auto group =
        open_group({.name = name, .rank = rank, .size = kWorkers}, kWallClock).value();
    if (rank == 0 && explained != nullptr) *explained = group->explain();
    auto weights = GroupTable<float>::open(*group, worker, std::move(table)).value();
    std::vector<float> parameters(kRows * kWidth);
    for (int round = 0; round < kRounds; ++round) {
      const auto done = weights.round({0, kRows}, gradient_of(rank, round), parameters);
      EXPECT_TRUE(done.ok()) << done.error().message();
    }
    return parameters;
  };
}

/// Equal parameters for all, as without the group, for a quarter of the bytes.
void compare(const TableSpec& spec) {
  const auto alone = train(spec, one_by_one);
  std::string explained;
  const auto together = train(spec, as_group(group_name(), &explained));
  EXPECT_NE(explained.find("through shared memory"), std::string::npos);
  for (std::uint32_t rank = 0; rank < kWorkers; ++rank) {
    EXPECT_EQ(together.parameters[rank], alone.parameters[0]);
    const auto all = kRounds * kRows * kWidth * sizeof(float);
    EXPECT_EQ(alone.traffic[rank].bytes_pushed, all);
    // Shares are whole segments: one more or less than a quarter of 36.
    EXPECT_NEAR(static_cast<double>(together.traffic[rank].bytes_pushed), all / 4.0, all / 36.0);
    EXPECT_NEAR(static_cast<double>(together.traffic[rank].bytes_pulled), all / 4.0, all / 36.0);
  }
  std::uint64_t pushed = 0, pulled = 0;
  for (const auto& one : together.traffic) {
    pushed += one.bytes_pushed;
    pulled += one.bytes_pulled;
  }
  EXPECT_EQ(pushed, kRounds * kRows * kWidth * sizeof(float)) << "one copy a node and round";
  EXPECT_EQ(pulled, kRounds * kRows * kWidth * sizeof(float));
}

TEST(GroupTable, TrainsAsWithoutTheGroupPerClock) {
  compare(table_of(Apply::per_clock, Sgd{.learning_rate = 0.125}));
}

TEST(GroupTable, TrainsAsWithoutTheGroupWithARuleThatIsNotLinear) {
  compare(table_of(Apply::per_clock, Adagrad{.learning_rate = 0.5}));
}

TEST(GroupTable, TrainsAsWithoutTheGroupCollectively) {
  auto spec = table_of(Apply::collective, Sgd{.learning_rate = 0.125});
  compare(spec);
  spec.deterministic = true;
  compare(spec);
}

TEST(GroupTable, TrainsAsWithoutTheGroupOnArrival) {
  compare(table_of(Apply::on_arrival, Sgd{.learning_rate = 0.125}));
}

TEST(GroupTable, SharesOfGpusGoThroughPinnedMemory) {
  const auto spec = table_of(Apply::per_clock, Sgd{.learning_rate = 0.125});
  const auto alone = train(spec, one_by_one);
  const auto nccl = std::make_shared<FakeNccl>();
  const auto name = group_name();
  const auto together = train(spec, [&](Worker& worker, Table<float> table, std::uint32_t rank) {
    FakeGpu gpu("gpu" + std::to_string(rank));
    const auto group =
        local::open({.name = name, .rank = rank, .size = kWorkers, .gpu = &gpu}, kWallClock,
                    [&]() -> Result<std::shared_ptr<local::Nccl>> { return {nccl}; })
            .value();
    auto weights = GroupTable<float>::open(*group, worker, std::move(table), &gpu).value();
    std::vector<float> parameters(kRows * kWidth);
    const auto on_gpu = [](std::vector<float>& values) {
      auto view = host_view(std::span(values));
      view.space = MemorySpace::cuda;
      return view;
    };
    for (int round = 0; round < kRounds; ++round) {
      auto gradient = gradient_of(rank, round);
      weights.push({0, kRows}, ConstMemoryView(on_gpu(gradient))).value();
      worker.tick();
      weights.pull({0, kRows}, on_gpu(parameters)).value();
    }
    return parameters;
  });
  for (const auto& parameters : together.parameters) EXPECT_EQ(parameters, alone.parameters[0]);
  EXPECT_GT(nccl->calls().reduces + nccl->calls().reduce_scatters, 0);
}

/// Fewer rows than members: some have a share of none.
TEST(GroupTable, ARowIsSharedOutOverNccl) {
  const auto nccl = std::make_shared<FakeNccl>();
  const auto name = group_name();
  train(table_of(Apply::per_clock, Add{}),
        [&](Worker& worker, Table<float> table, std::uint32_t rank) {
          FakeGpu gpu("gpu" + std::to_string(rank));
          const auto group =
              local::open({.name = name, .rank = rank, .size = kWorkers, .gpu = &gpu}, kWallClock,
                          [&]() -> Result<std::shared_ptr<local::Nccl>> { return {nccl}; })
                  .value();
          auto weights = GroupTable<float>::open(*group, worker, std::move(table), &gpu).value();
          std::vector<float> row(kWidth, 1.0f);
          auto view = host_view(std::span(row));
          view.space = MemorySpace::cuda;
          EXPECT_TRUE(weights.push({0, 1}, ConstMemoryView(view)).ok());
          worker.tick();
          EXPECT_TRUE(weights.pull({0, 1}, view).ok());
          EXPECT_EQ(row, std::vector<float>(kWidth, kWorkers));
          return row;
        });
}

/// A deterministic round takes a push when the members before have ticked; and what is pulled is
/// shared out otherwise than what was pushed.
TEST(GroupTable, ManyPushesOfAClockWaitForNoneOfThem) {
  constexpr std::uint64_t kParts = 7;
  auto spec = table_of(Apply::collective, Add{});
  spec.deterministic = true;
  const auto name = group_name();
  train(spec, [&](Worker& worker, Table<float> table, std::uint32_t rank) {
    const auto group =
        open_group({.name = name, .rank = rank, .size = kWorkers}, kWallClock).value();
    auto weights = GroupTable<float>::open(*group, worker, std::move(table)).value();
    const std::vector<float> ones(kRows * kWidth, 1.0f);
    std::vector<float> parameters(kRows * kWidth);
    for (int round = 1; round <= kRounds; ++round) {
      for (std::uint64_t part = 0; part < kParts; ++part) {
        const RowRange rows{kRows * part / kParts, kRows * (part + 1) / kParts};
        EXPECT_TRUE(weights.push(rows, std::span(ones).first(rows.size() * kWidth)).ok());
      }
      worker.tick();
      EXPECT_TRUE(weights.pull({0, kRows}, parameters).ok());
      EXPECT_EQ(parameters,
                std::vector<float>(kRows * kWidth, static_cast<float>(round) * kWorkers));
    }
    return parameters;
  });
}

TEST(GroupTable, WhatOneMemberCannotPushIsEverybodysError) {
  const auto name = group_name();
  train(table_of(Apply::per_clock, Add{}),
        [&](Worker& worker, Table<float> table, std::uint32_t rank) {
          const auto group =
              open_group({.name = name, .rank = rank, .size = kWorkers}, kWallClock).value();
          auto weights = GroupTable<float>::open(*group, worker, std::move(table)).value();
          std::vector<float> values(kRows * kWidth);
          const RowRange rows{0, rank == 2 ? kRows + 1 : kRows};
          const auto wrong = weights.push(rows, values);
          EXPECT_EQ(wrong.code(), Errc::out_of_range);
          EXPECT_NE(wrong.error().what.find("member 2: rows [0, 3002)"), std::string::npos)
              << wrong.error().what;
          EXPECT_TRUE(weights.round({0, kRows}, values, values).ok()) << "the group goes on";
          return values;
        });
}

TEST(GroupTable, MembersAtDifferentClocksAreTold) {
  const auto name = group_name();
  train(table_of(Apply::per_clock, Add{}),
        [&](Worker& worker, Table<float> table, std::uint32_t rank) {
          const auto group =
              open_group({.name = name, .rank = rank, .size = kWorkers}, kWallClock).value();
          auto weights = GroupTable<float>::open(*group, worker, std::move(table)).value();
          std::vector<float> values(kRows * kWidth);
          if (rank == 3) worker.tick();
          EXPECT_EQ(weights.push({0, kRows}, values).code(), Errc::mismatch);
          if (rank != 3) worker.tick();
          EXPECT_TRUE(weights.push({0, kRows}, values).ok());
          EXPECT_TRUE(weights.flush().ok());
          return values;
        });
}

// --- Tables that cannot be -----------------------------------------------------------------------

/// Of two or three members, which is all that is asked of it.
class GroupOf final : public Group {
 public:
  GroupOf(std::uint32_t size, bool by_rank) : size_(size), by_rank_(by_rank) {}
  std::uint32_t rank() const override { return 0; }
  std::uint32_t size() const override { return size_; }
  bool sums_by_rank() const override { return by_rank_; }
  std::string explain() const override { return {}; }
  Status reduce_scatter(const GroupWork&, ConstMemoryView, MemoryView) override { return {}; }
  Status all_gather(const GroupWork&, ConstMemoryView, MemoryView) override { return {}; }
  Status agree(const Status& mine) override { return mine; }

 private:
  std::uint32_t size_;
  bool by_rank_;
};

TEST(GroupTable, TablesWhereSumsWouldBeWrongAreRefused) {
  const GroupOf two(2, true), three_of_nccl(3, false), one(1, true);
  const auto refused = [](const TableSpec& spec, const Group& group, std::string_view why) {
    const auto status = GroupTableHandle::validate(spec, group, {});
    ASSERT_EQ(status.code(), Errc::invalid_argument);
    EXPECT_NE(status.error().what.find(why), std::string::npos) << status.error().what;
  };
  const auto taken = [](const TableSpec& spec, const Group& group,
                        const GroupTableOptions& options = {}) {
    EXPECT_TRUE(GroupTableHandle::validate(spec, group, options).ok());
  };
  auto sparse = table_of(Apply::per_clock, Sgd{});
  sparse.layout = Layout::sparse;
  refused(sparse, two, "ranges of rows");
  refused(table_of(Apply::on_arrival, Assign{}), two, "'assign' keeps the last");
  auto deterministic = table_of(Apply::collective, Sgd{});
  deterministic.deterministic = true;
  refused(deterministic, three_of_nccl, "an order of its own");
  taken(deterministic, two);
  const auto adam = table_of(Apply::on_arrival, Adam{});
  refused(adam, two, "one_step_per_group");
  taken(adam, one);
  taken(adam, two, {.one_step_per_group = true});
  taken(table_of(Apply::on_arrival, Add{}), two);
  taken(table_of(Apply::per_clock, Adam{}), two);
}

}  // namespace
}  // namespace shoal
