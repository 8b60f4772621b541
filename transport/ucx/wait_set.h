#pragma once

#include "core/base/result.h"

namespace shoal::ucx {

/// One descriptor that is readable when one of many is: links come and go, and whoever waits keeps
/// what it was given.
class WaitSet {
 public:
  static Result<WaitSet> create();
  WaitSet(WaitSet&& other) noexcept;
  WaitSet& operator=(WaitSet&&) = delete;
  ~WaitSet();
  int fd() const { return fd_; }
  /// Errors: io.
  Status add(int fd);
  void remove(int fd);

 private:
  explicit WaitSet(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace shoal::ucx
