#pragma once

#include <cstdint>

#include "core/trace/trace.h"
#include "server/engine/ops.h"

namespace shoal {

/// What a trace is told of a server's requests; nothing, where nobody traces. Belongs to the
/// server's loop. See docs/tuning.md.
class RequestTrace {
 public:
  explicit RequestTrace(Trace* trace) : trace_(trace) {}

  bool on() const { return trace_ != nullptr; }
  TimePoint now() const { return trace_time(trace_); }

  /// When the request in hand came.
  TimePoint received{};

  /// Something of it waits for nobody any more.
  void admitted(RequestTimes& times) const {
    if (on() && times.admitted == TimePoint{}) times.admitted = trace_->now();
  }
  /// A message was dealt with, since `received`.
  void served(NodeId peer, const FrameHeader& header) const {
    if (!on()) return;
    work(TraceRecord::What::serve, traced_name(header.kind), peer, header.request, header.table,
         received, trace_->now(), header.payload_bytes);
  }
  /// A part was applied, or left out.
  void applied(PushOp& op, TimePoint began, std::uint64_t bytes) const {
    if (!on()) return;
    if (op.times.admitted == TimePoint{}) op.times.admitted = began;
    op.times.applied = trace_->now();
    work(TraceRecord::What::work, "apply", op.peer->node, op.request, op.table, began,
         op.times.applied, bytes);
  }
  /// The WRITE of a part was posted.
  void wrote(const PullOp& op, TimePoint began, std::uint64_t bytes) const {
    if (!on()) return;
    work(TraceRecord::What::work, "write", op.peer->node, op.request, op.table, began,
         trace_->now(), bytes);
  }
  /// It is answered.
  template <class Op>
  void answered(const Op& op, const char* name, Errc status, std::uint64_t bytes) const {
    if (!on()) return;
    TraceRecord record;
    record.what = TraceRecord::What::request;
    record.status = status;
    record.name = name;
    record.times[0] = op.times.received;
    record.times[1] = op.times.admitted;
    record.times[2] = op.times.applied;
    record.times[3] = trace_->now();
    record.request = op.request;
    record.peer = op.peer->node;
    record.table = op.table;
    record.bytes = bytes;
    trace_->record(record);
  }

 private:
  static const char* traced_name(FrameKind kind) {
    if (kind == FrameKind::directory) return "directory";
    return kind == FrameKind::push ? "push" : "pull";
  }
  void work(TraceRecord::What what, const char* name, NodeId peer, RequestId request, TableId table,
            TimePoint from, TimePoint to, std::uint64_t bytes) const {
    TraceRecord record;
    record.what = what;
    record.name = name;
    record.times[0] = from;
    record.times[1] = to;
    record.request = request;
    record.peer = peer;
    record.table = table;
    record.bytes = bytes;
    trace_->record(record);
  }

  Trace* trace_;
};

}  // namespace shoal
