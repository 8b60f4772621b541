#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "core/base/ids.h"
#include "core/trace/trace_record.h"

// The lines of a trace: Chrome's trace event format, which Perfetto reads, one event a line, each
// with a comma behind it. See docs/tuning.md.

namespace shoal {

/// What records name by number.
struct TraceNames {
  NodeId self;                            ///< stands in the field "pid": unique in the cluster
  std::map<TableId, std::string> tables;  ///< as `trace_text` has them
};

inline constexpr std::size_t kTraceTextMax = 512;
/// Text as it can stand in a JSON string, at most kTraceTextMax bytes: cut where it is longer. What
/// is not ASCII becomes '?'.
std::string trace_text(std::string_view text);

/// The events of a record.
void append_record(std::string& lines, const TraceRecord& record, const TraceNames& names);
/// What the process, or a thread of it, is called. `name` as `trace_text` has it.
void append_process_name(std::string& lines, NodeId self, std::string_view name);
void append_thread_name(std::string& lines, NodeId self, std::uint32_t thread,
                        std::string_view name);
/// A mark across the whole process: `count` records are missing here.
void append_dropped(std::string& lines, NodeId self, TimePoint now, std::uint64_t count);
/// The last event, without a comma, and the end of the file.
void append_end(std::string& lines, NodeId self, TimePoint now, std::uint64_t recorded,
                std::uint64_t dropped);

}  // namespace shoal
