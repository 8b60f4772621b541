#include "core/base/token.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace shoal {
namespace {

class TokenTest : public testing::Test {
 protected:
  TempDir temporary_;
  const std::filesystem::path directory_ = temporary_.path();
};

TEST_F(TokenTest, MustBePrivateAndThere) {
  const auto path = (directory_ / "token").string();
  EXPECT_EQ(read_token(path).code(), Errc::io);
  std::ofstream(path) << "  secret \n";
  ::chmod(path.c_str(), 0644);
  const auto open_to_all = read_token(path);
  ASSERT_FALSE(open_to_all.ok());
  EXPECT_NE(open_to_all.error().what.find("chmod 600"), std::string::npos);
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(read_token(path).value(), "  secret");
  std::ofstream(path) << "\n";
  EXPECT_EQ(read_token(path).code(), Errc::invalid_argument);
  EXPECT_EQ(read_token("").code(), Errc::invalid_argument);
}

TEST_F(TokenTest, ALongFileIsNoToken) {
  const auto path = (directory_ / "token").string();
  const std::string longest(4096, 't');
  std::ofstream(path) << longest;
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(read_token(path).value(), longest);
  std::ofstream(path) << longest << "t";
  const auto longer = read_token(path);
  ASSERT_EQ(longer.code(), Errc::invalid_argument) << "half a token would be another one";
  EXPECT_NE(longer.error().what.find("more than 4096 bytes"), std::string::npos);
}

}  // namespace
}  // namespace shoal
