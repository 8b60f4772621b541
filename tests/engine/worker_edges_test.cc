// Worker at the edges of its process: no threads, full queues, leaving that fails, absurd sizes.

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <limits>
#include <numeric>

#include "server/local_cluster.h"
#include "tests/engine/cluster.h"
#include "worker/worker.h"

namespace shoal::test {
namespace {

using std::chrono::seconds;

/// Threads get a stack that no address space holds.
class NoNewThreads {
 public:
  NoNewThreads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, std::size_t{1} << 60);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoNewThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }
  NoNewThreads(const NoNewThreads&) = delete;
  NoNewThreads& operator=(const NoNewThreads&) = delete;

 private:
  pthread_attr_t before_;
};

TEST(WorkerEdges, WithoutThreadsConnectSaysSo) {
  auto cluster = LocalCluster::start({}).value();
  const NoNewThreads none;
  EXPECT_FALSE(Worker::connect(cluster.config()).ok());
}

TEST(WorkerEdges, BuffersOfACallerDrivenWorkerDoNotFillTheQueue) {
  auto cluster = LocalCluster::start({}).value();
  auto config = cluster.config();
  config.progress = Config::Progress::caller;
  config.operations_max = 4;
  auto worker = Worker::connect(config).value();
  std::vector<Buffer<float>> buffers;
  for (int i = 0; i < 100; ++i) buffers.push_back(worker.allocate<float>(8).value());
  EXPECT_EQ(buffers.back().size(), 8u);
}

TEST(WorkerEdges, ABufferOfMoreBytesThanThereAreIsRefused) {
  auto cluster = LocalCluster::start({}).value();
  auto worker = Worker::connect(cluster.config()).value();
  constexpr auto kMost = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(worker.allocate<float>(kMost / 4 + 2).code(), Errc::no_memory);
  EXPECT_EQ(worker.allocate<float>(kMost / 4).code(), Errc::no_memory);
  EXPECT_EQ(worker.allocate<std::uint8_t>(kMost).code(), Errc::no_memory);
}

/// Memory of each kind that there is comes and goes: none at all, some, and pages of its own.
TEST(WorkerEdges, BuffersOfAllSizesComeAndGo) {
  auto cluster = LocalCluster::start({}).value();
  auto worker = Worker::connect(cluster.config()).value();
  for (const std::size_t count : {0, 1, 1000, 100'000, 1 << 20, (1 << 20) + 1}) {
    const auto kept = worker.allocate<float>(count).value();
    EXPECT_EQ(std::accumulate(kept.begin(), kept.end(), 0.0f), 0.0f);
    auto gone = worker.allocate<float>(count).value();
    std::fill(gone.begin(), gone.end(), 1.0f);
    gone = {};
    EXPECT_TRUE(worker.barrier().ok());  // the loop has freed it
    EXPECT_EQ(std::accumulate(kept.begin(), kept.end(), 0.0f), 0.0f);
  }
}

TEST(WorkerEdges, ATableThatWasNeverOpenedSaysSo) {
  Table<float> table;
  std::vector<float> values(10);
  EXPECT_EQ(table.pull({0, 10}, values).wait().code(), Errc::invalid_argument);
  EXPECT_EQ(table.push({0, 10}, values).wait().code(), Errc::invalid_argument);
  EXPECT_EQ(table.push_pull({0, 10}, values, values).wait().code(), Errc::invalid_argument);
  EXPECT_EQ(table.set_parameter("l1", 1).code(), Errc::invalid_argument);
  EXPECT_EQ(table.drop().code(), Errc::invalid_argument);
}

TEST(WorkerEdges, AFlushTellsWhatDroppedTicketsWouldHave) {
  auto cluster = LocalCluster::start({}).value();
  for (const auto progress : {Config::Progress::thread, Config::Progress::caller}) {
    auto config = cluster.config();
    config.progress = progress;
    auto worker = Worker::connect(config).value();
    TableSpec spec{.name = progress == Config::Progress::thread ? "t" : "c", .rows = 10};
    spec.apply = Apply::per_clock;
    auto table = worker.create_or_open<float>(spec).value();
    const auto own = worker.allocate<float>(10).value();
    const std::vector<float> values(10);
    (void)table.push({0, 10}, own);
    ASSERT_TRUE(worker.flush().ok());

    (void)table.store({0, 10}, own);       // too late: the server refuses it
    (void)table.store({0, 10}, values);    // so it does this one, before the ticket is gone
    (void)table.push({0, 11}, values);     // wrong by itself
    table.push({0, 10}, values).cancel();  // ends as asked, or well
    auto asked = table.push({5, 50}, values);
    EXPECT_EQ(asked.wait().code(), Errc::out_of_range);
    (void)table.pull({0, 11}, own);  // nothing of it is lost
    const auto flushed = worker.flush();
    ASSERT_FALSE(flushed.ok());
    EXPECT_TRUE(flushed.error().what.starts_with("3 pushes whose tickets were dropped failed"))
        << flushed.error().what;
    EXPECT_TRUE(worker.flush().ok()) << "it was told";
    (void)table.push({0, 11}, values);
    EXPECT_TRUE(worker.leave().ok()) << "it leaves nevertheless, with a warning";
  }
}

/// What a forked child finds wrong, as its exit status.
int use_in_child(Worker worker, Table<float> table, Ticket under_way) {
  std::vector<float> values(10);
  if (table.push({0, 10}, values).wait().code() != Errc::unavailable) return 1;
  if (!under_way.ready() || under_way.wait().code() != Errc::unavailable) return 2;
  if (worker.flush().code() != Errc::unavailable) return 3;
  if (worker.barrier().code() != Errc::unavailable) return 4;
  if (worker.leave().code() != Errc::unavailable) return 5;
  worker.tick();
  worker.progress();
  return 0;
}

TEST(WorkerEdges, AChildOfTheProcessThatConnectedIsToldSo) {
  auto cluster = LocalCluster::start({}).value();
  for (const auto progress : {Config::Progress::thread, Config::Progress::caller}) {
    auto config = cluster.config();
    config.progress = progress;
    auto worker = Worker::connect(config).value();
    auto table = worker.create_or_open<float>({.name = "t", .rows = 10}).value();
    std::vector<float> values(10);
    worker.tick();
    auto pull = table.pull({0, 10}, values, {.ahead = 5});
    const auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(use_in_child(std::move(worker), table, std::move(pull)));
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_TRUE(table.push({0, 10}, values).wait().ok()) << "the parent goes on";
    pull.cancel();
  }
}

TEST(WorkerEdges, APullTooFarAheadIsRefused) {
  auto cluster = LocalCluster::start({}).value();
  auto worker = Worker::connect(cluster.config()).value();
  auto table = worker.create_or_open<float>({.name = "t", .rows = 10}).value();
  std::vector<float> values(10);
  for (const auto ahead : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()})
    EXPECT_EQ(table.pull({0, 10}, values, {.ahead = ahead}).wait().code(), Errc::invalid_argument);
}

TEST(WorkerEdges, LeavingThatFailedFailsAgain) {
  LocalCluster::Options options;
  options.workers = 2;
  auto cluster = LocalCluster::start(std::move(options)).value();
  auto impatient = cluster.config();
  impatient.operation_timeout = seconds(1);
  auto joining = std::async([&] { return Worker::connect(cluster.config()).value(); });
  auto worker = Worker::connect(impatient).value();
  auto other = joining.get();
  TableSpec spec{.name = "t", .rows = 10};
  spec.apply = Apply::per_clock;
  auto table = worker.create_or_open<float>(spec).value();
  const std::vector<float> values(10, 1.0f);
  for (int i = 0; i < 3; ++i) worker.tick();
  auto push = table.push({0, 10}, values, {.timeout = seconds(60)});  // beyond the window
  EXPECT_EQ(worker.leave().code(), Errc::timed_out);
  const auto again = worker.leave();
  ASSERT_EQ(again.code(), Errc::timed_out);
  EXPECT_NE(again.error().what.find("cannot leave yet"), std::string::npos) << again.error().what;
  for (int i = 0; i < 3; ++i) other.tick();
  EXPECT_TRUE(push.wait().ok());
  EXPECT_TRUE(worker.leave().ok());
  EXPECT_TRUE(worker.leave().ok());
}

}  // namespace
}  // namespace shoal::test
