#include "server/store/sparse_store.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/ops/copy_rows.h"
#include "core/ops/initializer.h"

namespace shoal {

namespace {
constexpr std::uint64_t kRowsMax = kAbsentRow;  ///< of a slot; positions have 32 bits

unsigned shift_of_page(std::size_t row_bytes) {
  const auto rows = std::max<std::size_t>(1, SparseStore::kPageBytes / row_bytes);
  return static_cast<unsigned>(std::bit_width(rows) - 1);
}
}  // namespace

static_assert(SparseIndex::kAbsent == kAbsentRow);

SparseStore::SparseStore(const TableRules& table, SlotIndex slot, StoreContext context)
    : table_(table),
      context_(context),
      decays_(table.sums() && table.rule().has_decay()),
      page_shift_(shift_of_page(table.geometry().row_bytes())),
      states_(StateLayout::of(table.rule(), std::size_t{1} << page_shift_, table.spec().row_width,
                              true)),
      state_page_bytes_(states_.bytes + (decays_ ? sizeof(std::uint32_t) << page_shift_ : 0)),
      shape_(states_.shape(table.spec().row_width, page_shift_)),
      index_(context.host, context.budget,
             static_cast<unsigned>(std::countr_zero(table.geometry().slots())), slot.value),
      version_(table.start()) {}

Result<std::unique_ptr<SparseStore>> SparseStore::create(const TableRules& table, SlotIndex slot,
                                                         StoreContext context) {
  std::unique_ptr<SparseStore> store(new SparseStore(table, slot, context));
  if (table.sums()) {
    const auto clocks = static_cast<std::size_t>(table.window());
    SHOAL_TRY(store->take(clocks * sizeof(RoundSums), "the open clocks of a sparse slot"));
    store->sums_.resize(clocks);
  }
  return store;
}

Status SparseStore::take(std::uint64_t bytes, const char* what) {
  SHOAL_TRY(context_.budget.take(bytes, what));
  memory_bytes_ += bytes;
  return {};
}

SparseStore::~SparseStore() {
  for (auto* page : value_pages_) context_.pool.give(page);
  for (auto* page : states_pages_) context_.pool.give(page);
  for (auto& sums : sums_) {
    for (auto* page : sums.pages) context_.pool.give(page);
    for (auto* map : sums.maps)
      if (map != nullptr) context_.pool.give(map);
  }
  context_.budget.give(memory_bytes_);
}

Status SparseStore::grow_to(std::uint64_t rows) {
  if (rows > kRowsMax)
    return Error{Errc::no_memory, "a slot holds at most 2^32 - 1 rows: give the table more slots"};
  const auto value_bytes = std::size_t{page_rows()} * table_.geometry().row_bytes();
  while (pages_.size() << page_shift_ < rows) {
    const auto bytes = SegmentPool::block_bytes(value_bytes) +
                       (state_page_bytes_ != 0 ? SegmentPool::block_bytes(state_page_bytes_) : 0);
    SHOAL_TRY(take(bytes, "a page of sparse rows"));
    SHOAL_ASSIGN(auto* values, context_.pool.take(value_bytes));
    value_pages_.push_back(values);
    std::memset(values->data, 0, value_bytes);
    std::byte* states = nullptr;
    if (state_page_bytes_ != 0) {
      SHOAL_ASSIGN(auto* memory, context_.pool.take(state_page_bytes_));
      states_pages_.push_back(memory);
      std::memset(memory->data, 0, state_page_bytes_);
      states = memory->data;
    }
    pages_.push_back(states_.arrays(table_.rule(), values->data, states));
  }
  return {};
}

void SparseStore::init_rows(std::span<const Key> keys, std::span<const std::uint32_t> positions,
                            std::uint32_t first_new) {
  const auto& initializer = table_.spec().initializer;
  const auto row_bytes = table_.geometry().row_bytes();
  const auto mask = page_rows() - 1;
  if (initializer.kind != Initializer::Kind::zero)  // Fresh pages hold zeros already.
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (positions[i] >= first_new)
        write_initial_row(
            initializer, table_.spec().dtype, keys[i], table_.spec().row_width,
            pages_[positions[i] >> page_shift_].weights + (positions[i] & mask) * row_bytes);
  // New rows stand one behind the other.
  const auto clock = static_cast<std::uint32_t>(version_ - table_.start());
  for (std::uint64_t at = first_new; at < row_count_;) {
    const auto page = at >> page_shift_;
    const auto end = std::min(row_count_, (page + 1) << page_shift_);
    const DenseRows rows{pages_[page], shape_, at & mask, end - at};
    table_.rule_at(version_).reset(rows);
    if (decays_) {
      auto* clocks = row_clocks(static_cast<std::uint32_t>(at));
      std::fill(clocks + (at & mask), clocks + (at & mask) + (end - at), clock);
    }
    at = end;
  }
}

Outcome SparseStore::positions_of(std::span<const Key> keys, std::span<std::uint32_t> positions) {
  if (!index_.find(keys, positions)) return Outcome::out_of_range;
  const auto absent =
      static_cast<std::uint64_t>(std::count(positions.begin(), positions.end(), kAbsentRow));
  if (absent == 0) return Outcome::applied;
  // Room for the rows first: keys without rows must not get into the index.
  if (!grow_to(row_count_ + absent).ok()) return Outcome::no_memory;
  const auto first_new = static_cast<std::uint32_t>(row_count_);
  const auto inserted = index_.insert_absent(keys, positions, first_new);
  if (!inserted.ok()) return Outcome::no_memory;
  row_count_ += *inserted;
  init_rows(keys, positions, first_new);
  return Outcome::applied;
}

bool SparseStore::find(std::span<const Key> keys, std::span<std::uint32_t> positions) const {
  return index_.find(keys, positions) &&
         std::find(positions.begin(), positions.end(), kAbsentRow) == positions.end();
}

bool SparseStore::are_distinct(std::span<const std::uint32_t> positions) const {
  return context_.scratch.are_distinct(table_, positions);
}

Outcome SparseStore::apply(std::span<const Key> keys, const std::byte* inputs) {
  const auto positions = context_.scratch.positions_for(keys.size());
  if (const auto o = positions_of(keys, positions); o != Outcome::applied) return o;
  return apply(positions, false, inputs);
}

Outcome SparseStore::apply(std::span<const std::uint32_t> positions, bool distinct,
                           const std::byte* inputs) {
  RowMerger::Rows pushed{positions, inputs};
  if (!distinct) {
    auto merged = context_.scratch.merged(table_, pushed);
    if (!merged.ok()) return Outcome::no_memory;
    pushed = *merged;
  }
  table_.rule().apply(ListedRows{pages_.data(), shape_, pushed.positions}, pushed.inputs);
  return Outcome::applied;
}

Outcome SparseStore::set(std::span<const Key> keys, const std::byte* values) {
  const auto positions = context_.scratch.positions_for(keys.size());
  if (const auto o = positions_of(keys, positions); o != Outcome::applied) return o;
  return set(positions, values);
}

Outcome SparseStore::set(std::span<const std::uint32_t> positions, const std::byte* values) {
  const ListedRows rows{pages_.data(), shape_, positions};
  scatter_rows(rows, table_.spec().dtype, values);
  table_.rule_at(version_).reset(rows);
  return Outcome::applied;
}

Outcome SparseStore::gather(std::span<const Key> keys, std::byte* out) {
  const auto positions = context_.scratch.positions_for(keys.size());
  if (!index_.find(keys, positions)) return Outcome::out_of_range;
  (void)gather(positions, out);
  const auto row_bytes = table_.geometry().row_bytes();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (positions[i] != kAbsentRow) continue;
    if (table_.spec().initializer.kind == Initializer::Kind::zero)
      std::memset(out + i * row_bytes, 0, row_bytes);
    else
      write_initial_row(table_.spec().initializer, table_.spec().dtype, keys[i],
                        table_.spec().row_width, out + i * row_bytes);
  }
  return Outcome::applied;
}

Outcome SparseStore::gather(std::span<const std::uint32_t> positions, std::byte* out) {
  if (decays_) catch_up(positions, version_, table_.rule_at(version_));
  gather_rows(ListedRows{pages_.data(), shape_, positions}, table_.spec().dtype, out);
  return Outcome::applied;
}

Status SparseStore::grow_sums(RoundSums& sums, std::uint64_t rows) {
  const auto bytes = std::size_t{page_rows()} * (table_.sum_row_bytes() + sizeof(std::uint32_t));
  while (sums.pages.size() << page_shift_ < rows) {
    SHOAL_TRY(take(SegmentPool::block_bytes(bytes), "a page of sums"));
    SHOAL_ASSIGN(auto* memory, context_.pool.take(bytes));
    sums.pages.push_back(memory);
    sums.page_data.push_back(memory->data);
  }
  return {};
}

Outcome SparseStore::sum_rows_of(RoundSums& sums, std::span<const std::uint32_t> positions,
                                 std::span<std::uint32_t> sum_rows) {
  const auto map_bytes = std::size_t{page_rows()} * sizeof(std::uint32_t);
  if (sums.maps.size() < pages_.size()) {
    const auto more = (pages_.size() - sums.maps.size()) * sizeof(void*);
    if (!take(more, "the maps of a clock's sums").ok()) return Outcome::no_memory;
    sums.maps.resize(pages_.size());
  }
  for (const auto position : positions) {
    auto*& map = sums.maps[position >> page_shift_];
    if (map != nullptr) continue;
    if (!take(SegmentPool::block_bytes(map_bytes), "the map of a page's sums").ok())
      return Outcome::no_memory;
    auto taken = context_.pool.take(map_bytes);
    if (!taken.ok()) return Outcome::no_memory;
    map = *taken;
    std::memset(map->data, 0xff, map_bytes);  // kAbsentRow
  }
  if (!grow_sums(sums, sums.count + positions.size()).ok()) return Outcome::no_memory;
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
  for (std::uint64_t at = first_new; at < sums.count;) {
    const auto page = at >> page_shift_;
    const auto end = std::min<std::uint64_t>(sums.count, (page + 1) << page_shift_);
    table_.rule().aggregate().clear(sums.page_data[page] + (at & mask) * table_.sum_row_bytes(),
                                    (end - at) * table_.row_values());
    at = end;
  }
  return Outcome::applied;
}

Outcome SparseStore::contribute(WorkerClock clock, std::span<const Key> keys,
                                const std::byte* inputs) {
  const auto scratch = context_.scratch.positions_for(2 * keys.size());
  const auto positions = scratch.first(keys.size());
  const auto sum_rows = scratch.subspan(keys.size());
  if (const auto o = positions_of(keys, positions); o != Outcome::applied) return o;
  return contribute(clock, positions, sum_rows, inputs);
}

Outcome SparseStore::contribute(WorkerClock clock, std::span<const std::uint32_t> positions,
                                const std::byte* inputs) {
  return contribute(clock, positions, context_.scratch.positions_for(positions.size()), inputs);
}

Outcome SparseStore::contribute(WorkerClock clock, std::span<const std::uint32_t> positions,
                                std::span<std::uint32_t> sum_rows, const std::byte* inputs) {
  SHOAL_ASSERT(clock >= version_ && clock - version_ < table_.window(), "a sum outside the window");
  auto& sums = sums_of(clock);
  if (const auto o = sum_rows_of(sums, positions, sum_rows); o != Outcome::applied) return o;
  table_.rule().aggregate().rows(sums.page_data.data(), page_shift_, table_.row_values(), sum_rows,
                                 inputs);
  pushed_ = true;
  return Outcome::applied;
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
    rule.catch_up(ListedRows{pages_.data(), shape_, positions.subspan(i, 1)}, {&missed, 1});
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
    const std::span<const std::uint32_t> positions(sum_positions(sums, page), count);
    if (decays_) {
      catch_up(positions, clock, rule);
      for (const auto p : positions)
        row_clocks(p)[p & (page_rows() - 1)] =
            static_cast<std::uint32_t>(clock + 1 - table_.start());
    }
    rule.apply(ListedRows{pages_.data(), shape_, positions},
               RuleInputs::of_sums(sums.page_data[page]));
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
