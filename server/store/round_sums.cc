#include "server/store/round_sums.h"

#include <algorithm>
#include <bit>

namespace shoal {

void RowSet::add(std::uint64_t rows, RowRange range) {
  if (all_ || range.empty()) return;
  if (range.begin == 0 && range.end == rows) {
    clear();
    return add_all();
  }
  reserve(rows);
  for (auto row = range.begin; row < range.end;) {
    const auto bits = std::min(64 - row % 64, range.end - row);
    const auto mask = (bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1)
                      << (row % 64);
    auto& word = bits_[row / 64];
    count_ += static_cast<std::uint64_t>(std::popcount(mask & ~word));
    word |= mask;
    row += bits;
  }
}

void RowSet::add(std::uint64_t rows, std::uint64_t row) {
  if (all_) return;
  reserve(rows);
  auto& word = bits_[row / 64];
  const auto mask = std::uint64_t{1} << (row % 64);
  count_ += (word & mask) == 0 ? 1 : 0;
  word |= mask;
}

void Contributions::clear() {
  done_.assign(done_.size(), 0);
  partial_.clear();
  complete_count_ = 0;
}

bool Contributions::add(MemberIndex member, std::uint64_t rows, std::uint64_t rows_of_segment) {
  if (complete(member)) return false;
  auto at = std::find_if(partial_.begin(), partial_.end(),
                         [&](const Partial& p) { return p.member == member; });
  if (at != partial_.end()) rows += at->rows;
  if (rows < rows_of_segment) {
    if (at == partial_.end())
      partial_.push_back({member, rows});
    else
      at->rows = rows;
    return false;
  }
  if (at != partial_.end()) {
    *at = partial_.back();
    partial_.pop_back();
  }
  if (done_.size() <= member / 64) done_.resize(member / 64 + 1);
  done_[member / 64] |= std::uint64_t{1} << (member % 64);
  ++complete_count_;
  return true;
}

void Contributions::forget(MemberIndex member) {
  std::erase_if(partial_, [&](const Partial& p) { return p.member == member; });
  if (!complete(member)) return;
  done_[member / 64] &= ~(std::uint64_t{1} << (member % 64));
  --complete_count_;
}

bool Contributions::is_turn_of(MemberIndex member, const Members& members,
                               WorkerClock clock) const {
  for (const auto m : members.by_rank()) {
    if (m == member) return true;
    if (members[m].start <= clock && !complete(m)) return false;
  }
  return true;
}

}  // namespace shoal
