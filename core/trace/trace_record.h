#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/ids.h"

namespace shoal {

/// One thing that a trace tells: of a fixed size, and only values, so that to record it costs some
/// stores. What becomes of it in the file is in docs/tuning.md.
struct TraceRecord {
  enum class What : std::uint8_t {
    operation,  ///< a worker's, once its ticket is gone: issued, sent, answered, polled
    request,    ///< a server's, once it is answered: received, admitted, applied, answered
    send,       ///< a thread's work: a worker hands a request to its session,
    answer,     ///< or deals with its answer;
    serve,      ///< a server deals with a request's message,
    work,       ///< or with a piece of its rows
  };
  static constexpr std::size_t kTimes = 4;

  What what = What::operation;
  Errc status = Errc::ok;
  std::uint32_t thread = 0;  ///< filled in by Trace
  const char* name = "";     ///< "push", "pull", ...; lives as long as the program
  /// In order; TimePoint{}: it never came to that. Of a thread's work the first two: from, to.
  TimePoint times[kTimes] = {};
  std::uint64_t operation = 0;  ///< of a worker: its number; 0: none
  RequestId request;
  NodeId peer;  ///< the other end of the request
  TableId table;
  std::uint64_t bytes = 0;
};

}  // namespace shoal
