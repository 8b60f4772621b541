// Pulls that READ segments without the server: see docs/design/one_sided.md.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/engine/cluster.h"
#include "tests/support/allocations.h"

namespace shoal::test {
namespace {

using namespace std::chrono_literals;

class OneSided : public EngineTest {
 protected:
  void open(std::uint32_t workers = 1, std::int64_t staleness = unbounded) {
    start(workers, {dense("w", Apply::on_arrival, staleness)});
  }
  /// Into the last of `memory_`.
  Engine::Ask ask_for_all() {
    Engine::Ask ask;
    ask.kind = OperationKind::pull;
    ask.table = tables_.at(0);
    ask.rows = {0, kRows};
    ask.target = host_view(std::span(*memory_.back()));
    ask.one_sided = true;
    return ask;
  }
  OperationId pull_one_sided(std::size_t worker, Duration timeout = 20s) {
    memory_.push_back(std::make_unique<std::vector<float>>(kRows, -1.0f));
    return submit(worker, ask_for_all(), timeout);
  }
  struct End {
    Errc code = Errc::ok;
    Completion completion;
    std::string detail;
  };
  /// Waits for it and drops its ticket.
  End end(std::size_t worker, OperationId id) {
    const auto& op = wait(worker, id);
    End end{op.code, op.completion, op.detail};
    engine(worker).drop(id);
    return end;
  }
  const std::vector<float>& pulled() const { return *memory_.back(); }
  void expect_pulled(float value) { EXPECT_EQ(pulled(), std::vector<float>(kRows, value)); }
  /// Pulls until the worker knows where the segments are.
  void learn(std::size_t worker) {
    EXPECT_EQ(end(worker, push(worker, 0)).code, Errc::ok);  // rows that nobody uses are nowhere
    const auto reads = counts(worker).reads;
    for (int i = 0; i < 8 && counts(worker).reads == reads; ++i) {
      ASSERT_EQ(end(worker, pull_one_sided(worker)).code, Errc::ok);
      run(1ms);
    }
    ASSERT_GT(counts(worker).reads, reads);
  }
  OneSidedCounts counts(std::size_t worker) { return engine(worker).one_sided(); }
  std::uint64_t pulls_served() const { return servers_.front()->server->metrics().pulls; }
  /// It is still there, but has no turn.
  void pause_server() { driver_.detach(server_node_); }
};

TEST_F(OneSided, TheFirstPullAsksAndLaterOnesRead) {
  open();
  ASSERT_EQ(end(0, push(0, 0)).code, Errc::ok);
  ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
  expect_pulled(1);
  EXPECT_EQ(counts(0).fell_back(Fallback::no_directory), 1u);
  run(10ms);
  const auto served = pulls_served();
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
    expect_pulled(1);
  }
  EXPECT_EQ(counts(0).reads, 5u);
  EXPECT_EQ(counts(0).fell_back(), 1u);
  EXPECT_EQ(pulls_served(), served) << "the server had no part in them";
  EXPECT_EQ(engine(0).traffic().bytes_pulled, 6 * kRows * sizeof(float));
}

TEST_F(OneSided, GoesOnWhileTheServerHasNoTurn) {
  open();
  learn(0);
  pause_server();
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(end(0, pull_one_sided(0, 100ms)).code, Errc::ok);
    expect_pulled(1);
  }
  const auto late = pull(0, 0, 100ms);
  EXPECT_EQ(end(0, late).code, Errc::timed_out) << "a request needs the server";
}

TEST_F(OneSided, RowsThatNobodyHasUsedAreAskedForOnce) {
  open();
  ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
  expect_pulled(0);
  run(10ms);
  ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
  EXPECT_EQ(counts(0).reads, 1u);
}

TEST_F(OneSided, AWorkerReadsItsOwnPushes) {
  open(2);
  learn(0);
  for (int i = 0; i < 20; ++i) {
    const auto own = push(0, 0);
    ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
    expect_pulled(static_cast<float>(i + 2));
    ASSERT_EQ(end(0, own).code, Errc::ok);
    ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
    expect_pulled(static_cast<float>(i + 2));
  }
  EXPECT_EQ(counts(0).fell_back(Fallback::own_push), 20u);
  EXPECT_GE(counts(0).reads, 21u);
}

TEST_F(OneSided, SegmentsAreWholeWhileOthersPush) {
  open(3);
  learn(0);
  std::uint64_t before = 0;
  for (int i = 0; i < 200; ++i) {
    for (std::size_t other = 1; other < 3; ++other) engine(other).drop(push(other, 0));
    ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
    const auto& rows = pulled();
    const auto per_segment = 64 / sizeof(float);
    for (std::size_t row = 0; row < kRows; ++row)
      ASSERT_EQ(rows[row], rows[row / per_segment * per_segment]);
    const auto least = static_cast<std::uint64_t>(*std::min_element(rows.begin(), rows.end()));
    ASSERT_GE(least, before);
    before = least;
  }
  EXPECT_GT(counts(0).reads, 100u);
  EXPECT_GT(counts(0).retries, 0u);
}

TEST_F(OneSided, OnlyForUnboundedTables) {
  open(1, 2);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
  EXPECT_EQ(counts(0).fell_back(Fallback::not_eligible), 3u);
  EXPECT_EQ(counts(0).reads, 0u);
}

TEST_F(OneSided, AfterADropItEndsAndTheNextTableIsNotRead) {
  open(2);
  learn(0);
  std::vector<OperationId> pulls;
  for (int i = 0; i < 20; ++i) pulls.push_back(pull_one_sided(0));
  const auto dropped = drop_table(1, 0, 10s);
  for (int i = 0; i < 20; ++i) pulls.push_back(pull_one_sided(0));
  for (const auto id : pulls) {
    const auto code = end(0, id).code;
    EXPECT_TRUE(code == Errc::ok || code == Errc::unknown_name) << name_of(code);
  }
  EXPECT_EQ(end(1, dropped).code, Errc::ok);
  run(10ms);
  EXPECT_EQ(end(0, pull_one_sided(0)).code, Errc::unknown_name);
}

TEST_F(OneSided, WithoutItsConnectionItIsAsked) {
  open();
  learn(0);
  for (int i = 0; i < 30; ++i) {
    const auto id = pull_one_sided(0);
    run(Duration(i * 10us));
    network_.drop_connections(node(0), server_node_);
    ASSERT_EQ(end(0, id).code, Errc::ok);
    expect_pulled(1);
  }
  EXPECT_GT(counts(0).fell_back(Fallback::broken), 0u);
  run(1s);
  const auto reads = counts(0).reads;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(end(0, pull_one_sided(0)).code, Errc::ok);
    run(10ms);
  }
  EXPECT_GT(counts(0).reads, reads) << "and then it reads again";
}

/// No byte lands in memory whose ticket is done.
TEST_F(OneSided, ALoanEndsWithTheTicketHoweverItEnds) {
  open();
  learn(0);
  for (int i = 0; i < 60; ++i) {
    const bool cut = i % 3 == 0;
    const auto id = pull_one_sided(0, cut ? 5ms : 20s);
    run(Duration((i % 20) * 7us));
    if (cut) network_.partition(node(0), server_node_);
    if (!cut) cancel(0, id);
    const auto code = end(0, id).code;
    EXPECT_TRUE(code == Errc::ok || code == Errc::cancelled || code == Errc::timed_out ||
                code == Errc::peer_lost)
        << name_of(code);
    network_.protect(host_view(std::span(*memory_.back())));
    network_.heal_all();
    run(50ms);
  }
  EXPECT_TRUE(network_.violations().empty()) << network_.violations().front();
}

TEST_F(OneSided, AServerThatDiesIsLost) {
  options_.lost_after = 1s;
  open();
  learn(0);
  const auto id = pull_one_sided(0);
  run(5us);
  kill_server(0);
  const auto code = end(0, id).code;
  EXPECT_TRUE(code == Errc::ok || code == Errc::slot_lost || code == Errc::peer_lost)
      << name_of(code);
  EXPECT_NE(end(0, pull_one_sided(0, 5s)).code, Errc::ok);
}

/// Other workers' pushes below the clock that it reports are in what it READ.
TEST_F(OneSided, ReportsAClockThatHolds) {
  open(2);
  learn(0);
  for (int clock = 1; clock <= 20; ++clock) {
    engine(1).drop(push(1, 0));
    for (std::size_t worker = 0; worker < 2; ++worker) tick(worker);
    run(Duration((clock % 5) * 200us));
    const auto op = end(0, pull_one_sided(0));
    ASSERT_EQ(op.code, Errc::ok);
    EXPECT_LE(op.completion.oldest, op.completion.newest);
    // One push of this worker's, and one of the other's a clock.
    for (const auto row : pulled())
      EXPECT_GE(row, static_cast<float>(1 + op.completion.oldest.value));
  }
  EXPECT_GT(counts(0).reads, 10u);
}

TEST_F(OneSided, AllocatesNothingInSteadyState) {
  open();
  learn(0);
  memory_.push_back(std::make_unique<std::vector<float>>(kRows, -1.0f));
  std::uint64_t allocated = 0;
  for (int i = 0; i < 200; ++i) {
    const auto before = allocations();
    const auto id = submit(0, ask_for_all(), 20s);
    while (!engine(0).done(id)) ASSERT_TRUE(driver_.step());
    engine(0).drop(id);
    if (i >= 100) allocated += allocations() - before;
  }
  EXPECT_EQ(allocated, 0u);
  EXPECT_GE(counts(0).reads, 200u);
}

TEST_F(OneSided, SaysWhatBecameOfItsPulls) {
  open();
  learn(0);
  Engine::Ask ask;
  ask.kind = OperationKind::explain;
  const auto text = end(0, submit(0, std::move(ask), 1s)).detail;
  EXPECT_NE(text.find("one-sided pulls: 1 shares read"), std::string::npos) << text;
}

}  // namespace
}  // namespace shoal::test
