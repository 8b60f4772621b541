// The way between processes of one host, where nobody names one.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

class Paths : public EndToEnd {
 protected:
  /// What worker 0 says of its path to the server, once rows went over it both ways.
  std::string explained() {
    start_cluster({.servers = 1, .workers = 1});
    EXPECT_OK(worker(0).call("open t rows=4096 rule=add staleness=unbounded"));
    EXPECT_OK(worker(0).call("push p t rows=0:4096 value=1"));
    EXPECT_OK(worker(0).call("wait p"));
    return worker(0).call("explain").text;
  }
};

TEST_F(Paths, ProcessesOfOneHostShareMemory) {
  std::error_code ignored;
  if (std::filesystem::exists("/sys/class/infiniband", ignored))
    GTEST_SKIP() << "this machine has RDMA devices, which come first";
  if (::getenv("SHOAL_TRANSPORTS") != nullptr) GTEST_SKIP() << "SHOAL_TRANSPORTS names others";
  const auto text = explained();
  for (const auto* missing : {"libucp.so.0: cannot open", "ucx: built without"})
    if (text.find(missing) != std::string::npos) GTEST_SKIP() << text;
  const auto to_server = text.substr(std::min(text.find("(node 1)"), text.size()));
  EXPECT_NE(to_server.find("; ucx "), std::string::npos) << text;
  EXPECT_EQ(to_server.find("; tcp "), std::string::npos) << text;
}

}  // namespace
}  // namespace shoal::e2e
