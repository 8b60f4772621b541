#include "server/store/dense_store.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/ops/copy_rows.h"
#include "server/store/dense_memory.h"

namespace shoal {

namespace {
/// Sums of a slot, one for each segment and open clock: their heads alone are 400 GB then.
constexpr std::uint64_t kSumsMax = std::uint64_t{1} << 32;
}  // namespace

Result<std::unique_ptr<DenseStore>> DenseStore::create(const TableRules& table, SlotIndex slot,
                                                       StoreContext context) {
  std::unique_ptr<DenseStore> store(new DenseStore(table, slot, context));
  SHOAL_TRY(store->allocate());
  return store;
}

DenseStore::DenseStore(const TableRules& table, SlotIndex slot, StoreContext context)
    : table_(table),
      context_(context),
      slot_(slot),
      first_segment_(table.geometry().first_segment(slot)),
      rows_(table.geometry().rows_of(slot)),
      page_shift_(static_cast<unsigned>(
          std::bit_width(std::min(table.geometry().rows_per_segment(),
                                  std::max<std::uint64_t>(1, table.geometry().rows())) -
                         1))),
      directory_(static_cast<std::size_t>(
          table.geometry().first_segment(SlotIndex(slot.value + 1)) - first_segment_)) {
  states_ = dense_states(table.spec(), table.geometry(), table.rule().traits().states,
                         table.rule().counts_steps());
  shape_ = states_.shape(table.spec().row_width, page_shift_);
}

DenseStore::~DenseStore() {
  // Who READs what the memory is used for next finds the entry odd, for good.
  for (std::size_t s = 0; s < segments_.size(); ++s) directory_.begin(s);
  for (auto& segment : segments_) {
    if (segment.values == nullptr) continue;
    // What is still being sent counts as a copy from now on, as if a push had left it behind.
    if (segment.values->pins != 0) context_.copies.take();
    context_.pool.give(segment.values);
    if (segment.states != nullptr) context_.pool.give(segment.states);
  }
  for (auto& sum : sums_)
    if (sum.memory != nullptr) context_.pool.give(sum.memory);
  context_.budget.give(reserved_bytes_);
}

Status DenseStore::allocate() {
  const auto count = directory_.entries().size();
  if (count > (std::uint64_t{1} << 32) >> page_shift_)
    return Error{Errc::unavailable, "a slot of more than 2^32 rows: give the table more slots"};
  const auto window = table_.sums() ? static_cast<std::uint64_t>(table_.window()) : 0;
  if (count * window >= kSumsMax)
    return Error{Errc::unavailable,
                 "a slot with 2^32 open sums: give the table more slots or a smaller staleness"};
  const auto bytes = dense_memory(table_.spec(), table_.geometry(), slot_, states_).total();
  SHOAL_TRY(context_.budget.take(bytes, "a dense slot (values, states and open sums)"));
  reserved_bytes_ = bytes;
  sums_per_segment_ = static_cast<std::size_t>(window);
  segments_.resize(count);
  pages_.resize(count);
  steps_.resize(table_.rule().counts_steps() ? count : 0);
  touched_stamp_.resize(count);
  sums_.resize(count * sums_per_segment_);
  for (std::size_t s = 0; s < count; ++s) {
    SHOAL_ASSIGN(segments_[s].values, context_.pool.take(bytes_of(s)));
    if (states_.bytes != 0) {
      SHOAL_ASSIGN(segments_[s].states, context_.pool.take(states_.bytes));
    }
    segments_[s].version = table_.start();
    pages_[s] = {segments_[s].values->data,
                 segments_[s].states != nullptr ? segments_[s].states->data : nullptr,
                 table_.rule().counts_steps() ? &steps_[s] : nullptr};
  }
  return {};
}

std::uint64_t DenseStore::expose_directory() {
  auto* exporter = context_.pool.exporter();
  return exporter != nullptr ? directory_.expose(*exporter) : 0;
}

bool DenseStore::expose_some() {
  while (entered_ < segments_.size()) {
    const auto segment = entered_++;
    bool registered = false;
    (void)context_.pool.expose(*segments_[segment].values, registered);
    if (segments_[segment].ready) {
      const SegmentDirectory::Change change(directory_, segment);
      enter_place(segment);
    }
    if (registered) break;
  }
  return entered_ < segments_.size();
}

/// What stands in a segment before its rows do is nobody's to read.
void DenseStore::enter_place(std::size_t segment) {
  const auto& s = segments_[segment];
  if (directory_.key() == 0 || !s.ready || segment >= entered_) return;
  bool registered = false;
  directory_.place(segment, context_.pool.expose(*s.values, registered), bytes_of(segment));
}

DenseRows DenseStore::dense_rows(std::size_t segment, RowRange rows) const {
  return {pages_[segment], shape_, static_cast<std::size_t>(rows.begin),
          static_cast<std::size_t>(rows.size())};
}

void DenseStore::make_ready(std::size_t segment) {
  auto& s = segments_[segment];
  if (s.ready) return;
  const auto rows = rows_of(segment);
  const SegmentDirectory::Change change(directory_, segment);
  table_.kernels().initialize(table_.spec().initializer, table_.spec().dtype, rows.begin,
                              static_cast<std::size_t>(rows.size()), table_.spec().row_width,
                              s.values->data, context_.stream());
  if (s.states != nullptr) context_.fill(s.states->data, states_.bytes, std::byte{0});
  table_.rule_at(s.version).reset(dense_rows(segment, {0, rows.size()}), context_.stream());
  s.ready = true;
  enter_place(segment);
}

bool DenseStore::make_writable(std::size_t segment) {
  make_ready(segment);
  auto& s = segments_[segment];
  if (s.values->pins == 0) return true;
  SegmentMemory* copy = nullptr;
  if (context_.copies.available())
    if (auto taken = context_.pool.take(bytes_of(segment)); taken.ok()) copy = *taken;
  if (copy == nullptr) {
    ++context_.metrics.copies_exhausted;
    return false;
  }
  const SegmentDirectory::Change change(directory_, segment);
  context_.copy(copy->data, s.values->data, bytes_of(segment));
  context_.copies.take();
  context_.pool.give(std::exchange(s.values, copy));
  pages_[segment].weights = s.values->data;
  enter_place(segment);
  ++context_.metrics.copies_on_write;
  return true;
}

Outcome DenseStore::apply(RowRange rows, const std::byte* inputs) {
  const auto segment = segment_at(rows.begin);
  if (!make_writable(segment)) return Outcome::no_copy;
  const auto base = rows_of(segment).begin;
  const SegmentDirectory::Change change(directory_, segment);
  if (pages_[segment].steps != nullptr) ++*pages_[segment].steps;
  table_.rule().apply(dense_rows(segment, {rows.begin - base, rows.end - base}), inputs,
                      context_.stream());
  return Outcome::applied;
}

Outcome DenseStore::set(RowRange rows, const std::byte* values) {
  const auto segment = segment_at(rows.begin);
  if (!make_writable(segment)) return Outcome::no_copy;
  const auto base = rows_of(segment).begin;
  const auto row_bytes = table_.geometry().row_bytes();
  const SegmentDirectory::Change change(directory_, segment);
  context_.copy_in(segments_[segment].values->data + (rows.begin - base) * row_bytes, values,
                   rows.size() * row_bytes);
  table_.rule_at(segments_[segment].version)
      .reset(dense_rows(segment, {rows.begin - base, rows.end - base}), context_.stream());
  return Outcome::applied;
}

Outcome DenseStore::locate(std::span<const Key> rows, std::span<std::uint32_t>& positions) const {
  positions = context_.scratch.positions_for(rows.size());
  if (positions.size() != rows.size()) return Outcome::no_room;
  const auto per_segment = table_.geometry().rows_per_segment();
  const auto base = first_segment_ * per_segment;
  bool ok = true;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows[i] - base;
    ok &= rows[i] >= rows_.begin && rows[i] < rows_.end;
    const auto segment = row / per_segment;
    positions[i] =
        static_cast<std::uint32_t>(segment << page_shift_ | (row - segment * per_segment));
  }
  return ok ? Outcome::applied : Outcome::out_of_range;
}

/// On a device kernels run later, when segments may have moved and counts risen: they get the
/// places and counts of now, of the touched segments only.
ListedRows DenseStore::listed(std::span<const std::uint32_t> positions) {
  if (!context_.scratch.lists) return {pages_.data(), shape_, positions};
  const auto& part = context_.scratch.part;
  const auto& touched = context_.scratch.touched;
  page_numbers_.resize(segments_.size());
  for (std::uint32_t p = 0; p < touched.size(); ++p) {
    page_numbers_[touched[p]] = p;
    part.pages[p] = pages_[touched[p]];
    if (steps_.empty()) continue;
    part.steps[p] = steps_[touched[p]];
    part.pages[p].steps = &part.steps[p];
  }
  const auto mask = (1u << page_shift_) - 1;
  for (std::size_t i = 0; i < positions.size(); ++i)
    part.moved[i] =
        positions[i] == kAbsentRow
            ? kAbsentRow
            : page_numbers_[positions[i] >> page_shift_] << page_shift_ | (positions[i] & mask);
  return {part.pages.data(), shape_, part.moved.first(positions.size())};
}

void DenseStore::collect_touched(std::span<const std::uint32_t> positions) {
  auto& touched = context_.scratch.touched;
  touched.clear();
  if (++stamp_ == 0) {
    std::fill(touched_stamp_.begin(), touched_stamp_.end(), 0);
    stamp_ = 1;
  }
  for (const auto position : positions) {
    const auto segment = position >> page_shift_;
    if (touched_stamp_[segment] == stamp_) continue;
    touched_stamp_[segment] = stamp_;
    touched.push_back(segment);
  }
}

bool DenseStore::touched_writable() {
  bool all = true;
  for (const auto segment : context_.scratch.touched) all &= make_writable(segment);
  return all;
}

/// Changes rows of the touched segments, by kernels whose lists are those of the present part.
template <class F>
void DenseStore::change_touched(const F& change) {
  for (const auto segment : context_.scratch.touched) directory_.begin(segment);
  change();
  for (const auto segment : context_.scratch.touched) directory_.end(segment);
  context_.scratch.end_of_part();
}

Outcome DenseStore::apply(std::span<const Key> rows, const std::byte* inputs) {
  std::span<std::uint32_t> positions;
  if (const auto o = locate(rows, positions); o != Outcome::applied) return o;
  collect_touched(positions);
  if (!touched_writable()) return Outcome::no_copy;
  const auto pushed = context_.scratch.merged(table_, {positions, inputs});
  if (!pushed.ok()) return Outcome::no_memory;
  change_touched([&] {
    for (const auto segment : context_.scratch.touched)
      if (pages_[segment].steps != nullptr) ++*pages_[segment].steps;
    table_.rule().apply(listed(pushed->positions), pushed->inputs, context_.stream());
  });
  return Outcome::applied;
}

Outcome DenseStore::set(std::span<const Key> rows, const std::byte* values) {
  std::span<std::uint32_t> positions;
  if (const auto o = locate(rows, positions); o != Outcome::applied) return o;
  collect_touched(positions);
  if (!touched_writable()) return Outcome::no_copy;
  context_.scratch.keep_last(positions);
  change_touched([&] {
    const auto to = listed(positions);
    table_.kernels().scatter(to, table_.spec().dtype, values, context_.stream());
    table_.rule().reset(to, context_.stream());
  });
  return Outcome::applied;
}

Outcome DenseStore::gather(std::span<const Key> rows, std::byte* out) {
  std::span<std::uint32_t> positions;
  if (const auto o = locate(rows, positions); o != Outcome::applied) return o;
  collect_touched(positions);
  for (const auto segment : context_.scratch.touched) make_ready(segment);
  table_.kernels().gather(listed(positions), table_.spec().dtype, out, context_.stream());
  context_.scratch.end_of_part();
  return Outcome::applied;
}

void DenseStore::copy_out(RowRange rows, std::byte* out) {
  const auto segment = segment_at(rows.begin);
  make_ready(segment);
  const auto row_bytes = table_.geometry().row_bytes();
  context_.copy_out(
      out, segments_[segment].values->data + (rows.begin - rows_of(segment).begin) * row_bytes,
      rows.size() * row_bytes);
}

Snapshot DenseStore::pin(std::size_t segment) {
  make_ready(segment);
  auto& s = segments_[segment];
  SegmentPool::pin(*s.values);
  return {s.values, bytes_of(segment), s.version};
}

}  // namespace shoal
