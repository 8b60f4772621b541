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
