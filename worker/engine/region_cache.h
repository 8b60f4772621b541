#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/memory_monitor.h"
#include "core/memory/memory_view.h"
#include "transport/transport.h"

namespace shoal {

/// Registrations of memory that the user lent without registering it. What is lent again and again
/// stays registered from the second time on, so that no later loan pays for it, as long as the
/// memory is what it was (MemoryMonitor). Belongs to one loop. See docs/design/registration.md.
class RegionCache {
 public:
  static constexpr std::size_t kEntriesMax = 256;

  /// Keeps at most `bytes_max` bytes registered between loans; 0: none. `transport` outlives it.
  RegionCache(Transport& transport, std::size_t bytes_max);
  ~RegionCache();
  RegionCache(const RegionCache&) = delete;
  RegionCache& operator=(const RegionCache&) = delete;

  /// An operation's memory while peers may use it: a registration of its own, or one that is kept.
  class Loan {
    friend RegionCache;
    Region own;
    std::size_t entry = kNone;
  };

  /// What peers may do `access` to, until the loan ends. Asked again for the same memory it gives
  /// the same. Errors: as Transport::register_memory().
  Result<RemoteSpan> lend(Loan& loan, MemoryView memory, Access access);
  /// No peer uses the memory any more. `confirmed`: because each that was told of it has said so.
  /// If only because its connection ended, the registration ends too, with the last loan that
  /// shares it: what a peer WRITES to a region that was revoked is swallowed, and it is none the
  /// wiser. Idempotent.
  void end(Loan& loan, bool confirmed);
  /// Registers for its caller; what is kept for later loans makes room. Errors: as above.
  Result<Region> register_memory(MemoryView memory, Access access);
  /// Lets go of what was kept of memory that is gone. Once a turn of the loop.
  void sweep();

  /// For people; empty: nothing is ever kept, as nothing needs to be.
  std::string explain() const;
  std::size_t kept() const;
  std::size_t kept_bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  static constexpr std::size_t kSeen = 1024;
  /// A registration that outlives loans.
  struct Entry {
    MemoryView memory;
    Access access = Access::read;
    Region region;
    MemoryMonitor::Watch watch;
    std::uint32_t loans = 0;
    std::uint64_t used = 0;  ///< when, by turns_
    bool taken = false;
    bool last = false;  ///< for no more loans
  };
  /// Memory that was lent and is not kept.
  struct Seen {
    const std::byte* data = nullptr;
    std::size_t bytes = 0;
    bool refused = false;  ///< it cannot be watched
  };

  using Register = Result<Region> (Transport::*)(MemoryView, Access);
  Result<Region> register_with_room(Register how, MemoryView memory, Access access);
  bool is_gone(const Entry& entry) const;
  std::size_t find(MemoryView memory, Access access);
  std::size_t keep(MemoryView memory, Access access);
  Seen& seen_of(MemoryView memory);
  bool make_room(std::size_t bytes);
  bool drop_oldest();
  void drop_within(const Entry& larger);
  void drop(Entry& entry);
  MemoryMonitor* monitor();
  RemoteSpan span(const Entry& entry, MemoryView memory) const;

  Transport& transport_;
  const std::size_t bytes_max_;
  std::array<Entry, kEntriesMax> entries_;
  std::size_t bytes_ = 0;
  std::uint64_t uses_ = 0;
  std::vector<Seen> seen_;  ///< by the memory's hash; a newer one takes an older one's place
  std::unique_ptr<MemoryMonitor> monitor_;  ///< made when it is needed
  std::string why_none_;                    ///< why nothing can be watched; empty: it can
  std::uint64_t heard_ = 0;                 ///< the monitor's turns at the last sweep
};

}  // namespace shoal
