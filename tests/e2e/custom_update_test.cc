// examples/custom_update: a rule of one's own in a server binary and in a plugin, next to servers
// that do not have it.

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

#ifdef SHOAL_LION_SERVER

namespace shoal::e2e {
namespace {

using Command = std::vector<std::string>;

Command lion_server() { return {SHOAL_LION_SERVER, "server"}; }
Command lion_plugin() { return {SHOAL_BINARY, "server", "--plugin", SHOAL_LION_PLUGIN}; }

class CustomUpdate : public EndToEnd {
 protected:
  /// Lion steps by its learning rate, 1e-4, wherever the gradient is positive.
  void train() {
    EXPECT_OK(worker(0).call("open t rows=1000 rule=lion dtype=f64"));
    EXPECT_OK(worker(0).call("train t 5 rows=0:1000"));
    EXPECT_OK(worker(0).call("pull p t rows=0:1000"));
    EXPECT_OK(worker(0).call("wait p"));
    EXPECT_NEAR(worker(0).call("values p").number("min"), -5e-4, 1e-12);
    EXPECT_NEAR(worker(0).call("values p").number("max"), -5e-4, 1e-12);
  }
};

TEST_F(CustomUpdate, InAServerBinaryTrains) {
  start_cluster({.servers = 2, .workers = 1, .server = lion_server()});
  train();
}

TEST_F(CustomUpdate, InAPluginTrains) {
  start_cluster({.servers = 2, .workers = 1, .server = lion_plugin()});
  train();
}

TEST_F(CustomUpdate, AServerBinaryIsTheWholeProgram) {
  Process info("info", {SHOAL_LION_SERVER, "info"}, {});
  EXPECT_TRUE(info.read_until(" lion"));
  EXPECT_EQ(info.wait_exit(), 0);
}

TEST_F(CustomUpdate, IsRefusedAtOpenWhereAServerLacksIt) {
  start_cluster({.servers = 1, .workers = 1});
  EXPECT_FAILED(worker(0).call("open t rows=10 rule=lion"), "unknown_name", "'lion'");
}

TEST_F(CustomUpdate, AServerThatLacksTheRuleOfAnOpenTableCannotJoin) {
  start_cluster({.servers = 1, .workers = 1, .server = lion_server()});
  EXPECT_OK(worker(0).call("open t rows=10 rule=lion"));
  auto& late = start_server({SHOAL_BINARY, "server"});
  EXPECT_EQ(late.wait_exit(), 1);
  EXPECT_TRUE(late.logged("no update rule 'lion'"));
  EXPECT_TRUE(late.logged("table 't'"));
  EXPECT_OK(worker(0).call("train t 2 rows=0:10"));
}

}  // namespace
}  // namespace shoal::e2e

#endif
