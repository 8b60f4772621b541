#include "group/local/host_group.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/ops/aggregate.h"
#include "group/local/notes.h"

namespace shoal::local {

namespace {

constexpr std::size_t kAlignment = 64;

/// The bytes of a piece of a share: where in a buffer that begins with row `from`.
struct Extent {
  std::size_t offset;
  std::size_t bytes;
};
template <class Piece>
Extent extent_of(const GroupWork& work, RowRange share, Row from, const Piece& piece) {
  const auto value_bytes = byte_size(work.dtype);
  const auto values = share.size() * work.row_values;
  const auto count = piece.first < values ? std::min(piece.count, values - piece.first) : 0;
  return {((share.begin - from) * work.row_values + std::min(piece.first, values)) * value_bytes,
          count * value_bytes};
}

MemoryView host_memory(std::byte* data, std::size_t bytes) { return {data, bytes}; }

}  // namespace

HostGroup::HostGroup(std::unique_ptr<Meeting> meeting, GroupGpu* gpu, std::string why)
    : meeting_(std::move(meeting)), copy_(gpu, meeting_->clock()), why_(std::move(why)) {}

std::string HostGroup::explain() const {
  const auto head = fmt::format("group '{}': member {} of {}", meeting_->name(), rank(), size());
  if (size() == 1) return fmt::format("{}, by itself: nothing to reduce ({})", head, why_);
  return fmt::format("{}, reduce-scatter and all-gather through shared memory, {} KiB of each: {}",
                     head, 2 * meeting_->stage_bytes() >> 10, why_);
}

Status HostGroup::own(Status status) {
  if (status.ok()) return status;
  auto error = std::move(status).error();
  error.what = fmt::format("group '{}', member {}: {}", meeting_->name(), rank(), error.what);
  return meeting_->fail(error);
}

std::uint64_t HostGroup::piece_values(const GroupWork& work, std::uint32_t shares) const {
  return meeting_->stage_bytes() / shares / kAlignment * kAlignment / byte_size(work.dtype);
}

// --- reduce_scatter ------------------------------------------------------------------------------

Status HostGroup::reduce_scatter(const GroupWork& work, ConstMemoryView in, MemoryView share) {
  SHOAL_TRY(meeting_->intact());
  const auto deadline = meeting_->deadline();
  const auto fits = check(work, *meeting_, in.bytes, share.bytes);
  const auto note =
      fits.ok() ? CallNote::of(Call::reduce_scatter, work, in.bytes) : CallNote::of(fits);
  const auto per_piece = piece_values(work, size());
  const auto largest = work.shares.largest() * work.row_values;
  Piece piece{0, per_piece};
  do {
    if (fits.ok()) SHOAL_TRY(own(lay_out(work, in, piece, deadline)));
    SHOAL_TRY(piece.first == 0 ? meet(*meeting_, note, deadline)
                               : meeting_->step(deadline, name_of(note.call)));
    SHOAL_TRY(own(combine(work, in, share, piece, deadline)));
    piece.first += per_piece;
  } while (piece.first < largest);
  return {};
}

/// A piece of each share but one's own, which nobody else reads.
Status HostGroup::lay_out(const GroupWork& work, ConstMemoryView in, const Piece& piece,
                          TimePoint deadline) {
  auto* stage = meeting_->stage_to_write();
  for (std::uint32_t m = 0; m < size(); ++m) {
    if (m == rank()) continue;
    const auto of = extent_of(work, work.shares.of(m), work.shares.rows().begin, piece);
    SHOAL_TRY(copy_.copy(host_memory(stage + m * piece.count * byte_size(work.dtype), of.bytes),
                         in.sub(of.offset, of.bytes), deadline));
  }
  return {};
}

Status HostGroup::combine(const GroupWork& work, ConstMemoryView in, MemoryView share,
                          const Piece& piece, TimePoint deadline) {
  const auto rows = work.shares.of(rank());
  const auto mine = extent_of(work, rows, work.shares.rows().begin, piece);
  if (mine.bytes == 0) return {};
  const auto count = mine.bytes / byte_size(work.dtype);
  const auto& kernels = aggregate_kernels(work.aggregate, work.dtype);
  sums_.resize(count * byte_size(accumulator_of(work.dtype)));
  values_.resize(mine.bytes);
  const auto own_values = host_memory(values_.data(), mine.bytes);
  SHOAL_TRY(copy_.copy(own_values, in.sub(mine.offset, mine.bytes), deadline));
  for (std::uint32_t m = 0; m < size(); ++m) {
    const auto* pushed =
        m == rank() ? values_.data()
                    : meeting_->stage_to_read(m) + rank() * piece.count * byte_size(work.dtype);
    (m == 0 ? kernels.start : kernels.dense)(sums_.data(), pushed, count);
  }
  kernels.finish(values_.data(), sums_.data(), count);
  const auto to = extent_of(work, rows, rows.begin, piece);
  return copy_.copy(share.sub(to.offset, to.bytes), own_values, deadline);
}

// --- all_gather ----------------------------------------------------------------------------------

Status HostGroup::all_gather(const GroupWork& work, ConstMemoryView share, MemoryView out) {
  SHOAL_TRY(meeting_->intact());
  const auto deadline = meeting_->deadline();
  const auto fits = check(work, *meeting_, out.bytes, share.bytes);
  const auto note =
      fits.ok() ? CallNote::of(Call::all_gather, work, out.bytes) : CallNote::of(fits);
  const auto rows = work.shares.of(rank());
  const auto per_piece = piece_values(work, 1);
  const auto largest = work.shares.largest() * work.row_values;
  Piece piece{0, per_piece};
  do {
    if (fits.ok()) {
      const auto mine = extent_of(work, rows, rows.begin, piece);
      SHOAL_TRY(own(copy_.copy(host_memory(meeting_->stage_to_write(), mine.bytes),
                               share.sub(mine.offset, mine.bytes), deadline)));
    }
    SHOAL_TRY(piece.first == 0 ? meet(*meeting_, note, deadline)
                               : meeting_->step(deadline, name_of(note.call)));
    SHOAL_TRY(own(collect(work, out, piece, deadline)));
    piece.first += per_piece;
  } while (piece.first < largest);
  return {};
}

Status HostGroup::collect(const GroupWork& work, MemoryView out, const Piece& piece,
                          TimePoint deadline) {
  for (std::uint32_t m = 0; m < size(); ++m) {
    const auto of = extent_of(work, work.shares.of(m), work.shares.rows().begin, piece);
    const ConstMemoryView from(meeting_->stage_to_read(m), of.bytes);
    SHOAL_TRY(copy_.copy(out.sub(of.offset, of.bytes), from, deadline));
  }
  return {};
}

Status HostGroup::agree(const Status& mine) {
  return meet(*meeting_, CallNote::of(mine), meeting_->deadline());
}

}  // namespace shoal::local
