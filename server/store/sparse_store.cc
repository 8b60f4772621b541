#include "server/store/sparse_store.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

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
      index_(context.host, context.host_pool.budget(),
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

void SparseStore::give(std::uint64_t bytes) {
  context_.budget.give(bytes);
  memory_bytes_ -= bytes;
}

Status SparseStore::take_of_host(std::uint64_t bytes, const char* what) {
  if (!context_.late()) return take(bytes, what);
  SHOAL_TRY(context_.host_pool.budget().take(bytes, what));
  host_bytes_ += bytes;
  return {};
}

SparseStore::~SparseStore() {
  for (auto* page : value_pages_) context_.pool.give(page);
  for (auto* page : states_pages_) context_.pool.give(page);
  pages_.give_back(context_);
  for (auto& sums : sums_) {
    for (auto* page : sums.pages) context_.pool.give(page);
    sums.page_data.give_back(context_);
    for (auto* page : sums.positions) context_.host_pool.give(page);
    for (auto* map : sums.maps)
      if (map != nullptr) context_.host_pool.give(map);
  }
  context_.budget.give(memory_bytes_);
  context_.host_pool.budget().give(host_bytes_);
}

Status SparseStore::grow_to(std::uint64_t rows) {
  if (rows > kRowsMax)
    return Error{Errc::no_memory, "a slot holds at most 2^32 - 1 rows: give the table more slots"};
  const auto value_bytes = std::size_t{page_rows()} * table_.geometry().row_bytes();
  while (pages_.size() << page_shift_ < rows) {
    const auto bytes = SegmentPool::block_bytes(value_bytes) +
                       (state_page_bytes_ != 0 ? SegmentPool::block_bytes(state_page_bytes_) : 0);
    SHOAL_TRY(take(bytes, "a page of sparse rows"));
    auto values = context_.pool.take(value_bytes);
    auto states = Result<SegmentMemory*>(nullptr);
    if (values.ok() && state_page_bytes_ != 0) states = context_.pool.take(state_page_bytes_);
    if (!values.ok() || !states.ok()) {  // A device may have less than was promised.
      if (values.ok()) context_.pool.give(*values);
      give(bytes);
      return values.ok() ? states.error() : values.error();
    }
    value_pages_.push_back(*values);
    context_.fill((*values)->data, value_bytes, std::byte{0});
    if (*states != nullptr) {
      states_pages_.push_back(*states);
      context_.fill((*states)->data, state_page_bytes_, std::byte{0});
    }
    pages_.push_back(states_.arrays(table_.rule(), (*values)->data,
                                    *states != nullptr ? (*states)->data : nullptr));
  }
  return {};
}

void SparseStore::write_initial_row_of(Key key, std::byte* row) const {
  write_initial_row(table_.spec().initializer, table_.spec().dtype, key, table_.spec().row_width,
                    row);
}

void SparseStore::init_rows(std::span<const Key> keys, std::span<const std::uint32_t> positions,
                            std::uint32_t first_new) {
  const auto row_bytes = table_.geometry().row_bytes();
  const auto mask = page_rows() - 1;
  if (table_.spec().initializer.kind != Initializer::Kind::zero)  // Fresh pages hold zeros already.
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (positions[i] >= first_new)
        write_initial_row_of(keys[i], pages_[positions[i] >> page_shift_].weights +
                                          (positions[i] & mask) * row_bytes);
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

/// `initial`: room for the rows, from which a device copies them; empty: they are zero.
void SparseStore::init_rows_there(std::span<const Key> keys,
                                  std::span<const std::uint32_t> positions, std::uint32_t first_new,
                                  std::span<std::byte> initial) {
  const auto row_bytes = table_.geometry().row_bytes();
  const auto mask = page_rows() - 1;
  if (!initial.empty())
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (positions[i] >= first_new)
        write_initial_row_of(keys[i], initial.data() + (positions[i] - first_new) * row_bytes);
  for (std::uint64_t at = first_new; at < row_count_ && !initial.empty();) {
    const auto page = at >> page_shift_;
    const auto end = std::min(row_count_, (page + 1) << page_shift_);
    context_.copy_in(pages_[page].weights + (at & mask) * row_bytes,
                     initial.data() + (at - first_new) * row_bytes, (end - at) * row_bytes);
    at = end;
  }
  const auto created = context_.scratch.part.created.first(row_count_ - first_new);
  std::iota(created.begin(), created.end(), first_new);
  table_.rule_at(version_).reset(listed(created), context_.stream());
}

Outcome SparseStore::positions_of(std::span<const Key> keys, std::span<std::uint32_t> positions) {
  if (!index_.find(keys, positions)) return Outcome::out_of_range;
  const auto absent =
      static_cast<std::uint64_t>(std::count(positions.begin(), positions.end(), kAbsentRow));
  if (absent == 0) return Outcome::applied;
  // Room for the rows first: keys without rows must not get into the index.
  if (!grow_to(row_count_ + absent).ok()) return Outcome::no_memory;
  if (const auto o = pages_.bring(context_); o != Outcome::applied) return o;
  std::span<std::byte> initial;
  if (context_.late() && table_.spec().initializer.kind != Initializer::Kind::zero) {
    initial = context_.scratch.lists->take<std::byte>(absent * table_.geometry().row_bytes());
    if (initial.empty()) return Outcome::no_room;
  }
  const auto first_new = static_cast<std::uint32_t>(row_count_);
  const auto inserted = index_.insert_absent(keys, positions, first_new);
  if (!inserted.ok()) return Outcome::no_memory;
  row_count_ += *inserted;
  if (context_.late())
    init_rows_there(keys, positions, first_new, initial);
  else
    init_rows(keys, positions, first_new);
  return Outcome::applied;
}

Outcome SparseStore::hand_over(std::span<const std::uint32_t>& positions) {
  if (!context_.late()) return Outcome::applied;
  const auto list = context_.scratch.positions_for(positions.size());
  if (list.size() != positions.size()) return Outcome::no_room;
  std::copy(positions.begin(), positions.end(), list.begin());
  positions = list;
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
  if (positions.size() != keys.size()) return Outcome::no_room;
  if (const auto o = positions_of(keys, positions); o != Outcome::applied) return end(o);
  return apply_placed(positions, false, inputs);
}

Outcome SparseStore::apply(std::span<const std::uint32_t> positions, bool distinct,
                           const std::byte* inputs) {
  if (const auto o = hand_over(positions); o != Outcome::applied) return o;
  return apply_placed(positions, distinct, inputs);
}

Outcome SparseStore::apply_placed(std::span<const std::uint32_t> positions, bool distinct,
                                  const std::byte* inputs) {
  RowMerger::Rows pushed{positions, inputs};
  if (!distinct) {
    auto merged = context_.scratch.merged(table_, pushed);
    if (!merged.ok()) return end(Outcome::no_memory);
    pushed = *merged;
  }
  table_.rule().apply(listed(pushed.positions), pushed.inputs, context_.stream());
  return end(Outcome::applied);
}

Outcome SparseStore::set(std::span<const Key> keys, const std::byte* values) {
  const auto positions = context_.scratch.positions_for(keys.size());
  if (positions.size() != keys.size()) return Outcome::no_room;
  if (const auto o = positions_of(keys, positions); o != Outcome::applied) return end(o);
  context_.scratch.keep_last(positions);
  return set_placed(positions, values);
}

Outcome SparseStore::set(std::span<const std::uint32_t> positions, const std::byte* values) {
  if (const auto o = hand_over(positions); o != Outcome::applied) return o;
  context_.scratch.keep_last(context_.scratch.part.positions);
  return set_placed(positions, values);
}

Outcome SparseStore::set_placed(std::span<const std::uint32_t> positions, const std::byte* values) {
  const auto rows = listed(positions);
  table_.kernels().scatter(rows, table_.spec().dtype, values, context_.stream());
  table_.rule_at(version_).reset(rows, context_.stream());
  return end(Outcome::applied);
}

Outcome SparseStore::gather(std::span<const Key> keys, std::byte* out) {
  const auto positions = context_.scratch.positions_for(keys.size());
  if (positions.size() != keys.size()) return Outcome::no_room;
  if (!index_.find(keys, positions)) return end(Outcome::out_of_range);
  gather_placed(positions, out);
  const auto row_bytes = table_.geometry().row_bytes();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (positions[i] != kAbsentRow) continue;
    if (table_.spec().initializer.kind == Initializer::Kind::zero)
      std::memset(out + i * row_bytes, 0, row_bytes);
    else
      write_initial_row_of(keys[i], out + i * row_bytes);
  }
  return Outcome::applied;
}

Outcome SparseStore::gather(std::span<const std::uint32_t> positions, std::byte* out) {
  if (const auto o = hand_over(positions); o != Outcome::applied) return o;
  gather_placed(positions, out);
  return Outcome::applied;
}

/// Of rows that are absent nothing is written, now or by a device later.
void SparseStore::gather_placed(std::span<const std::uint32_t> positions, std::byte* out) {
  if (decays_) catch_up(positions, version_, table_.rule_at(version_));
  table_.kernels().gather(listed(positions), table_.spec().dtype, out, context_.stream());
  end(Outcome::applied);
}

}  // namespace shoal
