// Operations on many segments.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using ManyParts = EngineTest;

/// A slot of 5000 segments: a request to its server names 4096 parts at most.
TEST_F(ManyParts, TravelAsSeveralRequests) {
  constexpr std::uint64_t kMany = 5000 * 16 - 3;
  auto spec = dense("t", Apply::on_arrival);
  spec.rows = kMany;
  spec.slots = 1;
  start(1, {spec});
  network_.stop(server_node_);
  const auto pushed = push(0, 0, {1, kMany});
  run(milliseconds(1));
  EXPECT_EQ(engine(0).unfinished(), 3u);  // the push and two requests
  network_.resume(server_node_);
  EXPECT_EQ(wait(0, pushed).code, Errc::ok) << engine(0).operation(pushed).detail;
  EXPECT_EQ(servers_[0]->server->metrics().parts_applied, 5000u);

  std::vector<float> values(kMany, -1.0f);
  Engine::Ask ask;
  ask.kind = OperationKind::pull;
  ask.table = tables_[0];
  ask.rows = {0, kMany};
  ask.target = host_view(std::span(values));
  const auto pulled = submit(0, std::move(ask), seconds(20));
  EXPECT_EQ(wait(0, pulled).code, Errc::ok) << engine(0).operation(pulled).detail;
  std::vector<float> expected(kMany, 1.0f);
  expected[0] = 0.0f;
  EXPECT_EQ(values, expected);
}

TEST_F(ManyParts, OfATickToo) {
  auto spec = dense("t", Apply::collective);
  spec.rows = 5000 * 16;
  spec.slots = 1;
  start(2, {spec});
  for (int i = 0; i < 3; ++i)
    for (std::size_t worker = 0; worker < 2; ++worker) tick(worker);
  EXPECT_TRUE(until([&] {
    return engine(0).reported() == WorkerClock(3) && engine(1).reported() == WorkerClock(3);
  }));
  EXPECT_EQ(servers_[0]->server->metrics().parts_burnt, 2u * 3 * 5000);
}

TEST_F(ManyParts, OfKeyListsToo) {
  constexpr std::size_t kMany = 5000 * 16 - 3;
  auto spec = dense("t", Apply::on_arrival);
  spec.layout = Layout::sparse;
  spec.rows = 0;
  spec.slots = 1;
  start(1, {spec});
  std::vector<Key> keys(kMany);
  std::vector<float> values(kMany), pulled(kMany);
  for (std::size_t i = 0; i < kMany; ++i) {
    keys[i] = 7 * i;
    values[i] = static_cast<float>(i);
  }
  Engine::Ask ask;
  ask.table = tables_[0];
  ask.by_keys = true;
  ask.keys = keys;
  for (int round = 1; round <= 3; ++round) {  // the list travels as its signatures, too
    ask.kind = OperationKind::push;
    ask.source = host_view(std::span(values));
    const auto push = submit(0, ask, seconds(20));
    EXPECT_EQ(wait(0, push).code, Errc::ok) << engine(0).operation(push).detail;
    ask.kind = OperationKind::pull;
    ask.target = host_view(std::span(pulled));
    const auto pull = submit(0, ask, seconds(20));
    EXPECT_EQ(wait(0, pull).code, Errc::ok) << engine(0).operation(pull).detail;
    for (std::size_t i = 0; i < kMany; ++i)
      ASSERT_EQ(pulled[i], static_cast<float>(round) * values[i]) << i;
  }
}

}  // namespace
}  // namespace shoal::test
