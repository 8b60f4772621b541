#pragma once

#include <memory>
#include <optional>

#include "core/base/config.h"
#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/ops/rule_set.h"

namespace shoal {

/// Where a server has its rows, as Config::device says. Belongs to the server's loop.
class RowDevices {
 public:
  /// A copy of `rules` has their form for the device. Errors: unavailable (this build has no CUDA,
  /// or this machine no such GPU: why), invalid_argument (memory_budget is more than the GPU has),
  /// no_memory.
  static Result<RowDevices> open(const Config& config, const RuleSet& rules);

  Device& rows() const { return *rows_; }
  /// Host memory that a GPU reaches; null: rows are in host memory themselves.
  Device* pinned() const { return pinned_.get(); }
  const RuleSet& rules() const { return *rules_; }

 private:
  std::unique_ptr<RuleSet> rules_;
  std::unique_ptr<Device> pinned_;
  std::unique_ptr<Device> rows_;  ///< ends first: its work reads pinned memory
};

}  // namespace shoal
