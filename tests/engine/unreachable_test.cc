// Peers that cannot be reached: how they are tried, and what operations say of them.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Unreachable : public EngineTest {
 protected:
  std::string explain(std::size_t worker) {
    Engine::Ask ask;
    ask.kind = OperationKind::explain;
    return wait(worker, submit(worker, std::move(ask), seconds(1))).detail;
  }
  static void expect_says(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\n  does not say: " << part;
  }
};

/// G stands still because of it, whoever was the last to hold it back.
TEST_F(Unreachable, ADeadSchedulerIsNotBlamedOnAWorker) {
  start(2, {dense("t", Apply::per_clock)});
  tick(0);
  network_.crash(scheduler_node_);
  driver_.detach(scheduler_node_);
  scheduler_.reset();
  scheduler_transport_.reset();
  run(seconds(2));
  const auto& late = wait(0, pull(0, 0, seconds(1)));
  EXPECT_EQ(late.code, Errc::timed_out);
  expect_says(late.detail,
              "the global clock is 0, and cannot rise: the scheduler cannot be reached");
  expect_says(late.detail, "scheduler:7000: not connected after");
  expect_says(late.detail, "last heard 3.");
}

TEST_F(Unreachable, AFlushNamesTheServerThatItWaitsFor) {
  start(1, {dense("t", Apply::on_arrival, unbounded)});
  network_.stop(server_node_);
  network_.drop_connections(node(0), server_node_);
  EXPECT_NE(wait(0, store(0, 0, milliseconds(100))).code, Errc::ok);
  const auto& flushed = wait(0, flush(0, seconds(1)));
  EXPECT_EQ(flushed.code, Errc::timed_out);
  expect_says(flushed.detail, "of 1 pushes, those among them whose calls have failed");
  expect_says(flushed.detail, "1 wait for server 'server0' at server0:8000 (node ");
}

/// Its connection stands, and so do its clocks: nobody else is to blame.
TEST_F(Unreachable, AnOperationNamesTheServerThatItWaitsFor) {
  start(1, {dense("t", Apply::on_arrival, unbounded)});
  network_.stop(server_node_);
  for (const auto late : {pull(0, 0, milliseconds(100)), store(0, 0, milliseconds(100))}) {
    const auto& ended = wait(0, late);
    EXPECT_EQ(ended.code, Errc::timed_out);
    expect_says(ended.detail,
                "table 't' did not finish in time; it waits for server 'server0' at ");
    expect_says(ended.detail, "server0:8000 (node ");
  }
}

TEST_F(Unreachable, WhoHasLeftIsToldSo) {
  start(2, {dense("t", Apply::on_arrival, unbounded)});
  EXPECT_EQ(wait(0, leave(0, seconds(1))).code, Errc::ok);
  for (int i = 0; i < 2;
       ++i) {  // at once, and when the scheduler and the servers have had their say
    const auto& pushed = wait(0, push(0, 0));
    EXPECT_EQ(pushed.code, Errc::fenced);
    expect_says(pushed.detail, "this worker has left the cluster");
    run(seconds(5));
  }
}

/// The default deadline of a try is longer than all of this.
TEST_F(Unreachable, EachTryToConnectHasItsDeadline) {
  engine_options_.connect_timeout = milliseconds(50);
  start(1, {dense("t", Apply::on_arrival)});
  for (const auto peer : {server_node_, scheduler_node_}) {
    network_.stop(peer);
    network_.drop_connections(node(0), peer);
    run(seconds(2));
    expect_says(explain(0), "no answer in time");
    network_.resume(peer);
    run(seconds(2));
  }
}

/// Nobody has to guess what is wrong with the address.
TEST_F(Unreachable, AServersAddressIsNotTheSchedulers) {
  start(1);
  auto& machine = *workers_.emplace_back(std::make_unique<Machine>());
  machine.node = network_.create_node("lost");
  machine.transport = network_.start(machine.node);
  auto options = engine_options_;
  options.scheduler = {"server0", 8000};
  options.incarnation = Incarnation(200);
  machine.engine = std::make_unique<Engine>(*machine.transport, network_.clock(), options);
  driver_.attach(machine.node, *machine.engine);
  ASSERT_TRUE(until([&] { return engine(1).refusal().has_value(); }));
  EXPECT_EQ(engine(1).refusal()->code, Errc::refused);
  expect_says(engine(1).refusal()->what, "server0:8000 is the address of a server");
  expect_says(engine(1).refusal()->what, "scheduler:7000");
}

}  // namespace
}  // namespace shoal::test
