#include "perf/raw/raw.h"

#include <gtest/gtest.h>

#include "perf/child.h"

namespace shoal::perf {
namespace {

struct Case {
  const char* name;
  RawPattern pattern;
  friend void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }
};

class Raw : public testing::TestWithParam<Case> {};

TEST_P(Raw, EveryRequestIsAnswered) {
  const auto& pattern = GetParam().pattern;
  const SteadyClock clock;
  const auto server = RawServer::create();
  ASSERT_TRUE(server.ok());
  auto peer = Child::start("raw peer", [&](Channel&) { return (*server)->serve(pattern); });
  ASSERT_TRUE(peer.ok());
  auto client = RawClient::connect((*server)->port(), pattern);
  ASSERT_TRUE(client.ok()) << client.error().message();
  Recorder recorder;
  const auto measured =
      (*client)->run(clock, {.warmup = {}, .duration = {}, .iterations = 300}, recorder);
  ASSERT_TRUE(measured.ok()) << measured.error().message();
  EXPECT_EQ(measured->latency.count, 300u);
  EXPECT_GT(measured->rate, 0);
  client->reset();
  EXPECT_TRUE(peer->finish().ok());
}

INSTANTIATE_TEST_SUITE_P(Patterns, Raw,
                         testing::Values(Case{"blocking", {8, 8, 1, Wait::block}},
                                         Case{"pipelined", {8, 8, 64, Wait::block}},
                                         Case{"batched", {8, 8, 64, Wait::block, true}},
                                         Case{"spinning", {8, 8, 4, Wait::spin}},
                                         Case{"push", {100'000, 64, 3, Wait::block}},
                                         Case{"pull", {64, 100'000, 3, Wait::block}}),
                         [](const auto& info) { return info.param.name; });

TEST(RawPeer, NobodyThereIsAnError) {
  std::uint16_t port = 0;
  {
    const auto server = RawServer::create();
    ASSERT_TRUE(server.ok());
    port = (*server)->port();
  }
  EXPECT_EQ(RawClient::connect(port, {}).code(), Errc::io);
}

}  // namespace
}  // namespace shoal::perf
