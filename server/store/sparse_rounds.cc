// The rounds of per_clock tables on sparse rows: sums and folds. See docs/design/consistency.md.

#include <algorithm>
#include <cstring>

#include "core/ops/copy_rows.h"
#include "server/store/sparse_store.h"

namespace shoal {

Status SparseStore::grow_sums(RoundSums& sums, std::uint64_t rows) {
  const auto position_bytes = std::size_t{page_rows()} * sizeof(std::uint32_t);
  const auto bytes = page_rows() * table_.sum_row_bytes() + position_bytes;
  while (sums.pages.size() << page_shift_ < rows) {
    SHOAL_TRY(take(SegmentPool::block_bytes(bytes), "a page of sums"));
    const auto memory = context_.pool.take(bytes);
    if (!memory.ok()) {
      give(SegmentPool::block_bytes(bytes));
      return memory.error();
    }
    sums.pages.push_back(*memory);
    sums.page_data.push_back((*memory)->data);
  }
  while (context_.late() && sums.positions.size() < sums.pages.size()) {
    SHOAL_TRY(take_of_host(SegmentPool::block_bytes(position_bytes), "the rows of a page of sums"));
    SHOAL_ASSIGN(auto* memory, context_.host_pool.take(position_bytes));
    sums.positions.push_back(memory);
  }
  return {};
}

Outcome SparseStore::sum_rows_of(RoundSums& sums, std::span<const std::uint32_t> positions,
                                 std::span<std::uint32_t> sum_rows) {
  const auto map_bytes = std::size_t{page_rows()} * sizeof(std::uint32_t);
  if (sums.maps.size() < pages_.size()) {
    const auto more = (pages_.size() - sums.maps.size()) * sizeof(void*);
    if (!take_of_host(more, "the maps of a clock's sums").ok()) return Outcome::no_memory;
    sums.maps.resize(pages_.size());
  }
  for (const auto position : positions) {
    auto*& map = sums.maps[position >> page_shift_];
    if (map != nullptr) continue;
    if (!take_of_host(SegmentPool::block_bytes(map_bytes), "the map of a page's sums").ok())
      return Outcome::no_memory;
    auto taken = context_.host_pool.take(map_bytes);
    if (!taken.ok()) return Outcome::no_memory;
    map = *taken;
    std::memset(map->data, 0xff, map_bytes);  // kAbsentRow
  }
  if (!grow_sums(sums, sums.count + positions.size()).ok()) return Outcome::no_memory;
  if (const auto o = sums.page_data.bring(context_); o != Outcome::applied) return o;
  const auto first_new = sums.count;
  const auto mask = page_rows() - 1;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    auto& row = sum_row(sums, positions[i]);
    if (row == kAbsentRow) {
      row = sums.count++;
      sum_positions(sums, row >> page_shift_)[row & mask] = positions[i];
    }
    sum_rows[i] = row;
  }
  start_sum_rows(sums, first_new);
  return Outcome::applied;
}

void SparseStore::start_sum_rows(RoundSums& sums, std::uint32_t first) {
  const auto mask = page_rows() - 1;
  auto summed = context_.scratch.part.summed;
  for (std::uint64_t at = first; at < sums.count;) {
    const auto page = at >> page_shift_;
    const auto count = std::min<std::uint64_t>(sums.count, (page + 1) << page_shift_) - at;
    table_.kernels().clear_sums(table_.rule().traits().aggregate, table_.spec().dtype,
                                sums.page_data[page] + (at & mask) * table_.sum_row_bytes(),
                                count * table_.row_values(), context_.stream());
    if (context_.late()) {
      // From its lists: what the CPU has is the next clocks' before the device comes to it.
      const auto* known = sum_positions(sums, page) + (at & mask);
      std::copy(known, known + count, summed.begin());
      context_.copy_in(reinterpret_cast<std::byte*>(positions_there(sums, page) + (at & mask)),
                       reinterpret_cast<const std::byte*>(summed.data()),
                       count * sizeof(std::uint32_t));
      summed = summed.subspan(count);
    }
    at += count;
  }
}

Outcome SparseStore::contribute(WorkerClock clock, std::span<const Key> keys,
                                const std::byte* inputs) {
  auto& scratch = context_.scratch;
  auto sum_rows = scratch.positions_for(context_.late() ? keys.size() : 2 * keys.size());
  if (sum_rows.size() < keys.size()) return Outcome::no_room;
  auto positions = sum_rows.first(keys.size());
  if (context_.late())
    positions = scratch.own_positions_for(keys.size());
  else
    sum_rows = sum_rows.subspan(keys.size());
  if (const auto o = positions_of(keys, positions); o != Outcome::applied) return end(o);
  return add_to_sums(clock, positions, sum_rows, inputs);
}

Outcome SparseStore::contribute(WorkerClock clock, std::span<const std::uint32_t> positions,
                                const std::byte* inputs) {
  const auto sum_rows = context_.scratch.positions_for(positions.size());
  if (sum_rows.size() != positions.size()) return Outcome::no_room;
  return add_to_sums(clock, positions, sum_rows, inputs);
}

Outcome SparseStore::add_to_sums(WorkerClock clock, std::span<const std::uint32_t> positions,
                                 std::span<std::uint32_t> sum_rows, const std::byte* inputs) {
  SHOAL_ASSERT(clock >= version_ && clock - version_ < table_.window(), "a sum outside the window");
  auto& sums = sums_of(clock);
  if (const auto o = sum_rows_of(sums, positions, sum_rows); o != Outcome::applied) return end(o);
  RowMerger::Rows pushed{sum_rows, inputs};
  if (context_.late()) {
    const auto merged = context_.scratch.merged(table_, pushed);
    if (!merged.ok()) return end(Outcome::no_memory);
    pushed = *merged;
  }
  table_.kernels().add_listed_sums(table_.rule().traits().aggregate, table_.spec().dtype,
                                   sums.page_data.data(), page_shift_, table_.row_values(),
                                   pushed.positions, pushed.inputs, context_.stream());
  pushed_ = true;
  return end(Outcome::applied);
}

void SparseStore::catch_up(std::span<const std::uint32_t> positions, WorkerClock clock,
                           const UpdateRule& rule) {
  const auto now = static_cast<std::uint32_t>(clock - table_.start());
  const auto mask = page_rows() - 1;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (positions[i] == kAbsentRow) continue;
    auto& last = row_clocks(positions[i])[positions[i] & mask];
    if (last >= now) continue;
    // Row by row, as a pulled list may repeat a row; it is behind only once.
    const std::uint64_t missed = now - last;
    rule.catch_up(listed(positions.subspan(i, 1)), {&missed, 1});
    last = now;
  }
}

void SparseStore::catch_up_all(WorkerClock clock, const UpdateRule& rule) {
  for (std::uint32_t at = 0; at < row_count_; ++at) catch_up({&at, 1}, clock, rule);
}

void SparseStore::fold_round(WorkerClock clock) {
  auto& sums = sums_of(clock);
  const auto& rule = table_.rule_at(clock);
  for (std::size_t page = 0; page << page_shift_ < sums.count; ++page) {
    const auto count = std::min<std::size_t>(page_rows(), sums.count - (page << page_shift_));
    const std::span<const std::uint32_t> positions(positions_there(sums, page), count);
    if (decays_) {
      catch_up(positions, clock, rule);
      for (const auto p : positions)
        row_clocks(p)[p & (page_rows() - 1)] =
            static_cast<std::uint32_t>(clock + 1 - table_.start());
    }
    rule.apply(listed(positions), RuleInputs::of_sums(sums.page_data[page]), context_.stream());
  }
  for (std::size_t page = 0; page << page_shift_ < sums.count; ++page) {
    const auto count = std::min<std::size_t>(page_rows(), sums.count - (page << page_shift_));
    for (std::size_t i = 0; i < count; ++i)
      sum_row(sums, sum_positions(sums, page)[i]) = kAbsentRow;
  }
  sums.count = 0;
  ++context_.metrics.folds;
}

void SparseStore::fold(WorkerClock global_clock) {
  // No push is in a sum beyond the window, so clocks past it are empty.
  const auto newest = std::min(global_clock, version_ + table_.window());
  while (version_ < global_clock) {
    const auto until = std::min(version_ < newest ? version_ + 1 : global_clock,
                                decays_ ? table_.next_change(version_) : global_clock);
    const auto& rule = table_.rule_at(version_);
    if (version_ < newest && sums_of(version_).count != 0) fold_round(version_);
    version_ = until;
    // A row's missed rounds are made up for with the parameters of those rounds.
    if (decays_ && &table_.rule_at(until) != &rule) catch_up_all(until, rule);
  }
}

}  // namespace shoal
