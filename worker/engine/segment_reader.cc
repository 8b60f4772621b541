#include "worker/engine/segment_reader.h"

#include <algorithm>

namespace shoal {

void SegmentReader::start(Lines& lines, const Geometry& geometry, MemoryView target) {
  SHOAL_ASSERT(under_way_ == 0, "READs are under way");
  lines_ = &lines;
  geometry_ = &geometry;
  target_ = target;
  sources_.clear();
  left_.clear();
  count_ = cursor_ = after_next_ = source_ = 0;
  source_rows_ = 0;
  phase_ = Phase::entries;
  stopped_ = finished_ = failed_ = unchecked_ = false;
  rows_read_ = retries_ = 0;
  why_ = Fallback::none;
}

void SegmentReader::add(const Run& run, const RemoteSpan& entries) {
  sources_.push_back({run, entries});
}

bool SegmentReader::next(Read& read) {
  if (stopped_ || finished_) return false;
  if (count_ == 0 && !fill_window()) return false;
  // A phase may want no READ at all: what it would have READ has turned out to be changing.
  for (;;) {
    const bool found = phase_ == Phase::bytes ? next_bytes(read) : next_entries(read);
    if (found) return true;
    if (under_way_ != 0) return false;
    advance();
    if (count_ == 0 && !fill_window()) return false;
  }
}

void SegmentReader::posted() {
  cursor_ = after_next_;
  ++under_way_;
}

void SegmentReader::ended(Errc status) {
  SHOAL_ASSERT(under_way_ > 0, "more READs end than were posted");
  --under_way_;
  if (status == Errc::ok) return;
  failed_ = true;
  abandon(Fallback::broken);
}

/// The next segments, as many as the window holds. False: there are none, and all is done.
bool SegmentReader::fill_window() {
  for (; source_ < sources_.size() && count_ < kWindow;) {
    const auto& run = sources_[source_].run;
    const RowRange rest{run.row_begin + source_rows_, run.row_begin + run.row_count};
    const auto segment = geometry_->segment_of(rest.begin);
    const auto all = geometry_->rows_of(segment);
    auto& piece = pieces_[count_++];
    piece.source = static_cast<std::uint32_t>(source_);
    piece.segment = static_cast<std::uint32_t>(segment.value - geometry_->first_segment(run.slot));
    piece.rows = rest.intersect(all);
    piece.offset = (piece.rows.begin - all.begin) * geometry_->row_bytes();
    piece.bytes = piece.rows.size() * geometry_->row_bytes();
    piece.to = target_.data + run.offset + source_rows_ * geometry_->row_bytes();
    piece.tries = 0;
    piece.open = true;
    source_rows_ += piece.rows.size();
    if (source_rows_ < run.row_count) continue;
    source_rows_ = 0;
    ++source_;
  }
  phase_ = Phase::entries;
  cursor_ = 0;
  finished_ = count_ == 0;
  return count_ != 0;
}

/// Entries of neighbouring segments are neighbours: one READ fetches them.
bool SegmentReader::next_entries(Read& read) {
  while (cursor_ < count_ && !pieces_[cursor_].open) ++cursor_;
  if (cursor_ == count_) return false;
  const auto& first = pieces_[cursor_];
  auto end = cursor_ + 1;
  while (end < count_ && pieces_[end].open && pieces_[end].source == first.source &&
         pieces_[end].segment == first.segment + (end - cursor_))
    ++end;
  auto& lines = phase_ == Phase::entries ? lines_->before : lines_->after;
  const auto& entries = sources_[first.source].entries;
  const auto bytes = (end - cursor_) * sizeof(DirectoryEntry);
  const auto offset = first.segment * sizeof(DirectoryEntry);
  read.to = {reinterpret_cast<std::byte*>(&lines[cursor_]), bytes};
  read.from = {entries.region, entries.address + offset, bytes};
  after_next_ = end;
  return true;
}

bool SegmentReader::next_bytes(Read& read) {
  while (cursor_ < count_ && !(pieces_[cursor_].open && pieces_[cursor_].usable)) ++cursor_;
  if (cursor_ == count_) return false;
  const auto& piece = pieces_[cursor_];
  const auto& entry = lines_->before[cursor_];
  read.to = {piece.to, piece.bytes};
  read.from = {entry.key, entry.address + piece.offset, piece.bytes};
  after_next_ = cursor_ + 1;
  return true;
}

/// All READs of a phase have come: the next one begins.
void SegmentReader::advance() {
  cursor_ = 0;
  switch (phase_) {
    case Phase::entries:
      look_at_entries();
      phase_ = Phase::bytes;
      break;
    case Phase::bytes:
      phase_ = Phase::check;
      break;
    case Phase::check:
      compare();
      look_at_entries();
      phase_ = Phase::bytes;
      break;
  }
  const auto window = std::span(pieces_).first(count_);
  if (std::none_of(window.begin(), window.end(), [](const Piece& piece) { return piece.open; }))
    count_ = 0;
}

/// What the entries in `before` allow.
void SegmentReader::look_at_entries() {
  for (std::size_t i = 0; i < count_; ++i) {
    auto& piece = pieces_[i];
    if (!piece.open) continue;
    const auto& entry = lines_->before[i];
    piece.usable = entry.stable() && entry.key != 0 && piece.offset + piece.bytes <= entry.bytes;
    if (piece.usable || !entry.stable()) continue;
    leave(piece, Fallback::not_there);
    piece.open = false;
  }
}

/// Whose entry is the same as before has been READ whole. Of the others the entry that was READ
/// last is the first of the next try.
void SegmentReader::compare() {
  for (std::size_t i = 0; i < count_; ++i) {
    auto& piece = pieces_[i];
    if (!piece.open) continue;
    auto& before = lines_->before[i];
    if (piece.usable && (before == lines_->after[i] || unchecked_)) {
      rows_read_ += piece.rows.size();
      piece.open = false;
      continue;
    }
    before = lines_->after[i];
    if (++piece.tries < kTries) {
      ++retries_;
      continue;
    }
    leave(piece, Fallback::changing);
    piece.open = false;
  }
}

void SegmentReader::leave(const Piece& piece, Fallback reason) {
  why(reason);
  leave_rows(sources_[piece.source], piece.rows);
}

/// A slot's rows follow on each other where nothing between them was READ.
void SegmentReader::leave_rows(const Source& source, RowRange rows) {
  const auto parts = geometry_->part_count(rows);
  if (!left_.empty()) {
    auto& last = left_.back();
    if (last.slot == source.run.slot && last.row_begin + last.row_count == rows.begin) {
      last.row_count += rows.size();
      last.part_count += parts;
      return;
    }
  }
  auto run = source.run;
  run.part_count = parts;
  run.row_begin = rows.begin;
  run.row_count = rows.size();
  run.offset += (rows.begin - source.run.row_begin) * geometry_->row_bytes();
  left_.push_back(run);
}

std::span<const Run> SegmentReader::left() {
  SHOAL_ASSERT(done(), "READs are wanted or under way");
  if (stopped_) {
    for (std::size_t i = 0; i < count_; ++i)
      if (pieces_[i].open) leave_rows(sources_[pieces_[i].source], pieces_[i].rows);
    for (; source_ < sources_.size(); ++source_, source_rows_ = 0) {
      const auto& run = sources_[source_].run;
      leave_rows(sources_[source_], {run.row_begin + source_rows_, run.row_begin + run.row_count});
    }
    count_ = 0;
  }
  if (left_.size() > std::max(sources_.size(), kLeftMax)) {
    left_.clear();
    rows_read_ = 0;
    for (const auto& source : sources_) left_.push_back(source.run);
  }
  return left_;
}

}  // namespace shoal
