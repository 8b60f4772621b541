#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/memory/memory_view.h"
#include "core/table/directory_entry.h"
#include "core/table/geometry.h"
#include "transport/transport.h"
#include "worker/engine/request.h"
#include "worker/one_sided_counts.h"

namespace shoal {

/// Fetches segments that their server exports, without the server: for each its directory entry,
/// its bytes, and the entry again; whoever finds both entries equal has the bytes of one version.
/// Each of the three is READ once the one before has come, since an adapter may fetch READs that
/// wait behind each other in any order. See docs/design/one_sided.md.
///
/// Posts nothing itself: next() says which READ is wanted, and ended() that one has ended.
/// Allocates nothing in steady state.
class SegmentReader {
 public:
  /// Segments that are under way at once: 16 MiB of usual ones. One more costs both ends 64 bytes.
  static constexpr std::size_t kWindow = 64;
  /// How often a segment is READ that pushes go on changing. At 256 KiB a READ takes as long as ten
  /// applies; where it loses so often a pinned snapshot is cheaper.
  static constexpr std::uint32_t kTries = 8;

  /// Runs that one request may be left with; rather than more it asks for all rows.
  static constexpr std::size_t kLeftMax = 256;

  /// What the entries are READ into: to be attached to the transport.
  struct Lines {
    std::array<DirectoryEntry, kWindow> before, after;
  };

  /// Begins anew; nothing may be under way. `lines` is the reader's until done(), `target` the
  /// operation's memory.
  void start(Lines& lines, const Geometry& geometry, MemoryView target);
  /// Rows of one slot, and where its entries are.
  void add(const Run& run, const RemoteSpan& entries);

  struct Read {
    MemoryView to;
    RemoteSpan from;
  };
  /// The next READ that may be posted now. False: there is none before others have ended, or at
  /// all.
  bool next(Read& read);
  /// It was posted.
  void posted();
  /// One of those posted has ended.
  void ended(Errc status);
  /// No more READs are wanted: what is not there yet is left.
  void abandon(Fallback reason) {
    why(reason);
    stopped_ = true;
  }
  /// The connection has ended, and with it all that was under way.
  void lose() {
    abandon(Fallback::broken);
    under_way_ = 0;
  }
  /// Nothing is under way, and nothing more is wanted.
  bool done() const { return under_way_ == 0 && (stopped_ || finished_); }

  std::uint32_t under_way() const { return under_way_; }
  /// After done(): the rows that have to be asked for. At most kLeftMax runs, or as many as were
  /// given.
  std::span<const Run> left();
  std::uint64_t rows_read() const { return rows_read_; }
  /// Segments that were READ once more because they had changed.
  std::uint64_t retries() const { return retries_; }
  Fallback why() const { return why_; }
  /// A READ failed: what is known of directories may be outdated.
  bool failed() const { return failed_; }
  /// Only for the search that proves it can find what the check is for: see tests/simulation.
  void skip_check() { unchecked_ = true; }

 private:
  enum class Phase : std::uint8_t { entries, bytes, check };
  struct Source {
    Run run;
    RemoteSpan entries;
  };
  /// The rows of one segment.
  struct Piece {
    std::uint32_t source = 0;
    std::uint32_t segment = 0;  ///< in its slot
    RowRange rows;
    std::uint64_t offset = 0;  ///< bytes, in the segment
    std::byte* to = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t tries = 0;
    bool open = false;    ///< still wanted
    bool usable = false;  ///< its entry lets its bytes be READ now
  };

  void why(Fallback reason) {
    if (why_ == Fallback::none) why_ = reason;
  }
  bool fill_window();
  bool next_entries(Read& read);
  bool next_bytes(Read& read);
  void advance();
  void look_at_entries();
  void compare();
  void leave(const Piece& piece, Fallback reason);
  void leave_rows(const Source& source, RowRange rows);

  Lines* lines_ = nullptr;
  const Geometry* geometry_ = nullptr;
  MemoryView target_;
  std::vector<Source> sources_;
  std::vector<Run> left_;
  std::array<Piece, kWindow> pieces_;
  std::size_t count_ = 0;          ///< of pieces_
  std::size_t cursor_ = 0;         ///< the next piece to be READ in this phase
  std::size_t after_next_ = 0;     ///< what posted() makes of it
  std::size_t source_ = 0;         ///< the next window begins here,
  std::uint64_t source_rows_ = 0;  ///< behind so many rows of it
  Phase phase_ = Phase::entries;
  std::uint32_t under_way_ = 0;
  bool stopped_ = false, finished_ = false, failed_ = false, unchecked_ = false;
  std::uint64_t rows_read_ = 0, retries_ = 0;
  Fallback why_ = Fallback::none;
};

}  // namespace shoal
