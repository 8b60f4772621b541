#pragma once

#include <cstddef>

namespace shoal {

/// How much long work of one kind (applying what was READ, gathering, sending) a server has done in
/// a turn: messages are served in between, so a turn takes one large part of each, or so many small
/// ones that their system calls are shared.
class TurnWork {
 public:
  /// Rows that were gathered or applied: 256 KiB take some 25 us where they are dense.
  void add_bytes(std::size_t bytes) { done_ += bytes; }
  /// Of each part, beside its rows: looking it up, posting it, ending it.
  void add_part() { done_ += kPartWork; }
  bool enough() const { return done_ >= kTurnBytes; }
  bool any() const { return done_ != 0; }

 private:
  static constexpr std::size_t kTurnBytes = 256u << 10;
  static constexpr std::size_t kPartWork = 8u << 10;
  std::size_t done_ = 0;
};

}  // namespace shoal
