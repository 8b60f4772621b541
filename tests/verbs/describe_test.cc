#include <gtest/gtest.h>

#include "transport/verbs/verbs.h"

namespace shoal::verbs {
namespace {

TEST(Describe, HasALineOnAnyMachine) {
  const auto lines = describe(Config{});
  ASSERT_FALSE(lines.empty());
  for (const auto& line : lines) {
    EXPECT_NE(line.find(": "), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace shoal::verbs
