#include "worker/engine/region_cache.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "core/base/log.h"

namespace shoal {

namespace {

bool allows(Access has, Access wanted) {
  const auto bits = static_cast<std::uint8_t>(wanted);
  return (static_cast<std::uint8_t>(has) & bits) == bits;
}

bool holds(MemoryView outer, MemoryView inner) {
  return outer.space == inner.space && outer.device == inner.device && inner.data >= outer.data &&
         inner.bytes <= outer.bytes &&
         static_cast<std::size_t>(inner.data - outer.data) <= outer.bytes - inner.bytes;
}

}  // namespace

RegionCache::RegionCache(Transport& transport, std::size_t bytes_max)
    : transport_(transport), bytes_max_(bytes_max), seen_(bytes_max == 0 ? 0 : kSeen) {}

RegionCache::~RegionCache() {
  for (auto& entry : entries_)
    if (entry.taken) drop(entry);
}

Result<RemoteSpan> RegionCache::lend(Loan& loan, MemoryView memory, Access access) {
  if (loan.own.valid()) return loan.own.remote(0, memory.bytes);
  if (loan.entry != kNone) return span(entries_[loan.entry], memory);
  const bool worthwhile = bytes_max_ != 0 && memory.bytes != 0 && transport_.pins() &&
                          memory.space != MemorySpace::cuda;
  if (worthwhile) {
    loan.entry = find(memory, access);
    if (loan.entry == kNone) loan.entry = keep(memory, access);
    if (loan.entry != kNone) {
      auto& entry = entries_[loan.entry];
      ++entry.loans;
      entry.used = ++uses_;
      return span(entry, memory);
    }
  }
  auto own = register_with_room(&Transport::register_loan, memory, access);
  if (!own.ok() && !transport_.pins_loans()) own = register_memory(memory, access);
  SHOAL_ASSIGN(loan.own, std::move(own));
  return loan.own.remote();
}

void RegionCache::end(Loan& loan, bool confirmed) {
  loan.own.revoke();
  const auto index = std::exchange(loan.entry, kNone);
  if (index == kNone) return;
  auto& entry = entries_[index];
  entry.last = entry.last || !confirmed;
  if (--entry.loans > 0) return;
  if (entry.last || is_gone(entry)) drop(entry);
}

Result<Region> RegionCache::register_memory(MemoryView memory, Access access) {
  return register_with_room(&Transport::register_memory, memory, access);
}

Result<Region> RegionCache::register_with_room(Register how, MemoryView memory, Access access) {
  auto region = (transport_.*how)(memory, access);
  // What is kept counts for the limit on locked memory, too.
  while (region.code() == Errc::registration && drop_oldest())
    region = (transport_.*how)(memory, access);
  return region;
}

void RegionCache::sweep() {
  if (monitor_ == nullptr) return;
  const auto turns = monitor_->turns();
  if (turns == std::exchange(heard_, turns)) return;
  for (auto& entry : entries_)
    if (entry.taken && entry.loans == 0 && is_gone(entry)) drop(entry);
}

std::size_t RegionCache::find(MemoryView memory, Access access) {
  for (std::size_t i = 0; i < kEntriesMax; ++i) {
    auto& entry = entries_[i];
    if (entry.taken && !entry.last && holds(entry.memory, memory) && allows(entry.access, access) &&
        (!entry.watch.valid() || monitor_->intact(entry.watch)))
      return i;
  }
  return kNone;
}

RegionCache::Seen& RegionCache::seen_of(MemoryView memory) {
  const auto page = reinterpret_cast<std::uintptr_t>(memory.data) >> 6;
  return seen_[(page * 0x9e3779b97f4a7c15u >> 32) % kSeen];
}

/// kNone: it is not to be kept, or cannot be.
std::size_t RegionCache::keep(MemoryView memory, Access access) {
  auto& seen = seen_of(memory);
  const bool again = seen.data == memory.data && seen.bytes == memory.bytes;
  if (!again) seen = {memory.data, memory.bytes, false};
  // What is lent once, as many temporaries are, would only take room; and watching it takes time.
  const bool pinned = transport_.pins_loans();
  if (!again || seen.refused || memory.bytes > bytes_max_) return kNone;
  if ((pinned && monitor() == nullptr) || !make_room(memory.bytes)) return kNone;
  // Watched first: what is pinned then is what is watched. What is not pinned cannot be stale.
  auto watch = pinned ? monitor_->watch(memory) : MemoryMonitor::Watch{};
  if (!watch.ok()) {
    seen.refused = watch.code() == Errc::unavailable;
    return kNone;
  }
  // A target is often a source next, and may be written to in any case.
  if (access == Access::write) access = Access::read_write;
  auto region = register_with_room(&Transport::register_loan, memory, access);
  if (!region.ok() || (pinned && !monitor_->intact(*watch))) {
    if (pinned) monitor_->forget(*watch);
    return kNone;
  }
  const auto free =
      std::find_if(entries_.begin(), entries_.end(), [](auto& one) { return !one.taken; });
  *free = {memory, access, std::move(region).value(), *watch, 0, 0, true, false};
  bytes_ += memory.bytes;
  seen = {};  // should it go soon, it is to be seen twice again
  drop_within(*free);
  return static_cast<std::size_t>(free - entries_.begin());
}

/// An entry, and `bytes` of what may be kept. False: what is kept is all in use.
bool RegionCache::make_room(std::size_t bytes) {
  const auto full = [&] {
    return bytes_ + bytes > bytes_max_ ||
           std::all_of(entries_.begin(), entries_.end(), [](auto& one) { return one.taken; });
  };
  while (full())
    if (!drop_oldest()) return false;
  return true;
}

bool RegionCache::drop_oldest() {
  Entry* oldest = nullptr;
  for (auto& entry : entries_)
    if (entry.taken && entry.loans == 0 && (oldest == nullptr || entry.used < oldest->used))
      oldest = &entry;
  if (oldest != nullptr) drop(*oldest);
  return oldest != nullptr;
}

bool RegionCache::is_gone(const Entry& entry) const {
  return entry.watch.valid() && !monitor_->seems_intact(entry.watch);
}

/// What the new one serves as well.
void RegionCache::drop_within(const Entry& larger) {
  for (auto& entry : entries_)
    if (entry.taken && &entry != &larger && entry.loans == 0 &&
        holds(larger.memory, entry.memory) && allows(larger.access, entry.access))
      drop(entry);
}

void RegionCache::drop(Entry& entry) {
  entry.region.revoke();
  if (monitor_ != nullptr) monitor_->forget(entry.watch);
  bytes_ -= entry.memory.bytes;
  entry = {};
}

MemoryMonitor* RegionCache::monitor() {
  if (monitor_ != nullptr || !why_none_.empty()) return monitor_.get();
  auto made = MemoryMonitor::create();
  if (made.ok()) {
    monitor_ = std::move(made).value();
  } else {
    why_none_ = made.error().message();
    log_info("worker", "memory is registered for each operation anew: {}", why_none_);
  }
  return monitor_.get();
}

RemoteSpan RegionCache::span(const Entry& entry, MemoryView memory) const {
  return entry.region.remote(static_cast<std::size_t>(memory.data - entry.memory.data),
                             memory.bytes);
}

std::size_t RegionCache::kept() const {
  return static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(),
                                                [](const auto& entry) { return entry.taken; }));
}

std::string RegionCache::explain() const {
  if (!transport_.pins()) return {};
  if (bytes_max_ == 0)
    return "memory that is not registered: registered for each operation (registration_cache_bytes "
           "= 0)";
  if (!why_none_.empty())
    return fmt::format("memory that is not registered: registered for each operation: {}",
                       why_none_);
  return fmt::format("memory that is not registered: {} ranges, {} bytes of it stay registered",
                     kept(), bytes_);
}

}  // namespace shoal
