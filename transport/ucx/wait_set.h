#pragma once

#include "core/base/clock.h"
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
  /// Is readable after this long, too. Zero: no more.
  void wake_after(Duration delay);

 private:
  WaitSet() = default;
  int fd_ = -1;
  int timer_ = -1;
  bool timed_ = false;
};

}  // namespace shoal::ucx
