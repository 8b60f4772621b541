// Threads of a user that push, pull, cancel, tick and flush over TCP with few places and short
// deadlines, while servers stand still in the middle of an update and go on. What nobody can
// arrange on the simulated network: calls that meet the loop at any of its steps.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "core/base/random.h"
#include "core/ops/math.h"
#include "core/ops/rule_kind.h"
#include "server/local_cluster.h"
#include "worker/worker.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;

/// Where a server's loop stands.
class StallGate {
 public:
  /// The next loop that comes here stands until open().
  void close() { state_.store(kClosed); }
  void wait_until_one_stands() const { state_.wait(kClosed); }
  void open() {
    state_.store(kOpen);
    state_.notify_all();
  }
  void pass() {
    auto expected = kClosed;
    if (state_.load(std::memory_order_relaxed) != kClosed ||
        !state_.compare_exchange_strong(expected, kStanding))
      return;
    state_.notify_all();
    state_.wait(kStanding);
  }

 private:
  static constexpr int kOpen = 0, kClosed = 1, kStanding = 2;
  std::atomic<int> state_{kOpen};
};

StallGate stall_gate;

/// Adds up, as Add does, behind the gate.
struct GatedAdd {
  static constexpr RuleTraits kTraits{.name = "gated_add", .repeats_compose = true};
  static constexpr auto parameters() { return std::array<ParameterInfo, 0>{}; }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    stall_gate.pass();
    weight += input;
  }
};

/// Every push adds 1 to all rows of its table.
class StalledServer : public testing::Test {
 protected:
  static constexpr std::uint64_t kRows = 16384;
  static constexpr std::uint64_t kSegmentRows = 1024;
  static constexpr int kThreads = 3, kStalls = 2;
  static constexpr std::uint64_t kLatePerStall = 24;

  struct Tally {
    std::atomic<std::uint64_t> applied{0};  ///< pushes that were, for certain
    std::atomic<std::uint64_t> perhaps{0};  ///< and of which nobody can say
  };
  struct Side {  ///< a table, and what became of the pushes to it
    Table<float> table;
    Tally tally;
  };

  static TableSpec spec(const char* name, Apply apply, std::int64_t staleness) {
    TableSpec spec;
    spec.name = name;
    spec.rows = kRows;
    spec.segment_bytes = kSegmentRows * sizeof(float);
    spec.update = GatedAdd{};
    spec.apply = apply;
    spec.staleness = staleness;
    return spec;
  }

  void SetUp() override {
    LocalCluster::Options options;
    options.servers = 2;
    options.rules.add<GatedAdd>();
    options.config.log_level = "error";
    options.config.credits = 4;
    options.config.parked_quota = 4;
    cluster_.emplace(LocalCluster::start(std::move(options)).value());
    auto config = cluster_->config();
    config.operations_max = 16;
    config.cancel_grace = milliseconds(2);
    worker_.emplace(Worker::connect(config).value());
    const auto open = [&](const TableSpec& spec) {
      return worker_->create_or_open<float>(spec).value();
    };
    arrivals_.table = open(spec("arrivals", Apply::on_arrival, unbounded));
    sums_.table = open(spec("sums", Apply::per_clock, 1));
    open(spec("rounds", Apply::collective, 0));  // nobody pushes to it: each tick does
  }

  void count_late() {
    ++late_;
    late_.notify_all();
  }

  void settle(Tally& tally, Result<PullInfo> pushed) {
    switch (pushed.code()) {
      case Errc::ok:
        ++tally.applied;
        tally.applied.notify_all();
        return;
      case Errc::overloaded:  // places, or pushes that are not settled: a server stands
        count_late();
        std::this_thread::yield();
        return;
      case Errc::cancelled:
      case Errc::needs_tick:
        return;
      case Errc::timed_out:
      case Errc::partly_applied:
      case Errc::peer_lost:
        ++tally.perhaps;
        count_late();
        return;
      default:
        ADD_FAILURE() << "a push ended so: " << pushed.error().message();
    }
  }

  /// Of a table to which all pushes are of all rows.
  void expect_whole(const Result<PullInfo>& pulled, const std::vector<float>& rows) {
    static constexpr std::array kLegal{Errc::cancelled, Errc::timed_out, Errc::needs_tick,
                                       Errc::overloaded, Errc::peer_lost};
    if (!pulled.ok()) {
      EXPECT_NE(std::find(kLegal.begin(), kLegal.end(), pulled.code()), kLegal.end())
          << "a pull ended so: " << pulled.error().message();
      return;
    }
    for (auto begin = rows.begin(); begin != rows.end(); begin += kSegmentRows)
      EXPECT_TRUE(std::all_of(begin, begin + kSegmentRows, [&](float v) { return v == *begin; }))
          << "a torn segment";
  }

  /// What one thread of the user does until stop_: memory of its own is gone at the end of each
  /// turn.
  void use(std::uint64_t seed) {
    Random random(seed);
    const auto buffer = worker_->allocate<float>(kRows).value();
    std::fill(buffer.begin(), buffer.end(), 1.0f);
    const auto target = worker_->allocate<float>(kRows).value();
    while (!stop_) {
      auto& [table, tally] = random.chance(0.5) ? arrivals_ : sums_;
      const bool patient = random.chance(0.2);
      const PushOptions push{.timeout = milliseconds(patient ? 500 : 1 + random.below(20))};
      const PullOptions pull{.timeout = milliseconds(1 + random.below(20))};
      std::vector<float> values(kRows, 1.0f), out(kRows);
      switch (random.below(9)) {
        case 0:
        case 1:
          ++tally.perhaps;
          table.push({0, kRows}, buffer, push);  // its ticket is gone at once
          break;
        case 2:
          ++tally.perhaps;
          table.push({0, kRows}, values, push);  // its ticket waits for the loan's end
          break;
        case 3: {
          auto ticket =
              table.push({0, kRows}, random.chance(0.5) ? Source<float>(buffer) : values, push);
          if (random.chance(0.3)) ticket.cancel();
          settle(tally, ticket.wait());
          break;
        }
        case 4: {
          auto ticket = table.pull({0, kRows}, out, pull);
          if (random.chance(0.3)) ticket.cancel();
          expect_whole(ticket.wait(), out);
          break;
        }
        case 5:
          table.pull({0, kRows}, target, pull);
          break;
        case 6: {
          const auto before = arrivals_.table.pull({0, kRows}, out, pull);
          settle(tally, table.push({0, kRows}, values, {before, push.timeout}).wait());
          break;
        }
        case 7:
          for (auto ticks = 1 + random.below(5); ticks > 0; --ticks) worker_->tick();
          break;
        default: {
          const auto flushed = worker_->flush(milliseconds(5));  // tells of dropped tickets, too
          static constexpr std::array kLegal{Errc::ok, Errc::timed_out, Errc::overloaded,
                                             Errc::partly_applied, Errc::peer_lost};
          EXPECT_NE(std::find(kLegal.begin(), kLegal.end(), flushed.code()), kLegal.end())
              << flushed.error().message();
        }
      }
    }
  }

  void expect_counted_once(Side& side) {
    std::vector<float> rows(kRows);
    const auto pulled = side.table.pull({0, kRows}, rows).wait();
    ASSERT_TRUE(pulled.ok()) << pulled.error().message();
    const auto [least, most] = std::minmax_element(rows.begin(), rows.end());
    EXPECT_GT(side.tally.applied, 0u);
    EXPECT_GE(*least, static_cast<float>(side.tally.applied));
    EXPECT_LE(*most, static_cast<float>(side.tally.applied + side.tally.perhaps));
  }

  std::optional<LocalCluster> cluster_;
  std::optional<Worker> worker_;
  Side arrivals_, sums_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> late_{0};  ///< pushes that came to their deadlines, or were refused
};

TEST_F(StalledServer, NothingIsLostAndNoCallMeetsAnother) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([this, i] { use(1 + static_cast<std::uint64_t>(i)); });
  const auto wait_until = [](const std::atomic<std::uint64_t>& count, std::uint64_t enough) {
    for (auto seen = count.load(); seen < enough; seen = count) count.wait(seen);
  };
  for (int i = 0; i < kStalls; ++i) {
    for (const auto* side : {&arrivals_, &sums_})
      wait_until(side->tally.applied, side->tally.applied + 2);
    stall_gate.close();
    stall_gate.wait_until_one_stands();
    wait_until(late_, late_ + kLatePerStall);
    stall_gate.open();
  }
  stop_ = true;
  for (auto& thread : threads) thread.join();

  (void)worker_->flush();  // tells of pushes whose tickets were dropped
  const auto flushed = worker_->flush();
  ASSERT_TRUE(flushed.ok()) << flushed.error().message();
  worker_->tick();
  expect_counted_once(arrivals_);
  worker_->tick();
  expect_counted_once(sums_);
  EXPECT_TRUE(worker_->leave().ok());
}

}  // namespace
}  // namespace shoal::test
