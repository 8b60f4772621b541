// One-sided pulls between processes. Over TCP and UCX they become requests, and the tests show
// that; over RDMA (tests/soft_roce) they READ, and go on while the server is stopped.

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

/// One segment, so that its rows are always equal.
constexpr const char* kRows = "rows=0:4096 one_sided=1";
constexpr const char* kTable = "open t rows=4096 rule=add staleness=unbounded";

class OneSidedPulls : public EndToEnd {
 protected:
  /// A table of ones, and a worker 0 that READs it if it can. False: it cannot, as anywhere but
  /// over RDMA.
  bool learn(int workers) {
    start_cluster({.servers = 1, .workers = workers});
    for (int i = 0; i < workers; ++i) EXPECT_OK(worker(std::size_t(i)).call(kTable));
    EXPECT_OK(worker(0).call("push p t rows=0:4096 value=1"));
    EXPECT_OK(worker(0).call("wait p"));
    for (int i = 0; i < 100; ++i) {
      EXPECT_OK(worker(0).call(std::string("watch t 1 ") + kRows));
      const auto counts = worker(0).call("reads");
      if (counts.number("no_path") > 0) {
        EXPECT_FALSE(only_over("verbs")) << worker(0).call("explain").text;
        return false;
      }
      if (counts.number("reads") > 0) return true;
    }
    ADD_FAILURE() << worker(0).call("explain").text;
    return false;
  }
};

TEST_F(OneSidedPulls, ReadWholeSegmentsWhileOthersPush) {
  const bool reads = learn(2);
  worker(1).send("flood 200 push t rows=0:4096 value=1");
  const auto seen = worker(0).call(std::string("watch t 200 ") + kRows);
  ASSERT_OK(seen);
  EXPECT_EQ(seen.number("torn"), 0);
  EXPECT_EQ(seen.number("backwards"), 0);
  EXPECT_OK(worker(1).reply());
  EXPECT_OK(worker(1).call("drain"));
  EXPECT_OK(worker(1).call("flush"));
  const auto last = worker(0).call(std::string("watch t 1 ") + kRows);
  EXPECT_EQ(last.number("last"), 201);
  EXPECT_EQ(worker(0).call("reads").number("reads") > 20, reads) << worker(0).call("explain").text;
}

TEST_F(OneSidedPulls, GoOnWhileTheServerIsStopped) {
  if (!learn(1))
    GTEST_SKIP() << "without RDMA the server answers: " << worker(0).call("explain").text;
  server(0).stop();
  const auto seen = worker(0).call(std::string("watch t 100 timeout=2s ") + kRows);
  EXPECT_OK(seen);
  EXPECT_EQ(seen.number("torn"), 0);
  EXPECT_EQ(seen.number("last"), 1);
  EXPECT_OK(worker(0).call("pull p t timeout=200ms rows=0:4096"));
  EXPECT_FALSE(worker(0).call("wait p").ok) << "a request needs the server";
  server(0).go_on();
  EXPECT_OK(worker(0).call("push p t rows=0:4096 value=1"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call(std::string("watch t 1 ") + kRows).number("last"), 2);
}

TEST_F(OneSidedPulls, EndWhenTheServerIsKilled) {
  learn(1);
  worker(0).send(std::string("flood 50 pull t own=1 ") + kRows);
  EXPECT_EQ(worker(0).reply().number("taken"), 50);
  server(0).kill();
  EXPECT_OK(worker(0).call("drain"));
  EXPECT_OK(worker(0).call(std::string("pull p t ") + kRows));
  EXPECT_FAILED(worker(0).call("wait p"), "slot_lost");
}

TEST_F(OneSidedPulls, EndWhenTheTableIsDropped) {
  learn(2);
  worker(0).send(std::string("flood 50 pull t own=1 ") + kRows);
  EXPECT_EQ(worker(0).reply().number("taken"), 50);
  EXPECT_OK(worker(1).call("drop t"));
  EXPECT_OK(worker(0).call("drain"));
  EXPECT_OK(worker(0).call("open u rows=4096 rule=add staleness=unbounded"));
  EXPECT_OK(worker(0).call("push p u rows=0:4096 value=5"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call("watch u 5 rows=0:4096 one_sided=1").number("last"), 5);
}

}  // namespace
}  // namespace shoal::e2e
