#include "server/host.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

/// What start() says of these settings, before it looks for a scheduler.
Error refusal_of(const Config& config) {
  const auto rules = RuleSet::builtin();
  const auto started = ServerHost::start(config, rules);
  return started.ok() ? Error{Errc::ok, ""} : started.error();
}

TEST(ServerHost, ABudgetThatCopiesUseUpIsRefusedByName) {
  Config config;
  config.scheduler = "127.0.0.1:1";
  config.memory_budget = config.copy_bytes;
  const auto error = refusal_of(config);
  EXPECT_EQ(error.code, Errc::invalid_argument);
  for (const auto* words : {"copy_bytes = 64MiB", "memory_budget = 64MiB"})
    EXPECT_NE(error.what.find(words), std::string::npos) << error.what;
}

TEST(ServerHost, LandingMemoryForLessThanTwoPartsIsRefusedByName) {
  Config config;
  config.scheduler = "127.0.0.1:1";
  config.landing_bytes = std::size_t{1} << 20;
  const auto error = refusal_of(config);
  EXPECT_EQ(error.code, Errc::invalid_argument);
  for (const auto* words : {"landing_bytes = 1MiB", "6MiB"})
    EXPECT_NE(error.what.find(words), std::string::npos) << error.what;
}

}  // namespace
}  // namespace shoal
