#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "perf/window.h"
#include "worker/worker.h"

namespace shoal::perf {

enum class TableOp : std::uint8_t { push, pull, push_pull, onesided };

/// What to do to a dense table.
struct TablePattern {
  TableOp op = TableOp::pull;
  std::size_t bytes = 8;       ///< of an operation: a multiple of 4
  std::uint32_t inflight = 1;  ///< operations under way
  bool both_ways = false;      ///< a push and a pull in each operation, of different rows
  std::size_t ranges = 0;      ///< to go round; 0: ring_size()
};

/// Pushes and pulls of consecutive rows of a dense f32 table that adds up, asynchronous, so that
/// nothing is measured but the path: operation i takes the i-th of a ring of ranges of rows and of
/// buffers, table and buffers being equally large. Every value is known, so that all can be
/// checked.
class TableLoad {
 public:
  /// Makes the table and fills it. `worker` outlives it. Errors: those of the worker's;
  /// unavailable, where rows cannot be pulled one-sidedly.
  static Result<TableLoad> create(Worker& worker, std::string table, const TablePattern& pattern);
  /// Errors: also unavailable, if one-sided pulls became requests.
  Result<Measured> run(const Clock& clock, const Limits& limits, Recorder& recorder);
  /// Compares all that was ever pulled and, by a last pull, the whole table, with what the
  /// operations so far make of it. Errors: corrupt, naming the first value that is wrong.
  Status check();
  Status drop() { return table_.drop(); }

 private:
  TableLoad(Worker& worker, const TablePattern& pattern, Table<float> table, Buffer<float> in,
            Buffer<float> out);
  Status issue(std::uint64_t i);
  Status finish(std::uint64_t i);
  /// One-sided pulls: until the server has told where all rows are.
  Status learn();
  Status compare(std::size_t range, const Buffer<float>& values, std::size_t offset, float pushes);
  static float initial(std::size_t row) { return static_cast<float>(row % 1021); }
  static float pushed(std::size_t row) { return static_cast<float>(1 + row % 5); }

  Worker* worker_;
  TablePattern pattern_;
  std::size_t rows_each_, ranges_;
  Table<float> table_;
  Buffer<float> in_;   // what is pulled
  Buffer<float> out_;  // what is pushed
  std::vector<Ticket> tickets_, second_;
  std::vector<std::uint32_t> pushes_;  // of each range, so far
  std::vector<bool> pulled_;           // ranges whose buffers hold rows
};

}  // namespace shoal::perf
