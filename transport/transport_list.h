#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/config.h"
#include "core/base/result.h"

namespace shoal {

/// `transports` and `require` of a configuration: which ways beside TCP a process tries, and why
/// not the others.
class TransportList {
 public:
  /// Errors: as check_transports().
  static Result<TransportList> parse(const Config& config);

  /// Of verbs and ucx those to be opened, the best first.
  const std::vector<std::string>& fabrics() const { return fabrics_; }
  bool has_tcp() const { return has_tcp_; }
  /// Why this way is not tried, for people; empty: it is, or it is TCP, which always connects.
  std::string_view why_not(std::string_view name) const;

 private:
  struct LeftOut {
    std::string name;
    std::string why;
  };
  std::vector<std::string> fabrics_;
  std::vector<LeftOut> left_out_;
  bool has_tcp_ = false;
};

}  // namespace shoal
