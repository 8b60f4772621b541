#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "core/base/bounded_queue.h"
#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/trace/trace_lines.h"
#include "core/trace/trace_record.h"

namespace shoal {

/// Writes what the operations of one node, a worker or a server, live through into a file that
/// Perfetto shows: the option `trace`. Who records does a few stores into a bounded
/// queue, without a lock, an allocation or a system call; a thread of the lowest priority writes
/// them out. Where the queue is full, records are dropped, counted, and marked in the file. A file
/// whose process died lacks its last bracket, which readers do without. See docs/tuning.md.
class Trace {
 public:
  struct Options {
    std::size_t records_max = std::size_t{1} << 15;     ///< between two turns of the thread: 4 MiB
    Duration interval = std::chrono::milliseconds(10);  ///< of the thread
  };
  /// The file is FILE.WHO.PID.json, FILE without its .json; a further trace of the same process and
  /// name gets a number. No file is overwritten. `clock` outlives it. Errors: io, naming the file.
  static Result<std::unique_ptr<Trace>> open(const std::string& file, std::string_view who,
                                             const Clock& clock, Options options);
  static Result<std::unique_ptr<Trace>> open(const std::string& file, std::string_view who,
                                             const Clock& clock) {
    return open(file, who, clock, Options());
  }
  /// Whether such a file can be made, asked before the processes that are to make theirs start.
  static Status check(const std::string& file);
  /// All that was recorded is in the file. Nobody records any more.
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  const std::string& path() const { return path_; }
  TimePoint now() const { return clock_.now(); }
  /// Which node this is. Records that come before are shown under node 0.
  void joined(NodeId self) { self_.store(self.value, std::memory_order_relaxed); }
  /// What a table is called in the file. Not on the message path: it locks and allocates.
  void name_table(TableId table, std::string_view name);
  /// Any thread. Drops the record if the queue is full.
  void record(TraceRecord record);
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  Trace(int fd, std::string path, std::string who, const Clock& clock, const Options& options);
  void run();
  void drain();
  void name_process();
  void name_thread(std::uint32_t thread);
  void write();

  const int fd_;
  const std::string path_, who_;
  const Clock& clock_;
  const Duration interval_;
  BoundedQueue<TraceRecord> records_;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint32_t> self_{0};

  std::mutex mutex_;  // of the next three
  std::condition_variable stopped_;
  bool stop_ = false;
  TraceNames names_;

  // The thread's own.
  std::string lines_;
  std::set<std::uint32_t> threads_;  ///< that have their names; bounded
  bool named_ = false;
  std::uint64_t told_dropped_ = 0;
  std::uint64_t recorded_ = 0;
  bool failed_ = false;  ///< a write has; nothing is written behind it
  std::thread thread_;
};

/// Now, if somebody traces.
inline TimePoint trace_time(const Trace* trace) {
  return trace == nullptr ? TimePoint{} : trace->now();
}

}  // namespace shoal
