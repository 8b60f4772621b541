#pragma once

#include <csignal>

namespace shoal::cli {

/// What this process does about a signal while this lives: SIG_DFL or SIG_IGN. A test that hears
/// signals says so, as a runner in the background may ignore some.
class Disposition {
 public:
  Disposition(int signal, sighandler_t handler)
      : signal_(signal), before_(::signal(signal, handler)) {}
  ~Disposition() { ::signal(signal_, before_); }
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;

 private:
  int signal_;
  sighandler_t before_;
};

}  // namespace shoal::cli
