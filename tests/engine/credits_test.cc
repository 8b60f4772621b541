// A worker that asks for more than the server parks: what it sends itself still gets there.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::seconds;

class Credits : public EngineTest {
 protected:
  Credits() { limits_.credits = limits_.parked_quota = 2; }
  std::vector<OperationId> prefetch(std::size_t table, int count) {
    std::vector<OperationId> pulls;
    for (int i = 0; i < count; ++i) pulls.push_back(pull(0, table, seconds(60), 1));
    run(std::chrono::milliseconds(10));
    return pulls;
  }
  void expect_ok(std::size_t worker, const std::vector<OperationId>& ids) {
    for (const auto id : ids)
      EXPECT_EQ(wait(worker, id).code, Errc::ok) << engine(worker).operation(id).detail;
  }
};

TEST_F(Credits, PrefetchesLeaveRoomForTheWorkersOwnPushes) {
  start(1, {dense("t", Apply::on_arrival)});
  const auto pulls = prefetch(0, 20);
  expect_ok(0, {push(0, 0)});
  tick(0);
  expect_ok(0, pulls);
}

TEST_F(Credits, PrefetchesLeaveRoomForARound) {
  start(1, {dense("t", Apply::on_arrival), dense("c", Apply::collective)});
  const auto pulls = prefetch(0, 20);
  const auto round = pull(0, 1, seconds(60), 1);
  expect_ok(0, {push(0, 1), round});
  tick(0);
  expect_ok(0, pulls);
}

TEST_F(Credits, PullsThatWaitForOthersLeaveRoomToo) {
  start(2, {dense("t", Apply::on_arrival)});
  tick(0);
  std::vector<OperationId> pulls;
  for (int i = 0; i < 20; ++i) pulls.push_back(pull(0, 0, seconds(60)));
  run(std::chrono::milliseconds(10));
  expect_ok(0, {push(0, 0)});
  tick(1);
  expect_ok(0, pulls);
}

TEST_F(Credits, ParkedPushesHaveTheirShareOfTheQuota) {
  limits_.parked_quota = 1;
  start(2, {dense("t", Apply::on_arrival), dense("p", Apply::per_clock)});
  tick(0);
  tick(0);
  const auto beyond_the_window = push(0, 1);
  run(std::chrono::milliseconds(10));
  const std::vector<OperationId> pulls = {pull(0, 0, seconds(60)), pull(0, 0, seconds(60))};
  run(std::chrono::milliseconds(10));
  expect_ok(0, {push(0, 0)});
  tick(1);
  tick(1);
  expect_ok(0, pulls);
  expect_ok(0, {beyond_the_window});
}

TEST_F(Credits, WithoutAQuotaToo) {
  limits_.credits = 1;
  limits_.parked_quota = 0;
  start(2, {dense("t", Apply::on_arrival)});
  tick(0);
  const auto waits_for_other = pull(0, 0, seconds(60));
  const auto pulls = prefetch(0, 3);
  tick(1);
  expect_ok(0, {waits_for_other, push(0, 0)});
  tick(0);
  tick(1);
  expect_ok(0, pulls);
}

}  // namespace
}  // namespace shoal::test
