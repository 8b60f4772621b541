#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "group/group.h"
#include "group/local/descriptor.h"

namespace shoal::local {

/// What a member shows the others at a step.
inline constexpr std::size_t kNoteBytes = 640;

/// A member's place in the shared memory. Only the member writes to it.
struct alignas(64) Seat {
  std::atomic<std::uint64_t> arrived;  ///< the last step that it came to
  std::atomic<std::uint32_t> left;
  std::uint32_t failure;  ///< Errc; with its text, of whom Page::failed names
  std::array<char, 480> failure_text;
  alignas(64) std::array<std::array<std::byte, kNoteBytes>, 2> notes;  ///< by turns
};

/// The beginning of the shared memory; behind it are the seats, and behind them the stages. All
/// zeros at first.
struct alignas(64) Page {
  std::atomic<std::uint32_t> bell;    ///< a futex that counts whatever somebody may wait for
  std::atomic<std::uint32_t> failed;  ///< rank + 1 of the first whom something failed; final
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// The members' meeting in the shared memory of their node. At each step all show a note, and
/// nobody goes on before all have come. Whoever finds that one is missing at the deadline, dead or
/// gone ends it for all. See docs/design/group.md.
///
/// Notes and stages have two turns, which steps take alternately: what a member wrote before step n
/// is there to be read until it has come to step n + 1, and it writes meanwhile to the other turn.
class Meeting {
 public:
  /// Gathers the members and meets them once. Errors: see open_group().
  static Result<std::unique_ptr<Meeting>> open(const GroupOptions& options, const Clock& clock);
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  std::uint32_t rank() const { return rank_; }
  std::uint32_t size() const { return size_; }
  const std::string& name() const { return name_; }
  std::size_t stage_bytes() const { return stage_bytes_; }
  TimePoint deadline() const { return deadline_after(clock_.now(), timeout_); }
  const Clock& clock() const { return clock_; }

  /// `doing` says what the step is of, for errors: "reduce_scatter".
  template <class Note>
  Status step(const Note& note, TimePoint deadline, std::string_view doing) {
    static_assert(std::is_trivially_copyable_v<Note> && sizeof(Note) <= kNoteBytes);
    SHOAL_TRY(intact());
    std::memcpy(seat(rank_).notes[turn_of_next()].data(), &note, sizeof note);
    return arrive(deadline, doing);
  }
  /// Once more, with nothing to show.
  Status step(TimePoint deadline, std::string_view doing) {
    SHOAL_TRY(intact());
    return arrive(deadline, doing);
  }
  /// What a member showed at the last step that had a note.
  template <class Note>
  Note note_of(std::uint32_t member) const {
    Note note;
    std::memcpy(&note, seat(member).notes[step_ & 1].data(), sizeof note);
    return note;
  }
  /// What a member shows at the next step, if it has come there already.
  template <class Note>
  std::optional<Note> early_note_of(std::uint32_t member) const {
    if (seat(member).arrived.load(std::memory_order_acquire) <= step_) return std::nullopt;
    Note note;
    std::memcpy(&note, seat(member).notes[turn_of_next()].data(), sizeof note);
    return note;
  }

  /// Whether there is a next step. After one that failed there is none, and a stage must not be
  /// written: others may still read what was there before. Errors: the failure, unavailable.
  Status intact() const;
  /// stage_bytes() of a member: one's own to be written before the next step, ...
  std::byte* stage_to_write() { return stage(rank_, turn_of_next()); }
  /// ... all to be read after it.
  const std::byte* stage_to_read(std::uint32_t member) { return stage(member, step_ & 1); }

  /// The first failure of a member, from its moment on, and that one died. Not that one left, for
  /// work that it has done its part of.
  Status check(std::string_view doing);
  /// Ends the meeting for all. Returns the first failure, which may be another's.
  Error fail(const Error& error);
  /// Waits until something happens among the members, `most` at the longest.
  void pause(Duration most);

 private:
  Meeting(const GroupOptions& options, const Clock& clock);
  Status map(Descriptor memory);
  std::size_t turn_of_next() const { return (step_ + 1) & 1; }
  Seat& seat(std::uint32_t member) const { return seats_[member]; }
  std::byte* stage(std::uint32_t member, std::size_t turn) const {
    return stages_ + (2 * std::size_t{member} + turn) * stage_bytes_;
  }
  Status arrive(TimePoint deadline, std::string_view doing);
  bool all_here() const;
  Status failure() const;
  Status look_for_lost(std::string_view doing, std::uint64_t wanted, bool leaving_counts);
  bool dead(std::uint32_t member) const;
  std::string missing(std::uint64_t wanted) const;
  void ring();

  std::string name_;
  const Clock& clock_;
  Duration timeout_;
  std::uint32_t rank_;
  std::uint32_t size_;
  std::size_t stage_bytes_;
  std::uint32_t fork_generation_;
  std::uint64_t step_ = 0;
  std::byte* memory_ = nullptr;
  std::size_t bytes_ = 0;
  Page* page_ = nullptr;
  Seat* seats_ = nullptr;
  std::byte* stages_ = nullptr;
  std::vector<Descriptor> processes_;
};

}  // namespace shoal::local
