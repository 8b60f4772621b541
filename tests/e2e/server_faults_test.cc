// Servers that are killed or stopped: every ticket ends, no loan outlives its ticket, nothing is
// counted twice, and what does not need the server goes on.

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

/// A table with one slot on each server: which is where, is tried.
class ServerFaults : public EndToEnd {
 protected:
  /// Opens a table with one slot at each of the two servers: "on0" and "on1".
  void open_one_table_on_each(const std::string& options,
                              const std::vector<std::string>& command = {}) {
    start_cluster({.servers = 2, .workers = 1, .server = command});
    EXPECT_OK(worker(0).call("open a slots=1 " + options));
    EXPECT_OK(worker(0).call("open b slots=1 " + options));
    // A stopped server answers nothing: that tells which table lives there.
    server(0).stop();
    for (const std::string table : {"a", "b"})
      EXPECT_OK(worker(0).call("pull on_" + table + " " + table + " rows=0:1"));
    Reply a, b;
    do {
      a = worker(0).call("wait on_a for=50ms");
      b = worker(0).call("wait on_b for=50ms");
    } while (a.code == "not_ready" && b.code == "not_ready");
    server(0).go_on();
    ASSERT_NE(a.ok, b.ok) << "two tables of one slot are placed on two servers";
    on_first_ = a.ok ? "b" : "a";
    on_second_ = a.ok ? "a" : "b";
    EXPECT_OK(worker(0).call("wait on_" + on_first_));
  }
  /// How many tickets of a flood ended because their server is no more.
  static double lost(const Reply& drained) {
    EXPECT_OK(drained);
    double seen = 0;
    for (const std::string way : {"slot_lost", "peer_lost"})
      if (drained.says(" " + way + "=")) seen += drained.number(way);
    return seen;
  }
  std::string on_first_, on_second_;
};

constexpr const char* kBigRows = "rows=0:1048576";  // 4 MiB
constexpr const char* kBigTable = "rows=1048576 rule=add staleness=unbounded";
const std::vector<std::string> kHaltingServer{SHOAL_BINARY, "server", "--plugin",
                                              SHOAL_HALTING_RULE};
constexpr const char* kHaltingTable = "rows=1048576 rule=halting staleness=unbounded";

TEST_F(ServerFaults, AServerThatIsToldToEndLeavesInOrder) {
  open_one_table_on_each("rows=10");
  server(0).signal(SIGTERM);
  EXPECT_EQ(server(0).wait_exit(), 0);
  EXPECT_TRUE(
      scheduler().logged("has left, and the rows of 1 slot that only it held are gone "
                         "(tables '" +
                         on_first_ + "')"));
  EXPECT_EQ(scheduler().log().find("is lost"), std::string::npos) << scheduler().log();
  EXPECT_OK(worker(0).call("push p " + on_first_ + " rows=0:10"));
  EXPECT_FAILED(worker(0).call("wait p"), "slot_lost", "'" + on_first_ + "'");
}

/// The server has stopped in the midst of the first push, the others are behind it: none can be ok.
TEST_F(ServerFaults, KilledMidPushEveryTicketEndsAndTheOtherServerGoesOn) {
  open_one_table_on_each(kHaltingTable, kHaltingServer);
  worker(0).send("flood 12 push " + on_first_ + " " + kBigRows + " own=1 value=777");
  EXPECT_EQ(worker(0).reply().number("taken"), 12);
  ASSERT_TRUE(server(0).wait_stopped());
  server(0).kill();
  const auto drained = worker(0).call("drain");
  EXPECT_EQ(lost(drained), 12) << drained.text;
  EXPECT_OK(worker(0).call("push p " + on_first_ + " rows=0:10"));
  EXPECT_FAILED(worker(0).call("wait p"), "slot_lost", "'" + on_first_ + "'");
  EXPECT_OK(worker(0).call("train " + on_second_ + " 3 rows=0:1000"));
}

/// Pulls go on until one fails, so some are under way whenever the server is killed.
TEST_F(ServerFaults, KilledMidPullEveryTicketEndsAndItsBufferIsLeftAlone) {
  constexpr int kCount = 12;
  open_one_table_on_each(kBigTable);
  EXPECT_OK(worker(0).call("push p " + on_first_ + " " + kBigRows + " value=1"));
  EXPECT_OK(worker(0).call("wait p"));
  worker(0).send("stream " + std::to_string(kCount) + " pull " + on_first_ + " " + kBigRows +
                 " own=1");
  ASSERT_TRUE(worker(0).read_until("round 3"));
  server(0).kill();
  EXPECT_OK(worker(0).reply());
  int failed = 0;
  for (int i = 0; i < kCount; ++i) {
    const auto ticket = "stream" + std::to_string(i);
    if (const auto end = worker(0).call("wait " + ticket); !end.ok) {
      ++failed;
      EXPECT_TRUE(end.code == "slot_lost" || end.code == "peer_lost") << end.text;
    }
    EXPECT_OK(worker(0).call("fill " + ticket + " 85"));
  }
  EXPECT_GE(failed, 1);
  EXPECT_OK(worker(0).call("train " + on_second_ + " 3 rows=0:1000"));
  for (int i = 0; i < kCount; ++i) {
    const auto ticket = "stream" + std::to_string(i);
    EXPECT_EQ(worker(0).call("unchanged " + ticket + " 85").number("changed"), 0) << ticket;
  }
}

TEST_F(ServerFaults, KilledServersOtherTablesDoNotHang) {
  open_one_table_on_each(kBigTable);
  EXPECT_OK(worker(0).call("open both slots=2 segment_bytes=4096 rows=4096 staleness=unbounded"));
  server(0).kill();
  EXPECT_OK(worker(0).call("pull p both rows=0:4096"));
  EXPECT_FAILED(worker(0).call("wait p"), "slot_lost");
  EXPECT_OK(worker(0).call("push p both rows=0:4096"));
  EXPECT_FAILED(worker(0).call("wait p"), "slot_lost");
  EXPECT_OK(worker(0).call("flush"));
  EXPECT_OK(worker(0).call("leave"));
}

TEST_F(ServerFaults, StoppedLongerThanTheDeadlineLosesNothingAndTouchesNothingLate) {
  start_cluster();
  EXPECT_OK(worker(0).call(std::string("open t ") + kBigTable));
  EXPECT_OK(worker(0).call(std::string("push a t ") + kBigRows + " value=1"));
  EXPECT_OK(worker(0).call("wait a"));
  for (const std::string own : {" own=0", " own=1"}) {
    server(0).stop();
    EXPECT_OK(worker(0).call(std::string("pull p t timeout=200ms ") + kBigRows + own));
    EXPECT_OK(worker(0).call("pull q t timeout=200ms rows=0:64" + own));
    for (const std::string ticket : {"p", "q"}) {
      const auto reply = worker(0).call("wait " + ticket);
      EXPECT_FALSE(reply.ok);
      EXPECT_TRUE(reply.code == "timed_out" || reply.code == "peer_lost") << reply.text;
      EXPECT_OK(worker(0).call("fill " + ticket + " 85"));
    }
    server(0).go_on();
    // The server has work on it again and answers what came late; nothing of it may land.
    EXPECT_OK(worker(0).call(std::string("pull r t ") + kBigRows));
    EXPECT_OK(worker(0).call("wait r"));
    EXPECT_EQ(worker(0).call("values r").number("sum"), 1048576);
    EXPECT_EQ(worker(0).call("unchanged p 85").number("changed"), 0);
    EXPECT_EQ(worker(0).call("unchanged q 85").number("changed"), 0);
  }
}

/// A server on the same host adds a worker's pages where they are. It stops in the midst of them;
/// the worker has its memory back all the same, and what it writes there then is never added.
TEST_F(ServerFaults, StoppedInAnUpdateRuleItGoesOnWithWhatWasPushed) {
  start_cluster({.server = kHaltingServer});
  EXPECT_OK(worker(0).call(std::string("open t ") + kHaltingTable));
  EXPECT_OK(worker(0).call(std::string("push w t ") + kBigRows + " value=0"));
  EXPECT_OK(worker(0).call("wait w"));
  const bool in_place = worker(0).call("explain").says("; ucx ");
  EXPECT_OK(worker(0).call(std::string("push p t timeout=2s value=777 ") + kBigRows));
  ASSERT_TRUE(server(0).wait_stopped());
  const auto reply = worker(0).call("wait p");
  EXPECT_FALSE(reply.ok);
  EXPECT_TRUE(reply.code == "timed_out" || reply.code == "peer_lost") << reply.text;
  EXPECT_EQ(worker(0).logged("its pages are replaced", std::chrono::seconds(in_place)), in_place);
  EXPECT_OK(worker(0).call("fill p 85"));
  server(0).go_on();
  EXPECT_OK(worker(0).call(std::string("push q t value=0 ") + kBigRows));
  EXPECT_OK(worker(0).call("wait q"));
  EXPECT_OK(worker(0).call(std::string("pull r t ") + kBigRows));
  EXPECT_OK(worker(0).call("wait r"));
  const auto values = worker(0).call("values r");
  EXPECT_EQ(values.number("max"), 777) << "nothing was added, or bytes from after the loan";
  EXPECT_GE(values.number("min"), 0);
  EXPECT_LE(values.number("distinct"), 2) << "each row once, or not at all";
  EXPECT_EQ(worker(0).call("unchanged p 85").number("changed"), 0);
}

TEST_F(ServerFaults, PushThatTimedOutWasAppliedAtMostOnce) {
  start_cluster();
  EXPECT_OK(worker(0).call(std::string("open t ") + kBigTable));
  double low = 0, high = 0;
  for (const std::string rows : {"rows=0:64", "rows=0:1048576"}) {
    server(0).stop();
    EXPECT_OK(worker(0).call("push p t timeout=200ms " + rows + " own=1"));
    const auto reply = worker(0).call("wait p");
    EXPECT_TRUE(reply.code == "timed_out" || reply.code == "peer_lost") << reply.text;
    server(0).go_on();
    EXPECT_OK(worker(0).call("flush"));
    EXPECT_OK(worker(0).call("push q t rows=0:64"));
    EXPECT_OK(worker(0).call("wait q"));
    low += 1;
    high += 2;
    EXPECT_OK(worker(0).call("pull r t rows=0:64"));
    EXPECT_OK(worker(0).call("wait r"));
    const auto values = worker(0).call("values r");
    EXPECT_GE(values.number("min"), low);
    EXPECT_LE(values.number("max"), high);
    EXPECT_EQ(values.number("distinct"), 1) << "the part was applied whole, or not";
    low = high = values.number("min");
  }
}

TEST_F(ServerFaults, PushesAreCountedOnceThroughConnectionsThatAreCutOff) {
  start_cluster();
  EXPECT_OK(worker(0).call(std::string("open t ") + kBigTable));
  constexpr int kCycles = 4;
  for (int i = 0; i < kCycles; ++i) {
    server(0).stop();
    EXPECT_OK(worker(0).call("push small t rows=0:64"));
    EXPECT_OK(worker(0).call(std::string("push big t ") + kBigRows));
    // This one's end by force closes the connection under the pushes, which are sent again.
    EXPECT_OK(worker(0).call("pull p t timeout=50ms rows=0:64 own=1"));
    EXPECT_FALSE(worker(0).call("wait p").ok);
    server(0).go_on();
    EXPECT_OK(worker(0).call("wait small"));
    EXPECT_OK(worker(0).call("wait big"));
  }
  EXPECT_OK(worker(0).call(std::string("pull r t ") + kBigRows));
  EXPECT_OK(worker(0).call("wait r"));
  const auto values = worker(0).call("values r");
  EXPECT_EQ(values.number("max"), 2 * kCycles);
  EXPECT_EQ(values.number("min"), kCycles);
  EXPECT_EQ(values.number("sum"), kCycles * (1048576.0 + 64));
}

TEST_F(ServerFaults, BoundedTrainingIsExactThroughStops) {
  start_cluster({.servers = 2, .workers = 2});
  all("open t rows=4096 segment_bytes=4096 rule=add staleness=2");
  for (int i = 0; i < 2; ++i) worker(i).send("train t 40 rows=0:4096");
  for (int cycle = 1; cycle <= 3; ++cycle) {
    ASSERT_TRUE(worker(0).read_until("round " + std::to_string(10 * cycle) + " "));
    auto& stopped = server(static_cast<std::size_t>(cycle % 2));
    stopped.stop();
    scheduler().stop();
    scheduler().go_on();
    stopped.go_on();
  }
  for (int i = 0; i < 2; ++i) EXPECT_OK(worker(i).reply());
  all("barrier");
  EXPECT_OK(worker(0).call("pull p t rows=0:4096 ahead=0"));
  EXPECT_OK(worker(0).call("wait p"));
  const auto values = worker(0).call("values p");
  EXPECT_EQ(values.number("min"), 80);
  EXPECT_EQ(values.number("max"), 80);
}

}  // namespace
}  // namespace shoal::e2e
