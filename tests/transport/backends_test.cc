#include "transport/backends.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace shoal {
namespace {

TEST(Backends, EachSaysYesOrWhyNot) {
  const auto backends = describe_backends(Config{});
  ASSERT_EQ(backends.size(), 3u);
  EXPECT_EQ(backends[0].name, "tcp");
  EXPECT_EQ(backends[0].lines, std::vector<std::string>{"yes"});
  for (const auto& backend : backends) {
    EXPECT_FALSE(backend.lines.empty()) << backend.name;
    for (const auto& line : backend.lines)
      EXPECT_TRUE(line.starts_with("yes") || line.starts_with("no")) << line;
  }
}

TEST(Backends, VerbsFollowsTheFilterOfDevices) {
  Config config;
  // No device is called that.
  config.devices = NameFilter::parse(NameFilter::Kind::devices, "=-none-").value();
  for (const auto& backend : describe_backends(config)) {
    if (backend.name != "verbs") continue;
    for (const auto& line : backend.lines) EXPECT_TRUE(line.starts_with("no: ")) << line;
  }
}

}  // namespace
}  // namespace shoal
