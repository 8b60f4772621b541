#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

namespace shoal::cli {

/// A script that blocks until a signal comes, and lets the shell hear it.
inline constexpr auto kWait = "tail -f /dev/null & wait";

/// A file in memory that processes write to and a test reads.
class Captured {
 public:
  Captured() : fd_(::memfd_create("captured", MFD_CLOEXEC)) { EXPECT_GE(fd_, 0); }
  ~Captured() { ::close(fd_); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  int fd() const { return fd_; }
  std::string text() const {
    std::string all(static_cast<std::size_t>(::lseek(fd_, 0, SEEK_CUR)), '\0');
    EXPECT_EQ(::pread(fd_, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
    return all;
  }
  bool has(const std::string& part) const { return text().find(part) != std::string::npos; }

 private:
  int fd_;
};

}  // namespace shoal::cli
