#include "core/base/output_path.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/temp_dir.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

TEST(OutputPath, IsTriedAndLeftAsItWas) {
  const TempDir temporary;
  const fs::path& directory = temporary.path();
  EXPECT_TRUE(check_output(directory / "new").ok());
  EXPECT_TRUE(fs::is_empty(directory));

  std::ofstream(directory / "old") << "kept";
  EXPECT_TRUE(check_output(directory / "old").ok());
  std::ifstream old(directory / "old");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(old), {}), "kept");

  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(check_output(directory / "pipe").ok());
  EXPECT_TRUE(check_output("/dev/null").ok());

  for (const auto& path : {directory.string(), (directory / "none" / "file").string(),
                           (directory / "old" / "file").string()}) {
    const auto status = check_output(path);
    ASSERT_FALSE(status.ok()) << path;
    EXPECT_EQ(status.code(), Errc::io);
    EXPECT_NE(status.error().what.find(path), std::string::npos);
  }
}

}  // namespace
}  // namespace shoal
