#pragma once

#include <cstdint>
#include <vector>

#include "transport/verbs/pair.h"

namespace shoal::verbs {

/// Transfers in parts that travel over several strands: each ends when all its parts have.
class Splits {
 public:
  /// A name for its parts, never 0.
  std::uint32_t open(const Completion& whole, std::uint32_t parts) {
    if (free_.empty()) {
      splits_.push_back({});
      free_.push_back(static_cast<std::uint32_t>(splits_.size()));
    }
    const auto name = free_.back();
    free_.pop_back();
    splits_[name - 1] = {whole, parts};
    return name;
  }
  /// A part has ended; true: it was the last, and `whole` the transfer's completion, with the
  /// first failure that a part had.
  bool end(std::uint32_t name, Errc failed, Completion& whole) {
    auto& split = splits_[name - 1];
    if (split.whole.failed == Errc::ok) split.whole.failed = failed;
    if (--split.parts > 0) return false;
    whole = split.whole;
    free_.push_back(name);
    return true;
  }

 private:
  struct Split {
    Completion whole;
    std::uint32_t parts = 0;
  };
  std::vector<Split> splits_;
  std::vector<std::uint32_t> free_;
};

}  // namespace shoal::verbs
