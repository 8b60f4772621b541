#include "group/local/notes.h"

#include <fmt/core.h>

namespace shoal::local {

namespace {

std::string_view text_of(Aggregate aggregate) {
  switch (aggregate) {
    case Aggregate::sum:
      return "sum";
    case Aggregate::last:
      return "last";
    case Aggregate::min:
      return "min";
    case Aggregate::max:
      return "max";
  }
  return "?";
}

std::string rows_of(const CallNote& note) { return fmt::format("[{}, {})", note.begin, note.end); }

/// The first thing that differs, of each; empty: nothing does.
std::array<std::string, 2> difference(const CallNote& a, const CallNote& b) {
  const auto say = [](std::string_view what, const auto& x, const auto& y) {
    return std::array{fmt::format("{} {}", what, x), fmt::format("{} {}", what, y)};
  };
  if (a.call != b.call) return {std::string(name_of(a.call)), std::string(name_of(b.call))};
  if (a.table != b.table) return say("table", a.table, b.table);
  if (a.clock != b.clock) return say("clock", a.clock, b.clock);
  if (a.dtype != b.dtype) return say("values of", name_of(a.dtype), name_of(b.dtype));
  if (a.aggregate != b.aggregate)
    return say("aggregate", text_of(a.aggregate), text_of(b.aggregate));
  if (rows_of(a) != rows_of(b)) return say("rows", rows_of(a), rows_of(b));
  if (a.row_values != b.row_values) return say("values a row:", a.row_values, b.row_values);
  if (a.unit != b.unit) return say("shares of whole runs of rows, of", a.unit, b.unit);
  if (a.bytes != b.bytes) return say("bytes:", a.bytes, b.bytes);
  return {};
}

}  // namespace

std::string_view name_of(Call call) {
  switch (call) {
    case Call::reduce_scatter:
      return "reduce_scatter";
    case Call::all_gather:
      return "all_gather";
    case Call::agree:
      return "agree";
  }
  return "?";
}

CallNote CallNote::of(Call call, const GroupWork& work, std::uint64_t bytes) {
  CallNote note;
  note.call = call;
  note.dtype = work.dtype;
  note.aggregate = work.aggregate;
  note.table = work.table;
  note.clock = work.clock;
  note.begin = work.shares.rows().begin;
  note.end = work.shares.rows().end;
  note.unit = work.shares.unit();
  note.row_values = work.row_values;
  note.bytes = bytes;
  return note;
}

CallNote CallNote::of(const Status& status) {
  CallNote note;
  note.code = status.code();
  if (!status.ok()) set_text(note.text, status.error().what);
  return note;
}

Status meet(Meeting& meeting, const CallNote& note, TimePoint deadline) {
  SHOAL_TRY(meeting.step(note, deadline, name_of(note.call)));
  for (std::uint32_t m = 0; m < meeting.size(); ++m)
    if (const auto other = meeting.note_of<CallNote>(m); other.code != Errc::ok)
      return Error{other.code,
                   fmt::format("group '{}', member {}: {}", meeting.name(), m, other.text.data())};
  const auto first = meeting.note_of<CallNote>(0);
  for (std::uint32_t m = 1; m < meeting.size(); ++m)
    if (const auto differs = difference(first, meeting.note_of<CallNote>(m)); !differs[0].empty())
      return Error{Errc::mismatch,
                   fmt::format("group '{}': member 0 called for {}, member {} for {}: all members "
                               "make the same calls, in the same order and at equal clocks",
                               meeting.name(), differs[0], m, differs[1])};
  return {};
}

Status check(const GroupWork& work, const Meeting& meeting, std::uint64_t all_bytes,
             std::uint64_t share_bytes) {
  if (work.aggregate == Aggregate::last)
    return Error{
        Errc::invalid_argument,
        fmt::format("group '{}' has sum, min and max, but no 'last': members have no order "
                    "in time",
                    meeting.name())};
  if (work.shares.members() != meeting.size())
    return Error{Errc::invalid_argument,
                 fmt::format("group '{}' has {} members, and the rows are shared out to {}",
                             meeting.name(), meeting.size(), work.shares.members())};
  const auto row_bytes = work.row_values * byte_size(work.dtype);
  const auto expect = [&](std::string_view what, std::uint64_t rows,
                          std::uint64_t bytes) -> Status {
    if (bytes == rows * row_bytes) return {};
    return Error{
        Errc::mismatch,
        fmt::format("group '{}', member {}: {} of {} rows of {} bytes has {} bytes instead "
                    "of {}",
                    meeting.name(), meeting.rank(), what, rows, row_bytes, bytes,
                    rows * row_bytes)};
  };
  SHOAL_TRY(expect("a buffer", work.shares.rows().size(), all_bytes));
  return expect("a share", work.shares.of(meeting.rank()).size(), share_bytes);
}

}  // namespace shoal::local
