#include "examples/sparse_lr/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "examples/sparse_lr/paths.h"
#include "examples/sparse_lr/report.h"
#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

namespace fs = std::filesystem;

std::ptrdiff_t files_in(const ScratchFiles& files) {
  return std::distance(fs::directory_iterator(files.directory()), {});
}

TEST(OutputFile, AppearsWhenItIsComplete) {
  const ScratchFiles files;
  const auto path = files.write("x", "old");
  {
    auto abandoned = OutputFile::create(path).value();
    EXPECT_EQ(files_in(files), 1) << "nothing lies there while it is not written to";
    abandoned.write("half");
    EXPECT_EQ(files_in(files), 2);
  }
  EXPECT_EQ(ScratchFiles::read(path), "old");
  auto file = OutputFile::create(path).value();
  file.write("new");
  EXPECT_EQ(ScratchFiles::read(path), "old");
  ASSERT_TRUE(file.commit().ok());
  EXPECT_EQ(ScratchFiles::read(path), "new");
  EXPECT_EQ(files_in(files), 1);
}

TEST(OutputFile, SaysWhichPathCannotBeWritten) {
  const ScratchFiles files;
  for (const auto& path : {files.path("absent/x"), files.directory()}) {
    const auto file = OutputFile::create(path);
    EXPECT_EQ(file.code(), Errc::io);
    EXPECT_NE(file.error().message().find("cannot write " + path), std::string::npos);
  }
}

TEST(OutputFile, KeepsThePermissionsOfWhatItReplaces) {
  const ScratchFiles files;
  const auto path = files.write("x", "old");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  auto file = OutputFile::create(path).value();
  ASSERT_TRUE(file.commit().ok());
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0640u);
}

TEST(OutputFile, FollowsLinksAndLeavesThem) {
  const ScratchFiles files;
  fs::create_directory(files.path("there"));
  files.write("there/x", "old");
  fs::create_symlink("there/x", files.path("link"));
  fs::create_symlink("there/absent", files.path("dangling"));
  for (const auto& [link, target] : {std::pair{"link", "there/x"}, {"dangling", "there/absent"}}) {
    auto file = OutputFile::create(files.path(link)).value();
    file.write("new");
    ASSERT_TRUE(file.commit().ok());
    EXPECT_TRUE(fs::is_symlink(files.path(link)));
    EXPECT_FALSE(fs::is_symlink(files.path(target)));
    EXPECT_EQ(ScratchFiles::read(files.path(target)), "new");
  }
}

TEST(OutputFile, DevicesAreWrittenToAndAFullOneIsAnError) {
  const ScratchFiles files;
  // By links, so that no device is at stake if this fails.
  fs::create_symlink("/dev/full", files.path("full"));
  fs::create_symlink("/dev/null", files.path("null"));
  auto full = OutputFile::create(files.path("full")).value();
  full.write("text");
  const auto status = full.commit();
  ASSERT_EQ(status.code(), Errc::io);
  EXPECT_EQ(status.error().native, ENOSPC);
  EXPECT_NE(status.error().what.find(files.path("full")), std::string::npos);
  auto null = OutputFile::create(files.path("null")).value();
  null.write("text");
  EXPECT_TRUE(null.commit().ok());
  for (const auto* name : {"full", "null"}) {
    EXPECT_TRUE(fs::is_symlink(files.path(name)));
    EXPECT_TRUE(fs::is_character_file(files.path(name)));
  }
}

TEST(OutputFile, PipesAreWrittenTo) {
  const ScratchFiles files;
  const auto path = files.path("pipe");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  auto file = OutputFile::create(path).value();
  file.write("text");
  ASSERT_TRUE(file.commit().ok());
  char text[8] = {};
  EXPECT_EQ(::read(reader, text, sizeof text), 4);
  EXPECT_STREQ(text, "text");
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(path));
}

TEST(TemporaryFile, IsGoneWhenASignalEndsTheProcess) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const ScratchFiles files;
    const auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::signal(signal, SIG_DFL);
      remove_temporary_files_on_signals();
      const auto file = TemporaryFile::create(files.directory());
      const bool there = file.ok() && files_in(files) == 1;
      if (there) ::raise(signal);
      ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), signal);
    EXPECT_EQ(files_in(files), 0);
  }
}

TEST(Paths, OneFileHasManyNames) {
  const ScratchFiles files;
  const auto file = files.write("x", "");
  fs::create_symlink("x", files.path("link"));
  fs::create_hard_link(file, files.path("hard"));
  fs::create_symlink("absent", files.path("dangling"));
  for (const auto& name : {file, files.path("link"), files.path("hard"), files.path("./x")})
    EXPECT_TRUE(is_same_file(file, name)) << name;
  EXPECT_TRUE(is_same_file(files.path("absent"), files.path("dangling")));
  EXPECT_FALSE(is_same_file(files.path("absent"), files.path("other")));
  EXPECT_FALSE(is_same_file(file, files.write("y", "")));
  EXPECT_FALSE(is_same_file("/dev/null", "/dev/null"));
}

TEST(Paths, NoFileIsReadAndWritten) {
  const ScratchFiles files;
  Options options;
  options.train = files.write("train", "");
  options.test = files.write("test", "");
  options.model = files.path("model");
  options.csv = files.path("csv");
  EXPECT_TRUE(check_paths(options).ok());
  options.csv = files.path("./model");
  auto status = check_paths(options);
  ASSERT_EQ(status.code(), Errc::invalid_argument);
  EXPECT_NE(status.error().what.find("--csv " + options.csv + " and --model " + options.model),
            std::string::npos);
  options.csv.clear();
  options.model = options.test;
  status = check_paths(options);
  ASSERT_EQ(status.code(), Errc::invalid_argument);
  EXPECT_NE(status.error().what.find("--model " + options.model + " and --test " + options.test),
            std::string::npos);
}

}  // namespace
}  // namespace shoal::sparse_lr
